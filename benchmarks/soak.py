"""Kill runs, resume them, and compare what they end with to runs that were left alone.

    python -m benchmarks.soak pretrain few_shot extraction --kills 20

Every kill is a SIGKILL at a moment drawn from the whole duration of the fastest run so far: while it starts, trains,
validates, saves. Half of the kills then wait for the next file that is being written. The same command is given again.
Runs that come to their end are compared and others begun until the kills are used up. Prints a line a kill (how far
the run had come, what of it was safe, whether a file was just being written) and, in the last line, one JSON object.
"""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError, run
from common.files import ROOT
from common.flags import Count, Seed, argument, flag, parse
from runs import read_metrics
from runs.directory import FINISHED

SHARED = ROOT.parent / "shared"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    jobs: list[str] = argument("pretrain, few_shot or extraction, one or more", "JOB", nargs="+")
    kills: Count = flag(20, "kills of each job")
    model: str = flag("minilm", "encoder")
    few_nerd: Path = flag(SHARED / "few-nerd", "directory laid out like the published data, for few_shot")
    corpus: Path = flag(SHARED / "ie/conll04", "directory of train.oneie.jsonl and dev.oneie.jsonl, for extraction")
    seed: Seed = flag(0, "seed of the moments of the kills")


@dataclass(frozen=True)
class Job:
    """What is killed and started again.

    Args:
        command: for the shell, which knows MODEL, FOLDER and NAME of the run.
        runs: the directory of the runs, each of which is in NAME.
        result: of a run's directory, what must not depend on kills.
        progress: of a run's directory, steps begun and steps that a kill cannot undo.
    """

    command: str
    runs: Path
    result: Callable[[Path], Any]
    progress: Callable[[Path], tuple[int, int]]

    def ends(self, name: str, log: Path, delay: float = math.inf, in_save: bool = False) -> bool:
        """Start a run; whether it came to its end, and was not killed after `delay` seconds.

        Args:
            in_save: to be killed only while something is being written.

        Raises:
            UserError: the run failed by itself.
        """
        deadline = time.monotonic() + delay
        script = ["bash", "-c", self.command]
        with open(log, "w") as output:
            process = subprocess.Popen(
                script, cwd=ROOT, env=os.environ | {"NAME": name}, stdout=output, stderr=output, start_new_session=True
            )
        while process.poll() is None:
            if time.monotonic() > deadline and (not in_save or self.is_writing(name)):
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return False
            time.sleep(0.002)
        if process.returncode:
            raise UserError(f"{name} failed with status {process.returncode}:\n{log.read_text()}")
        return True

    def is_writing(self, name: str) -> bool:
        """Whether something in a run's directory is half written."""
        return any((self.runs / name).rglob(".*.tmp"))


def excerpt(source: Path, target: Path, most: int | None = None, separator: str = "\n") -> None:
    """Copy the first parts of a text file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        parts = source.read_text().split(separator)[:most]
    except OSError as error:
        raise UserError(f"{source}: {error.strerror}; --few_nerd and --corpus name the data") from None
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(separator.join(parts).rstrip("\n") + "\n")


def pretraining(recipe: Recipe, folder: Path) -> Job:
    """60 steps with a checkpoint every 4."""

    def progress(run: Path) -> tuple[int, int]:
        safe = max((int(path.name[5:]) for path in run.glob("step-*")), default=0)
        return max([safe, *(line["step"] for line in read_metrics(run))]), safe

    return Job(
        'python pretrain.py --model "$MODEL" --data lee_news --device cpu --output_dir "$FOLDER" --name "$NAME" '
        "--max_steps 60 --save_steps 4 --batch_size 4 --logging_steps 3 --eval_steps 20 --eval_sentences 8",
        runs=folder,
        result=lambda run: [(run / file).read_bytes() for file in ("metrics.jsonl", "model.safetensors")],
        progress=progress,
    )


def few_shot(recipe: Recipe, folder: Path) -> Job:
    """CONTaiNER's source training on 320 sentences and 25 episodes, intra 5-way 1-shot."""
    for file in ("intra/labels_train.txt", "intra/labels_test.txt", "episode-data/intra/test_5_1.jsonl"):
        excerpt(recipe.few_nerd / file, folder / "data" / file)
    excerpt(recipe.few_nerd / "intra/train.txt", folder / "data/intra/train.txt", 320, "\n\n")

    def episodes(run: Path) -> list[dict[str, Any]]:
        log = run / "5-1/episodes.jsonl"
        lines = log.read_text(errors="replace").split("\n")[:-1] if log.exists() else []
        return [json.loads(line) | {"seconds": None} for line in lines]

    def progress(run: Path) -> tuple[int, int]:
        done = len(episodes(run))
        return done + (run / "5-1/run.json").exists(), done  # with the one that was killed

    flags = '--type intra --model "$MODEL" --data "$FOLDER/data" --output "$FOLDER" --name "$NAME" --device cpu'
    return Job(
        " && ".join(f"python -m evaluations.few_shot.{command} {flags} --episodes 25" for command in ("train", "run")),
        runs=folder / "intra",
        result=episodes,
        progress=progress,
    )


