"""Few-NERD as published: two-column training files, label files, and episodes in either of their two layouts."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import UserError
from common.files import replacing, sha256_of
from common.text import RECORD_ENDS, read_lines

TYPES = ("intra", "inter")
MANIFEST = "manifest.json"
SETTINGS = ((5, 1), (5, 5), (10, 1), (10, 5))  # way, shot
BIO = ("refuse", "convert")
PREFIX = re.compile("([BIESLUM])-(.+)")  # of a type in BIO, BIOES or BILOU


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
        """The JSONL of a setting, or in the older layout the directory of its support files; UserError without both."""
        files = (f"test_{way}_{shot}.jsonl", f"support_test_{way}_{shot}")
        candidates = [self.data / folder / self.type / file for folder in ("episode-data", "") for file in files]
        if found := next((path for path in candidates if path.exists()), None):
            return found
        raise UserError(f"no episodes of {self.type} {way}-way {shot}-shot: none of {', '.join(map(str, candidates))}")


def types_of(sentences: Iterable[Sentence]) -> set[str]:
    """All labels but `O`."""
    return {label for sentence in sentences for label in sentence.labels} - {"O"}


def read_labels(path: Path) -> list[str]:
    """The labels of a label file, one a line, in the order of the file; UserError unless each comes once, `O` first."""
    labels = list(read_lines(path, RECORD_ENDS))
    for number, label in enumerate(labels, 1):
        if not label or label in labels[: number - 1]:
            raise UserError(f"{path}, line {number}: the label `{label}` is empty or comes twice")
    if labels[:1] != ["O"]:
        raise UserError(f"{path}, line 1: the first label must be `O`")
    return labels


def sentences_of(rows: Iterable[tuple[int, list[str]]]) -> Iterator[tuple[int, Sentence]]:
    """The sentences of numbered lines of columns, the word first and its label last, each with the number of its first;
    lines without columns are between sentences."""
    for has_columns, lines in groupby(rows, key=lambda row: bool(row[1])):
        if has_columns:
            numbers, columns = zip(*lines, strict=True)
            yield numbers[0], Sentence([row[0] for row in columns], [row[-1] for row in columns])


def numbered_columns(path: Path, labels: set[str] | None = None) -> Iterator[tuple[int, Sentence]]:
    """The sentences of a `word<TAB>label` file, split at blank lines, each with the line of its first word; white space
    around labels is none of theirs. UserError if a line has other than two columns, or a label not among `labels`."""

    def rows() -> Iterator[tuple[int, list[str]]]:
        for number, line in enumerate(read_lines(path, RECORD_ENDS), 1):
            line, where = line.rstrip(), f"{path}, line {number}"
            columns = line.split("\t" if "\t" in line else " ") if line else []
            if columns and (len(columns) != 2 or not all(columns)):
                message = f"{where}: not a word and a label with a tab between them"
                if len(columns) > 2 and all(columns):
                    message += f", but {len(columns)} columns; CoNLL files are read by "
                    message += "python -m evaluations.few_shot.episodes"
                raise UserError(message)
            if columns:
                columns[1] = columns[1].strip()
                _check(labels, columns[1], where)
            yield number, columns

    return sentences_of(rows())


def read_columns(path: Path, labels: set[str] | None = None) -> Iterator[Sentence]:
    """The sentences of `numbered_columns`, which says what is refused."""
    return (sentence for _, sentence in numbered_columns(path, labels))


def write_columns(path: Path, sentences: Iterable[Sentence]) -> None:
    """Write what `read_columns` reads, a blank line after each sentence."""
    with replacing(path) as file:
        for sentence in sentences:
            pairs = zip(*sentence, strict=True)
            file.write("".join(f"{word}\t{label}\n" for word, label in pairs).encode() + b"\n")


def read_labelled(path: Path, bio: str = "refuse") -> list[Sentence]:
    """The sentences of a `word<TAB>label` file that was not made by this project, checked as a whole; UserError as of
    `numbered_columns`, `check_labels` and `by_type`, which says what `bio` is."""
    numbered = list(numbered_columns(path))
    lines = check_labels(path, numbered)
    return by_type([sentence for _, sentence in numbered], bio, lambda label: f"{path}, line {lines[label]}")


def check_labels(path: Path, numbered: Sequence[tuple[int, Sentence]]) -> dict[str, int]:
    """See that labelled sentences, each with the line of its first word, are what they seem to be: UserError if words
    and labels are in each other's place, or no word has the label `O`. Returns the line of each label's first word."""
    words, lines = Counter[str](), dict[str, int]()
    for begin, sentence in numbered:
        words.update(sentence.words)
        for number, label in enumerate(sentence.labels, begin):
            lines.setdefault(label, number)
    if words and words.most_common(1)[0][0] == "O" and ("O" not in lines or len(words) < len(lines)):
        line = next(begin + sentence.words.index("O") for begin, sentence in numbered if "O" in sentence.words)
        raise UserError(f"{path}, line {line}: the columns seem to be swapped, for the first holds labels as `O`")
    if words and "O" not in lines:
        label, line = next(iter(lines.items()))
        raise UserError(
            f"{path}, line {line}: from `{label}` on, no word has the label `O`, which words outside entities have"
        )
    return lines


def bio_types(labels: Iterable[str]) -> set[str]:
    """The types that labels name with a prefix of BIO, BIOES or BILOU; none, unless each label but `O` has a prefix, or
    `B-` and `I-` of one type are beside each other."""
    matches = [PREFIX.fullmatch(label) for label in labels if label != "O"]
    prefixes: dict[str, set[str]] = {}
    for match in filter(None, matches):
        prefixes.setdefault(match[2], set()).add(match[1])
    if not all(matches) and not any({"B", "I"} <= found for found in prefixes.values()):
        return set()
    return {kind for kind, found in prefixes.items() if found & set("BISU")}  # not `mail` of `E-mail`


def by_type(sentences: Sequence[Sentence], bio: str = "convert", place: Callable[[str], str] = str) -> list[Sentence]:
    """Sentences whose labels are types alone.

    Labels `B-X` and `I-X` are refused (UserError) or, if `bio` is `convert`, become `X`: entities of one type that
    touch are one then. `place` tells where a label stands first.
    """
    labels = dict.fromkeys(label for sentence in sentences for label in sentence.labels)
    types = bio_types(labels)
    matches = {label: match[2] for label in labels if (match := PREFIX.fullmatch(label)) and match[2] in types}
    if matches and bio == "refuse":
        label = next(iter(matches))
        raise UserError(
            f"{place(label)}: `{label}` is a label of BIO, but `B-X` and `I-X` would be two types here; "
            "--bio convert makes both `X`"
        )
    return [Sentence(s.words, [matches.get(label, label) for label in s.labels]) for s in sentences]


def _check(labels: set[str] | None, label: str, where: str) -> None:
    if labels is not None and label not in labels:
        raise UserError(f"{where}: the label `{label}` is not in the label file")


def read_episodes(path: Path, labels: set[str] | None = None) -> Iterator[Episode]:
    """The episodes of a setting in their order, from the JSONL or the directory that `Split.episodes` gives; UserError
    names file and line of an episode that is none, or that has a label outside `labels`, where these are given."""
    if path.is_dir():
        for files in episode_files(path):
            yield Episode(*(list(read_columns(file, labels)) for file in files))
        return
    for number, line in enumerate(read_lines(path, RECORD_ENDS), 1):
        where = f"{path}, line {number}"
        try:
            episode = json.loads(line)
            yield Episode(*(_sentences(episode[part], part, labels, where) for part in ("support", "query")))
        except (ValueError, KeyError, TypeError, RecursionError) as error:  # the last: brackets thousands deep
            raise UserError(f"{where}: not an episode in JSON: {type(error).__name__} {error}") from None


def episode_files(folder: Path) -> list[tuple[Path, Path]]:
    """The files `support_test_5_1/0.txt` and `query_test_5_1/0.txt` of each episode of the older layout, by number;
    others are left out."""
    files = sorted((file for file in folder.glob("*.txt") if file.stem.isdecimal()), key=lambda file: int(file.stem))
    query = folder.with_name(folder.name.replace("support", "query"))
    return [(file, query / file.name) for file in files]


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


def read_manifest(data: Path) -> dict[str, Any] | None:
    """The manifest of prepared data, if there is one; UserError if it is damaged."""
    path = data / MANIFEST
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_bytes())
        if isinstance(manifest["version"], str) and all(isinstance(file, dict) for file in manifest["files"].values()):
            return manifest
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise UserError(f"{path} is damaged or of something else; prepare the data again in another directory")


def identity(split: Split, **paths: Path) -> dict[str, str | None]:
    """The sha256 of some of a split's files, and the version that the data's manifest gives them; UserError if a file
    is missing, or not the one that the manifest describes."""
    for path in paths.values():
        if not path.exists():
            raise UserError(f"{path} does not exist; is {split.data} laid out like the published data?")
    record: dict[str, str | None] = {name: sha256_of_episodes(path) for name, path in paths.items()}
    if described := read_manifest(split.data):
        for name, path in paths.items():
            if described["files"].get(str(path.relative_to(split.data)), {}).get("sha256") != record[name]:
                manifest = split.data / MANIFEST
                raise UserError(f"{path} is not the file that {manifest} describes; prepare the data again")
    record["version"] = described["version"] if described else None
    return record


def sha256_of_episodes(path: Path) -> str:
    """The sha256 of a setting's episodes; in the older layout over the files' sha256 in the episodes' order."""
    if not path.is_dir():
        return sha256_of(path)
    hashes = (sha256_of(file) for files in episode_files(path) for file in files)
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
