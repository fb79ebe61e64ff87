"""Which runs are resumed, and which refused because something is not as it was."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from run_cases import cut, flip
from transformers import BertForMaskedLM

from common.hardware import pick_precision
from encoders import fingerprint


def test_a_changed_corpus_is_refused_with_both_hashes(runs, untouched, tmp_path):
    directory = runs.stopped("corpus")
    changed = tmp_path / "corpus.txt"
    changed.write_text(runs.corpus.read_text() + "\nnew")
    original = runs.corpus.rename(tmp_path / "original.txt")
    shutil.copy(changed, runs.corpus)
    try:
        before = {file: file.read_bytes() for file in directory.rglob("*") if file.is_file()}
        status, text = runs("corpus")
        hashes = [subprocess.check_output(["sha256sum", file], text=True).split()[0] for file in (original, changed)]
        assert status == 2 and all(sha256 in text for sha256 in hashes) and "Traceback" not in text
        assert before == {file: file.read_bytes() for file in directory.rglob("*") if file.is_file()}
    finally:
        original.rename(runs.corpus)
    runs.complete("corpus")
    assert runs.result("corpus") == untouched


def test_the_same_corpus_by_another_path_is_the_same_corpus(runs, untouched, tmp_path):
    runs.stopped("moved-corpus")
    runs.complete("moved-corpus", data=shutil.copy(runs.corpus, tmp_path / "elsewhere.txt"))
    assert runs.result("moved-corpus") == untouched


def test_an_encoder_with_other_weights_is_refused(runs, untouched, tiny_encoder, tmp_path):
    runs.stopped("encoder")
    other = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    bert = BertForMaskedLM.from_pretrained(tiny_encoder)
    bert.bert.embeddings.LayerNorm.bias.data[0] += 1
    bert.save_pretrained(other)
    fingerprints = [fingerprint(BertForMaskedLM.from_pretrained(path).bert) for path in (tiny_encoder, other)]
    status, text = runs("encoder", model=other)
    assert status == 2
    assert "was made with the encoder {}, now it is {}; ".format(*fingerprints) in text
    runs.complete("encoder", model=shutil.copytree(tiny_encoder, tmp_path / "the same elsewhere"))
    assert runs.result("encoder") == untouched


def test_a_precision_is_the_one_that_auto_resolved_to(runs, untouched):
    runs.stopped("precision")  # --mixed_precision auto
    resolved = pick_precision("auto", torch.device("cpu"))
    other = "no" if resolved == "bf16" else "bf16"
    status, text = runs("precision", mixed_precision=other)
    assert status == 2 and f"was made with the precision {resolved}, now it is {other}; " in text
    runs.complete("precision", mixed_precision=resolved)
    assert runs.result("precision") == untouched


def test_changed_flags_are_refused(runs):
    runs.stopped("flags")
    for changed, values in {
        "learning_rate": (0.01, 0.02),
        "seed": (61820, 7),
        "kl_form": ("exponential", "plain"),
    }.items():
        status, text = runs("flags", **{changed: values[1]})
        assert status == 2
        assert "was made with --{} {}, now it is {}; go on with the same, or".format(changed, *values) in text
    assert "goes on after step 10" in runs.complete("flags", save_steps=3, keep_last=1, num_workers=0)


def test_a_second_start_is_refused_where_that_was_asked_for(runs):
    directory = runs.stopped("again")
    status, text = runs("again", "--no_resume")
    assert status == 2 and f"error: {directory} holds a run already; --resume goes on with it" in text


def test_a_run_of_an_earlier_version_is_named_as_such(runs):
    directory = runs.stopped("ancient")
    record = json.loads((directory / "run.json").read_text())
    del record["layout"]
    (directory / "run.json").write_text(json.dumps(record))
    status, text = runs("ancient")
    assert status == 2 and "Traceback" not in text
    assert f"error: {directory} holds a run of another version of this project, which cannot be resumed\n" in text


def test_without_its_record_a_run_is_neither_resumed_nor_overwritten(runs):
    directory = runs.stopped("record")
    before = {file: file.read_bytes() for file in directory.rglob("*") if file.name != "run.json" and file.is_file()}
    record = directory / "run.json"
    for damage in (cut, flip, Path.unlink):
        damage(record)
        status, text = runs("record")
        message = f"{record} is damaged: " if record.exists() else f"{directory} holds a run without the run.json that"
        assert status == 2 and f"error: {message}" in text and "Traceback" not in text
    assert before == {file: file.read_bytes() for file in directory.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    "name", ["../../x", "/tmp/x", "a/b", "..", ".", "", ".hidden", "-x", "a\nb", "a b", "é", "a\0"]
)
def test_names_that_are_paths_are_refused(runs, name):
    status, text = runs(name)
    assert status == 2 and "--name" in text and "Traceback" not in text
