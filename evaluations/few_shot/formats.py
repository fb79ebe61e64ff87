"""Labelled sentences in the formats that people have: CoNLL columns, JSON lines with character spans, data sets."""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import category

from common.errors import UserError, first_line
from common.text import COMPRESSED, RECORD_ENDS, read_lines
from data.sentences import UNSPACED
from evaluations.few_shot.data import PREFIX, Sentence, bio_types, by_type, check_labels, sentences_of, types_of

JSON = (".json", ".jsonl", ".ndjson")
DOCSTART = "-DOCSTART-"
JOINED = "entities joined with another of their type that they touch"
COLUMNS = range(2, 6)
FILES = (".txt", ".tsv", ".csv", ".conll", ".conllu", ".bio", ".iob", ".iob2", ".bioes", ".ner", *COMPRESSED, *JSON)


class Examples(NamedTuple):
    """Labelled sentences, and what was left out or changed on the way: of each kind where, `FILE, line 3`."""

    sentences: list[Sentence]
    notes: dict[str, list[str]]

    def __str__(self) -> str:
        notes = (f"{len(places):,} {what} (first: {places[0]})" for what, places in self.notes.items())
        return "; ".join([f"{len(self.sentences):,} sentences", *notes])


def read_examples(source: str, split: str = "train", tags: str = "ner_tags") -> Examples:
    """The labelled sentences of a file of CoNLL columns or of JSON lines with character spans; else of a data set of
    the hub, `ID` or `ID:CONFIG`, or a copy of one in a directory, of which `split` and `tags` say which sentences and
    which column. Labels `B-X` and `I-X` become `X`. UserError, with file and line, if the source is in none of these
    formats, or holds no labelled entity."""
    path = Path(source)
    if not source:
        raise UserError("the name of the examples is empty")
    if path.is_file():
        lines = (line for line in read_lines(path, RECORD_ENDS) if line.strip())
        is_json = named_json(path) or looks_like_json(next(lines, ""))
        examples = read_json(path) if is_json else read_conll(path)
    elif path.exists() and not path.is_dir():
        raise UserError(f"{source} is no file: examples are read more than once, and cannot be piped in")
    else:
        if not path.is_dir() and (path.suffix.lower() in FILES or path.is_absolute() or source[0] == "."):
            raise UserError(f"{source} does not exist")
        identifier, _, config = (source, "", "") if path.is_dir() else source.partition(":")
        sentences = enumerate(tagged_sentences(identifier, config or None, split, tags), 1)
        examples = plain([(f"{source}, row {number}", sentence) for number, sentence in sentences], {})
    if not types_of(examples.sentences):
        raise UserError(f"{source} holds no labelled entity" + f" ({examples})" * bool(examples.notes))
    return examples


def named_json(path: Path) -> bool:
    """Whether a file's name says that it holds JSON."""
    return any(suffix.lower() in JSON for suffix in path.suffixes)


def looks_like_json(line: str) -> bool:
    """Whether a line begins like an object of JSON; a word `{` in a column is none."""
    return re.match(r'\s*\{\s*"', line) is not None


def plain(placed: Sequence[tuple[str, Sentence]], notes: dict[str, list[str]], bio: bool = True) -> Examples:
    """Sentences, each with its place, with types for labels of BIO (where there may be any, `bio`), noting where
    entities are joined; blank ones are left out. UserError if a label is blank, or holds what cannot be printed."""
    for place, sentence in placed:
        if not sentence.words:
            notes.setdefault("without words left out", []).append(place)
        for label in sentence.labels:
            outside = (match := PREFIX.fullmatch(label)) is not None and match[2] == "O"
            if not label.isprintable() or not label.strip() or outside:
                raise UserError(f"{place}: {label!r} cannot be a label")
    if not bio:
        return Examples([sentence for _, sentence in placed if sentence.words], notes)
    labels = types_of(sentence for _, sentence in placed)
    types, sentences = bio_types(labels), by_type([sentence for _, sentence in placed])
    if not types and any(label.startswith("B-") for label in labels):
        other = min(label for label in labels if not PREFIX.fullmatch(label))
        what = f"sentences with labels `B-...`, which are types of their own because `{other}` has no such prefix,"
        notes[what] = [place for place, s in placed if any(label.startswith("B-") for label in s.labels)]
    for (place, before), after in zip(placed, sentences, strict=True):
        for label, (left, right) in zip(before.labels[1:], pairwise(after.labels), strict=True):
            if left == right and right in types and label[0] in "BSU":
                notes.setdefault(JOINED, []).append(place)
    return Examples([sentence for sentence in sentences if sentence.words], notes)


