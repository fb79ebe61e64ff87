"""The words that stand for a type, for the methods that read label names: one table, which a file may override."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from common.errors import UserError
from common.flags import flag
from common.text import RECORD_ENDS, read_lines
from evaluations.few_shot.methods.base import Method
from evaluations.few_shot.recipe import TrainedRecipe

TABLE = Path(__file__).with_name("label_names.tsv")  # Few-NERD's 66 types


@dataclass(frozen=True, kw_only=True)
class NamesRecipe(TrainedRecipe):
    label_names: Path | None = flag(None, "label<TAB>words, a line each, instead of those of the built-in table")

    FREE: ClassVar = TrainedRecipe.FREE | {"label_names"}


def names_of(labels: Iterable[str], path: Path | None = None) -> dict[str, list[str]]:
    """The words of each label but `O`: those of the file `path`, else of the table, else its own (product, mobile and
    phone of `product_mobile-Phone`), or the label itself if it has none. UserError as of `read_label_names`."""
    known = read_label_names(TABLE) | (read_label_names(path) if path else {})
    own = {label: re.sub("[-_]", " ", label.lower()).split() or [label] for label in labels if label != "O"}
    return {label: known.get(label, words) for label, words in own.items()}


def read_label_names(path: Path) -> dict[str, list[str]]:
    """The words of each label of a file; blank lines are left out. UserError if a line is not a label and words with a
    tab between them, or names a label for the second time."""
    names: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(path, RECORD_ENDS), 1):
        if not line.strip():
            continue
        label, *words = line.split("\t")
        label = label.strip()
        if len(words) != 1 or not label or not words[0].strip():
            raise UserError(f"{path}, line {number}: not a label and its words with a tab between them")
        if label in names:
            raise UserError(f"{path}, line {number}: the label `{label}` comes twice")
        names[label] = words[0].split()
    return names


class ReadsNames(Method):
    """The part of every method that reads label names."""

    READS_LABEL_NAMES = True
    recipe: NamesRecipe

    @classmethod
    def inputs(cls, recipe: NamesRecipe, labels: list[str]) -> dict[str, str]:
        """The hash of the labels' words, wherever they come from."""
        names = json.dumps(names_of(labels, recipe.label_names), ensure_ascii=False)
        return {"label_names": hashlib.sha256(names.encode()).hexdigest()}
