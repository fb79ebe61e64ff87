"""Few-NERD as published: two-column training files, label files, and episodes in either of their two layouts."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import UserError
from common.files import sha256_of
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


def numbered_columns(path: Path) -> Iterator[tuple[int, Sentence]]:
    """The sentences of a `word<TAB>label` file, each with the line of its first word; white space around labels is none
    of theirs.

    Raises:
        UserError: the file cannot be read, or a line has other than two columns.
    """
    begin, sentence = 1, Sentence([], [])
    for number, line in enumerate(read_lines(path, RECORD_ENDS), 1):
        if line := line.rstrip():
            columns = line.split("\t" if "\t" in line else " ")
            if len(columns) != 2 or not all(columns):
                message = f"{path}, line {number}: not a word and a label with a tab between them"
                if len(columns) > 2 and all(columns):
                    message += (
                        f", but {len(columns)} columns; CoNLL files are read by python -m evaluations.few_shot.episodes"
                    )
                raise UserError(message)
            sentence.words.append(columns[0])
            sentence.labels.append(columns[1].strip())
        else:
            if sentence.words:
                yield begin, sentence
            begin, sentence = number + 1, Sentence([], [])
    if sentence.words:
        yield begin, sentence


def read_columns(path: Path, labels: set[str] | None = None) -> Iterator[Sentence]:
    """The sentences of a `word<TAB>label` file, split at blank lines.

    Raises:
        UserError: of `numbered_columns`, or a label is not among `labels`.
    """
    for begin, sentence in numbered_columns(path):
        for number, label in enumerate(sentence.labels, begin):
            _check(labels, label, f"{path}, line {number}")
        yield sentence


def read_labelled(path: Path, bio: str = "refuse") -> list[Sentence]:
    """The sentences of a `word<TAB>label` file that was not made by this project: checked as a whole.

    Args:
        bio: what becomes of labels `B-X` and `I-X`: see `by_type`.

    Raises:
        UserError: of `numbered_columns` and `check_labels`, or the labels are those of BIO and `bio` refuses them.
    """
    numbered = list(numbered_columns(path))
    lines = check_labels(path, numbered)
    return by_type([sentence for _, sentence in numbered], bio, lambda label: f"{path}, line {lines[label]}")


def check_labels(path: Path, numbered: Iterable[tuple[int, Sentence]]) -> dict[str, int]:
    """See that labelled sentences, each with the line of its first word, are what they seem to be.

    Returns:
        the line of each label's first word.

    Raises:
        UserError: words and labels are in each other's place, or no word has the label `O`.
    """
    words, lines = Counter[str](), dict[str, int]()
    first_o = 0
    for begin, sentence in numbered:
        words.update(sentence.words)
        for number, (word, label) in enumerate(zip(*sentence, strict=True), begin):
            lines.setdefault(label, number)
            first_o = first_o or (word == "O") * number
    if words and words.most_common(1)[0][0] == "O" and ("O" not in lines or len(words) < len(lines)):
        raise UserError(f"{path}, line {first_o}: the columns seem to be swapped, for the first holds labels as `O`")
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


def by_type(sentences: list[Sentence], bio: str, place: Callable[[str], str]) -> list[Sentence]:
    """Sentences whose labels are types alone.

    Args:
        bio: what becomes of labels `B-X` and `I-X`: `refuse` them, or `convert` them to `X`; entities of one type that
            touch are one then.
        place: where a label stands first, for the message.

    Raises:
        UserError: there are such labels, and they are refused.
    """
    labels = dict.fromkeys(label for sentence in sentences for label in sentence.labels)
    types = bio_types(labels)
    if types and bio == "refuse":
        label = next(label for label in labels if label != without_prefix(label, types))
        raise UserError(
            f"{place(label)}: `{label}` is a label of BIO, but `B-X` and `I-X` would be two types here; "
            "--bio convert makes both `X`"
        )
    if not types:
        return sentences
    return [Sentence(s.words, [without_prefix(label, types) for label in s.labels]) for s in sentences]


def without_prefix(label: str, types: set[str]) -> str:
    """`person` of `B-person`, if it is among the types that `bio_types` found."""
    match = PREFIX.fullmatch(label)
    return match[2] if match and match[2] in types else label


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


def read_manifest(data: Path) -> dict[str, Any] | None:
    """The manifest of prepared data, if there is one.

    Raises:
        UserError: it is damaged.
    """
    path = data / MANIFEST
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_bytes())
        if isinstance(manifest["files"], dict) and isinstance(manifest["version"], str):
            return manifest
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise UserError(f"{path} is damaged or of something else; prepare the data again in another directory")


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
    if described := read_manifest(split.data):
        record["version"] = described["version"]
        for name, path in paths.items():
            if described["files"].get(str(path.relative_to(split.data)), {}).get("sha256") != record[name]:
                raise UserError(f"{path} is not the file that {manifest} describes; prepare the data again")
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
