"""Pre-training runs in processes of their own, for tests that kill, stop and starve them."""

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

import datasets
import torch

import pretrain
from common.errors import run
from runs import read_metrics
from training.log import RunLog

PROCESSES = multiprocessing.get_context("forkserver")
PATIENCE = 120  # seconds
FILE_OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"}


def start_server() -> None:
    """Children are forks of a server that has imported everything, and start in no time."""
    PROCESSES.set_forkserver_preload(["run_cases"])
    with patch.dict(os.environ, {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}):
        forkserver.ensure_running()


def child(argv: list[str], log: Path, cache: Path, before: list[Callable[[], None]]) -> None:
    """What `python pretrain.py ARGV >LOG 2>&1` does, after all of `before`, with one thread and without the picture."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # as in a process that a user starts
    datasets.config.HF_DATASETS_CACHE = cache
    pretrain.write_curves = lambda directory: None  # it takes longer than so short a run
    sys.argv = ["pretrain.py", *argv]
    for function in before:
        function()
    run(pretrain.main, training=True)


def hold(step: int, holding: Path) -> None:
    """The run makes a file `holding` behind the metrics of a step, and waits until it is gone; signals reach it."""
    write = RunLog.write

    def held(log: RunLog, at: int, *arguments, **options) -> None:
        write(log, at, *arguments, **options)
        if at == step:
            holding.touch()
            while holding.exists():
                time.sleep(0.001)

    RunLog.write = held


def follow_files(folder: Path, record: Path, fatal: int | None = None) -> None:
    """Record what this process does to files below the folder, one operation a line; SIGKILL before number `fatal`."""
    file = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    done = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal done
        if event in FILE_OPERATIONS and str(arguments[0]).startswith(str(folder)):
            os.write(file, f"{event} {arguments[0]}\n".encode())
            if done == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1

    sys.addaudithook(hook)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    file.write_bytes(content)


class Runs:
    """Runs under one output directory, of one recipe."""

    def __init__(self, directory: Path, encoder: Path, sentences: list[str]):
        start_server()
        self.output, self.cache, self.log = directory / "output", directory / "cache", directory / "log"
        self.corpus, self.record = directory / "corpus.txt", directory / "operations"
        self.holding = directory / "holding"
        words = sorted({word for sentence in sentences for word in sentence.split()})
        draw = random.Random(0)
        lines = [" ".join(draw.choices(words, k=draw.randint(3, 12))) for _ in range(60)]
        self.corpus.write_text("\n\n".join(lines))  # blank lines: numbers of lines and of sentences differ
        self.recipe = {
            "model": encoder, "data": self.corpus, "output_dir": self.output, "device": "cpu", "num_types": 4,
            "max_steps": 24, "batch_size": 8, "max_length": 32, "warmup_steps": 2, "learning_rate": 0.01,
            "encoder_learning_rate": 0.001, "logging_steps": 3, "eval_steps": 7, "save_steps": 5, "eval_sentences": 4,
        }  # fmt: skip

    def argv(self, name: str, **recipe) -> list[str]:
        return [f"--{key}={value}" for key, value in ({"name": name} | self.recipe | recipe).items()]

    def start(
        self, name: str, *flags: str, before: Callable[[], None] | None = None, hold_at: int | None = None, **recipe
    ) -> BaseProcess:
        """A run that goes on by itself; or that waits, behind the metrics of step `hold_at`, for `let_go`."""
        self.let_go()
        functions = [before] if before else []
        if hold_at is not None:
            functions.append(partial(hold, hold_at, self.holding))
        arguments = ([*self.argv(name, **recipe), *flags], self.log, self.cache, functions)
        process = PROCESSES.Process(target=child, args=arguments)
        process.start()
        if hold_at is not None:
            self.until(process, self.holding.exists)
        return process

    def let_go(self) -> None:
        """Let the run that waits go on."""
        self.holding.unlink(missing_ok=True)

    def end(self, process: BaseProcess) -> tuple[int, str]:
        """Wait for the run; returns its exit status (-N for signal N) and what it printed."""
        process.join(PATIENCE)
        assert process.exitcode is not None, "the run hangs"
        return process.exitcode, self.log.read_text(errors="replace")

    def __call__(self, name: str, *flags: str, **options) -> tuple[int, str]:
        """A whole run: `start` and `end`."""
        return self.end(self.start(name, *flags, **options))

    def complete(self, name: str, **options) -> str:
        """Go on to the end, which must be reached; returns what was printed."""
        status, text = self(name, **options)
        assert status == 0, text
        return text

    def operations(self) -> list[str]:
        """What the last run that was followed did to files."""
        return self.record.read_text().splitlines()

    def follow(self, fatal: int | None = None, folder: Path | None = None) -> Callable[[], None]:
        """For `before`: see `follow_files`; the folder is that of all runs unless given."""
        return partial(follow_files, folder or self.output, self.record, fatal)

    def until(self, process: BaseProcess, condition: Callable[[], bool]) -> None:
        """Wait for the condition, which must come to hold before the run ends."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert process.is_alive() and time.monotonic() < deadline, self.log.read_text(errors="replace")
            time.sleep(0.001)

    def logged(self, name: str) -> list[int]:
        """The steps of the lines in metrics.jsonl so far."""
        return [line["step"] for line in read_metrics(self.output / name)]

    def stopped(self, name: str, hold_at: int = 12, **options) -> Path:
        """The directory of a run that was killed behind a step; behind step 12 there are the checkpoints 5 and 10."""
        process = self.start(name, hold_at=hold_at, **options)
        process.kill()
        assert self.end(process)[0] == -signal.SIGKILL
        return options.get("output_dir", self.output) / name

    def result(self, name: str) -> tuple[bytes, bytes]:
        """What must not depend on interruptions: the metrics and the final weights."""
        return tuple((self.output / name / file).read_bytes() for file in ("metrics.jsonl", "model.safetensors"))
