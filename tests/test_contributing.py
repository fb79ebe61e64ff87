"""CONTRIBUTING.md's new loss, followed to the letter in a copy of the code."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from common.files import ROOT


def diff_of(document):
    """The lines added to and removed from each file by the document's diff: {file: [(old text, new text), ...]}.

    Neighbouring hunks are told apart by an unchanged line after a changed one.
    """
    (block,) = re.findall(r"```diff\n(.*?)```", document, re.DOTALL)
    changes = {}
    for part in re.split(r"^\+\+\+ ", block, flags=re.MULTILINE)[1:]:
        head, *lines = part.splitlines(keepends=True)
        hunks = changes.setdefault(head.split(",")[0].strip(), [])
        for line in lines:
            if not hunks or (line[0] == " " and hunks[-1][0]):
                hunks.append(["", ""])
            hunks[-1][0] += line[1:] * (line[0] in " -")
            hunks[-1][1] += line[1:] * (line[0] in " +")
    return changes


@pytest.fixture
def copy(tmp_path):
    """The code with the diff applied; each piece must be there once, and the new loss must take less than ten lines."""
    for name in ("common", "encoders", "model", "data", "runs", "training", "pretrain.py"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    document = (ROOT / "CONTRIBUTING.md").read_text()
    assert sum(bool(re.match(r"\+[^+\n]", line)) for line in document.splitlines()) < 10
    for name, hunks in diff_of(document).items():
        text = (tmp_path / name).read_text()
        for old, new in hunks:
            assert not old or text.count(old) == 1, f"CONTRIBUTING.md: {name} does not hold\n{old}"
            text = text.replace(old, new) if old else text + new
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_new_loss_of_the_text_is_trained_logged_validated_and_drawn(copy, tiny_encoder, sentences):
    (copy / "corpus.txt").write_text("\n".join(sentences))
    flags = (
        "--name norm --data corpus.txt --device cpu --mixed_precision no --max_steps 3 --batch_size 4 --logging_steps 1"
    )
    command = [
        sys.executable,
        "pretrain.py",
        *flags.split(),
        f"--model={tiny_encoder}",
        "--num_types=4",
        "--max_length=32",
    ]
    result = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr

    run = copy / "checkpoints" / "norm"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    validations = [line["validation"] for line in lines if "validation" in line]
    steps = [line for line in lines if "validation" not in line]
    assert len(steps) == 3 and all(line["norm_loss"] > 0 for line in steps + validations)
    weights = {"mlm": 1, "reconstruction": 0.05, "sparsity": 0.05, "kl": 0.1, "norm": 0.01}
    for line in steps:
        assert line["loss"] == pytest.approx(sum(weight * line[f"{name}_loss"] for name, weight in weights.items()))
    assert "norm_loss" in (run / "curves.svg").read_text() and "norm_loss=" in result.stderr  # there, the progress bar
