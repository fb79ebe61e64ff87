"""Recipes -> flags: every command's flags are the fields of a frozen dataclass, read by transformers' parser.

A field is declared with `flag(default, help)`, an argument without dashes with `argument(help, metavar, ...)`. Its type
may be one of the ranges below, which are checked once, here.
"""

import dataclasses
from argparse import SUPPRESS, Action, ArgumentDefaultsHelpFormatter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar, cast, get_type_hints

from transformers import HfArgumentParser

from common.errors import UserError

Recipe = TypeVar("Recipe")


@dataclass(frozen=True)
class Range:
    """The numbers from `least` to `most`, both allowed unless `open`, which leaves `least` out."""

    least: float
    most: float
    open: bool = False

    def __contains__(self, value: float) -> bool:
        return (self.least < value if self.open else self.least <= value) and value <= self.most  # never of a NaN

    def __str__(self) -> str:
        return f"{'above' if self.open else 'at least'} {self.least:g} and at most {self.most:g}"


Count = Annotated[int, Range(1, 10**9)]
CountOrZero = Annotated[int, Range(0, 10**9)]
Length = Annotated[int, Range(3, 10**5)]  # tokens of a sentence: [CLS], one, [SEP]
Seed = Annotated[int, Range(0, 2**63 - 1)]
Weight = Annotated[float, Range(0, 10**6)]
Positive = Annotated[float, Range(0, 10**6, open=True)]
Share = Annotated[float, Range(0, 1)]
LearningRate = Annotated[float, Range(0, 10)]


def flag(default: Any = dataclasses.MISSING, help: str = "", **options: Any) -> Any:
    """A field that becomes `--NAME`; required where it has no default. `options` go to argparse."""
    metadata = {"help": help, **options}
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def argument(help: str, metavar: str, **options: Any) -> Any:
    """A field that becomes an argument without dashes; `options`, as `nargs`, go to argparse."""
    return field(default=None, metadata={"help": help, "metavar": metavar, "positional": True, **options})


class Parser(HfArgumentParser):
    """transformers' parser, which also takes arguments without dashes."""

    @staticmethod
    def _parse_dataclass_field(parser: Any, field: dataclasses.Field) -> None:
        options = dict(field.metadata)
        if options.pop("positional", False):
            kind = getattr(field.type, "__args__", (field.type,))[0]  # of list[X], X | None: X
            parser.add_argument(field.name, type=kind, **options)
        elif field.type is bool:  # transformers' own would take the argument after it for its value
            parser.add_argument(f"--{field.name}", action="store_true", default=field.default, **options)
            if field.default:
                parser.add_argument(f"--no_{field.name}", action="store_false", dest=field.name, help=SUPPRESS)
        else:
            HfArgumentParser._parse_dataclass_field(parser, field)


def check_ranges(recipe: Any) -> None:
    """Raise a `UserError` for the first number of a recipe that lies outside its field's `Range`."""
    for name, kind in get_type_hints(type(recipe), include_extras=True).items():
        for alternative in (kind, *getattr(kind, "__args__", ())):
            for allowed in getattr(alternative, "__metadata__", ()):
                value = getattr(recipe, name)
                for number in value if isinstance(value, list) else [value]:
                    if number is not None and number not in allowed:
                        raise UserError(f"--{name} {number}: must be {allowed}")


def parse(
    kind: type[Recipe],
    argv: list[str],
    description: str | None,
    defaults: Callable[[Any], dict[str, Any]] | None = None,
) -> Recipe:
    """The recipe, a frozen dataclass, that a command line asks for.

    Args:
        description: for `--help`, printed as it is laid out.
        defaults: other defaults that depend on the flags given, as a function of argparse's namespace.

    Raises:
        UserError: a number lies outside its range (argparse itself ends with status 2 on an unknown flag).
    """

    class Formatter(ArgumentDefaultsHelpFormatter):
        def _fill_text(self, text: str, width: int, indent: str) -> str:
            return text

        def _get_help_string(self, action: Action) -> str | None:
            return action.help if action.default is None else super()._get_help_string(action)

    parser = Parser(cast(Any, kind), description=description, formatter_class=Formatter, allow_abbrev=False)
    if defaults is not None:
        parser.set_defaults(**defaults(parser.parse_known_args(argv)[0]))
    recipe = kind(**vars(parser.parse_args(argv)))
    check_ranges(recipe)
    return recipe
