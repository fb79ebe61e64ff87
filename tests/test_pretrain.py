"""pretrain.py as a user runs it, on the bundled news with a tiny encoder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModel, AutoTokenizer

import pretrain
from common.errors import UserError
from model import SparseLTForPreTraining

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def train(tiny_encoder, tmp_path):
    """Runs pretrain.py in this process; gives the run's directory."""

    def run(name: str, *flags: str, data: str = "lee_news") -> Path:
        recipe = f"--max_length 64 --batch_size 8 --learning_rate 1e-2 --warmup_steps 5 --device cpu --name {name}"
        places = ["--output_dir", str(tmp_path), "--model", str(tiny_encoder), "--data", data]
        pretrain.main([*recipe.split(), *places, "--eval_sentences", "16", *flags])
        return tmp_path / name

    return run


def lines(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_sixty_steps_twice(train, capsys):
    flags = ["--max_steps", "60", "--eval_steps", "30", "--save_steps", "25"]
    once, again = train("once", *flags), train("again", *flags)
    assert (once / "metrics.jsonl").read_bytes() == (again / "metrics.jsonl").read_bytes()
    figures = lines(once)
    assert [line["step"] for line in figures] == [0, 10, 20, 30, 30, 40, 50, 60, 60]
    before, after = figures[0]["validation"], figures[-1]["validation"]
    assert after["mlm_loss"] < before["mlm_loss"] - 0.5
    assert after["reconstruction_loss"] < before["reconstruction_loss"] - 0.5

    assert {path.name for path in once.glob("step-*")} == {"step-50", "step-60"}
    record = json.loads((once / "run.json").read_text())
    assert record["arguments"]["max_steps"] == 60 and record["environment"]["torch"] == torch.__version__
    board = EventAccumulator(str(once / "tensorboard")).Reload()
    scalars = board.Scalars("train/mlm_loss")
    assert [scalar.step for scalar in scalars] == list(range(10, 61, 10))
    assert scalars[-1].value == pytest.approx(figures[-2]["mlm_loss"])

    assert isinstance(AutoModel.from_pretrained(once), SparseLTForPreTraining)
    assert AutoTokenizer.from_pretrained(once).mask_token == "[MASK]"
    printed = capsys.readouterr().out
    assert printed.count("LATENT TYPINGS:") == 4 and f"convert_checkpoint.py --checkpoint {once}" in printed


def test_masked_language_modelling_alone_leaves_typer_and_decoder(train, tiny_encoder):
    directory = train("mlm", "--max_steps", "5", "--alpha", "0", "--beta", "0", "--gamma", "0")
    trained = SparseLTForPreTraining.from_pretrained(directory)
    torch.manual_seed(pretrain.parse_args(["--name", "mlm"]).seed)
    new = SparseLTForPreTraining.from_encoder(str(tiny_encoder))
    for name, parameter in new.named_parameters():
        untouched = torch.equal(parameter, trained.get_parameter(name))
        assert untouched == name.startswith(("typer.", "decoder.", "reconstruction_bias")), name
    assert set(lines(directory)[-1]["validation"]) == {"mlm_loss", "mlm_accuracy"}


def test_defaults_are_the_papers():
    args = pretrain.parse_args(["--name", "x"])
    assert (args.model, args.data) == ("bert-base-uncased", "voa_corpus")
    assert (args.alpha, args.beta, args.gamma) == (0.05, 0.05, 0.1)
    assert (args.max_steps, args.batch_size, args.max_length, args.warmup_steps) == (100_000, 32, 128, 300)
    assert (args.learning_rate, args.encoder_lr_scale, args.weight_decay) == (1e-4, 0.1, 0.01)
    assert (args.max_grad_norm, args.seed, args.kl_form) == (1.0, 61820, "exponential")


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
        (["--max_steps", "0"], "--max_steps must be at least 1"),
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
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: gpu)
    assert pretrain.choose_precision(wanted, device) == chosen