def read_conll(path: Path) -> Examples:
    """The sentences of a file with 2 to 5 columns, the word first and its label last, split at blank lines; lines
    -DOCSTART- and comments (`# ` before a sentence) are left out.

    UserError if a line has more columns or fewer, or another number than the first, or if the first column numbers the
    words; of `check_labels`.
    """
    lines = [line.rstrip() for line in read_lines(path, RECORD_ENDS)]
    split = [columns_of(line) for line in lines if line and not line.startswith(("# ", DOCSTART))]
    usual, known = len(split[0]) if split else 0, {columns[-1] for columns in split} | {"O"}
    tabs = any("\t" in line for line in lines)
    rows, notes, width = [(0, list[str]())], dict[str, list[str]](), 0
    for number, line in enumerate(lines, 1):
        columns, where = columns_of(line), f"{path}, line {number}"
        like_others = 0 < len(columns) == usual and columns[-1] in known and ("\t" in line or not tabs)
        if line.startswith(DOCSTART):
            notes.setdefault(f"{DOCSTART} lines left out", []).append(where)
            columns = []
        elif line.startswith("# ") and not rows[-1][1] and not like_others:
            notes.setdefault("comments left out", []).append(where)
            columns = []
        elif columns:
            width = width or len(columns)
            if not columns[0]:
                raise UserError(f"{where}: the first column, which must hold the word, is empty")
            if len(columns) not in COLUMNS:
                what = "there must be 2 to 5, the word first and its label last, with tabs or spaces between them"
                raise UserError(f"{where}: {len(columns)} columns; {what}")
            if len(columns) != width:
                raise UserError(f"{where}: {len(columns)} columns, but {width} in the lines before")
        rows.append((number, columns))
    numbered = list(sentences_of(rows))
    if width > 2 and all(numbers(sentence.words) for _, sentence in numbered):
        raise UserError(f"{path}, line {numbered[0][0]}: the first column numbers the words; it must hold them")
    check_labels(path, numbered)
    return plain([(f"{path}, line {line}", sentence) for line, sentence in numbered], notes)


def numbers(words: Sequence[str]) -> bool:
    """Whether words are numbers that follow one another."""
    first = int(words[0]) if re.fullmatch("[0-9]{1,9}", words[0]) else None
    return first is not None and list(words) == [str(first + i) for i in range(len(words))]


def columns_of(line: str) -> list[str]:
    """The columns of a line, between tabs if it has one, else between spaces; a word may be a space of another kind."""
    if "\t" in line:
        return [column.strip() or column.strip(" ") for column in line.split("\t")]
    return [column for column in line.split(" ") if column]