def extraction(recipe: Recipe, folder: Path) -> Job:
    """6 epochs of supervised extraction on 60 sentences."""
    excerpt(recipe.corpus / "train.oneie.jsonl", folder / "train.oneie.jsonl", 60)
    excerpt(recipe.corpus / "dev.oneie.jsonl", folder / "dev.oneie.jsonl", 20)

    def result(run: Path) -> list[Any]:
        files = sorted([run / "best.json", *run.glob("epoch-*.safetensors")])
        return [line | {"seconds": None} for line in read_metrics(run, "epoch")] + [file.read_bytes() for file in files]

    def progress(run: Path) -> tuple[int, int]:
        done = len(read_metrics(run, "epoch"))
        return done + (not (run / FINISHED).exists()), done  # with the one that was killed

    return Job(
        'python -m evaluations.supervised_ie.train --model "$MODEL" --data "$FOLDER" --name "$FOLDER/$NAME" '
        "--device cpu --max_epochs 6",
        runs=folder,
        result=result,
        progress=progress,
    )


JOBS = {"pretrain": pretraining, "few_shot": few_shot, "extraction": extraction}


def soak(job: Job, log: Path, kills: int, draw: random.Random) -> dict[str, int]:
    """Print a line for each kill; returns what they came to.

    Raises:
        UserError: a run ended otherwise than the untouched one.
    """
    begin = time.monotonic()
    job.ends("untouched", log)
    expected, duration = job.result(job.runs / "untouched"), time.monotonic() - begin
    totals = {"kills": 0, "runs": 0, "while_writing": 0, "done_again": 0, "ended_the_same": 0}
    print(f"an untouched run takes {duration:.0f} s\nkill  run  after s  reached  safe  while writing", flush=True)
    while totals["kills"] < kills:
        totals["runs"] += 1
        name = f"run-{totals['runs']}"
        begin = time.monotonic()
        while True:
            delay = draw.uniform(0, duration) if totals["kills"] < kills else math.inf
            if job.ends(name, log, delay, in_save=draw.random() < 0.5):
                break
            begin = -math.inf
            writing, (reached, safe) = job.is_writing(name), job.progress(job.runs / name)
            totals["kills"] += 1
            totals["while_writing"] += writing
            totals["done_again"] += reached - safe
            line = f"{totals['kills']:4}  {totals['runs']:3}  {delay:7.1f}  {reached:7}  {safe:4}  {'yes' * writing}"
            print(line, flush=True)
        if job.result(job.runs / name) != expected:
            raise UserError(f"{name} ended otherwise than the untouched run")
        duration = min(duration, time.monotonic() - begin)  # infinite if it was killed in between
        totals["ended_the_same"] += 1
        print(f"{name} ended as the untouched run", flush=True)
        shutil.rmtree(job.runs / name)
    return totals | {"fastest_run_seconds": round(duration)}


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    if unknown := set(recipe.jobs) - JOBS.keys():
        raise UserError(f"no job {', '.join(sorted(unknown))}; there are {', '.join(JOBS)}")
    python = Path(sys.executable).parent
    os.environ.update(
        PATH=f"{python}:{os.environ['PATH']}", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", MODEL=recipe.model
    )
    summary = {}
    for name in recipe.jobs:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["FOLDER"] = folder
            job = JOBS[name](recipe, Path(folder))
            summary[name] = soak(job, Path(folder) / "log", recipe.kills, random.Random(recipe.seed))
    print(json.dumps(summary))


if __name__ == "__main__":
    run(main)
