"""Seconds and memory of CONTaiNER's episodes, each row a process of its own, beside the published code's.

    python -m benchmarks.container_speed [--threads 2]

The published code took, on the same kind of machine (CPU, 2 threads, MiniLM), 3.3 s per episode at 5-way 1-shot,
0.5 s per fine-tuning step, and 180 s at 10-way 5-shot, 10 s per step, in 5.4 GiB. How many steps an episode takes
depends on the trained weights and on dropout; the rows `as many steps` take as many as the published code did there
(without dropout the loss falls that long), so that their seconds per episode compare.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common.errors import UserError, run

SCRIPTS = Path(__file__).resolve().parent.parent / "evaluations" / "ner" / "CONTaiNER"
PUBLISHED = {(5, 1): (3.3, 0.5), (10, 5): (180.0, 10.0)}  # seconds per episode and per step
ROWS = (  # way, shot, what, episodes, flags
    (5, 1, "recipe", 40, ()),
    (5, 1, "as many steps", 10, ("--dropout", "0", "--max_steps", "6")),
    (10, 5, "recipe", 6, ()),
    (10, 5, "as many steps", 2, ("--dropout", "0", "--max_steps", "18")),
)


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--type", default="intra", help="split of Few-NERD")
    parser.add_argument("--name", default="minilm", help="a run whose source training is done")
    parser.add_argument("--data", type=Path, default=SCRIPTS / "data/few-nerd", help="directory of the data")
    parser.add_argument("--output", type=Path, default=SCRIPTS / "outputs/few-nerd", help="where that run is")
    parser.add_argument("--threads", type=int, default=2, help="of each process")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    source = args.output / args.type / args.name / "source"
    if not (source / "source.json").exists():
        raise UserError(f"{source} holds no finished source training")
    print(f"{args.threads} threads, weights of {json.loads((source / 'source.json').read_text())['model']}")
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
    for way, shot, what, episodes, flags in ROWS:
        with tempfile.TemporaryDirectory() as folder:
            run_folder = Path(folder) / args.type / args.name
            shutil.copytree(source, run_folder / "source")
            command = [sys.executable, "-m", "container.run_episodes", "--type", args.type, "--name", args.name]
            command += ["--way", str(way), "--shot", str(shot), "--episodes", str(episodes), "--device", "cpu", *flags]
            command += ["--data", str(args.data.resolve()), "--output", folder, "--threads", str(args.threads)]
            wall, usage = measure(command)
            summary = json.loads((run_folder / f"{way}-{shot}" / "summary.json").read_text())
        seconds, steps = summary["seconds"] / episodes, summary["steps"] / episodes
        per_episode, per_step = PUBLISHED[way, shot]
        row = (steps, seconds, seconds / steps, usage.ru_maxrss / 2**20, wall, usage.ru_utime + usage.ru_stime)
        times = (per_episode / seconds, per_step * steps / seconds)
        numbers = "".join(f"{number:10.2f}" for number in (*row, *times))
        print(f"{f'{way}-{shot}, {what}':24}{episodes:10}{numbers}", flush=True)


def measure(command: list[str]) -> tuple[float, resource.struct_rusage]:
    """Wall seconds of a command from its start to its end, and what it used."""
    environment = {**os.environ, "OMP_NUM_THREADS": command[-1]}
    begin = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=SCRIPTS, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise UserError(f"{' '.join(command)} failed: {errors[-2000:]}")
    return time.perf_counter() - begin, usage


if __name__ == "__main__":
    run(main)
