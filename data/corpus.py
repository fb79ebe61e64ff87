"""From a corpus to a tokenised dataset on disk: lines -> ids, streamed, memory-mapped and cached."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow.compute
from datasets import Dataset, Features, List, Value, config, load_dataset
from datasets.exceptions import DatasetGenerationError
from pyarrow import ArrowException
from transformers import PreTrainedTokenizerBase

from common.errors import UserError, first_line
from common.text import COMPRESSED
from data.bundled import BUNDLED, bundled_corpus
from data.sources import ROWS, TextFile, lines_of_rows

pc: Any = pyarrow.compute  # its functions are made when it is imported
DATA = Path(__file__).resolve().parent
READING = 2  # raised when files are read in another way, so that what was cached before is not taken for the same
END_OF_ARROW = b"\xff\xff\xff\xff\0\0\0\0"
UNKNOWN_AT_MOST = 0.5

LongLines = Literal["cut", "split"]


@dataclass(frozen=True)
class Summary:
    """What became of a corpus on its way to ids."""

    identity: str  # of the content and of how it is read
    lines: int  # with a token
    long: int  # lines over `max_length`
    beyond: int  # tokens that do not fit into the first `max_length` of their line
    tokens: int  # in the data set, [CLS] and [SEP] included
    words: int  # tokens without [CLS] and [SEP]
    unknown: int  # of them
    without_text: int  # rows
    max_length: int
    long_lines: LongLines

    def __str__(self) -> str:
        parts = []
        if self.long:
            done = "cut" if self.long_lines == "cut" else "split"
            lost = f" ({percent(self.beyond, self.tokens + self.beyond)} of the tokens lost)" if done == "cut" else ""
            parts.append(f"{self.long:,} of {self.lines:,} lines {done} at {self.max_length} tokens{lost}")
        if self.without_text:
            parts.append(f"{self.without_text:,} rows without text")
        return ", ".join([*parts, f"{percent(self.unknown, self.words)} [UNK]"])

    @property
    def warning(self) -> str | None:
        """Why little can be learnt from this corpus, if so."""
        if self.unknown <= UNKNOWN_AT_MOST * self.words:
            return None
        share = percent(self.unknown, self.words)
        return f"{share} of the tokens are [UNK]: nothing can be learnt from this text with this tokenizer"


def percent(part: int, whole: int) -> str:
    """A share in percent with two digits."""
    share = part / max(whole, 1)
    if 0 < share < 0.0005:
        return "under 0.1%"
    return f"{share:.0%}" if share == 0 or share >= 0.0995 else f"{share:.1%}"


def find_corpus(name: str) -> Path | None:
    """The file of `--data NAME`: a path, data/NAME.txt, or a bundled corpus; None for what may be a hub data set.

    Raises:
        UserError: a directory was named, or nothing of that name is here and it cannot be a hub id.
    """
    for path in (Path(name), DATA / f"{name}.txt"):
        if path.is_file():
            return path
    if name in BUNDLED:
        return bundled_corpus(name)
    if Path(name).is_dir():
        raise UserError(f"{name} is a directory; make one text file of it: python -m data.prepare {name} --output ...")
    if name.lower().endswith((".txt", *ROWS, *COMPRESSED)) or name == "voa_corpus":
        raise UserError(
            f"no corpus `{name}`: neither a file, nor {DATA.name}/{name}.txt, nor bundled ({', '.join(BUNDLED)}); "
            f"put one sentence a line there, python -m data.prepare RAW_TEXT --output data/{name}.txt makes it so"
        )
    return None


def load_corpus(
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    text_column: str = "text",
    long_lines: LongLines = "cut",
) -> tuple[Dataset, Summary]:
    """The tokenised corpus, memory-mapped from datasets' cache, where a second run finds it.

    Args:
        name: path of a file with one sentence a line (see `data.sources` for its formats), NAME of data/NAME.txt, a
            bundled corpus, or a hub data set `ID` or `ID:CONFIG`, of which the split `train` is read.
        max_length: tokens of a sentence, [CLS] and [SEP] included.
        text_column: the column that holds the sentences, in a hub data set or a file with columns.
        long_lines: what happens to longer lines: `cut` at `max_length`, or `split` into several sentences.

    Returns:
        the dataset with columns `line` (from 1) and `input_ids`, lines without a token left out; what was lost, with
        the corpus' identity: the sha256 of its content (a hub data set's fingerprint), and what else decides which
        sentences it holds.

    Raises:
        UserError: the corpus is missing, unreadable, no text or without a sentence; the cache cannot be written.
    """
    path = find_corpus(name)
    if path is None:
        identity, lines = _hub_lines(name, text_column)
    else:
        file = TextFile(path, text_column)
        identity, lines = file.identity, file.__iter__
    fingerprint = _hash("lines", READING, identity)
    cache = Path(config.HF_DATASETS_CACHE) / f"sentences-{fingerprint}"
    try:
        if _is_damaged(cache):
            print(f"the cached copy of {name} is damaged and made anew ({cache})")
            shutil.rmtree(cache)
        text = _text_dataset(lines, fingerprint, cache)
        dataset = _tokenised(text, tokenizer, max_length, long_lines, fingerprint)
    except OSError as error:
        raise UserError(f"the cache {cache} cannot be used: {first_line(error)}") from None
    if len(dataset) == 0:
        raise UserError(f"{path or name} holds no sentence: it is empty or all its lines are blank")

    beyond = dataset.data.column("beyond")  # null in further pieces of a line
    tokens = pc.sum(pc.list_value_length(dataset.data.column("input_ids"))).as_py()
    summary = Summary(
        identity if long_lines == "cut" else f"{identity} (long lines {long_lines})",
        lines=len(beyond) - beyond.null_count,
        long=pc.sum(pc.greater(beyond, 0)).as_py(),
        beyond=pc.sum(beyond).as_py(),
        tokens=tokens,
        words=tokens - len(dataset) * tokenizer.num_special_tokens_to_add(),
        unknown=pc.sum(dataset.data.column("unknown")).as_py(),
        without_text=text.data.column("text").null_count,
        max_length=max_length,
        long_lines=long_lines,
    )
    return dataset.select_columns(["line", "input_ids"]), summary


def hold_out(corpus: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """The sentences to train on and those held out for validation, at least one, drawn at random."""
    split = corpus.train_test_split(max(1, round(fraction * len(corpus))), seed=seed)
    return split["train"], split["test"]


def _hash(*parts: Any) -> str:
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:16]


def _text_dataset(lines: Callable[[], Iterator[tuple[int, str | None]]], fingerprint: str, cache: Path) -> Dataset:
    """The non-blank lines with their numbers; the text is None for rows without one."""

    def rows() -> Iterator[dict]:
        for number, line in lines():
            if line is None or line.strip():
                yield {"line": number, "text": line}

    features = Features({"line": Value("int64"), "text": Value("string")})
    if next(rows(), None) is None:  # of nothing `from_generator` makes an error
        return Dataset.from_dict({"line": [], "text": []}, features=features)
    try:
        return Dataset.from_generator(rows, features=features, cache_dir=str(cache), fingerprint=fingerprint)
    except DatasetGenerationError as error:
        raise error.__cause__ or error from None


def _tokenised(
    text: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int, long_lines: LongLines, fingerprint: str
) -> Dataset:
    """The lines with at least one token as ids, `beyond` and `unknown` of each, see `Summary`."""
    backend: Any = tokenizer.backend_tokenizer
    backend.no_truncation()  # what a tokenizer was last called with is part of its state ...
    backend.no_padding()
    vocabulary = hashlib.sha256(backend.to_str().encode()).hexdigest()
    special = tokenizer.num_special_tokens_to_add()

    def tokenise(rows: dict[str, list]) -> dict[str, list]:
        texts = [text or "" for text in rows["text"]]
        encoded = tokenizer(texts, truncation=True, max_length=max_length, return_overflowing_tokens=True)
        found: dict[str, list] = {"line": [], "input_ids": [], "beyond": [], "unknown": []}
        first, last = 0, None  # where the line's first piece went; the line before
        for ids, number in zip(encoded["input_ids"], encoded["overflow_to_sample_mapping"], strict=True):
            further = number == last
            last = number
            if further:
                found["beyond"][first] += len(ids) - special
            if rows["text"][number] is None or len(ids) <= special or (further and long_lines == "cut"):
                continue
            if not further:
                first = len(found["line"])
            found["line"].append(rows["line"][number])
            found["input_ids"].append(ids)
            found["beyond"].append(None if further else 0)
            found["unknown"].append(ids.count(tokenizer.unk_token_id))
        return found

    columns = {"line": Value("int64"), "input_ids": List(Value("int32"))}
    return text.map(
        tokenise,
        batched=True,
        remove_columns=text.column_names,
        features=Features(columns | {"beyond": Value("int32"), "unknown": Value("int32")}),
        # ... and would make the cache miss
        new_fingerprint=_hash(fingerprint, vocabulary, max_length, long_lines),
        desc="tokenising",
    )


# --- the cache of datasets ----------------------------------------------------------------------------------------


def _is_truncated(file: Path) -> bool:
    """Whether an Arrow file lacks its end."""
    with open(file, "rb") as handle:
        handle.seek(max(0, file.stat().st_size - len(END_OF_ARROW)))
        return handle.read() != END_OF_ARROW


def _is_damaged(cache: Path) -> bool:
    """Whether a file of a cached corpus is truncated or missing; what is being written does not count."""
    for file in cache.rglob("*"):
        if ".incomplete" in str(file):
            continue
        if file.suffix == ".arrow" and _is_truncated(file):
            return True
        if file.name == "dataset_info.json":
            try:
                json.loads(file.read_text())
            except ValueError:
                return True
            if not any(file.parent.glob("generator-*.arrow")):
                return True
    return False


def _hub_lines(name: str, text_column: str) -> tuple[str, Callable[[], Iterator[tuple[int, str | None]]]]:
    """The identity of a data set of the hub, and its lines."""
    identifier, _, part = name.partition(":")

    def load(mode: str | None = None) -> Dataset:
        return load_dataset(identifier, part or None, split="train", download_mode=mode)

    try:
        try:
            dataset = load()
            damaged = any(_is_truncated(Path(file["filename"])) for file in dataset.cache_files)
        except (ArrowException, json.JSONDecodeError):
            damaged = True
        if damaged:
            print(f"the cached copy of {name} is damaged and made anew")
            dataset = load("reuse_cache_if_exists")  # what was downloaded, not what was made of it
    except Exception as error:  # the hub fails in as many ways as networks and data sets do
        raise UserError(
            f"no corpus `{name}`: neither a file, nor data/{name}.txt, nor bundled ({', '.join(BUNDLED)}), and the hub "
            f"gave no such data set ({first_line(error)}); put one sentence a line into data/{name}.txt"
        ) from None
    if text_column not in dataset.column_names:
        columns = ", ".join(dataset.column_names)
        raise UserError(f"the data set {name} has no column `{text_column}`; --text_column takes one of {columns}")
    dataset = dataset.select_columns(text_column)

    def lines() -> Iterator[tuple[int, str | None]]:
        batches: Any = dataset.iter(1000)
        rows = ({text_column: text} for batch in batches for text in batch[text_column])
        return lines_of_rows(rows, text_column, f"the data set {name}")

    return dataset._fingerprint, lines
