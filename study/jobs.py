"""A graph of shell jobs that several starts share: restartable, without a daemon. In the study's directory:

logs/NAME      what a job printed
locks/NAME     held while a process is at it
done/NAME      its command, once it is done
commands.sh    what was run, when, and how long it took
"""

import fcntl
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from common.errors import UserError
from common.files import write_atomically

PAUSE = 5  # seconds until a start looks again for a job, where all are being done or wait for one that is


class Job(NamedTuple):
    """A command that runs once the jobs named in `needs` are done; `output` is a file that others need of it."""

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    output: Path | None = None

    def placeless(self, directory: Path) -> str:
        """The command wherever the study's directory lies."""
        return shlex.join(self.command).replace(str(directory), "STUDY")


def run_all(directory: Path, make_jobs: Callable[[], Iterable[Job]]) -> None:
    """Run jobs until all are done, whoever did them.

    Args:
        make_jobs: the jobs in the order of their importance, each behind those that it needs. It is called anew after
            each job, for a command may depend on what an earlier job found.

    Raises:
        UserError: a job failed, was done with another command, or what it made is gone though a job needs it.
    """
    for name in ("logs", "locks", "done"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    while True:  # the marks are read before the jobs are made: what a ready job depends on was there when it was made
        done = {path.name: path.read_text() for path in (directory / "done").glob("[!.]*")}
        jobs = list(make_jobs())
        for job in jobs:
            if (now := job.placeless(directory)) != (before := done.get(job.name, now)):
                raise UserError(f"{directory}: {job.name} was `{before}`, now it is `{now}`; choose another directory")
        left = [job for job in jobs if job.name not in done]
        if not left:
            return
        gone = {job.name: job.output for job in jobs if job.name in done and job.output and not job.output.exists()}
        barred = set(gone)  # with what needs one of them, and what needs that
        for job in left:
            if barred & set(job.needs):
                barred.add(job.name)
        able = [job for job in left if job.name not in barred]
        if not able:
            name = min(gone.keys() & set(left[0].needs))
            raise UserError(
                f"{directory}: {name} is done, but {gone[name]} is gone, which {left[0].name} needs; without "
                f"done/{name} and what is left of it, it is made again"
            )
        if ran := next((job for job in able if done.keys() >= set(job.needs) and attempt(directory, job)), None):
            print(f"{ran.name} is done; {len(left) - 1} of {len(jobs)} jobs are left", flush=True)
        else:
            time.sleep(PAUSE)


def attempt(directory: Path, job: Job) -> bool:
    """Run a job unless someone is at it, or has done it meanwhile; returns whether it was run.

    Raises:
        UserError: it failed; the last lines that it printed are on stderr.
    """
    done, log = directory / "done" / job.name, directory / "logs" / job.name
    with open(directory / "locks" / job.name, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if done.exists():
            return False
        print(f"{datetime.now():%H:%M} {job.name}", flush=True)
        begun = time.monotonic()
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        with open(log, "wb") as output:
            process = subprocess.run(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],  # a job that outlives this start keeps the others off
                env=os.environ | {"PATH": path, "TQDM_MININTERVAL": "30"},
            )
        if process.returncode:
            print(*log.read_text(errors="replace").splitlines()[-5:], sep="\n", file=sys.stderr)
            raise UserError(f"job {job.name} ended with status {process.returncode}; what it printed is in {log}")
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        with open(directory / "commands.sh", "a") as commands:
            commands.write(f"{shlex.join(job.command)} # {now}, {time.monotonic() - begun:.0f} s\n")
        write_atomically(done, job.placeless(directory))
        return True
