"""A graph of shell jobs that several starts share: restartable, without a daemon. In the study's directory:

logs/NAME      what a job printed
locks/NAME     held while a process is at it
done/NAME      it is done: its command and the seconds that it took
commands.sh    what was run, when, and how long it took
"""

import fcntl
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from common.errors import UserError
from common.files import write_atomically

PAUSE = 5  # seconds until a start looks again for a job, where all are being done or wait for one that is


@dataclass(frozen=True)
class Job:
    """A shell command that runs once the jobs named in `needs`, all of them earlier in the list, are done.

    Args:
        minutes: a guess; only its relation to the other jobs' matters, once one of them is done.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    minutes: float = 1


def run_all(directory: Path, make_jobs: Callable[[], list[Job]]) -> None:
    """Run jobs until all are done, whoever did them.

    Args:
        make_jobs: the jobs in the order of their importance. It is called anew after each job, for a command may
            depend on what an earlier job found.

    Raises:
        UserError: a job failed, or was done with another command.
    """
    for name in ("logs", "locks", "done"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    while True:
        done = marks(directory)  # before the jobs are made: what a ready job depends on was there when it was made
        jobs = make_jobs()
        check(jobs, done, directory)
        left = [job for job in jobs if job.name not in done]
        if not left:
            return
        if ran := next((job for job in left if done.keys() >= set(job.needs) and attempt(directory, job)), None):
            print(f"{ran.name} is done; about {estimate(jobs, marks(directory)):.0f} minutes are left", flush=True)
        else:
            time.sleep(PAUSE)


def marks(directory: Path) -> dict[str, dict]:
    """The jobs that are done, each with its command and seconds."""
    files = (path for path in (directory / "done").iterdir() if not path.name.startswith("."))
    return {path.name: json.loads(path.read_text()) for path in files}


def check(jobs: list[Job], done: dict[str, dict], directory: Path) -> None:
    """See that the jobs can be run in their order, and that those that are done are the same.

    Raises:
        UserError: one was done with another command.
    """
    names: set[str] = set()
    for job in jobs:
        if job.name in names or not names.issuperset(job.needs):
            raise ValueError(f"job {job.name} is there twice, or needs a job that does not come before it")
        names.add(job.name)
        now = placeless(job, directory)
        if job.name in done and (before := done[job.name]["command"]) != now:
            raise UserError(f"{directory}: {job.name} was `{before}`, now it is `{now}`; choose another directory")


def attempt(directory: Path, job: Job) -> bool:
    """Run a job unless someone is at it, or has done it meanwhile; returns whether it was run.

    Raises:
        UserError: it failed; the last lines that it printed are on stderr.
    """
    done, log = directory / "done" / job.name, directory / "logs" / job.name
    with locked(directory / "locks" / job.name) as lock:
        if lock is None or done.exists():
            return False
        print(f"{datetime.now():%H:%M} {job.name}", flush=True)
        begun = time.monotonic()
        bin = Path(sys.executable).parent
        with open(log, "wb") as output:
            process = subprocess.run(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[lock],  # a job that outlives this start keeps the others off
                env=os.environ | {"PATH": f"{bin}:{os.environ['PATH']}", "TQDM_MININTERVAL": "30"},
            )
        if process.returncode:
            print(*log.read_text(errors="replace").splitlines()[-5:], sep="\n", file=sys.stderr)
            raise UserError(f"job {job.name} ended with status {process.returncode}; what it printed is in {log}")
        seconds = round(time.monotonic() - begun)
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        with open(directory / "commands.sh", "a") as commands:
            commands.write(f"{shlex.join(job.command)} # {now}, {seconds} s\n")
        write_atomically(done, json.dumps({"command": placeless(job, directory), "seconds": seconds}))
        return True


@contextmanager
def locked(path: Path) -> Iterator[int | None]:
    """Hold the lock at `path`; gives its file descriptor, or None where someone else holds it.

    flock itself rather than the library filelock, for a job inherits the descriptor and with it the lock.
    """
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file.fileno()


def placeless(job: Job, directory: Path) -> str:
    """A job's command wherever the study's directory lies."""
    return shlex.join(job.command).replace(str(directory), "STUDY")


def estimate(jobs: list[Job], done: dict[str, dict]) -> float:
    """Minutes of one start's work that are left: the guesses, scaled by how those of finished jobs came out."""
    spent = sum(done[job.name]["seconds"] / 60 for job in jobs if job.name in done)
    guessed = sum(job.minutes for job in jobs if job.name in done)
    return sum(job.minutes for job in jobs if job.name not in done) * (spent / guessed if guessed else 1)
