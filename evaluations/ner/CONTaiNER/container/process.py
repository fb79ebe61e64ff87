"""Check, lower-case and count Few-NERD, write the label files and a manifest that every result quotes."""

import argparse
import hashlib
import json
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

from common.errors import UserError, run
from common.files import sha256_of, write_atomically
from container.data import (
    MANIFEST,
    SETTINGS,
    TYPES,
    Episode,
    Split,
    read_columns,
    read_episodes,
    read_labels,
    replacing,
)
from container.download import EPISODES
from container.scores import entities


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--raw", type=Path, default="data/raw", help=f"TYPE/train.txt and {EPISODES} or episode-data/")
    parser.add_argument("--episodes", type=Path, help=f"the zip of episodes, if it is not RAW/{EPISODES}")
    parser.add_argument("--output", type=Path, default="data/few-nerd", help="where the prepared data goes")
    parser.add_argument("--release", default="unnamed", help="name of the episodes' release, as `2021-08`")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    archive = args.episodes or args.raw / EPISODES
    with tempfile.TemporaryDirectory() as unpacked:
        if archive.exists():
            unpack(archive, Path(unpacked))
        elif args.episodes:
            raise UserError(f"{archive} does not exist")
        files = {}
        for split in TYPES:
            files |= process(split, args.raw, Path(unpacked) if archive.exists() else args.raw, args.output)
    content = hashlib.sha256("".join(files[name]["sha256"] for name in sorted(files)).encode()).hexdigest()
    manifest = {"version": f"{args.release}-{content[:12]}", "files": files}
    write_atomically(args.output / MANIFEST, json.dumps(manifest, indent=1))
    print(table(files), f"\nversion {manifest['version']}, recorded in {args.output / MANIFEST}")


def unpack(archive: Path, folder: Path) -> None:
    """Take the test episodes out of the published zip."""
    try:
        with zipfile.ZipFile(archive) as file:
            tests = [name for name in file.namelist() if Path(name).name.startswith("test_")]
            file.extractall(folder, tests)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{archive} cannot be unpacked: {error}") from None


def process(name: str, raw: Path, episodes: Path, output: Path) -> dict[str, dict]:
    """Prepare one split; returns the manifest's entry of each file it wrote, by its path in `output`."""
    target = Split(output, name)
    entries: dict[Path, dict] = {}
    train_types, test_types = Counter(), Counter()
    with replacing(target.train) as part, open(part, "w", encoding="utf-8") as file:
        sentences = 0
        for sentence in read_columns(Split(raw, name).train):
            sentences += 1
            train_types.update({kind for *_, kind in entities(sentence.labels)})
            pairs = zip(sentence.words, sentence.labels, strict=True)
            file.write("".join(f"{word.lower()}\t{label}\n" for word, label in pairs) + "\n")
    entries[target.train] = {"sentences": sentences, "types": len(train_types)}
    for way, shot in SETTINGS:
        source = Split(episodes, name).episodes(way, shot)
        path = output / "episode-data" / name / f"test_{way}_{shot}.jsonl"
        types, sentences, number = Counter(), 0, 0
        with replacing(path) as part, open(part, "w", encoding="utf-8") as file:
            for episode in read_episodes(source):
                number += 1
                everything = [*episode.support, *episode.query]
                kinds = Counter(kind for sentence in everything for *_, kind in entities(sentence.labels))
                types += kinds
                sentences += len(everything)
                file.write(json.dumps(as_published(episode, sorted(kinds)), ensure_ascii=False) + "\n")
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


def as_published(episode: Episode, types: list[str]) -> dict:
    """An episode in the published JSON, lower-cased."""
    parts = {
        part: {"word": [[word.lower() for word in s.words] for s in sentences], "label": [s.labels for s in sentences]}
        for part, sentences in zip(("support", "query"), episode, strict=True)
    }
    return parts | {"types": types}


def table(files: dict[str, dict]) -> str:
    """Sentences, types and episodes of each prepared file."""
    rows = [("file", "sentences", "types", "episodes")]
    rows += [(name, *(entry.get(key, "") for key in rows[0][1:])) for name, entry in files.items()]
    return "\n".join(f"{row[0]:40}{row[1]:>12}{row[2]:>8}{row[3]:>10}" for row in rows)


if __name__ == "__main__":
    run(main)
