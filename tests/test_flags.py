"""common/flags.py and common/errors.py: a dataclass becomes the flags of a command, and mistakes become one line."""

import importlib
import re
import signal
import subprocess
import sys
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Literal, get_type_hints

import pytest

from common.errors import UserError, first_line
from common.files import ROOT
from common.flags import (
    Count,
    CountOrZero,
    LearningRate,
    Length,
    Positive,
    Seed,
    Share,
    argument,
    check_ranges,
    flag,
    parse,
)


@dataclass(frozen=True, kw_only=True)
class Command:
    """A recipe with a field of every kind."""

    inputs: list[Path] = argument("files", "FILE", nargs="+")
    name: str = flag(help="the one that must be given")
    steps: Count = flag(10, "whole numbers from 1")
    workers: CountOrZero | None = flag(None, "whole numbers from 0, or none")
    share: Share = flag(0.5, "numbers from 0 to 1")
    clip: Positive = flag(1.0, "numbers above 0")
    seeds: list[Seed] = flag([1, 2], "several numbers")
    form: Literal["round", "square"] = flag("round", "one of two")
    plain: bool = flag(False, "what is off")
    resume: bool = flag(True, "what is on")

    def __post_init__(self) -> None:
        if self.name == "bad":
            raise UserError("--name bad: not that one")


@dataclass(frozen=True, kw_only=True)
class Optional:
    """A recipe whose argument may be left out."""

    sentences: list[str] = argument("sentences", "SENTENCE", nargs="*")
    file: Path | None = flag(None, "a file")


def read(*argv, **options):
    return parse(Command, ["--name", "x", *argv], "What it does.", **options)


def test_every_kind_of_field():
    assert read("a") == Command(name="x", inputs=[Path("a")], seeds=[1, 2])
    flags = "--steps 3 --workers 0 --share 1 --clip 1e-9 --seeds 4 5 --form square --plain --no_resume"
    assert read("a", "b", *flags.split()) == Command(
        inputs=[Path("a"), Path("b")],
        name="x", steps=3, workers=0, share=1.0, clip=1e-9, seeds=[4, 5], form="square", plain=True, resume=False,
    )  # fmt: skip
    assert read("a", "--seeds", "7").seeds == [7] and read("a").seeds == [1, 2], "the default is not shared"
    assert parse(Optional, [], None) == Optional(sentences=[])
    assert parse(Optional, ["--file", "f", "a b", ""], None) == Optional(sentences=["a b", ""], file=Path("f"))


def test_yes_and_no_take_no_value():
    """An argument after them is an argument, even where it is a word for yes or no."""
    for word in ("yes", "no", "false", "1"):
        recipe = read("--resume", "--plain", word)
        assert recipe.plain and recipe.resume and recipe.inputs == [Path(word)]
    with pytest.raises(SystemExit, match="2"):
        read("a", "--plain=no")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--steps", "0"], "--steps 0: must be at least 1 and at most 1e+09"),
        (["--steps", "1000000001"], "--steps 1000000001: must be at least 1"),
        (["--steps", "9" * 400], "must be at least 1"),
        (["--workers", "-1"], "--workers -1: must be at least 0"),
        (["--share", "1.01"], "--share 1.01: must be at least 0 and at most 1"),
        (["--share", "nan"], "--share nan: must be at least 0 and at most 1"),
        (["--clip", "0"], "--clip 0.0: must be above 0 and at most 1e+06"),
        (["--clip=-inf"], "--clip -inf: must be above 0"),
        (["--clip", "1e400"], "--clip inf: must be above 0"),
        (["--seeds", "1", "-1"], "--seeds -1: must be at least 0"),
    ],
)
def test_numbers_out_of_range(flags, message):
    with pytest.raises(UserError) as error:
        read("a", *flags)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "flags",
    [
        ["--steps", "1.5"],
        ["--steps", "many"],
        ["--steps"],
        ["--steps", "9" * 5000],
        ["--form", "oval"],
        ["--step", "3"],  # no beginnings of names
        ["--no_plain"],
        ["--unknown"],
    ],
)
def test_what_argparse_refuses_ends_with_status_2_and_one_error(capsys, flags):
    with pytest.raises(SystemExit, match="2"):
        read("a", *flags)
    assert capsys.readouterr().err.count("error: ") == 1


