"""Seconds and memory of a method's episodes, each row a process of its own, CONTaiNER's beside the published code's.

    python -m benchmarks.few_shot_speed --threads 2
    python -m benchmarks.few_shot_speed --threads 2 --method tadner

The published code took, on the same kind of machine (CPU, 2 threads, MiniLM), 3.3 s per episode at 5-way 1-shot,
0.5 s per fine-tuning step, and 180 s at 10-way 5-shot, 10 s per step, in 5.4 GiB. How many steps an episode takes
depends on the trained weights and on dropout; the rows `as many steps` take as many as the published code did there
(without dropout the loss falls that long), so that their seconds per episode compare.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import UserError, run
from common.files import ROOT
from common.flags import Count, flag, parse
from evaluations.few_shot.data import TYPES
from evaluations.few_shot.methods import METHODS
from evaluations.few_shot.recipe import PLACE, Recipe
from runs import read_summary

PUBLISHED = {(5, 1): (3.3, 0.5), (10, 5): (180.0, 10.0)}  # seconds per episode and per step
ROWS = (  # way, shot, what, episodes, flags
    (5, 1, "recipe", 40, ()),
    (5, 1, "as many steps", 10, ("--dropout", "0", "--max_steps", "6")),
    (10, 5, "recipe", 6, ()),
    (10, 5, "as many steps", 2, ("--dropout", "0", "--max_steps", "18")),
)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    method: str = flag("container", "few-shot method", choices=METHODS)
    type: str = flag("intra", "split of Few-NERD", choices=TYPES)
    name: str = flag("minilm", "a run whose source training is finished")
    data: Path = flag(PLACE / "data/few-nerd", "directory of the data")
    output: Path = flag(PLACE / "outputs/few-nerd", "directory of that run's results")
    threads: Count = flag(2, "of each process")


def main(argv: list[str]) -> None:
    options = parse(Benchmark, argv, __doc__)
    trained = Recipe(type=options.type, name=options.name, output=options.output, method=options.method)
    source = METHODS[options.method].source_folder(trained)
    print(f"{options.threads} threads, weights of {read_summary(source)['model']}")
    head = (
        "setting",
        "",
        "episodes",
        "steps/ep",
        "s/episode",
        "s/step",
        "peak GiB",
        "process s",
        "x episode",
        "x step",
    )
    print("{:8}{:16}{:>9}{:>9}{:>10}{:>8}{:>9}{:>10}{:>10}{:>8}".format(*head))
    container = options.method == Recipe.method
    for way, shot, what, episodes, flags in ROWS if container else (row for row in ROWS if not row[-1]):
        with tempfile.TemporaryDirectory() as folder:
            copied = replace(trained, output=Path(folder), way=way, shot=shot)
            shutil.copytree(source, METHODS[options.method].source_folder(copied))
            command = [sys.executable, "-m", "evaluations.few_shot.run", "--type", options.type, "--name", options.name]
            command += ["--method", options.method, "--way", str(way), "--shot", str(shot)]
            command += ["--episodes", str(episodes), "--device", "cpu", *flags]
            command += ["--data", str(options.data.resolve()), "--output", folder, "--threads", str(options.threads)]
            wall, usage = measure(command)
            summary = read_summary(copied.run / copied.setting)
        seconds, steps = summary["seconds"] / episodes, summary["steps"] / episodes
        per_episode, per_step = PUBLISHED[way, shot]
        row = (steps, seconds, seconds / steps if steps else 0.0)
        row += (usage.ru_maxrss / 2**20, wall, usage.ru_utime + usage.ru_stime)
        times = (per_episode / seconds, per_step * steps / seconds) if container else ()
        numbers = "".join(f"{number:10.2f}" for number in (*row, *times))
        print(f"{f'{way}-{shot}, {what}':24}{episodes:10}{numbers}", flush=True)


def measure(command: list[str]) -> tuple[float, resource.struct_rusage]:
    """Wall seconds of a command from its start to its end, and what it used."""
    environment = {**os.environ, "OMP_NUM_THREADS": command[-1]}
    begin = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    errors = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise UserError(f"{' '.join(command)} failed: {errors[-2000:]}")
    return time.perf_counter() - begin, usage


if __name__ == "__main__":
    run(main)
