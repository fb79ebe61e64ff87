"""Memory of a long run of pretrain.py: it must stay what it was after its first steps.

    python -m benchmarks.memory_growth --steps 2000 --mixed_precision bf16

Prints the resident memory of the process, the largest seen in each stretch of 50 steps, and in the last line one JSON
object with the ratio of the last stretch to the first. Validations and checkpoints are part of the run.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from common.errors import UserError, run
from common.files import ROOT
from common.flags import Count, flag, parse

STRETCH = 50  # steps


@dataclass(frozen=True, kw_only=True)
class Recipe:
    model: str = flag("minilm", "encoder")
    data: str = flag("lee_news", "corpus, as for pretrain.py")
    batch_size: Count = flag(32, "sentences a step")
    steps: Count = flag(2000, "steps of the run")
    mixed_precision: str = flag("no", "precision", choices=("no", "bf16"))


def step_of(metrics: Path) -> int:
    """The last step in a metrics.jsonl, 0 if there is none."""
    lines = metrics.read_text().split("\n")[:-1] if metrics.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    if recipe.steps < 2 * STRETCH:
        raise UserError(f"--steps {recipe.steps}: the first and the last {STRETCH} steps are compared")
    peaks: dict[int, float] = {}  # GiB, by the step that ends the stretch
    with tempfile.TemporaryDirectory() as work:
        metrics, log = Path(work, "growth", "metrics.jsonl"), Path(work, "log")
        flags = {
            "name": "growth", "output_dir": work, "model": recipe.model, "data": recipe.data, "device": "cpu",
            "batch_size": recipe.batch_size, "max_steps": recipe.steps, "mixed_precision": recipe.mixed_precision,
            "report_to": "none", "eval_steps": 500, "frozen_steps": 0,
        }  # fmt: skip
        command = [
            sys.executable,
            "pretrain.py",
            *(str(part) for item in flags.items() for part in (f"--{item[0]}", item[1])),
        ]
        with open(log, "w") as output:
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        memory = psutil.Process(process.pid)
        print(f"{'step':>6}{'GiB':>8}")
        while process.poll() is None:
            stretch = STRETCH * (step_of(metrics) // STRETCH + 1)
            if stretch not in peaks and peaks:
                print(f"{max(peaks):6}{peaks[max(peaks)]:8.2f}", flush=True)
            peaks[stretch] = max(peaks.get(stretch, 0), memory.memory_info().rss / 2**30)
            time.sleep(0.05)
        if process.returncode:
            raise UserError(f"{' '.join(command)} failed: {log.read_text()[-2000:]}")
    whole = [peak for step, peak in sorted(peaks.items()) if step <= recipe.steps]
    print(json.dumps({"first_gib": whole[0], "last_gib": whole[-1], "ratio": whole[-1] / whole[0]}))


if __name__ == "__main__":
    run(main)
