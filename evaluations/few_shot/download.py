"""Fetch Few-NERD as published: the training splits from the hub, and the zip of episodes from a path or an address."""

import shutil
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError, run
from common.files import replacing
from common.flags import flag, parse
from evaluations.few_shot.data import TYPES, write_columns
from evaluations.few_shot.formats import tagged_sentences
from evaluations.few_shot.recipe import PLACE

EPISODES = "episode-data.zip"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    train: str = flag("DFKI-SLT/few-nerd", "data set on the hub, or a copy in a directory")
    episodes: str | None = flag(None, f"the published {EPISODES}: a path or an address")
    output: Path = flag(PLACE / "data/raw", "directory of the raw data")


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    hint = "the types of Few-NERD's splits are the fine ones"
    for split in TYPES:
        path = recipe.output / split / "train.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_columns(path, tagged_sentences(recipe.train, split, "train", "fine_ner_tags", hint))
        print(path)
    path = recipe.output / EPISODES
    if not path.exists():
        fetch_episodes(recipe.episodes, path)
    print(path)


def fetch_episodes(source: str | None, path: Path) -> None:
    """Copy the zip of episodes from a path or an address."""
    if source is None:
        raise UserError(
            f"{EPISODES} is missing: the Few-NERD project page (github.com/thunlp/Few-NERD) links it; "
            f"download it there, or give a path or an address: EPISODES=... bash download.sh"
        )
    with replacing(path) as file:
        try:
            with urllib.request.urlopen(source) if "://" in source else open(source, "rb") as content:
                shutil.copyfileobj(content, file)
        except OSError as error:
            raise UserError(f"the episodes {source} cannot be read: {error}") from None
        file.flush()
        if not zipfile.is_zipfile(file.name):
            raise UserError(f"{source} is not a zip file")


if __name__ == "__main__":
    run(main)
