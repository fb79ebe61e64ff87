"""From a corpus to a tokenised dataset on disk: lines -> ids, streamed, memory-mapped and cached."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from datasets import Dataset, Features, List, Value, load_dataset
from datasets.exceptions import DatasetGenerationError
from transformers import PreTrainedTokenizerBase

from common.errors import UserError
from common.files import sha256_of
from common.text import read_lines
from data.bundled import BUNDLED, bundled_corpus

DATA = Path(__file__).resolve().parent


def find_corpus(name: str) -> Path | None:
    """The text file of `--data NAME`: a path, data/NAME.txt, or a bundled corpus; None for a hub data set.

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
    if name.endswith((".txt", ".gz")) or name == "voa_corpus":
        raise UserError(
            f"no corpus `{name}`: neither a file, nor {DATA.name}/{name}.txt, nor bundled ({', '.join(BUNDLED)}); "
            f"put one sentence a line there, python -m data.prepare RAW_TEXT --output data/{name}.txt makes it so"
        )
    return None


def load_corpus(
    name: str, tokenizer: PreTrainedTokenizerBase, max_length: int, text_column: str = "text"
) -> tuple[Dataset, str]:
    """The tokenised corpus, memory-mapped from datasets' cache, where a second run finds it.

    Args:
        name: path of a text file with one sentence a line, NAME of data/NAME.txt, a bundled corpus, or a hub data
            set `ID` or `ID:CONFIG`, of which the split `train` is read.
        max_length: longest sentence in tokens, [CLS] and [SEP] included; longer ones are cut.
        text_column: the column of a hub data set that holds the sentences.

    Returns:
        the dataset with columns `line` (from 1) and `input_ids`, blank lines and lines without a token left out;
        the corpus' sha256 (a hub data set's fingerprint).

    Raises:
        UserError: there is no such corpus, it cannot be read as text, or it holds no sentence.
    """
    path = find_corpus(name)
    if path is None:
        text, fingerprint = _hub_text(name, text_column)
    else:
        fingerprint = sha256_of(path)
        text = _file_text(path, fingerprint)

    tokenizer.backend_tokenizer.no_truncation()  # what a tokenizer was last called with is part of its state ...
    tokenizer.backend_tokenizer.no_padding()
    vocabulary = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()

    def tokenise(rows: dict[str, list]) -> dict[str, list]:
        ids = tokenizer(rows["text"], truncation=True, max_length=max_length)["input_ids"]
        # [CLS] and [SEP] alone say nothing
        kept = [(line, i) for line, i in zip(rows["line"], ids, strict=True) if len(i) > 2]
        return {"line": [line for line, _ in kept], "input_ids": [i for _, i in kept]}

    dataset = text.map(
        tokenise,
        batched=True,
        remove_columns=text.column_names,
        features=Features({"line": Value("int64"), "input_ids": List(Value("int32"))}),
        # ... and would make the cache miss
        new_fingerprint=hashlib.sha256(f"{fingerprint} {vocabulary} {max_length}".encode()).hexdigest()[:16],
        desc="tokenising",
    )
    if len(dataset) == 0:
        raise UserError(f"{path or name} holds no sentence: it is empty or all its lines are blank")
    return dataset, fingerprint


def hold_out(corpus: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """The sentences to train on and those held out for validation, at least one, drawn at random."""
    split = corpus.train_test_split(max(1, round(fraction * len(corpus))), seed=seed)
    return split["train"], split["test"]


def _file_text(path: Path, sha256: str) -> Dataset:
    """The non-blank lines of a text file with their numbers."""

    def lines() -> Iterator[dict]:
        for number, line in enumerate(read_lines(path), 1):
            if line.strip():
                yield {"line": number, "text": line}

    features = Features({"line": Value("int64"), "text": Value("string")})
    if next(lines(), None) is None:  # of nothing `from_generator` makes an error
        return Dataset.from_dict({"line": [], "text": []}, features=features)
    try:
        return Dataset.from_generator(lines, features=features, fingerprint=sha256[:16])
    except DatasetGenerationError as error:
        raise error.__cause__ or error from None


def _hub_text(name: str, text_column: str) -> tuple[Dataset, str]:
    identifier, _, config = name.partition(":")
    try:
        dataset = load_dataset(identifier, config or None, split="train")
    except Exception as error:  # the hub fails in as many ways as networks and data sets do
        raise UserError(
            f"no corpus `{name}`: neither a file, nor data/{name}.txt, nor bundled ({', '.join(BUNDLED)}), and the hub "
            f"gave no such data set ({str(error).splitlines()[0]}); put one sentence a line into data/{name}.txt"
        ) from None
    if text_column not in dataset.column_names:
        columns = ", ".join(dataset.column_names)
        raise UserError(f"the data set {name} has no column `{text_column}`; --text_column takes one of {columns}")
    dataset = dataset.select_columns(text_column).rename_column(text_column, "text")
    return dataset.map(lambda row, index: {"line": index + 1}, with_indices=True), dataset._fingerprint
