"""The death of a process among several: the others end too, in one sentence, and none is left behind."""

import multiprocessing
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

from common.errors import UserError, first_line

ENDED = "another process of this run ended, perhaps for want of memory"
DEATH = r"DataLoader worker|.*(gloo|NCCL|by peer)"  # how torch's messages begin where another process has ended


@contextmanager
def deaths(safe: Callable[[], str]) -> Iterator[None]:
    """Turn torch's errors for the death of another process, which prepares batches or also trains, into a `UserError`;
    and leave no process behind when this one fails, whatever of.

    Args:
        safe: what is not lost, as half a sentence, asked for when it is needed.
    """
    try:
        yield
    except Exception as error:
        handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's raises an error for each worker that ends
        for process in filter(lambda child: child.daemon, multiprocessing.active_children()):
            process.kill()  # it may be deaf to SIGTERM, and the end of Python would wait for it
            process.join()
        signal.signal(signal.SIGCHLD, handler)
        if not isinstance(error, RuntimeError) or not re.match(DEATH, str(error)):
            raise
        raise UserError(f"{ENDED}: {first_line(error)}; {safe()}") from None


def check_alive(processes: Sequence[BaseProcess], safe: str) -> None:
    """Raise a `UserError` that says what is safe if a process failed or was killed."""
    for process in processes:
        if process.exitcode:
            raise UserError(f"{ENDED}: process {process.pid} with status {process.exitcode}; {safe}")
