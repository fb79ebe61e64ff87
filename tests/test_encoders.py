"""The encoders that a model starts from: any BERT, and clear words for what is none."""

import json
import os
import shutil

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BertTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from common.errors import UserError
from model import SparseLTForPreTraining


def other_tokenizer(cased):
    words = ["Paris", "paris", "Der", "der", "##s", "Minister", "minister", ".", "[SEP]", "[MASK]", "[CLS]", "[UNK]"]
    return BertTokenizerFast(vocab={w: i for i, w in enumerate(["[PAD]", *words])}, do_lower_case=not cased)


@pytest.mark.parametrize("cased", [False, True])
@pytest.mark.parametrize(("hidden_size", "layers", "heads"), [(24, 3, 6), (40, 1, 2)])
def test_other_encoders(tmp_path, cased, hidden_size, layers, heads):
    tokenizer = other_tokenizer(cased)
    config = BertConfig(
        vocab_size=len(tokenizer) + 3,  # padded to a round number, as some are
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=50,
        hidden_act="relu",
        max_position_embeddings=20,
        initializer_range=0.3,
    )
    BertForMaskedLM(config).half().save_pretrained(tmp_path)  # stored in half precision
    tokenizer.save_pretrained(tmp_path)
    model = SparseLTForPreTraining.from_encoder(str(tmp_path)).eval()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert (model.config.bos_token_id, model.config.eos_token_id) == (tokenizer.cls_token_id, tokenizer.sep_token_id)

    batch = tokenizer(["Der Minister .", "Paris"], padding=True, return_tensors="pt")
    real = batch.attention_mask.bool()
    states = model.encode(batch.input_ids, batch.attention_mask)
    bert = AutoModel.from_pretrained(tmp_path, dtype=torch.float32)
    assert torch.equal(states[real], bert(**batch).last_hidden_state[real])
    bert = AutoModelForMaskedLM.from_pretrained(tmp_path, dtype=torch.float32)
    torch.testing.assert_close(model.mlm_logits(states)[real], bert(**batch).logits[real])

    output = model(batch.input_ids, batch.attention_mask)
    assert output.type_probs.shape == (2, 5, 64) and output.reconstruction_loss.isfinite()
    assert model.generate(batch.input_ids, batch.attention_mask)[0, 0] == tokenizer.cls_token_id


def test_an_encoder_without_mlm_head_gets_a_new_one(tiny_encoder, tiny_tokenizer, tmp_path, padded):
    BertModel.from_pretrained(tiny_encoder).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    model = SparseLTForPreTraining.from_encoder(str(tmp_path), num_types=4).eval()
    with_head = SparseLTForPreTraining.from_encoder(str(tiny_encoder), num_types=4).eval()
    assert torch.equal(*(m.encode(padded["input_ids"], padded["attention_mask"]) for m in (model, with_head)))
    assert (model.mlm_bias == 0).all() and model(**padded).mlm_loss.isfinite()


def test_not_every_directory_is_an_encoder(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json"):
        SparseLTForPreTraining.from_encoder(str(tmp_path))
    RobertaModel(
        RobertaConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    ).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is a roberta, not a BERT"):
        SparseLTForPreTraining.from_encoder(str(tmp_path))
    with pytest.raises(UserError, match="no directory `nobody/nothing`"):
        SparseLTForPreTraining.from_encoder("nobody/nothing")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "model.safetensors").write_bytes(b""), "cannot be loaded"),
        (lambda d: os.truncate(d / "model.safetensors", 5000), "cannot be loaded"),
        (lambda d: (d / "model.safetensors").unlink(), "cannot be loaded"),
        (lambda d: (d / "config.json").write_text('{"model_type"'), "is not a model's configuration"),
        (lambda d: (d / "config.json").write_text("[1]"), "is not a model's configuration"),
        (lambda d: edit_config(d, hidden_size="32"), "is not a model's configuration"),
        (lambda d: edit_config(d, num_attention_heads=3), "not a multiple"),
        (lambda d: edit_config(d, num_hidden_layers=3), r"encoder\.layer\.2.* is missing"),
        (lambda d: edit_config(d, vocab_size=170), r"word_embeddings\.weight` has another size"),
        (lambda d: (d / "tokenizer.json").unlink(), "has no tokenizer"),
        (lambda d: (d / "tokenizer.json").write_text("{}"), "has no readable tokenizer"),
    ],
)
def test_a_damaged_encoder(tiny_encoder, tmp_path, damage, message):
    directory = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    damage(directory)
    with pytest.raises(UserError, match=f"{directory}.*{message}"):
        SparseLTForPreTraining.from_encoder(str(directory))


def edit_config(directory, **fields):
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | fields))
