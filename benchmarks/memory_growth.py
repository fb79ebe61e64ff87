"""Memory of a long run of pretrain.py: it must stay what it was after its first steps.

    python -m benchmarks.memory_growth --steps 2000 --mixed_precision bf16

Prints the resident memory of the process, the largest seen in each stretch of 50 steps, and in the last line one JSON
object with the ratio of the last stretch to the first. Validations and checkpoints are part of the run.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import measure
from common.errors import UserError, run
from common.flags import Count, flag, parse
from runs import read_metrics

STRETCH = 50  # steps


@dataclass(frozen=True, kw_only=True)
class Recipe:
    model: str = flag("minilm", "encoder")
    data: str = flag("lee_news", "corpus, as for pretrain.py")
    batch_size: Count = flag(32, "sentences a step")
    steps: Count = flag(2000, "steps of the run")
    mixed_precision: str = flag("no", "precision", choices=("no", "bf16"))


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    if recipe.steps < 2 * STRETCH:
        raise UserError(f"--steps {recipe.steps}: the first and the last {STRETCH} steps are compared")
    peaks: dict[int, float] = {}  # GiB, by the step that ends the stretch
    print(f"{'step':>6}{'GiB':>8}")
    with tempfile.TemporaryDirectory() as work:

        def watch(resident: float) -> None:
            lines = read_metrics(Path(work, "growth"))
            stretch = STRETCH * ((lines[-1]["step"] if lines else 0) // STRETCH + 1)
            if stretch not in peaks and peaks:
                print(f"{max(peaks):6}{peaks[max(peaks)]:8.2f}", flush=True)
            peaks[stretch] = max(peaks.get(stretch, 0), resident)

        place = ("--name", "growth", "--output_dir", work, "--device", "cpu", "--report_to", "none")
        given = ("--model", recipe.model, "--data", recipe.data, "--mixed_precision", recipe.mixed_precision)
        steps = ("--batch_size", recipe.batch_size, "--max_steps", recipe.steps, "--eval_steps", 500)
        measure("pretrain.py", *place, *given, *steps, "--frozen_steps", 0, watch=watch)
    whole = [peak for step, peak in sorted(peaks.items()) if step <= recipe.steps]
    print(json.dumps({"first_gib": whole[0], "last_gib": whole[-1], "ratio": whole[-1] / whole[0]}))


if __name__ == "__main__":
    run(main)
