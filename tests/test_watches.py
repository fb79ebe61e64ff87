"""Training that goes wrong says so, and what can be known before the first step is said before it."""

import json
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from accelerate import Accelerator
from transformers import BertForMaskedLM, BertTokenizerFast

import pretrain
from common.errors import UserError
from data.corpus import load_corpus
from model import SparseLTForPreTraining
from training import preflight
from training.checkpoints import newest_intact
from training.watch import CollapseWatch, StopSignal

LONG = 20  # tokens of the sentences that a damaged encoder cannot stand


@pytest.fixture
def mined_encoder(tiny_encoder, tmp_path):
    """A BERT whose embedding of position 20 is infinite."""
    bert = BertForMaskedLM.from_pretrained(tiny_encoder)
    bert.bert.embeddings.position_embeddings.weight.data[LONG] = torch.inf
    shutil.copytree(tiny_encoder, tmp_path / "mined")
    bert.save_pretrained(tmp_path / "mined")
    return tmp_path / "mined"


@pytest.mark.parametrize("recipe", [{}, {"gradient_accumulation_steps": 2}, {"logging_steps": 1, "save_steps": 1}])
def test_the_lines_of_a_non_finite_step(runs, mined_encoder, tiny_tokenizer, tmp_path, recipe):
    """Three lines of the corpus make the loss infinite; the step that meets the first of them is named, with it."""
    corpus = tmp_path / "corpus.txt"
    lines = [line if i not in (40, 62, 90) else "he won " * LONG for i, line in enumerate(runs.corpus.open(), 1)]
    corpus.write_text("\n".join(line.strip() for line in lines))
    recipe = {"model": mined_encoder, "data": corpus, "save_steps": 2, "batch_size": 2, "eval_sentences": 1} | recipe
    status, text = runs("-".join(["mined", *recipe]), **recipe)
    directory = runs.output / "-".join(["mined", *recipe])
    assert status == 2 and "Traceback" not in text
    found = json.loads((directory / "non_finite.json").read_text())
    step = int(re.search(r"error: step (\d+) is not finite: ", text)[1])
    assert found["step"] == step > 2, "the seed must not draw one of them at once"
    for name in ("mlm_loss", "reconstruction_loss", "sparsity_loss", "kl_loss"):
        assert f"{name} nan" in text and name in found["metrics"]

    sentences = 2 * recipe.get("gradient_accumulation_steps", 1)
    assert len(found["corpus_lines"]) == sentences
    assert {40, 62, 90} & set(found["corpus_lines"])

    # replay: with the lines that it names, and no others of the three, the loss is not finite
    model = SparseLTForPreTraining.from_encoder(str(mined_encoder), num_types=4).eval()
    for chosen in ({40, 62, 90} & set(found["corpus_lines"]), set(found["corpus_lines"]) - {40, 62, 90}):
        texts = [lines[number - 1].strip() for number in chosen]
        batch = tiny_tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=32)
        loss = model(batch["input_ids"], batch["attention_mask"]).losses["reconstruction"]
        assert bool(loss.isfinite()) == (not {40, 62, 90} & chosen)

    newest = newest_intact(directory, pytest.fail)
    assert int(newest.name.removeprefix("step-")) < step
    again = runs("-".join(["mined", *recipe]), **recipe)
    assert again[0] == 2 and f"step {step} is not finite" in again[1]


def test_a_diverging_run_is_stopped(runs):
    status, text = runs("diverging", learning_rate=10, weight_decay=1e6, warmup_steps=0)
    assert status == 2
    assert re.search(r"error: step \d+ is not finite: loss nan, mlm_loss \S+, reconstruction_loss nan", text), text
    assert len(json.loads((runs.output / "diverging/non_finite.json").read_text())["corpus_lines"]) == 8
    assert "NaN" not in (runs.output / "diverging/metrics.jsonl").read_text()


def test_a_collapse_is_said_once(runs):
    status, text = runs("collapsing", beta=100, max_steps=80)
    assert status == 0
    warnings = re.findall(r"warning: step \d+: (.*)", text)
    assert len(warnings) == 1 and warnings[0].startswith("nothing is typed any more; --beta may be too high (0.")
    assert "warning" not in runs("healthy")[1]


def test_each_kind_of_collapse():
    for figures, what in [((0.001, 1.01), "nothing"), ((0.5, 1.01), "one type"), ((1.0, 3.0), "everything")]:
        watch = CollapseWatch()
        assert watch.look(1.0, 3.9) is None, "a new typer types everything"
        assert watch.look(0.5, 3.0) is None
        for _ in range(watch.PATIENCE - 1):
            assert watch.look(*figures) is None, "it may pass"
        assert what in watch.look(*figures) and f"type perplexity {figures[1]:.2f}" not in what
        assert watch.look(*figures) is None, "said before"


def line_buffered() -> None:
    """As on a terminal."""
    sys.stdout.reconfigure(line_buffering=True)


def on_a_terminal(text: str) -> list[str]:
    """The lines that a terminal shows: what follows a carriage return is written over what was there."""
    shown = []
    for line in text.split("\n"):
        seen = ""
        for part in line.split("\r"):
            seen = part + seen[len(part) :]
        shown.append(seen.rstrip())
    return shown


