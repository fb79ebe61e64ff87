"""Check, lower-case and count Few-NERD, write the label files and a manifest that every result quotes."""

import hashlib
import json
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError, run
from common.files import replacing, sha256_of, write_atomically
from common.flags import flag, parse
from evaluations.few_shot.data import (
    BIO,
    MANIFEST,
    SETTINGS,
    TYPES,
    Episode,
    Sentence,
    Split,
    by_type,
    read_episodes,
    read_labelled,
    read_labels,
)
from evaluations.few_shot.download import EPISODES
from evaluations.few_shot.recipe import PLACE
from evaluations.few_shot.scores import entities


@dataclass(frozen=True, kw_only=True)
class Recipe:
    raw: Path = flag(PLACE / "data/raw", f"directory of TYPE/train.txt and {EPISODES} or episode-data/")
    episodes: Path | None = flag(None, f"the zip of episodes, if it is not RAW/{EPISODES}")
    output: Path = flag(PLACE / "data/few-nerd", "directory of the prepared data")
    release: str = flag("unnamed", "name of the episodes' release, as `2021-08`")
    bio: str = flag("refuse", "labels `B-X` and `I-X`; convert: both are `X`", choices=BIO)


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    archive = recipe.episodes or recipe.raw / EPISODES
    with tempfile.TemporaryDirectory() as unpacked:
        if archive.exists():
            unpack(archive, Path(unpacked))
        elif recipe.episodes:
            raise UserError(f"{archive} does not exist")
        files = {}
        for split in TYPES:
            episodes = Path(unpacked) if archive.exists() else recipe.raw
            files |= process(split, recipe.raw, episodes, recipe.output, recipe.bio)
    content = hashlib.sha256("".join(files[name]["sha256"] for name in sorted(files)).encode()).hexdigest()
    manifest = {"version": f"{recipe.release}-{content[:12]}", "files": files}
    write_atomically(recipe.output / MANIFEST, json.dumps(manifest, indent=1))
    print(table(files), f"\nversion {manifest['version']}, recorded in {recipe.output / MANIFEST}")


def unpack(archive: Path, folder: Path) -> None:
    """Take the test episodes out of the published zip."""
    try:
        with zipfile.ZipFile(archive) as file:
            tests = [name for name in file.namelist() if Path(name).name.startswith("test_")]
            file.extractall(folder, tests)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{archive} cannot be unpacked: {error}") from None


def process(name: str, raw: Path, episodes: Path, output: Path, bio: str = "refuse") -> dict[str, dict[str, Any]]:
    """Prepare one split; returns the manifest's entry of each file it wrote, by its path in `output`."""
    target = Split(output, name)
    entries: dict[Path, dict[str, Any]] = {}
    train_types, test_types = Counter[str](), Counter[str]()
    episode_data = output / "episode-data" / name
    for folder in (target.train.parent, episode_data):
        folder.mkdir(parents=True, exist_ok=True)
    with replacing(target.train) as file:
        sentences = 0
        for sentence in read_labelled(Split(raw, name).train, bio):
            sentences += 1
            train_types.update({kind for *_, kind in entities(sentence.labels)})
            pairs = zip(sentence.words, sentence.labels, strict=True)
            file.write("".join(f"{word.lower()}\t{label}\n" for word, label in pairs).encode() + b"\n")
    entries[target.train] = {"sentences": sentences, "types": len(train_types)}
    for way, shot in SETTINGS:
        source = Split(episodes, name).episodes(way, shot)
        path = episode_data / f"test_{way}_{shot}.jsonl"
        types, sentences, number = Counter[str](), 0, 0
        with replacing(path) as file:
            for episode in read_episodes(source):
                number += 1
                where = f"{source}, episode {number}"
                parts = (by_type(part, bio, lambda _, where=where: where) for part in episode)
                episode = Episode(*([Sentence([w.lower() for w in s.words], s.labels) for s in part] for part in parts))
                everything = [*episode.support, *episode.query]
                kinds = Counter(kind for sentence in everything for *_, kind in entities(sentence.labels))
                types += kinds
                sentences += len(everything)
                published = json.dumps(as_published(episode, sorted(kinds)), ensure_ascii=False)
                file.write(published.encode() + b"\n")
        entries[path] = {"sentences": sentences, "types": len(types), "episodes": number}
        test_types += types
    if both := sorted(train_types.keys() & test_types.keys()):
        raise UserError(f"{Split(raw, name).train} has types of the test episodes: {', '.join(both)}")
    for part, types in (("train", train_types), ("test", test_types)):
        published = Split(raw, name).labels(part)
        labels = read_labels(published) if published.exists() else ["O", *sorted(types)]
        if missing := types.keys() - set(labels):
            raise UserError(f"{published} lacks labels of the {part} sentences: {', '.join(sorted(missing))}")
        write_atomically(target.labels(part), "\n".join(labels) + "\n")
        entries[target.labels(part)] = {"types": len(types)}
    return {str(path.relative_to(output)): {"sha256": sha256_of(path), **entry} for path, entry in entries.items()}


def as_published(episode: Episode, types: list[str]) -> dict[str, Any]:
    """An episode in the published JSON."""
    parts = {
        part: {"word": [s.words for s in sentences], "label": [s.labels for s in sentences]}
        for part, sentences in episode._asdict().items()
    }
    return parts | {"types": types}


def table(files: dict[str, dict[str, Any]]) -> str:
    """Sentences, types and episodes of each prepared file."""
    rows = [("file", "sentences", "types", "episodes")]
    rows += [(name, *(entry.get(key, "") for key in rows[0][1:])) for name, entry in files.items()]
    return "\n".join(f"{row[0]:40}{row[1]:>12}{row[2]:>8}{row[3]:>10}" for row in rows)


if __name__ == "__main__":
    run(main)
