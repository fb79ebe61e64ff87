"""Few-NERD as published: two-column training files, label files, and episodes in either of their two layouts."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from common.errors import UserError
from common.files import sha256_of
from common.text import RECORD_ENDS, read_lines

TYPES = ("intra", "inter")
MANIFEST = "manifest.json"
SETTINGS = ((5, 1), (5, 5), (10, 1), (10, 5))  # way, shot


class Sentence(NamedTuple):
    """The words of a sentence and the label of each."""

    words: list[str]
    labels: list[str]


class Episode(NamedTuple):
    """A few labelled sentences to learn from, and the sentences to tag."""

    support: list[Sentence]
    query: list[Sentence]


@dataclass(frozen=True)
class Split:
    """Where the files of one split (`intra` or `inter`) lie in a directory laid out like the published data."""

    data: Path
    type: str

    @property
    def train(self) -> Path:
        return self.data / self.type / "train.txt"

    def labels(self, part: str) -> Path:
        """The label file of `part`, `train` or `test`."""
        return self.data / self.type / f"labels_{part}.txt"

    def episodes(self, way: int, shot: int) -> Path:
        """The JSONL of a setting, or in the older layout the directory of its support files.

        Raises:
            UserError: neither is there.
        """
        name = f"test_{way}_{shot}"
        folders = [self.data / "episode-data" / self.type, self.data / self.type]
        candidates = [folder / file for folder in folders for file in (f"{name}.jsonl", f"support_{name}")]
        for path in candidates:
            if path.exists():
                return path
        raise UserError(f"no episodes of {self.type} {way}-way {shot}-shot: none of {', '.join(map(str, candidates))}")


def read_labels(path: Path) -> list[str]:
    """The labels of a label file, one a line, in the order of the file; `O` is the first.

    Raises:
        UserError: the file cannot be read, a label comes twice, or the first is not `O`.
    """
    labels = list(read_lines(path, RECORD_ENDS))
    for number, label in enumerate(labels, 1):
        if not label or label in labels[: number - 1]:
            raise UserError(f"{path}, line {number}: the label `{label}` is empty or comes twice")
    if labels[:1] != ["O"]:
        raise UserError(f"{path}, line 1: the first label must be `O`")
    return labels


def read_columns(path: Path, labels: set[str] | None = None) -> Iterator[Sentence]:
    """The sentences of a `word<TAB>label` file, split at blank lines.

    Raises:
        UserError: the file cannot be read, or a line has other than two columns, or a label not among `labels`.
    """
    sentence = Sentence([], [])
    for number, line in enumerate(read_lines(path, RECORD_ENDS), 1):
        if line.strip():
            columns = line.split("\t" if "\t" in line else " ")
            if len(columns) != 2 or not all(columns):
                raise UserError(f"{path}, line {number}: not a word and a label with a tab between them")
            _check(labels, columns[1], f"{path}, line {number}")
            sentence.words.append(columns[0])
            sentence.labels.append(columns[1])
        elif sentence.words:
            yield sentence
            sentence = Sentence([], [])
    if sentence.words:
        yield sentence


def _check(labels: set[str] | None, label: str, where: str) -> None:
    if labels is not None and label not in labels:
        raise UserError(f"{where}: the label `{label}` is not in the label file")


def read_episodes(path: Path, labels: set[str] | None = None) -> Iterator[Episode]:
    """The episodes of a setting in their order, from the JSONL or from the older layout's one file per episode.

    Args:
        path: as `Split.episodes` gives it.
        labels: the labels that may occur; None for any.

    Raises:
        UserError: naming file and line of a malformed episode: no JSON, fields missing or of another kind,
            unequally many words and labels, a label outside `labels`.
    """
    if path.is_dir():
        for support in episode_files(path):
            yield Episode(*(list(read_columns(file, labels)) for file in (support, query_file(support))))
        return
    for number, line in enumerate(read_lines(path, RECORD_ENDS), 1):
        where = f"{path}, line {number}"
        try:
            episode = json.loads(line)
            yield Episode(*(_sentences(episode[part], part, labels, where) for part in ("support", "query")))
        except (ValueError, KeyError, TypeError, RecursionError) as error:  # the last: brackets thousands deep
            raise UserError(f"{where}: not an episode in JSON: {type(error).__name__} {error}") from None


def episode_files(support: Path) -> list[Path]:
    """The support files `0.txt`, `1.txt`, ... of the older layout, in that order; others are left out."""
    files = (file for file in support.glob("*.txt") if file.stem.isdecimal())
    return sorted(files, key=lambda file: int(file.stem))


def query_file(support: Path) -> Path:
    """`query_test_5_1/0.txt` of `support_test_5_1/0.txt`."""
    return support.parent.with_name(support.parent.name.replace("support", "query")) / support.name


def _sentences(part: dict, name: str, labels: set[str] | None, where: str) -> list[Sentence]:
    sentences = [Sentence(*pair) for pair in zip(part["word"], part["label"], strict=True)]
    for number, sentence in enumerate(sentences, 1):
        if len(sentence.words) != len(sentence.labels):
            sizes = f"{len(sentence.words)} words and {len(sentence.labels)} labels"
            raise UserError(f"{where}: {name} sentence {number} has {sizes}")
        for kind, texts in sentence._asdict().items():
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise TypeError(f"{name} sentence {number} has no list of {kind}")
        for label in sentence.labels:
            _check(labels, label, where)
    return sentences


def identity(split: Split, **paths: Path) -> dict[str, str | None]:
    """The sha256 of some of a split's files, and the version that the data's manifest gives them.

    Raises:
        UserError: a file is missing, or not the one that the manifest describes.
    """
    for path in paths.values():
        if not path.exists():
            raise UserError(f"{path} does not exist; is {split.data} laid out like the published data?")
    record: dict[str, str | None] = {name: sha256_of_episodes(path) for name, path in paths.items()}
    manifest, record["version"] = split.data / MANIFEST, None
    if manifest.exists():
        described = json.loads(manifest.read_text())
        record["version"] = described["version"]
        for name, path in paths.items():
            if described["files"].get(str(path.relative_to(split.data)), {}).get("sha256") != record[name]:
                raise UserError(f"{path} is not the file that {manifest} describes; run process_fewnerd.sh again")
    return record


def sha256_of_episodes(path: Path) -> str:
    """The sha256 of a setting's episodes; in the older layout over the files' sha256 in the episodes' order."""
    if not path.is_dir():
        return sha256_of(path)
    digest = hashlib.sha256()
    for support in episode_files(path):
        for file in (support, query_file(support)):
            digest.update(sha256_of(file).encode())
    return digest.hexdigest()
