"""pretrain.py as a user runs it, on the bundled news with a tiny encoder."""

import dataclasses
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModel, AutoTokenizer

import pretrain
from common.errors import UserError, run
from common.hardware import pick_device, pick_precision
from model import SparseLTForPreTraining
from training.recipe import MINILM, Recipe, read_recipe

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def train(tiny_encoder, tmp_path):
    """Runs pretrain.py in this process; gives the run's directory."""

    def run(name: str, *flags: str, data: str = "lee_news") -> Path:
        recipe = f"--max_length 64 --batch_size 8 --learning_rate 1e-2 --encoder_learning_rate 1e-3 --name {name}"
        recipe += " --warmup_steps 5 --device cpu --eval_sentences 16"
        places = ["--output_dir", str(tmp_path), "--model", str(tiny_encoder), "--data", data]
        pretrain.main([*recipe.split(), *places, *flags])
        return tmp_path / name

    return run


def lines(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_sixty_steps_twice(train, capsys):
    flags = ["--max_steps", "60", "--eval_steps", "30", "--save_steps", "25"]
    hook = threading.excepthook
    once, again = train("once", *flags), train("again", *flags)
    assert (once / "metrics.jsonl").read_bytes() == (again / "metrics.jsonl").read_bytes()
    assert threading.excepthook is hook, "TensorBoard's errors are no longer this run's"
    metrics = lines(once)
    assert [line["step"] for line in metrics] == [0, 10, 20, 30, 30, 40, 50, 60, 60]
    before, after = metrics[0]["validation"], metrics[-1]["validation"]
    assert after["mlm_loss"] < before["mlm_loss"] - 0.5
    assert after["reconstruction_loss"] < before["reconstruction_loss"] - 0.5

    assert {path.name for path in once.glob("step-*")} == {"step-50", "step-60"}
    record = json.loads((once / "run.json").read_text())
    assert record["arguments"]["max_steps"] == 60 and record["environment"]["torch"] == torch.__version__
    board = EventAccumulator(str(once / "tensorboard/sparse-latent-typing")).Reload()
    scalars = board.Scalars("train/mlm_loss")
    assert [scalar.step for scalar in scalars] == list(range(10, 61, 10))
    assert scalars[-1].value == pytest.approx(metrics[-2]["mlm_loss"])

    assert isinstance(AutoModel.from_pretrained(once), SparseLTForPreTraining)
    assert AutoTokenizer.from_pretrained(once).mask_token == "[MASK]"
    printed = capsys.readouterr().out
    assert printed.count("LATENT TYPINGS:") == 4 and f"convert_checkpoint.py --checkpoint {once}" in printed

    before = {file: file.stat().st_mtime_ns for file in once.rglob("*")}
    train("once", *flags)
    assert capsys.readouterr().out.splitlines()[-1] == f"{once} is finished; nothing to do"
    assert before == {file: file.stat().st_mtime_ns for file in once.rglob("*")}
    with pytest.raises(UserError, match=f"{once} holds a run already"):
        train("once", *flags, "--no_resume")
    with pytest.raises(UserError, match=f"{once} was made with --max_steps 60, now it is 70"):
        train("once", *flags, "--max_steps", "70")


def test_masked_language_modelling_alone_leaves_typer_and_decoder(train, tiny_encoder):
    directory = train("mlm", "--max_steps", "5", "--alpha", "0", "--beta", "0", "--gamma", "0")
    trained = SparseLTForPreTraining.from_pretrained(directory)
    torch.manual_seed(read_recipe(["--name", "mlm"]).seed)
    new = SparseLTForPreTraining.from_encoder(str(tiny_encoder))
    for name, parameter in new.named_parameters():
        untouched = torch.equal(parameter, trained.get_parameter(name))
        assert untouched == name.startswith(("typer.", "decoder.", "reconstruction_bias")), name
    assert set(lines(directory)[-1]["validation"]) == {"mlm_loss", "mlm_accuracy"}


# --- the recipe -------------------------------------------------------------------------------------------------------


def test_defaults_are_the_papers():
    recipe = read_recipe(["--name", "x"])
    assert (recipe.model, recipe.data) == ("bert-base-uncased", "voa_corpus")
    assert (recipe.alpha, recipe.beta, recipe.gamma) == (0.05, 0.05, 0.1)
    assert (recipe.max_steps, recipe.batch_size, recipe.max_length, recipe.warmup_steps) == (100_000, 32, 128, 300)
    assert (recipe.learning_rate, recipe.encoder_learning_rate, recipe.weight_decay) == (1e-4, 1e-5, 0.01)
    assert (recipe.max_grad_norm, recipe.seed, recipe.kl_form) == (1.0, 61820, "exponential")
    assert (recipe.lr_schedule, recipe.frozen_steps, recipe.sparsity_ramp, recipe.sampled_words) == ("linear", 0, 0, 0)


def test_minilm_has_defaults_of_its_own_but_flags_go_first():
    recipe = read_recipe(["--name", "x", "--model", "minilm", "--warmup_steps", "7"])
    assert dataclasses.asdict(recipe) | MINILM | {"warmup_steps": 7} == dataclasses.asdict(recipe)
    assert recipe.warmup_steps == 7 != MINILM["warmup_steps"]


def test_what_may_change_when_a_run_goes_on_is_a_flag():
    assert {field.name for field in dataclasses.fields(Recipe)} >= Recipe.FREE


def ranges():
    """(flag, number that it takes, number that it refuses) for every number of the recipe."""
    for name, kind in get_type_hints(Recipe, include_extras=True).items():
        for alternative in (kind, *get_args(kind)):
            for allowed in getattr(alternative, "__metadata__", ()):
                least = 0.5 if allowed.least == 0 and get_args(alternative)[0] is float else allowed.least
                yield from ((name, least, refused) for refused in ("nan", "inf", "-inf", "-1", "1e400", "9" * 400))


NUMBERS = {name for name, *_ in ranges()}


def test_every_number_of_the_recipe_has_a_range():
    kinds = {name: {kind, *get_args(kind)} for name, kind in get_type_hints(Recipe).items()}
    assert {name for name, kind in kinds.items() if kind & {int, float}} == NUMBERS


@pytest.mark.parametrize(("name", "taken", "refused"), ranges())
def test_numbers_out_of_range_are_refused_with_status_2(monkeypatch, capsys, name, taken, refused):
    assert getattr(read_recipe(["--name", "x", f"--{name}", str(taken)]), name) == taken
    monkeypatch.setattr(sys, "argv", ["pretrain.py", "--name", "x", f"--{name}={refused}"])
    with pytest.raises(SystemExit) as end:
        run(pretrain.main)
    assert end.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "error: " in last and f"--{name}" in last


@pytest.mark.parametrize("flag", ["--encoder_lr_scale=0.1", "--max_step=3", "--temperature_decay=0.1", "stray"])
def test_flags_that_are_none_are_refused(capsys, flag):
    with pytest.raises(SystemExit, match="2"):
        read_recipe(["--name", "x", flag])
    assert f"unrecognized arguments: {flag}" in capsys.readouterr().err


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "corpus.txt holds no sentence"),
        (b"\n  \n\r\n", "corpus.txt holds no sentence"),
        (b"one line .\n\x00\x01", "corpus.txt, line 2: a NUL byte"),
        (b"one line .\ncaf\xe9", "corpus.txt, line 2: not valid UTF-8"),
        (b"one line .\n" + b"x" * 10_000_000, "corpus.txt, line 2: over"),
        (b"only one line .", "holds one sentence"),
    ],
    ids=["empty", "blank", "binary", "latin-1", "10 MB line", "one sentence"],
)
def test_bad_corpora(train, tmp_path, content, message):
    corpus = tmp_path / "corpus.txt"
    corpus.write_bytes(content)
    with pytest.raises(UserError, match=message):
        train("bad", data=str(corpus))
    assert not (tmp_path / "bad" / "run.json").exists(), "nothing half-written"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max_length", "65"], "--max_length 65 exceeds the encoder's 64 positions"),
        (["--data", "voa_corpus"], "no corpus `voa_corpus`"),
        (["--model", "no/such/model"], "no directory `no/such/model`"),
        (["--name", "../outside"], "--name '../outside'"),
        (["--max_steps", "0"], "--max_steps 0: must be at least 1 and at most 1e"),
        (["--validation_fraction", "0"], "--validation_fraction 0.0: must lie between 0 and 1"),
        (["--mlm_probability", "1"], "--mlm_probability 1.0: must lie between 0 and 1"),
        (["--temperature_share", "0"], "--temperature_share 0.0: must be above 0"),
        (["--device", "cuda:99"], "--device cuda:99: there is no such GPU"),
        (["--device", "abacus"], "--device abacus: no device"),
    ],
)
def test_bad_flags(train, flags, message):
    with pytest.raises(UserError, match=message):
        train("bad", *flags)


