"""Mistakes that a user can mend: one clear sentence and exit status 2, never a traceback."""

import os
import signal
import sys
from collections.abc import Callable
from functools import cache
from io import TextIOWrapper


class UserError(Exception):
    """A mistake the user can mend; the message is one sentence naming the file (and line) at fault."""


def first_line(error: BaseException) -> str:
    """What an exception of a library says, in one line; its type if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@cache
def note(text: str) -> None:
    """Print a line on stderr, once however often it is said, and by the first of several processes alone."""
    if os.environ.get("RANK", "0") == "0":
        print(f"note: {text}", file=sys.stderr)


def run(main: Callable[[list[str]], None]) -> None:
    """Run a script's `main(argv)`; a `UserError` becomes one line on stderr and exit status 2.

    A reader that has gone (`| head`) and Ctrl-C end the script quietly. What a terminal cannot show is printed escaped.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        main(sys.argv[1:])
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # ends as Ctrl-C ends any program: a shell's loop around it ends too
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at its end
        sys.exit(1)
