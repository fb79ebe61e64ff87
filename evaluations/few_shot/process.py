"""Check, lower-case and count Few-NERD, write the label files and a manifest that every result quotes."""

import hashlib
import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError, run
from common.files import replacing, sha256_of, write_atomically
from common.flags import flag, parse
from evaluations.few_shot import data
from evaluations.few_shot.data import Episode, Sentence, Split, types_of
from evaluations.few_shot.download import EPISODES
from evaluations.few_shot.recipe import PLACE


@dataclass(frozen=True, kw_only=True)
class Recipe:
    raw: Path = flag(PLACE / "data/raw", f"directory of TYPE/train.txt and {EPISODES} or episode-data/")
    episodes: Path | None = flag(None, f"the zip of episodes, if it is not RAW/{EPISODES}")
    output: Path = flag(PLACE / "data/few-nerd", "directory of the prepared data")
    release: str = flag("unnamed", "name of the episodes' release, as `2021-08`")
    bio: str = flag("refuse", "labels `B-X` and `I-X`; convert: both are `X`", choices=data.BIO)


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    archive = recipe.episodes or recipe.raw / EPISODES
    with tempfile.TemporaryDirectory() as unpacked:
        episodes = recipe.raw
        if archive.exists():
            episodes = Path(unpacked)
            try:
                with zipfile.ZipFile(archive) as file:
                    tests = [name for name in file.namelist() if Path(name).name.startswith("test_")]
                    file.extractall(episodes, tests)
            except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:  # the last: a password is needed
                raise UserError(f"{archive} cannot be unpacked: {error}") from None
        elif recipe.episodes:
            raise UserError(f"{archive} does not exist")
        files: dict[str, Any] = {}
        for split in data.TYPES:
            files |= process(split, recipe.raw, episodes, recipe.output, recipe.bio)
    content = hashlib.sha256("".join(files[name]["sha256"] for name in sorted(files)).encode()).hexdigest()
    write_manifest(recipe.output, {"version": f"{recipe.release}-{content[:12]}", "files": files})


def process(name: str, raw: Path, episodes: Path, output: Path, bio: str) -> dict[str, Any]:
    """Prepare one split; returns the manifest's entries of its files."""
    source, target = Split(raw, name), Split(output, name)
    train = data.read_labelled(source.train, bio)
    target.train.parent.mkdir(parents=True, exist_ok=True)
    data.write_columns(target.train, lower_cased(train))
    types = {"train": types_of(train), "test": set[str]()}
    entries: dict[Path, dict[str, Any]] = {target.train: {"sentences": len(train), "types": len(types["train"])}}
    for way, shot in data.SETTINGS:
        path = output / "episode-data" / name / f"test_{way}_{shot}.jsonl"
        entries[path], found = write_episodes(path, prepared(Split(episodes, name).episodes(way, shot), bio))
        types["test"] |= found
    if both := sorted(types["train"] & types["test"]):
        raise UserError(f"{source.train} has types of the test episodes: {', '.join(both)}")
    for part, found in types.items():
        published = source.labels(part)
        labels = data.read_labels(published) if published.exists() else ["O", *sorted(found)]
        if missing := found - set(labels):
            raise UserError(f"{published} lacks labels of the {part} sentences: {', '.join(sorted(missing))}")
        write_atomically(target.labels(part), "\n".join(labels) + "\n")
        entries[target.labels(part)] = {"types": len(found)}
    return with_hashes(output, entries)


def prepared(path: Path, bio: str) -> Iterator[Episode]:
    """A setting's episodes with words in lower case and types for labels."""
    for number, episode in enumerate(data.read_episodes(path), 1):
        place = f"{path}, episode {number}"
        yield Episode(*(list(lower_cased(data.by_type(part, bio, lambda _, place=place: place))) for part in episode))


def lower_cased(sentences: Iterable[Sentence]) -> Iterator[Sentence]:
    return (Sentence([word.lower() for word in sentence.words], sentence.labels) for sentence in sentences)


def write_episodes(path: Path, episodes: Iterable[Episode]) -> tuple[dict[str, int], set[str]]:
    """Write episodes in the published JSON; returns their entry in the manifest, and their types."""
    path.parent.mkdir(parents=True, exist_ok=True)
    entry, types = {"sentences": 0, "types": 0, "episodes": 0}, set[str]()
    with replacing(path) as file:
        for episode in episodes:
            everything = [*episode.support, *episode.query]
            published: dict[str, Any] = {
                part: {"word": [s.words for s in sentences], "label": [s.labels for s in sentences]}
                for part, sentences in episode._asdict().items()
            }
            published["types"] = sorted(types_of(everything))
            file.write(json.dumps(published, ensure_ascii=False).encode() + b"\n")
            types.update(published["types"])
            entry["sentences"] += len(everything)
            entry["episodes"] += 1
    return entry | {"types": len(types)}, types


def with_hashes(output: Path, entries: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    """The manifest's entries, which have the files' sha256, by their path in `output`."""
    return {str(path.relative_to(output)): {"sha256": sha256_of(path), **entry} for path, entry in entries.items()}


def write_manifest(output: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest, and print its version and the sentences, types and episodes of each file."""
    write_atomically(output / data.MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False))
    rows = [("file", "sentences", "types", "episodes")]
    rows += [(name, *(entry.get(key, "") for key in rows[0][1:])) for name, entry in manifest["files"].items()]
    table = "\n".join(f"{row[0]:40}{row[1]:>12}{row[2]:>8}{row[3]:>10}" for row in rows)
    print(table, f"\nversion {manifest['version']}, recorded in {output / data.MANIFEST}")


if __name__ == "__main__":
    run(main)
