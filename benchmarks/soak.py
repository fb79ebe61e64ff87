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
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from common.errors import UserError, run
from common.files import ROOT
from common.flags import Count, Seed, argument, flag, parse
from common.text import RECORD_ENDS, read_lines
from runs.directory import FINISHED, RECORD

SHARED = ROOT.parent / "shared"


def json_lines(file: Path) -> list[dict[str, Any]]:
    """The whole lines of a file, none if it is not there; what they say of time is left out."""
    text = file.read_text(errors="replace") if file.exists() else ""
    return [json.loads(line) | {"seconds": None} for line in text.split("\n")[:-1]]


def checkpoints(run: Path) -> tuple[int, int]:
    """Of a run of pretrain.py, the last step that it logged and that of its newest checkpoint."""
    safe = max((int(path.name.removeprefix("step-")) for path in run.glob("step-*")), default=0)
    return max([safe, *(line["step"] for line in json_lines(run / "metrics.jsonl"))]), safe


def lines_of(name: str, run: Path) -> tuple[int, int]:
    """Of a run that writes a line when an epoch or an episode is done, how many are begun and done."""
    log = run / name
    done = len(json_lines(log))
    return done + (log.with_name(RECORD).exists() and not log.with_name(FINISHED).exists()), done


@dataclass(frozen=True)
class Job:
    """What is killed and started again."""

    command: str  # for the shell, which knows MODEL, FOLDER and NAME of the run
    progress: Callable[[Path], tuple[int, int]]  # of a run's directory: steps begun, and those a kill cannot undo
    compared: tuple[str, ...]  # files in a run's directory that must not depend on kills
    runs: str = ""  # the part of FOLDER that holds the runs
    data: dict[str, int | None] = field(default_factory=dict)  # files for FOLDER/data: lines of each, None for all


FEW_SHOT = (
    'python -m evaluations.few_shot.{} --type intra --model "$MODEL" --data "$FOLDER/data" --output "$FOLDER" '
    '--name "$NAME" --device cpu --episodes 25'
)
JOBS = {
    "pretrain": Job(  # 60 steps with a checkpoint every 4
        'python pretrain.py --model "$MODEL" --data lee_news --device cpu --output_dir "$FOLDER" --name "$NAME" '
        "--max_steps 60 --save_steps 4 --batch_size 4 --logging_steps 3 --eval_steps 20 --eval_sentences 8",
        progress=checkpoints,
        compared=("metrics.jsonl", "model.safetensors"),
    ),
    "few_shot": Job(  # CONTaiNER's source training on some 320 sentences and 25 episodes, intra 5-way 1-shot
        f"{FEW_SHOT.format('train')} && {FEW_SHOT.format('run')}",
        progress=partial(lines_of, "5-1/episodes.jsonl"),
        compared=("5-1/episodes.jsonl",),
        runs="intra",
        data={
            "intra/labels_train.txt": None,
            "intra/labels_test.txt": None,
            "intra/train.txt": 8000,
            "episode-data/intra/test_5_1.jsonl": 25,
        },
    ),
    "extraction": Job(  # 6 epochs of supervised extraction on 60 sentences
        'python -m evaluations.supervised_ie.train --model "$MODEL" --data "$FOLDER/data" --name "$FOLDER/$NAME" '
        "--device cpu --max_epochs 6",
        progress=partial(lines_of, "metrics.jsonl"),
        compared=("metrics.jsonl", "best.json", "epoch-*.safetensors"),
        data={"train.oneie.jsonl": 60, "dev.oneie.jsonl": 20},
    ),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    jobs: list[str] = argument("what to kill, one or more", "JOB", nargs="+", choices=tuple(JOBS))
    kills: Count = flag(20, "kills of each job")
    model: str = flag("minilm", "encoder")
    few_nerd: Path = flag(SHARED / "few-nerd", "directory laid out like the published data, for few_shot")
    corpus: Path = flag(SHARED / "ie/conll04", "directory of train.oneie.jsonl and dev.oneie.jsonl, for extraction")
    seed: Seed = flag(0, "seed of the moments of the kills")


def is_writing(run: Path) -> bool:
    return any(run.rglob(".*.tmp"))


def result(job: Job, run: Path) -> dict[str, Any]:
    """What a run ended with, by the name of the file."""
    files = [file for pattern in job.compared for file in run.glob(pattern)]
    return {file.name: json_lines(file) if file.suffix == ".jsonl" else file.read_bytes() for file in files}


def ends(job: Job, run: Path, log: Path, delay: float = math.inf, in_save: bool = False) -> bool:
    """Start a run; whether it came to its end, and was not killed after `delay` seconds: at once, or if `in_save` as
    soon as something is being written.

    Raises:
        UserError: the run failed by itself.
    """
    deadline = time.monotonic() + delay
    environment = os.environ | {"NAME": run.name}
    with open(log, "w") as output:
        process = subprocess.Popen(
            job.command, shell=True, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    while process.poll() is None:
        if time.monotonic() > deadline and (not in_save or is_writing(run)):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return False
        time.sleep(0.002)
    if process.returncode:
        raise UserError(f"{run.name} failed with status {process.returncode}:\n{log.read_text()}")
    return True


def soak(job: Job, folder: Path, kills: int, draw: random.Random) -> dict[str, int]:
    """Print a line for each kill; returns what they came to.

    Raises:
        UserError: a run ended otherwise than the untouched one.
    """
    begin, log, runs = time.monotonic(), folder / "log", folder / job.runs
    ends(job, runs / "untouched", log)
    expected, duration = result(job, runs / "untouched"), time.monotonic() - begin
    totals = dict.fromkeys(("kills", "runs", "while_writing", "done_again", "ended_the_same"), 0)
    print(f"an untouched run takes {duration:.0f} s\nkill  run  after s  reached  safe  while writing", flush=True)
    while totals["kills"] < kills:
        totals["runs"] += 1
        run = runs / f"run-{totals['runs']}"
        begin = time.monotonic()
        while True:
            delay = draw.uniform(0, duration) if totals["kills"] < kills else math.inf
            if ends(job, run, log, delay, in_save=draw.random() < 0.5):
                break
            begin = -math.inf
            writing, (reached, safe) = is_writing(run), job.progress(run)
            totals["kills"] += 1
            totals["while_writing"] += writing
            totals["done_again"] += reached - safe
            line = f"{totals['kills']:4}  {totals['runs']:3}  {delay:7.1f}  {reached:7}  {safe:4}  {'yes' * writing}"
            print(line, flush=True)
        if result(job, run) != expected:
            raise UserError(f"{run.name} ended otherwise than the untouched run")
        duration = min(duration, time.monotonic() - begin)  # infinite if it was killed in between
        totals["ended_the_same"] += 1
        print(f"{run.name} ended as the untouched run", flush=True)
        shutil.rmtree(run)
    return totals | {"fastest_run_seconds": round(duration)}


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ |= {"PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MODEL": recipe.model}
    sources = {"few_shot": recipe.few_nerd, "extraction": recipe.corpus}
    summary = {}
    for name in recipe.jobs:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["FOLDER"] = folder
            for file, number in JOBS[name].data.items():
                target = Path(folder, "data", file)
                target.parent.mkdir(parents=True, exist_ok=True)
                lines = islice(read_lines(sources[name] / file, RECORD_ENDS), number)
                target.write_text("".join(f"{line}\n" for line in lines))
            summary[name] = soak(JOBS[name], Path(folder), recipe.kills, random.Random(recipe.seed))
    print(json.dumps(summary))


if __name__ == "__main__":
    run(main)
