"""convert_checkpoint.py: the plain BERT is the autoencoder's, and nothing is lost on the way."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, BertForMaskedLM, BertModel

import convert_checkpoint
from common.errors import UserError
from common.files import sha256_of
from convert_checkpoint import convert, main
from model import load_autoencoder
from training.checkpoints import write_manifest

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT.parent / "shared" / "reference" / "official_checkpoint"


@pytest.fixture
def checkpoint(tiny_model, tiny_tokenizer, tmp_path):
    directory = tmp_path / "checkpoint"
    tiny_model.save_pretrained(directory)
    tiny_tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def finished_runs(checkpoint, tmp_path, monkeypatch):
    """Runs `first` and, later finished, `second` under checkpoints/, and others that are not finished; from there."""
    monkeypatch.chdir(tmp_path)
    for seconds, name in enumerate(["first", "second", "last"]):
        run = shutil.copytree(checkpoint, tmp_path / "checkpoints" / name)
        write_manifest(run)
        os.utime(run / "manifest.json", (10**9 + seconds, 10**9 + seconds))
    shutil.move(tmp_path / "checkpoints/last/manifest.json", tmp_path / "checkpoints/last/step-5.json")
    (tmp_path / "checkpoints/for_container").mkdir()
    return tmp_path / "checkpoints"


def contents(directory):
    """Every path below a directory and what it holds; links are not followed."""
    return {
        path.relative_to(directory): sha256_of(path) if path.is_file() else os.path.realpath(path)
        for path in sorted(directory.rglob("*"))
    }


@torch.no_grad()
def assert_plain_bert_of(model, directory, batch):
    real = batch["attention_mask"].bool()
    states = model.encode(batch["input_ids"], batch["attention_mask"])
    bert, report = AutoModel.from_pretrained(directory, output_loading_info=True)
    assert type(bert) is BertModel
    assert report["missing_keys"] == {"pooler.dense.weight", "pooler.dense.bias"} and not report["mismatched_keys"]
    assert torch.equal(bert(**batch).last_hidden_state[real], states[real])
    bert, report = AutoModelForMaskedLM.from_pretrained(directory, output_loading_info=True)
    assert type(bert) is BertForMaskedLM
    assert not any(report.values()), report
    assert torch.equal(bert(**batch).logits[real], model.plain.cls(states)[real])


def test_states_and_logits_are_the_autoencoders_to_the_bit(checkpoint, tiny_model, tiny_tokenizer, sentences, tmp_path):
    convert(checkpoint, tmp_path / "bert")
    batch = AutoTokenizer.from_pretrained(tmp_path / "bert")(sentences, padding=True, return_tensors="pt")
    expected = tiny_tokenizer(sentences, padding=True, return_tensors="pt")
    assert torch.equal(batch["input_ids"], expected["input_ids"])
    del batch["token_type_ids"]
    assert_plain_bert_of(tiny_model, tmp_path / "bert", batch)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the published checkpoint is not here")
def test_the_published_layout(tiny_encoder, tmp_path):
    main(["--checkpoint", str(REFERENCE), "--tokenizer", str(tiny_encoder), "--output", str(tmp_path / "bert")])
    batch = {"input_ids": torch.tensor([[2, 100, 511, 3], [2, 7, 3, 0]])}
    batch["attention_mask"] = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    assert_plain_bert_of(load_autoencoder(REFERENCE), tmp_path / "bert", batch)
    assert len(AutoTokenizer.from_pretrained(tmp_path / "bert")) == 163


def test_it_undoes_from_encoder(checkpoint, tiny_encoder, tmp_path):
    convert(checkpoint, tmp_path / "bert")
    ours, original = (load_file(directory / "model.safetensors") for directory in (tmp_path / "bert", tiny_encoder))
    assert ours.keys() == original.keys()
    assert all(torch.equal(ours[name], original[name]) for name in original)


def test_an_encoder_that_was_not_tied(tiny_model, tiny_tokenizer, sentences, tmp_path):
    tiny_model.config.encoder.tie_word_embeddings = False
    tiny_model.save_pretrained(tmp_path / "checkpoint")
    tiny_tokenizer.save_pretrained(tmp_path / "checkpoint")
    convert(tmp_path / "checkpoint", tmp_path / "bert")
    assert_plain_bert_of(tiny_model, tmp_path / "bert", tiny_tokenizer(sentences, padding=True, return_tensors="pt"))


def test_the_default_output(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = contents(checkpoint)
    for _ in range(2):  # the second replaces the first
        main(["--checkpoint", "checkpoint"])
        assert "checkpoints/for_container" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["for_container"]  # and nothing beside it
    AutoModel.from_pretrained("checkpoints/for_container")
    assert contents(checkpoint) == before


def test_without_a_checkpoint_the_newest_finished_run_is_converted(finished_runs, capsys):
    main([])
    assert "checkpoints/for_container is the plain encoder of checkpoints/second: " in capsys.readouterr().out
    record = json.loads((finished_runs / "for_container" / convert_checkpoint.RECORD).read_text())
    assert record["checkpoint"] == str(finished_runs / "second")
    os.utime(finished_runs / "first/manifest.json")
    main([])
    assert "is the plain encoder of checkpoints/first: " in capsys.readouterr().out
    os.utime(finished_runs / "for_container" / convert_checkpoint.RECORD)
    main([])  # what was converted is no run
    assert "is the plain encoder of checkpoints/first: " in capsys.readouterr().out


def test_without_a_finished_run_there_is_nothing_to_convert(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match=r"checkpoints holds no finished run of pretrain\.py"):
            main([])
        (tmp_path / "checkpoints/begun").mkdir(parents=True, exist_ok=True)


# --- nothing is overwritten -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "output", ["checkpoint", "link", "other/../checkpoint", "checkpoint/bert", "link/bert", ".", "checkpoint/step-1"]
)
def test_the_input_is_never_overwritten(checkpoint, tmp_path, output):
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(checkpoint)
    shutil.copytree(checkpoint, checkpoint / "step-1")
    for directory in (checkpoint, tmp_path):  # not even when it looks like an earlier result
        (directory / convert_checkpoint.RECORD).write_text("{}")
    before = contents(tmp_path)
    for checkpoint_name in (checkpoint, tmp_path / "link"):
        with pytest.raises(UserError, match="overlap"):
            convert(checkpoint_name, tmp_path / output)
    assert contents(tmp_path) == before


def test_other_things_are_not_overwritten(checkpoint, tiny_encoder, tmp_path):
    shutil.copytree(tiny_encoder, tmp_path / "bert")
    (tmp_path / "file").write_text("mine")
    before = contents(tmp_path)
    for name, reason in {"bert": "something else", "file": "is a file", "file/bert": "cannot write"}.items():
        with pytest.raises(UserError, match=reason):
            convert(checkpoint, tmp_path / name)
    assert contents(tmp_path) == before


def test_an_empty_directory_or_a_link_to_an_earlier_result_is_filled(checkpoint, tmp_path):
    (tmp_path / "bert").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "bert")
    convert(checkpoint, tmp_path / "bert")
    (tmp_path / "bert" / "left_over").write_text("of the earlier conversion")
    convert(checkpoint, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and not (tmp_path / "bert" / "left_over").exists()
    AutoModel.from_pretrained(tmp_path / "link")


def full_disk(directory):
    """In the middle of writing: some files are there, the next finds no room."""
    assert (directory / "model.safetensors").exists()
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "fault",
    [full_disk, shutil.rmtree],  # the second: the new directory is gone when it should take the old one's place
)
@pytest.mark.parametrize("earlier", [False, True])
def test_a_failure_leaves_what_was_there(checkpoint, tmp_path, monkeypatch, fault, earlier):
    if earlier:
        convert(checkpoint, tmp_path / "bert")
    before = contents(tmp_path)
    monkeypatch.setattr(convert_checkpoint, "sync_files", fault)
    with pytest.raises(UserError, match="cannot write"):
        convert(checkpoint, tmp_path / "bert")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("fault", ["no checkpoint", "no weights", "no tokenizer", "another tokenizer"])
def test_bad_input_writes_nothing(checkpoint, tmp_path, fault):
    tokenizer = None
    if fault == "no checkpoint":
        shutil.rmtree(checkpoint)
    elif fault == "no weights":
        (checkpoint / "model.safetensors").unlink()
    elif fault == "no tokenizer":
        (checkpoint / "tokenizer.json").unlink()
    else:
        tokenizer = "minilm"
    before = contents(tmp_path)
    messages = {
        "no checkpoint": r"no readable config\.json",
        "no weights": r"model\.safetensors is missing",
        "no tokenizer": "say with --tokenizer",
        "another tokenizer": "ids up to 30,521 but the encoder embeds 163",
    }
    with pytest.raises(UserError, match=messages[fault]):
        convert(checkpoint, tmp_path / "bert", tokenizer)
    assert contents(tmp_path) == before


def test_the_command_line(tmp_path):
    command = [sys.executable, str(ROOT / "convert_checkpoint.py"), "--checkpoint", "nowhere"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