def test_validations_and_warnings_do_not_share_a_line_with_the_progress_bar(runs):
    assert runs("lines", before=line_buffered, beta=100, max_steps=80)[0] == 0
    shown = on_a_terminal(runs.log.read_bytes().decode())
    lines = [line for line in shown if "held out: " in line or "warning: " in line]
    assert sum(line.startswith("lines: ") for line in shown) == 1, "the bar, once it is done"
    validations = [int(line.split()[1].rstrip(",")) for line in lines if line.startswith("step ")]
    assert validations == [0, *range(7, 80, 7), 80]
    assert len(lines) == len(validations) + 1 and any(line.startswith("warning: step ") for line in lines)


def test_a_second_signal_ends_at_once_but_not_a_launchers_echo(monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background jobs ignore it
    stop = StopSignal()
    try:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.number == signal.SIGINT
        now += 2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    finally:
        stop.restore()
        signal.signal(signal.SIGINT, before)


class CpuScaling(Accelerator):
    """fp16 with a loss scaler on a CPU: the arithmetic is a CPU's, the scaler torch's own."""

    def __init__(self, **options):
        super().__init__(**options)
        self.native_amp = True
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)


def scale_on_cpu() -> None:
    pretrain.Accelerator = CpuScaling
    pretrain.pick_precision = lambda wanted, device: "fp16"


def test_overflowing_fp16_steps_are_left_out_and_counted(runs):
    """From 2^24 the scale halves at each overflow, until none is left: it tells how many there were."""
    status, text = runs("scaled", before=scale_on_cpu)
    assert status == 0, text
    state = json.loads((runs.output / "scaled/step-24/training_state.json").read_text())
    skipped = state["meter"]["skipped"]
    assert 2**24 / state["scaler"]["scale"] == 2**skipped and 3 < skipped < 20
    assert f"{skipped} steps were left out because their fp16 gradients overflowed" in text
    lines = [json.loads(line) for line in (runs.output / "scaled/metrics.jsonl").read_text().splitlines()]
    so_far = [line["skipped_steps"] for line in lines if "loss" in line]
    assert so_far[0] == 3 and so_far[-1] == skipped
    assert lines[1]["gradient_norm"] == 0 and lines[-2]["gradient_norm"] > 0

    runs.stopped("scaled-killed", hold_at=6, before=scale_on_cpu)
    runs.complete("scaled-killed", before=scale_on_cpu)
    assert runs.result("scaled-killed") == runs.result("scaled")


def test_fp16_without_a_gpu_is_refused(runs):
    status, text = runs("half", mixed_precision="fp16")
    assert status == 2 and "--mixed_precision fp16 needs a GPU" in text


# --- preflight ----------------------------------------------------------------------------------------------------


def test_when_all_is_well_nothing_is_said_about_it(runs):
    _, text = runs("checked", max_steps=1)
    before_training = text[: text.index("held out:")]
    assert not re.search("GiB|warning|writable|match", before_training), before_training


def test_where_nothing_can_be_written(runs, tmp_path):
    (tmp_path / "file").write_text("")
    for place, why in (("/proc", "No such file or directory"), (tmp_path / "file", "Not a directory")):
        status, text = runs("x", output_dir=place)
        assert status == 2 and text.endswith(f"error: cannot write into {place}/x: {why}\n")
    (runs.output / "taken").write_text("")
    assert "taken: File exists" in runs("taken")[1]


def little_memory() -> None:
    psutil.virtual_memory = lambda: SimpleNamespace(available=2**20)


def test_a_batch_that_may_be_too_large_is_warned_of_and_tried(runs, tiny_model):
    status, text = runs("large", max_steps=1, before=little_memory)
    assert status == 0
    warning = r"warning: 0\.0 GiB of memory are free on cpu, but training may take [\d.]+ GiB; if it does, lower"
    assert len(re.findall(warning, text)) == 1
    cpu = torch.device("cpu")
    assert preflight.memory_warning(tiny_model, 256, cpu) is None
    assert "training may take" in preflight.memory_warning(tiny_model, 10**10, cpu)


def test_a_full_disk_is_refused(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**40, 2**40 - 1000, 1000))
    with pytest.raises(UserError, match=r"has 0\.0 GiB free, but 7 checkpoints, one more while it is written and"):
        preflight.check_disk(tmp_path, tiny_model, 7)


def test_encoder_and_tokenizer_must_match(runs, tiny_encoder, tmp_path):
    def encoder(name: str, change) -> Path:
        shutil.copytree(tiny_encoder, tmp_path / name)
        tokenizer = BertTokenizerFast.from_pretrained(tiny_encoder)
        change(tokenizer)
        tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name

    size = len(BertTokenizerFast.from_pretrained(tiny_encoder))
    larger = encoder("larger", lambda tokenizer: tokenizer.add_tokens(["new"]))
    padded = encoder("padded", lambda tokenizer: setattr(tokenizer, "pad_token", "!"))
    for recipe, message in (
        ({"model": larger}, f"the tokenizer has ids up to {size} but the encoder embeds {size}"),
        ({"model": padded}, "the tokenizer pads with id 5 but the encoder with 0"),
        ({"max_length": 65}, "--max_length 65 exceeds the encoder's 64 positions"),
    ):
        status, text = runs("mismatch", **recipe)
        assert status == 2 and f"error: {message}" in text and "Traceback" not in text


def test_line_numbers_are_those_of_the_corpus(runs, tiny_tokenizer):
    """The replay of a batch relies on it; blank lines count."""
    dataset, _ = load_corpus(str(runs.corpus), tiny_tokenizer, 32)
    lines = runs.corpus.read_text().split("\n")
    for row in dataset:
        assert tiny_tokenizer(lines[row["line"] - 1])["input_ids"] == row["input_ids"]
