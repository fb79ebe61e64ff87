"""Mistakes that a user can mend: one clear sentence and exit status 2, never a traceback."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from tqdm import tqdm

from common import streams


class UserError(Exception):
    """A mistake the user can mend; the message is one sentence naming the file (and line) at fault."""


def first_line(error: BaseException) -> str:
    """What an exception of a library says, in one line; its type if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def long_names() -> Iterator[None]:
    """A name that no file can have is a mistake of the user's (UserError), wherever it is met."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise UserError(f"no file can have so long a name: {str(error.filename)[:60]}...") from None


@cache
def note(text: str) -> None:
    """Print a line on stderr, once however often it is said, and by the first of several processes alone."""
    if os.environ.get("RANK", "0") == "0":
        print(f"note: {text}", file=sys.stderr)


def run(main: Callable[[list[str]], None], training: bool = False) -> None:
    """Run a script's `main(argv)`; a `UserError` becomes one line on stderr and exit status 2.

    A reader that has gone (`| head`) and Ctrl-C end the script quietly. What a terminal cannot show is printed escaped.
    `training` goes on to its end without its terminal, and whatever becomes of its output.
    """
    streams.harden(careless=training)
    if training and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        try:
            with long_names():
                main(sys.argv[1:])
        except UserError as error:
            for bar in list(getattr(tqdm, "_instances", ())):  # else they would be drawn once more, behind the error
                bar.close()
            start = "\n" if os.environ.get("RANK", "0") != "0" else ""  # the first process' bar may stand on the line
            print(f"{start}error: {error}", file=sys.stderr)
            sys.exit(2)
        finally:
            sys.stdout.flush()
    except streams.LostOutput as lost:
        if not str(lost):
            sys.exit(1)
        print(f"error: cannot write to the standard output: {lost}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # ends as Ctrl-C ends any program: a shell's loop around it ends too
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
