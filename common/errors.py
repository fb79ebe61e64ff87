"""Mistakes that a user can mend: one clear sentence and exit status 2, never a traceback."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake the user can mend; the message is one sentence naming the file (and line) at fault."""


def run(main: Callable[[list[str]], None]) -> None:
    """Run a script's `main(argv)`; a `UserError` becomes one line on stderr and exit status 2."""
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
