"""What the benchmarks share: a clock that waits for the GPU, and the time and memory of a command."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from common.errors import UserError
from common.files import ROOT


def now() -> float:
    """Seconds, when all that was asked of a GPU is done."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


class Usage(NamedTuple):
    """Seconds from start to end and of the processor, and peaks of memory in GiB."""

    seconds: float
    cpu_seconds: float
    anonymous: float  # what the process itself holds
    resident: float  # with pages of memory-mapped files, which the system would drop at any time


def measure(*arguments: object, watch: Callable[[float], None] | None = None, **environment: object) -> Usage:
    """Run `python ARGUMENT ...` to its end, in the repository's root.

    Args:
        watch: called with the resident memory, in GiB, all along.

    Raises:
        UserError: it failed.
    """
    command, anonymous, ended = [sys.executable, *map(str, arguments)], 0, 0
    variables = os.environ | {name: str(value) for name, value in environment.items()}
    begin = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.DEVNULL, stderr=errors)
        while not ended:
            memory = dict(re.findall(r"(RssAnon|VmRSS):\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text()))
            anonymous = max(anonymous, int(memory.get("RssAnon", 0)))
            if watch and "VmRSS" in memory:  # neither is there once it has ended
                watch(int(memory["VmRSS"]) / 2**20)
            time.sleep(0.02)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            errors.seek(0)
            ended_with = f"ended with status {process.returncode}\n{errors.read()[-2000:]}".strip()
            raise UserError(f"{' '.join(command)} {ended_with}")
    seconds = time.perf_counter() - begin
    return Usage(seconds, usage.ru_utime + usage.ru_stime, anonymous / 2**20, usage.ru_maxrss / 2**20)