def read_json(path: Path) -> Examples:
    """The texts of a file of JSON lines, each a sentence, with spans of characters.

    A line is `{"text": ..., "spans": [...]}` or `"entities"`, a span `[start, end, label]` or a dictionary of these;
    or `{"tokens": [...], "ner_tags": [...]}` with strings; UserError if it is not. Spans that are not of whole words,
    leave the text or overlap with one before are left out and noted, as are lines that Prodigy's annotators rejected
    or ignored. Labels of spans are types as they are, `S-Bahn` too.
    """
    placed, notes, bio = [], dict[str, list[str]](), False
    for number, line in enumerate(read_lines(path, RECORD_ENDS), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        record = json_object(line, where)
        if (answer := record.get("answer")) in ("reject", "ignore"):
            notes.setdefault(f'with the answer "{answer}" left out', []).append(where)
            continue
        tokens, tags = record.get("tokens"), record.get("ner_tags")
        if isinstance(tags, list):
            bio = True
            if not isinstance(tokens, list) or not all(isinstance(text, str) for text in [*tokens, *tags]):
                raise UserError(f"{where}: `tokens` and `ner_tags` must be lists of strings")
            if len(tokens) != len(tags):
                raise UserError(f"{where}: {len(tokens)} tokens and {len(tags)} tags")
            check_text(" ".join([*tokens, *tags]), where)
            sentence = clean(tokens, [tag.strip() for tag in tags])
        else:
            text, spans = record.get("text"), record.get("spans") or record.get("entities", record.get("spans"))
            if not isinstance(text, str) or not isinstance(spans, list):
                raise UserError(f"{where}: no `text` with a list of `spans` or `entities`")
            check_text(text, where)
            sentence = spans_to_labels(text, [read_span(span, where) for span in spans], where, notes)
        placed.append((where, sentence))
    return plain(placed, notes, bio)


def json_object(line: str, where: str) -> dict[str, Any]:
    """The JSON object of a line; UserError if it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):  # the latter: brackets thousands deep
        record = None
    if not isinstance(record, dict):
        raise UserError(f"{where}: not a JSON object; each line must be one")
    return record


def check_text(text: str, where: str) -> None:
    """Refuse (UserError) a NUL character, or half of a character that UTF-16 writes as two: no file can hold them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{where}: holds half a character, an unpaired surrogate") from None
    if "\0" in text:
        raise UserError(f"{where}: holds a NUL character")


def read_span(span: Any, where: str) -> tuple[int, int, str]:
    """The first character, the one after the last and the label of a span; UserError if these are not there."""
    if isinstance(span, dict):
        span = [span.get("start"), span.get("end"), span.get("label")]
    if not isinstance(span, list) or len(span) < 3 or [type(part) for part in span[:3]] != [int, int, str]:
        raise UserError(f"{where}: a span must be [start, end, label] or {{start, end, label}}, but one is {span}")
    label = span[2].strip()
    if not label or label == "O" or not label.isprintable():
        raise UserError(f"{where}: {span[2]!r} cannot be the label of a span")
    return span[0], span[1], label


def spans_to_labels(text: str, spans: list[tuple[int, int, str]], where: str, notes: dict[str, list[str]]) -> Sentence:
    """A text as labelled words; what becomes of no label is added to the notes."""
    words = list(word_spans(text))
    labels = ["O"] * len(words)
    for start, end, label in sorted(spans, key=lambda span: (span[0], -span[1])):
        inside = [i for i, (a, b) in enumerate(words) if a < end and start < b]
        if not 0 <= start < end <= len(text) or not inside:
            what = "spans that hold no word or leave the text"
        elif words[inside[0]][0] < start or end < words[inside[-1]][1]:
            what = "spans that begin or end within a word"
        elif any(labels[i] != "O" for i in inside):
            what = "spans that overlap with another"
        else:
            for i in inside:
                labels[i] = label
            if inside[0] and labels[inside[0] - 1] == label:
                notes.setdefault(JOINED, []).append(where)
            continue
        notes.setdefault(f"{what} left out", []).append(f"{where}: {text[max(start, 0) : end]!r}")
    return Sentence([text[a:b] for a, b in words], labels)


def word_spans(text: str) -> Iterator[tuple[int, int]]:
    """The first character of each word of a text and the one after its last.

    White space separates words; punctuation and symbols around a word are words, and so are a possessive 's and each
    letter of a script without spaces (Chinese, Japanese, Thai, ...). Accents, vowel signs and joiners belong to the
    character before.
    """
    for chunk in re.finditer(r"\S+", text):
        begins = [chunk.start()]  # of characters with what belongs to them
        begins += [i for i in range(begins[0] + 1, chunk.end()) if category(text[i]) not in ("Mn", "Mc", "Me", "Cf")]
        ends = [*begins[1:], chunk.end()]
        inner = [n for n, i in enumerate(begins) if category(text[i])[0] not in "PS"]
        first, last = (inner[0], inner[-1]) if inner else (len(begins), 0)
        alone = [not first <= n <= last or UNSPACED.match(text[i]) is not None for n, i in enumerate(begins)]
        possessive = len(inner) > 1 and text[begins[last - 1] : ends[last]] in ("'s", "’s", "'S")
        cuts = [i for n, i in enumerate(begins) if n == 0 or alone[n - 1] or alone[n] or (possessive and n == last - 1)]
        yield from pairwise([*cuts, chunk.end()])


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
