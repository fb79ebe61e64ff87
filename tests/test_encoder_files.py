"""What a disk may hold under an encoder's name: it is computed as it was stored, or refused in one line."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForMaskedLM

import pretrain
from common.errors import UserError
from convert_checkpoint import convert
from encoders import load_encoder, load_masked_lm, load_tokenizer
from evaluations import perplexity, states
from evaluations.few_shot import train as few_shot
from model import SparseLTForPreTraining

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 440473133\n"


def edit(encoder, tensors=None, **fields):
    """Change the stored tensors by a function, and fields of config.json."""
    if tensors:
        stored = load_file(encoder / "model.safetensors")
        save_file(tensors(stored), encoder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps(config | fields))


def prefix(text):
    return lambda encoder: edit(encoder, lambda tensors: {text + name: tensor for name, tensor in tensors.items()})


def cast(dtype):
    def changed(tensors):
        return tensors | {name: tensors[name].to(dtype) for name in tensors if name.endswith("query.weight")}

    return lambda encoder: edit(encoder, changed)


def without(part):
    return lambda encoder: edit(encoder, lambda tensors: {n: t for n, t in tensors.items() if part not in n})


def alone(file):
    """Another file in place of the weights."""

    def replace(encoder):
        (encoder / "model.safetensors").unlink()
        (encoder / file).parent.mkdir(exist_ok=True)
        (encoder / file).write_bytes(b"\0" * 100)

    return replace


def pointer(file):
    return lambda encoder: (encoder / file).write_text(POINTER)


def pickled(encoder, **more):
    torch.save(load_file(encoder / "model.safetensors") | more, encoder / "pytorch_model.bin")
    (encoder / "model.safetensors").unlink()


def sharded(encoder, missing=None):
    tensors = sorted(load_file(encoder / "model.safetensors").items())
    (encoder / "model.safetensors").unlink()
    files = {}
    for number, part in enumerate((tensors[::2], tensors[1::2]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file(dict(part), encoder / file, metadata={"format": "pt"})
        files |= {name: file for name, _ in part}
    (encoder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    if missing:
        (encoder / missing).unlink()


def relative_positions(encoder):
    name = "bert.encoder.layer.0.attention.self.distance_embedding.weight"
    edit(encoder, lambda tensors: tensors | {name: torch.randn(127, 8)})


WEIGHTS = {
    "data parallel": (prefix("module."), r"`bert\.embeddings\.LayerNorm\.bias` is missing"),
    "a wrapper": (prefix("model."), r"`bert\.embeddings\.LayerNorm\.bias` is missing"),
    "a layer is missing": (without("layer.1."), r"`bert\.encoder\.layer\.1\.\S+` is missing"),
    "a layer too many": (lambda e: edit(e, num_hidden_layers=1), r"`bert\.encoder\.layer\.1\.\S+` has no place in it"),
    "half a head": (without("transform.dense"), r"`cls\.predictions\.transform\.dense\.bias` is missing"),
    "other sizes": (lambda e: edit(e, intermediate_size=65), r"`bert\.encoder\.layer\.0\.\S+` has another size"),
    "TensorFlow": (alone("tf_model.h5"), r"no pytorch_model\.bin, and tf_model\.h5 is of another framework"),
    "Flax": (alone("flax_model.msgpack"), r"flax_model\.msgpack is of another framework"),
    "ONNX": (alone("onnx/model.onnx"), r"onnx/model\.onnx is of another framework"),
    "another name": (alone("pytorch_model.pt"), r"pytorch_model\.pt is of another framework or name"),
    "no weights": (lambda e: (e / "model.safetensors").unlink(), r"no model\.safetensors and no pytorch_model\.bin"),
    "a pointer": (pointer("model.safetensors"), r"model\.safetensors is a git-lfs pointer"),
    "config.json is a pointer": (pointer("config.json"), r"config\.json is a git-lfs pointer"),
    "tokenizer.json is a pointer": (pointer("tokenizer.json"), r"tokenizer\.json is a git-lfs pointer"),
    "vocab.txt is a pointer": (pointer("vocab.txt"), r"vocab\.txt is a git-lfs pointer"),
    "GPTQ": (lambda e: edit(e, quantization_config={"quant_method": "gptq", "bits": 4}), "`quantization_config`"),
    "AWQ": (lambda e: edit(e, quantization_config={"quant_method": "awq"}), "`quantization_config`"),
    "bitsandbytes": (lambda e: edit(e, quantization_config={"load_in_8bit": True}), "`quantization_config`"),
    "int8": (cast(torch.int8), r"layer\.0\.attention\.self\.query\.weight` is stored as I8: quantised"),
    "float8": (cast(torch.float8_e4m3fn), r"query\.weight` is stored as F8_E4M3: quantised"),
    "int8, pickled": (lambda e: (cast(torch.int8)(e), pickled(e)), r"query\.weight` is stored as int8: quantised"),
    "a shard is missing": (lambda e: sharded(e, "model-00002-of-00002.safetensors"), "has no model-00002-of-00002"),
    "an index of nothing": (lambda e: alone("model.safetensors.index.json")(e), "lists no files of weights"),
    "an adapter": (lambda e: (e / "adapter_config.json").write_text("{}"), r"adapter_config\.json: an adapter"),
    "adapters inside": (
        lambda e: edit(e, lambda t: t | {"bert.encoder.layer.0.output.adapters.a.weight": torch.ones(3)}),
        r"adapters\.a\.weight` has no place in it",
    ),
    "a pickle of code": (lambda e: pickled(e, code=print), r"pytorch_model\.bin is refused.*could run code"),
    "a training checkpoint": (lambda e: pickled(e, model={}), "holds no state dict"),
    "tensors of relative positions": (relative_positions, "distance_embedding.weight` has no place in it"),
}
FIELDS = {
    "position_embedding_type": "relative_key_query",
    "add_cross_attention": True,
    "pruned_heads": {"0": [1]},
    "auto_map": {"AutoModelForMaskedLM": "modeling_own.OwnModel"},
    "quantization_config": {"quant_method": "fp8"},
}


@pytest.mark.parametrize(("damage", "message"), WEIGHTS.values(), ids=WEIGHTS.keys())
def test_weights_that_are_not_all_of_it_are_refused(encoder, damage, message):
    damage(encoder)
    with pytest.raises(UserError, match=message) as error:
        load_encoder(str(encoder))
    assert "\n" not in str(error.value) and str(encoder) in str(error.value)


@pytest.mark.parametrize("field", FIELDS)
def test_what_config_json_asks_for_in_vain_is_refused(encoder, field):
    edit(encoder, **{field: FIELDS[field]})
    with pytest.raises(UserError, match=f"as its config.json asks: `{field}`"):
        load_encoder(str(encoder))


def test_code_of_an_unknown_architecture_is_not_run(encoder):
    edit(encoder, model_type="own", auto_map={"AutoConfig": "configuration_own.OwnConfig"})
    with pytest.raises(UserError, match="code of its own"):
        load_encoder(str(encoder))


COMMANDS = {
    "pretrain": lambda name, out: pretrain.main(
        ["--name=a", f"--output_dir={out}", f"--model={name}", f"--data={out}.txt", "--device=cpu"]
    ),
    "few_shot": lambda name, out: few_shot.main(
        ["--name=a", "--type=inter", f"--output={out}", f"--model={name}", "--device=cpu"]
    ),
    "perplexity": lambda name, out: perplexity.main([name, f"--data={out}.txt", "--device=cpu"]),
    "states": lambda name, out: states.main([name, f"--data={out}.txt", "--device=cpu"]),
    "the model": lambda name, out: SparseLTForPreTraining.from_encoder(name),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_them(encoder, tmp_path, sentences, command):
    (tmp_path / "out.txt").write_text("\n".join(sentences))
    prefix("module.")(encoder)
    with pytest.raises(UserError, match=r"`bert\.embeddings\.LayerNorm\.bias` is missing"):
        COMMANDS[command](str(encoder), tmp_path / "out")


# --- what may be stored in one way or another, and is computed as it was stored ---------------------------------------


def headless(tensors):
    return {name.removeprefix("bert."): tensor for name, tensor in tensors.items() if name.startswith("bert.")}


def other_heads(tensors):
    more = {"bert.pooler.dense.weight": torch.ones(32, 32), "cls.seq_relationship.weight": torch.ones(2, 32)}
    return tensors | more | {"bert.embeddings.position_ids": torch.arange(64)[None], "classifier.bias": torch.ones(3)}


SAME = {
    "as it is": lambda e: None,
    "pickled": pickled,
    "shards": sharded,
    "no head and no prefix": lambda e: edit(e, headless),
    "other heads too": lambda e: edit(e, other_heads),
    "a decoder": lambda e: edit(e, is_decoder=True),
    "chunks": lambda e: edit(e, chunk_size_feed_forward=7),
    "tuples": lambda e: edit(e, return_dict=False),
    "all it has": lambda e: edit(e, output_hidden_states=True, output_attentions=True),
    "another dtype": lambda e: edit(e, torch_dtype="float16", dtype="bfloat16"),
    "another problem": lambda e: edit(e, problem_type="multi_label_classification", num_labels=7),
    "not tied, but nothing else stored": lambda e: edit(e, tie_word_embeddings=False),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME.keys())
def test_the_same_weights_are_the_same_encoder(encoder, tiny_encoder, padded, capsys, change):
    change(encoder)
    ids = padded["input_ids"]
    plain = AutoModelForMaskedLM.from_pretrained(tiny_encoder)
    loaded = load_masked_lm(str(encoder)).eval()
    mask = padded["attention_mask"]
    torch.testing.assert_close(
        loaded.base_model(ids, mask).last_hidden_state, plain.base_model(ids, mask).last_hidden_state
    )
    if loaded.get_output_embeddings().bias.any():  # it has a head
        assert torch.equal(loaded.get_output_embeddings().weight, plain.get_output_embeddings().weight)
        assert torch.equal(loaded.get_output_embeddings().bias, plain.get_output_embeddings().bias)
    printed = capsys.readouterr().err
    assert printed.count("note:") == (change is SAME["a decoder"])


def untied(tensors):
    torch.manual_seed(1)
    matrix = torch.randn_like(tensors["bert.embeddings.word_embeddings.weight"])
    return tensors | {"cls.predictions.decoder.weight": matrix, "cls.predictions.decoder.bias": matrix[:, 0].clone()}


ODD = {
    "a decoder": {"is_decoder": True, "use_cache": True},
    "not tied": {"tie_word_embeddings": False},
    "half": {"torch_dtype": "float16"},
    "another function": {"hidden_act": "relu", "layer_norm_eps": 1e-3},
    "labels": {"problem_type": "regression", "num_labels": 1, "return_dict": False, "output_hidden_states": True},
    "chunks": {"chunk_size_feed_forward": 5},
}


@pytest.mark.parametrize("fields", ODD.values(), ids=ODD.keys())
def test_the_converted_model_computes_what_the_pre_training_computed(encoder, tmp_path, padded, capsys, fields):
    edit(encoder, untied if "tie_word_embeddings" in fields else None, **fields)
    model = SparseLTForPreTraining.from_encoder(str(encoder), num_types=4).eval()
    SparseLTForPreTraining.from_encoder(str(encoder), num_types=4)
    named = capsys.readouterr().err.count("not used: `cls.predictions.decoder.weight`")
    assert named == ("tie_word_embeddings" in fields)  # once

    model.save_pretrained(tmp_path / "run")
    load_tokenizer(str(encoder)).save_pretrained(tmp_path / "run")
    convert(tmp_path / "run", tmp_path / "plain")
    written = json.loads((tmp_path / "plain" / "config.json").read_text())
    assert not written.get("is_decoder") and written["dtype"] == "float32"
    ids, mask = padded["input_ids"], padded["attention_mask"]
    real = mask.bool()
    expected = model.encode(ids, mask)
    states = AutoModel.from_pretrained(tmp_path / "plain")(ids, mask).last_hidden_state
    torch.testing.assert_close(states[real], expected[real])
    logits = AutoModelForMaskedLM.from_pretrained(tmp_path / "plain")(ids, mask).logits
    output = model(ids, mask, masked_input_ids=ids, mlm_labels=ids.where(real, -100), return_logits=True)
    torch.testing.assert_close(logits[real], output.mlm_logits)
