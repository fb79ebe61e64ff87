"""Seconds and memory of a method's episodes, each row a process of its own, CONTaiNER's beside the published code's.

    python -m benchmarks.few_shot_speed --threads 2
    python -m benchmarks.few_shot_speed --threads 2 --method tadner

The published code's times are of the same kind of machine (CPU, 2 threads, MiniLM); at 10-way 5-shot it took 5.4 GiB.
How many steps an episode takes depends on the trained weights and on dropout; the rows `as many steps` take as many as
the published code did there (without dropout the loss falls that long), so that their seconds per episode compare.
"""

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.measuring import measure
from common.errors import run
from common.flags import Count, flag, parse
from evaluations.few_shot.data import TYPES
from evaluations.few_shot.methods import METHODS
from evaluations.few_shot.recipe import PLACE, Recipe
from runs import read_summary

PUBLISHED = {(5, 1): (3.3, 0.5), (10, 5): (180.0, 10.0)}  # seconds per episode and per step
ROWS = (  # way, shot, what, episodes, flags
    (5, 1, "recipe", 40, {}),
    (5, 1, "as many steps", 10, {"dropout": 0, "max_steps": 6}),
    (10, 5, "recipe", 6, {}),
    (10, 5, "as many steps", 2, {"dropout": 0, "max_steps": 18}),
)
COLUMNS = ("episodes", "steps/ep", "s/episode", "s/step", "peak GiB", "process s", "CPU s", "x episode", "x step")


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
    source, published = METHODS[options.method].source_folder(trained), options.method == Recipe.method
    print(f"{options.threads} threads, weights of {read_summary(source)['model']}")
    print(f"{'setting':24}" + "".join(f"{column:>10}" for column in (COLUMNS if published else COLUMNS[:-2])))
    for way, shot, what, episodes, flags in ROWS if published else ROWS[::2]:
        with tempfile.TemporaryDirectory() as folder:
            copied = replace(trained, output=Path(folder), way=way, shot=shot)
            shutil.copytree(source, METHODS[options.method].source_folder(copied))
            given = {"method": options.method, "type": options.type, "name": options.name, "way": way, "shot": shot}
            given |= {"episodes": episodes, "data": options.data.resolve(), "output": folder, "device": "cpu"}
            command = [f"--{name}={value}" for name, value in (given | {"threads": options.threads} | flags).items()]
            used = measure("-m", "evaluations.few_shot.run", *command, OMP_NUM_THREADS=options.threads)
            summary = read_summary(copied.run / copied.setting)
        seconds, steps = summary["seconds"] / episodes, summary["steps"] / episodes
        row = [steps, seconds, seconds / steps if steps else 0, used.resident, used.seconds, used.cpu_seconds]
        per_episode, per_step = PUBLISHED[way, shot]
        row += [per_episode / seconds, per_step * steps / seconds] if published else []
        print(f"{f'{way}-{shot}, {what}':24}{episodes:10}" + "".join(f"{number:10.2f}" for number in row), flush=True)


if __name__ == "__main__":
    run(main)
