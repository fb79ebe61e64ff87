"""Two processes are one process: the same losses and weights with the same sentences."""

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

import pretrain

ROOT = Path(__file__).resolve().parent.parent

# Dropout and Gumbel noise are drawn by each process for itself; without them nothing else may differ.
WITHOUT_NOISE = """
import sys, torch
sys.path.insert(0, sys.argv.pop(1))
from unittest.mock import patch
import pretrain
with patch("model.latent_typer.gumbel_noise", torch.zeros_like):
    pretrain.main(sys.argv[1:])
"""


RECIPE = """
--max_steps 20 --batch_size 8 --max_length 32 --warmup_steps 2 --learning_rate 1e-2 --encoder_learning_rate 1e-3
--validation_fraction 0.2 --logging_steps 1 --eval_steps 20 --device cpu --mixed_precision no
"""


@pytest.fixture
def train(tiny_encoder, sentences, tmp_path):
    """Runs pretrain.py for 20 steps in some processes; gives the lines of metrics.jsonl and the final weights."""
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    for file in tiny_encoder.iterdir():
        (encoder / file.name).write_bytes(file.read_bytes())
    config = AutoConfig.from_pretrained(encoder)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    config.save_pretrained(encoder)
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(sentences * 5))
    script = tmp_path / "without_noise.py"
    script.write_text(WITHOUT_NOISE)

    def start(name: str, processes: int, *flags: str) -> tuple[list[dict], dict[str, torch.Tensor]]:
        arguments = [*RECIPE.split(), "--name", name, "--output_dir", str(tmp_path), *flags]
        arguments += ["--model", str(encoder), "--data", str(corpus)]
        if processes == 1:
            with patch("model.latent_typer.gumbel_noise", torch.zeros_like):
                pretrain.main(arguments)
        else:
            launch = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
            subprocess.run(
                [sys.executable, *launch, str(script), str(ROOT), *arguments],
                env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
                check=True,
            )
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines], load_file(tmp_path / name / "model.safetensors")

    return start


FLAGS = {
    "plain": [],
    "accumulation": ["--gradient_accumulation_steps", "2"],
    "a frozen start": ["--frozen_steps", "6", "--lr_schedule", "wsd", "--sparsity_ramp", "0.5"],
}


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_two_processes_equal_one(train, flags):
    one, one_weights = train("one", 1, *flags)
    two, two_weights = train("two", 2, *flags)
    assert [line["step"] for line in one] == [line["step"] for line in two] == [0, *range(1, 21), 20]
    assert one[1]["mlm_loss"] - one[20]["mlm_loss"] > 0.1  # it learns, so equal weights say something
    for line_one, line_two in zip(one, two, strict=True):
        metrics = line_one.get("validation", line_one)
        assert line_two.get("validation", line_two) == pytest.approx(metrics, rel=1e-5, abs=1e-6)
    for name, weight in one_weights.items():
        if name.endswith("key.bias"):
            continue  # shifts all scores of a softmax alike: its gradient is rounding, which AdamW scales up
        torch.testing.assert_close(two_weights[name], weight, rtol=0, atol=1e-4)
