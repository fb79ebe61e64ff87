"""Kill runs at random moments, resume them, and compare what they end with to runs that were left alone.

    python benchmarks/soak.py [pretrain | few_shot ...] [--kills 20] [--model minilm] [--few_nerd DIR]

Every kill is a SIGKILL at a moment drawn from the whole duration of the fastest run so far: while it starts, trains,
validates, saves. The same command is then given again. Runs that come to their end are compared and others begun
until the kills are used up. Prints a line a kill (how far the run had come, what of it was safe, whether a file was
just being written) and, in the last line, one JSON object.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "few-nerd"
CONTAINER = ROOT / "evaluations" / "ner" / "CONTaiNER"


class Pretraining:
    """60 steps with a checkpoint every 4."""

    def __init__(self, args: argparse.Namespace, folder: Path):
        self.folder = folder
        self.command = [sys.executable, "pretrain.py", "--model", args.model, "--data", "lee_news", "--device", "cpu"]
        self.command += ["--resume", "--output_dir", str(folder), "--max_steps", "60", "--save_steps", "4"]
        self.command += ["--batch_size", "4", "--logging_steps", "3", "--eval_steps", "20", "--eval_sentences", "8"]

    def start(self, name: str, log: Path) -> subprocess.Popen:
        return launch([*self.command, "--name", name], ROOT, log)

    def directory(self, name: str) -> Path:
        return self.folder / name

    def result(self, name: str) -> tuple:
        """Metrics and weights, to the byte."""
        return tuple((self.folder / name / file).read_bytes() for file in ("metrics.jsonl", "model.safetensors"))

    def state(self, name: str) -> tuple[int, int, bool]:
        """The step logged last, the step saved last, and whether a file was just being written."""
        run = self.directory(name)
        saved = [int(path.name[5:]) for path in run.glob("step-*")]
        safe = max(saved, default=0)
        return max(safe, last_number(run / "metrics.jsonl", "step")), safe, any(run.glob(".*.tmp"))


class FewShot:
    """CONTaiNER's source training on 320 sentences and 25 episodes, intra 5-way 1-shot."""

    def __init__(self, args: argparse.Namespace, folder: Path):
        self.folder = folder
        data = folder / "data"
        (data / "intra").mkdir(parents=True)
        (data / "episode-data/intra").mkdir(parents=True)
        for file in ("intra/labels_train.txt", "intra/labels_test.txt", "episode-data/intra/test_5_1.jsonl"):
            shutil.copy(args.few_nerd / file, data / file)
        with open(args.few_nerd / "intra/train.txt") as train:
            sentences = "".join(train).split("\n\n")[:320]
        (data / "intra/train.txt").write_text("\n\n".join(sentences) + "\n")
        flags = ["--type", "intra", "--model", args.model, "--data", str(data), "--output", str(folder)]
        self.flags = [*flags, "--episodes", "25", "--device", "cpu"]

    def start(self, name: str, log: Path) -> subprocess.Popen:
        python = f"{sys.executable} -m container"
        steps = f'{python}.train_source "$@" && exec {python}.run_episodes "$@"'
        return launch(["bash", "-c", steps, "bash", *self.flags, "--name", name], CONTAINER, log)

    def directory(self, name: str) -> Path:
        return self.folder / "intra" / name

    def result(self, name: str) -> list[dict]:
        """The episodes' counts; their seconds differ."""
        lines = (self.directory(name) / "5-1/episodes.jsonl").read_text().splitlines()
        return [json.loads(line) | {"seconds": None} for line in lines]

    def state(self, name: str) -> tuple[int, int, bool]:
        """Episodes begun (with the one that was killed), episodes done, and whether a file was just being written."""
        run = self.directory(name)
        done = last_number(run / "5-1/episodes.jsonl", "index") + 1
        return done + (run / "5-1/run.json").exists(), done, any(run.rglob(".*.tmp"))


def launch(command: list[str], directory: Path, log: Path) -> subprocess.Popen:
    path = os.pathsep.join([str(ROOT), str(CONTAINER)])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": path}
    with open(log, "w") as output:
        return subprocess.Popen(
            command, cwd=directory, env=environment, stdout=output, stderr=output, start_new_session=True
        )


def last_number(file: Path, key: str) -> int:
    """The key's value in the last whole line of a JSON-lines file; -1 where there is none."""
    lines = file.read_text(errors="replace").split("\n")[:-1] if file.exists() else []
    return json.loads(lines[-1])[key] if lines else -1


def killed(job: Pretraining | FewShot, name: str, log: Path, delay: float | None) -> bool:
    """Run, for at most `delay` seconds; whether it had to be killed then."""
    process = job.start(name, log)
    try:
        status = process.wait(delay)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    if status:
        sys.exit(f"{name} failed with status {status}:\n{log.read_text()}")
    return False


def soak(job: Pretraining | FewShot, kills: int, draw: random.Random, log: Path) -> dict[str, float]:
    """Print a line for each kill; ends the process if a run's result is not the untouched one's."""
    begin = time.monotonic()
    killed(job, "untouched", log, None)
    expected, duration = job.result("untouched"), time.monotonic() - begin
    totals = {"kills": 0, "runs": 0, "while_writing": 0, "done_again": 0, "ended_the_same": 0}
    print(f"an untouched run takes {duration:.0f} s\nkill  run  after s  reached  safe  while writing", flush=True)
    while totals["kills"] < kills:
        totals["runs"] += 1
        name = f"run-{totals['runs']}"
        begin = time.monotonic()
        while killed(job, name, log, delay := draw.uniform(0, duration) if totals["kills"] < kills else None):
            begin = -float("inf")
            reached, safe, writing = job.state(name)
            totals["kills"] += 1
            totals["while_writing"] += writing
            totals["done_again"] += reached - safe
            line = f"{totals['kills']:4}  {totals['runs']:3}  {delay:7.1f}  {reached:7}  {safe:4}  {'yes' * writing}"
            print(line, flush=True)
        if job.result(name) != expected:
            sys.exit(f"{name} ended otherwise than the untouched run")
        duration = min(duration, time.monotonic() - begin)  # infinite if it was killed in between
        totals["ended_the_same"] += 1
        print(f"{name} ended as the untouched run", flush=True)
        shutil.rmtree(job.directory(name))
    return totals | {"fastest_run_seconds": round(duration)}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", default=["pretrain", "few_shot"], help="pretrain, few_shot")
    parser.add_argument("--kills", type=int, default=20, help="in each job")
    parser.add_argument("--model", default="minilm", help="encoder")
    parser.add_argument("--few_nerd", type=Path, default=SHARED, help="directory laid out like the published data")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    args = parser.parse_args(argv)
    if "few_shot" in args.jobs and not (args.few_nerd / "intra").is_dir():
        parser.error(f"few_shot needs Few-NERD, and {args.few_nerd} is not laid out like it; name it by --few_nerd")
    summary = {}
    for name in args.jobs:
        with tempfile.TemporaryDirectory() as folder:
            job = {"pretrain": Pretraining, "few_shot": FewShot}[name](args, Path(folder))
            summary[name] = soak(job, args.kills, random.Random(args.seed), Path(folder) / "log")
    print(json.dumps(summary))


if __name__ == "__main__":
    main(sys.argv[1:])
