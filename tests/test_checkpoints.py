"""model/checkpoints.py: both layouts, and the tokenizer of a checkpoint."""

import shutil
from pathlib import Path

import pytest
import torch
from checkpoint_cases import edit_config, state_in_the_published_layout
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel

from common.errors import UserError
from convert_checkpoint import convert
from evaluations.latent_types.typed_corpus import load_checkpoint
from model import SparseLTConfig, SparseLTForPreTraining, load_autoencoder
from model.checkpoints import tokenizer_of

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference" / "official_checkpoint"


def assert_same(model, other):
    assert not other.training
    expected = dict(model.named_parameters())
    found = dict(other.named_parameters())
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name]), name
    words = other.encoder.embeddings.word_embeddings.weight
    assert other.get_input_embeddings().weight is other.plain.get_output_embeddings().weight is words
    assert other.plain.get_output_embeddings().bias is other.plain.cls.predictions.bias


def test_our_layout_round_trip(tiny_model, ours):
    stored = load_file(ours / "model.safetensors")
    assert stored.keys() == dict(tiny_model.named_parameters()).keys()  # nothing missing, nothing twice
    assert_same(tiny_model, load_autoencoder(ours))
    model, report = SparseLTForPreTraining.from_pretrained(ours, output_loading_info=True)
    assert_same(tiny_model, model)
    assert not any(report.values()), report


def test_auto_classes_know_the_model(tiny_model, ours):
    config = AutoConfig.from_pretrained(ours)
    assert isinstance(config, SparseLTConfig) and config.to_dict() == tiny_model.config.to_dict() | {
        "_name_or_path": str(ours)
    } | {key: config.to_dict()[key] for key in ("architectures", "dtype", "encoder")}
    assert isinstance(AutoModel.from_pretrained(ours), SparseLTForPreTraining)
    assert_same(tiny_model, AutoModel.from_pretrained(ours))


def test_configuration_survives(tiny_encoder, tmp_path):
    fields = {"num_types": 5, "kl_form": "plain", "decoder_layers": 2, "decoder_attention_heads": 8}
    fields |= {"decoder_intermediate_size": 48, "decoder_layer_norm_eps": 1e-3}
    model = SparseLTForPreTraining.from_encoder(str(tiny_encoder), **fields).eval()
    model.save_pretrained(tmp_path)
    read = load_autoencoder(tmp_path)
    assert_same(model, read)
    for config in (read.config, SparseLTForPreTraining.from_pretrained(tmp_path).config):
        assert {name: getattr(config, name) for name in fields} == fields
        assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (2, 3, 0)
    ids = torch.tensor([[2, 60, 70, 3]])
    assert read(ids).losses["reconstruction"] == model(ids).losses["reconstruction"]


def test_published_layout(tiny_model, published):
    assert_same(tiny_model, load_autoencoder(published))


def test_the_layout_that_this_project_wrote_at_first(tiny_model, earlier):
    names = load_file(earlier / "model.safetensors").keys()
    assert {"mlm_bias", "mlm_transform.dense.weight", "encoder.embeddings.word_embeddings.weight"} <= names
    assert not any("plain" in name for name in names)
    assert_same(tiny_model, load_autoencoder(earlier))


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the published checkpoint is not here")
def test_the_published_checkpoint_has_the_names_of_the_fixture(tiny_model, tmp_path):
    theirs = torch.load(REFERENCE / "pytorch_model.bin", weights_only=True).keys()
    ours = state_in_the_published_layout(tiny_model).keys() - {"model.bert.embeddings.position_ids"}
    assert {name.removeprefix("decoder.") for name in theirs - ours} <= {"embeddings.position_ids"}
    assert not ours - theirs
    model = load_autoencoder(REFERENCE)
    model.save_pretrained(tmp_path)
    assert_same(model, load_autoencoder(tmp_path))


def test_tokenizer_of_a_checkpoint(ours, published, tiny_encoder, tiny_tokenizer):
    text = "Officials say that talks will resume."
    expected = tiny_tokenizer(text)["input_ids"]
    with pytest.raises(UserError, match="say with --tokenizer"):  # has none, names none
        tokenizer_of(ours)
    edit_config(published, _name_or_path="nobody/nothing")
    with pytest.raises(UserError, match="names `nobody/nothing`; --tokenizer takes another"):
        tokenizer_of(published)
    for directory in (ours, published):
        assert tokenizer_of(directory, str(tiny_encoder))(text)["input_ids"] == expected
    edit_config(published, _name_or_path=str(tiny_encoder))
    assert tokenizer_of(published)(text)["input_ids"] == expected

    tiny_tokenizer.save_pretrained(ours)
    assert tokenizer_of(ours)(text)["input_ids"] == expected
    (ours / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="no readable tokenizer"):
        tokenizer_of(ours)
    with pytest.raises(UserError, match="no tokenizer"):
        tokenizer_of(ours, str(published))


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json", "run.json", "metrics.jsonl"])
def test_links_that_lead_out_of_a_checkpoint_are_refused(ours, tiny_tokenizer, tmp_path, file):
    tiny_tokenizer.save_pretrained(ours)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (ours / file).touch()
    shutil.move(ours / file, elsewhere / file)
    (ours / file).symlink_to(elsewhere / file)
    for read in (
        load_autoencoder,
        lambda path: convert(path, tmp_path / "plain"),
        lambda path: load_checkpoint(path, None, "cpu"),
    ):
        with pytest.raises(UserError, match=f"{file} is refused: it is a link that leads out"):
            read(ours)


def test_links_within_a_checkpoint_and_the_hubs_cache_are_read(ours, tmp_path):
    (tmp_path / "name").symlink_to(ours)
    (ours / "weights").mkdir()
    shutil.move(ours / "model.safetensors", ours / "weights/a")
    (ours / "model.safetensors").symlink_to("weights/a")
    load_autoencoder(tmp_path / "name")

    snapshot, blobs = tmp_path / "models--a/snapshots/1", tmp_path / "models--a/blobs"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        shutil.copy(ours / file, blobs / file)
        (snapshot / file).symlink_to(f"../../blobs/{file}")
    load_autoencoder(snapshot)
