"""Mistakes that a user can mend: one clear sentence and exit status 2, never a traceback."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake the user can mend; the message is one sentence naming the file (and line) at fault."""


def first_line(error: Exception) -> str:
    """What an exception of a library says, in one line; its type if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def run(main: Callable[[list[str]], None]) -> None:
    """Run a script's `main(argv)`; a `UserError` becomes one line on stderr and exit status 2."""
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
