"""The few-shot methods by name. To add one: a file with its class, and its line here."""

import argparse

from common.flags import parse
from evaluations.few_shot.methods.base import Method
from evaluations.few_shot.methods.container import Container
from evaluations.few_shot.methods.nnshot import NNShot
from evaluations.few_shot.methods.proml import ProML
from evaluations.few_shot.methods.protobert import ProtoBERT
from evaluations.few_shot.methods.readout import Readout
from evaluations.few_shot.methods.structshot import StructShot
from evaluations.few_shot.methods.tadner import TadNER
from evaluations.few_shot.recipe import Recipe

METHODS: dict[str, type[Method]] = {
    "container": Container,
    "nnshot": NNShot,
    "structshot": StructShot,
    "protobert": ProtoBERT,
    "proml": ProML,
    "tadner": TadNER,
    "readout": Readout,
}


def parse_recipe(argv: list[str], description: str | None) -> Recipe:
    """The recipe of a command line, with the flags of the method that it names."""
    chooser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    chooser.add_argument("--method", choices=METHODS, default=Recipe.method)
    method = METHODS[chooser.parse_known_args(argv)[0].method]
    listed = f"--method: {', '.join(METHODS)}; --method NAME --help prints the flags of one."
    return parse(method.RECIPE, argv, f"{description}\n\n{listed}")
