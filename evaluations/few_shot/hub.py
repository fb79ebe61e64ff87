"""Labelled sentences from a data set of the hub, or a copy of one in a directory: tokens, and a tag for each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import UserError, first_line
from evaluations.few_shot.data import Sentence


def tagged_sentences(source: str, config: str | None, split: str, column: str, hint: str = "") -> Iterator[Sentence]:
    """The sentences of one split, `clean`; their labels are the names of a column's tags, or the tags where strings.

    UserError if the data set cannot be loaded, holds a loading script in place of data, lacks the column (`hint` is for
    this) or the names of its tags, or a row has not a tag for each token.
    """
    from datasets import load_dataset

    name = f"the data set {source}" + (f" ({config})" if config else "")
    try:
        rows: Any = load_dataset(source, config, split=split)
    except Exception as error:  # the hub fails in as many ways as networks and data sets do
        scripts = sorted(path.name for path in Path(source).glob("*.py")) if Path(source).is_dir() else []
        if "scripts are no longer supported" in str(error) or scripts:
            what = f"{name} holds a script in place of data ({scripts[0] if scripts else first_line(error)})"
            advice = "take its parquet files, which the hub keeps as revision refs/convert/parquet"
            raise UserError(f"{what}, which would have to be run to load it; {advice}") from None
        neither = "" if Path(source).exists() else ", and no file has its name"
        raise UserError(f"{name} cannot be loaded{neither}: {first_line(error)}") from None
    if missing := [wanted for wanted in ("tokens", column) if wanted not in rows.column_names]:
        columns = ", ".join(rows.column_names)
        raise UserError(f"{name} has no column `{missing[0]}` but {columns}{hint and '; '}{hint}")
    tag = getattr(rows.features[column], "feature", None)
    names: list[str] | None = getattr(tag, "names", None)
    if names is None and getattr(tag, "dtype", None) not in ("string", "large_string"):
        raise UserError(f"{name}: the column `{column}` holds neither strings nor numbers with names, but {tag}")
    for number, row in enumerate(rows, 1):
        tokens, tags = row["tokens"] or [], row[column] or []
        where = f"{name}, row {number}"
        if len(tokens) != len(tags):
            raise UserError(f"{where}: {len(tokens)} tokens and {len(tags)} tags")
        if odd := [token for token in tokens if token is not None and (not isinstance(token, str) or "\0" in token)]:
            raise UserError(f"{where}: the token {odd[0]!r} is no string, or holds a NUL character")
        if names is None:
            labels = [(tag or "").strip() for tag in tags]
        else:
            labels = [names[tag] if tag is not None and 0 <= tag < len(names) else "" for tag in tags]
        if "" in labels:
            raise UserError(f"{where}: the tag `{tags[labels.index('')]}` has no name")
        yield clean(tokens, labels)


def clean(tokens: list[str | None], labels: list[str]) -> Sentence:
    """A sentence with white space in a token as one space, without the tokens that are nothing else."""
    kept = [(" ".join(t.split()), label) for t, label in zip(tokens, labels, strict=True) if t and t.strip()]
    return Sentence([token for token, _ in kept], [label for _, label in kept])
