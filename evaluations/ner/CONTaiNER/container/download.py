"""Fetch Few-NERD as published: the training splits from the hub, and the zip of episodes from a path or an address."""

import argparse
import shutil
import urllib.request
import zipfile
from pathlib import Path

from common.errors import UserError, run
from container.data import TYPES, replacing

EPISODES = "episode-data.zip"


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--train", default="DFKI-SLT/few-nerd", help="data set on the hub, or a copy in a directory")
    parser.add_argument("--episodes", help=f"the published {EPISODES}: a path or an address")
    parser.add_argument("--output", type=Path, default="data/raw", help="where the raw data goes")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    for split in TYPES:
        path = args.output / split / "train.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with replacing(path) as part:
                fetch_train(args.train, split, part)
        print(path)
    path = args.output / EPISODES
    if not path.exists():
        with replacing(path) as part:
            fetch_episodes(args.episodes, part)
    print(path)


def fetch_train(source: str, split: str, path: Path) -> None:
    """Write a training split as `word<TAB>label` lines, a blank line after each sentence."""
    from datasets import load_dataset

    try:
        sentences = load_dataset(source, split, split="train")
    except (OSError, ValueError, ConnectionError) as error:
        raise UserError(f"the data set `{source}` ({split}) cannot be had: {error}") from None
    names = sentences.features["fine_ner_tags"].feature.names
    with open(path, "w", encoding="utf-8") as file:
        for sentence in sentences:
            for word, tag in zip(sentence["tokens"], sentence["fine_ner_tags"], strict=True):
                file.write(f"{word}\t{names[tag]}\n")
            file.write("\n")


def fetch_episodes(source: str | None, path: Path) -> None:
    """Copy the zip of episodes from a path or an address."""
    if source is None:
        raise UserError(
            f"{EPISODES} is missing: the Few-NERD project page (github.com/thunlp/Few-NERD) links it; "
            f"download it there, or give a path or an address: EPISODES=... bash download.sh"
        )
    try:
        if "://" in source:
            urllib.request.urlretrieve(source, path)
        else:
            shutil.copyfile(source, path)
    except OSError as error:
        raise UserError(f"the episodes {source} cannot be read: {error}") from None
    if not zipfile.is_zipfile(path):
        raise UserError(f"{source} is not a zip file")


if __name__ == "__main__":
    run(main)