def test_errors_are_one_line_and_status_2(tmp_path):
    flags = ["--name", "x", "--model", "minilm", "--data", str(tmp_path / "none.txt"), "--output_dir", str(tmp_path)]
    process = subprocess.run([sys.executable, ROOT / "pretrain.py", *flags], capture_output=True, text=True)
    assert process.returncode == 2
    errors = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "none.txt" in errors[0] and "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("capabilities", "gpu", "device", "wanted", "chosen"),
    [
        ({"avx512_bf16": True}, None, "auto", "auto", "bf16"),
        ({"amx_bf16": True, "avx512_bf16": False}, None, "cpu", "auto", "bf16"),
        ({"avx512_bf16": False}, None, "auto", "auto", "no"),
        ({}, None, "auto", "auto", "no"),  # not an x86 CPU
        ({}, (7, 0), "auto", "auto", "fp16"),  # the paper's V100
        ({}, (9, 0), "auto", "auto", "bf16"),
        ({}, (9, 0), "cpu", "auto", "no"),  # the GPU is left alone
        ({"avx512_bf16": True}, None, "auto", "no", "no"),
    ],
)
def test_precision_by_hardware(monkeypatch, capabilities, gpu, device, wanted, chosen):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(gpu is not None))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: gpu)
    assert pick_precision(wanted, pick_device(device)) == chosen