def test_what_must_be_given(capsys):
    for argv in (["a"], ["--name", "x"]):
        with pytest.raises(SystemExit, match="2"):
            parse(Command, argv, None)
        assert "required" in capsys.readouterr().err
    with pytest.raises(UserError, match="not that one"):
        read("a", "--name", "bad")


def test_defaults_may_depend_on_other_flags():
    def defaults(given):
        return {"steps": 99, "clip": 0.25} if given.form == "square" else {}

    assert read("a", defaults=defaults).steps == 10
    recipe = read("a", "--form", "square", "--clip", "2", defaults=defaults)
    assert (recipe.steps, recipe.clip, recipe.share) == (99, 2.0, 0.5), "what is given goes first"


def test_the_edges_of_the_ranges():
    for kind, inside, outside in (
        (Count, (1, 10**9), (0, 10**9 + 1)),
        (Length, (3, 10**5), (2,)),
        (Seed, (0, 2**63 - 1), (-1, 2**63)),
        (Share, (0.0, 1.0), (-1e-9, 1 + 1e-9)),
        (Positive, (1e-300, 1e6), (0.0,)),
        (LearningRate, (0.0, 10.0), (10.1, float("nan"), float("inf"))),
    ):
        (allowed,) = kind.__metadata__
        assert all(number in allowed for number in inside) and not any(number in allowed for number in outside)


def test_help_is_laid_out_as_it_is_written(capsys):
    with pytest.raises(SystemExit, match="0"):
        parse(Command, ["--help"], "One line.\n\n    python it.py  # as an example\n")
    text = capsys.readouterr().out
    assert "One line.\n\n    python it.py  # as an example\n" in text
    assert "whole numbers from 1 (default: 10)" in text and "default: None" not in text
    assert "FILE" in text and "--no_resume" not in text.split("options:")[1]


# --- what becomes of mistakes -----------------------------------------------------------------------------------------


def script(body):
    """A script whose main is `body`, run to its end."""
    code = f"import os, sys\nfrom common.errors import UserError, run\ndef main(argv):\n    {body}\nrun(main)"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)


def test_mistakes_are_one_line_and_faults_are_tracebacks():
    result = script("raise UserError('no file \\udcff')")
    assert (result.returncode, result.stdout, result.stderr) == (2, b"", b"error: no file \\udcff\n")
    result = script("1 / 0")
    assert result.returncode == 1 and b"Traceback" in result.stderr


def test_what_a_terminal_cannot_show_is_escaped():
    result = script("print('caf\\xe9 \\udc80'); print(argv)")
    assert result.returncode == 0 and result.stdout == "café \\udc80\n[]\n".encode()


def test_ctrl_c_ends_it_as_it_ends_any_program():
    result = script("raise KeyboardInterrupt")
    assert (result.returncode, result.stderr) == (-signal.SIGINT, b"")


def test_a_reader_that_is_gone_ends_it_quietly():
    result = script("reader, writer = os.pipe(); os.dup2(writer, 1); os.close(reader); print('x', flush=True)")
    assert (result.returncode, result.stderr) == (1, b"")


def test_the_first_line_of_an_error():
    assert first_line(ValueError("\n one\ntwo")) == "one"
    assert first_line(KeyError()) == "KeyError"


# --- the recipes of all commands --------------------------------------------------------------------------------------

MODULES = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
RECIPES = [
    kind
    for file in MODULES.split()
    if not file.startswith("tests/") and re.search(r"\bflag\(", (ROOT / file).read_text())
    for kind in vars(importlib.import_module(file[:-3].replace("/", ".").removesuffix(".__init__"))).values()
    if is_dataclass(kind) and any("help" in field.metadata for field in fields(kind))
]


@pytest.mark.parametrize("kind", dict.fromkeys(RECIPES), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_number_of_every_command_has_its_range(kind):
    for field in fields(kind):
        plain = str(get_type_hints(kind)[field.name])
        if not re.search(r"\b(int|float)\b", plain):
            continue
        recipe = object.__new__(kind)
        for other in fields(kind):
            object.__setattr__(recipe, other.name, None)
        for value in (float("nan"), float("inf"), -float("inf"), -1, 10**30, -(10**400)):
            object.__setattr__(recipe, field.name, [value] if "list" in plain else value)
            with pytest.raises(UserError, match=rf"--{field.name} .*: must be at least|above"):
                check_ranges(recipe)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if default is not MISSING:
            object.__setattr__(recipe, field.name, default)
            check_ranges(recipe)
