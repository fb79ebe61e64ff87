"""Annotated sentences: OneIE's JSON-lines format, read with every check and written back."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UserError
from common.files import write_atomically
from common.text import RECORD_ENDS, read_lines

NO_MENTION_TYPE = "UNK"  # what OneIE's format says where a corpus does not tell names from nouns and pronouns
LONGEST_RECORD = 100_000_000  # characters of a line of JSON: a document with all its annotation
NAMED_AT_MOST = 5  # problems spelt out in one message; all are counted

Span = tuple[int, int]  # first word and one past the last


@dataclass(frozen=True)
class Entity:
    """A mention of an entity: the words [start, end), its type and how it mentions (name, noun, pronoun)."""

    start: int
    end: int
    type: str
    mention_type: str = NO_MENTION_TYPE


@dataclass(frozen=True)
class Relation:
    """A directed relation between two entities, given by their positions in `Sentence.entities`."""

    type: str
    head: int  # Arg-1
    tail: int  # Arg-2


@dataclass(frozen=True)
class Event:
    """An event: its trigger's words [start, end), its type, and (entity position, role) of its arguments."""

    start: int
    end: int
    type: str
    arguments: tuple[tuple[int, str], ...] = ()


@dataclass
class Sentence:
    """One sentence and what is annotated, or predicted, in it."""

    doc_id: str
    sent_id: str
    tokens: list[str]
    entities: list[Entity] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


def parse(record: object) -> Sentence:
    """One JSON object as a sentence; only `tokens` must be there. What is wrong with it is a `ValueError`."""
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    tokens = record.get("tokens")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(t, str) and t.strip() for t in tokens):
        raise ValueError("`tokens` is not a non-empty list of words")

    def span(of: dict, name: str) -> Span:
        start, end = of["start"], of["end"]
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(tokens):
            raise ValueError(f"{name} spans [{start}, {end}) in a sentence of {len(tokens)} words")
        return start, end

    def label(of: dict, key: str) -> str:
        if not isinstance(of[key], str) or not of[key]:
            raise ValueError(f"`{key}` is {of[key]!r}, not a name")
        return of[key]

    def entity_position(argument: dict, user: str) -> int:
        if argument["entity_id"] not in position:
            raise ValueError(f"{user} names the unknown entity id {argument['entity_id']!r}")
        return position[argument["entity_id"]]

    sent_id = str(record.get("sent_id") or "")
    sentence = Sentence(str(record.get("doc_id") or sent_id), sent_id, tokens)
    position: dict[str, int] = {}
    try:
        for entity in record.get("entity_mentions", []):
            if entity["id"] in position:
                raise ValueError(f"two entities have the id {entity['id']!r}")
            position[entity["id"]] = len(position)
            bounds = span(entity, f"entity {entity['id']!r}")
            mention_type = label(entity, "mention_type") if "mention_type" in entity else NO_MENTION_TYPE
            sentence.entities.append(Entity(*bounds, label(entity, "entity_type"), mention_type))
        for relation in record.get("relation_mentions", []):
            ends = {a["role"]: entity_position(a, "a relation") for a in relation["arguments"]}
            if len(relation["arguments"]) != 2 or ends.keys() != {"Arg-1", "Arg-2"}:
                raise ValueError("a relation needs exactly the arguments Arg-1 and Arg-2")
            if ends["Arg-1"] == ends["Arg-2"]:
                raise ValueError("a relation of an entity with itself")
            sentence.relations.append(Relation(label(relation, "relation_type"), ends["Arg-1"], ends["Arg-2"]))
        for event in record.get("event_mentions", []):
            kind = label(event, "event_type")
            bounds = span(event["trigger"], f"the trigger of a {kind} event")
            arguments = tuple((entity_position(a, "an event"), label(a, "role")) for a in event["arguments"])
            sentence.events.append(Event(*bounds, kind, arguments))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a mention with a missing or mistyped field: {error}") from None
    names = [m.type for part in (sentence.entities, sentence.relations, sentence.events) for m in part]
    names += [e.mention_type for e in sentence.entities] + [role for e in sentence.events for _, role in e.arguments]
    " ".join([*tokens, *names, sentence.doc_id, sent_id]).encode()  # half a surrogate pair is a ValueError too
    return sentence


def to_record(sentence: Sentence) -> dict:
    """The inverse of `parse`, with ids made from the sentence's."""
    name = sentence.sent_id

    def text(of: Entity | Event) -> str:
        return " ".join(sentence.tokens[of.start : of.end])

    def argument(position: int, role: str) -> dict:
        return {"entity_id": f"{name}-E{position}", "text": text(sentence.entities[position]), "role": role}

    return {
        "doc_id": sentence.doc_id,
        "sent_id": name,
        "tokens": list(sentence.tokens),
        "sentence": " ".join(sentence.tokens),
        "entity_mentions": [
            {
                "id": f"{name}-E{i}",
                "start": e.start,
                "end": e.end,
                "entity_type": e.type,
                "mention_type": e.mention_type,
                "text": text(e),
            }
            for i, e in enumerate(sentence.entities)
        ],
        "relation_mentions": [
            {
                "id": f"{name}-R{i}",
                "relation_type": r.type,
                "arguments": [argument(r.head, "Arg-1"), argument(r.tail, "Arg-2")],
            }
            for i, r in enumerate(sentence.relations)
        ],
        "event_mentions": [
            {
                "id": f"{name}-EV{i}",
                "event_type": e.type,
                "trigger": {"start": e.start, "end": e.end, "text": text(e)},
                "arguments": [argument(*of_event) for of_event in e.arguments],
            }
            for i, e in enumerate(sentence.events)
        ],
    }


def to_json(sentence: Sentence) -> str:
    """A line of OneIE's format."""
    return json.dumps(to_record(sentence), ensure_ascii=False)


def write_sentences(path: str | Path, sentences: Iterable[Sentence]) -> None:
    """Write sentences in OneIE's JSON-lines format, the whole file or nothing."""
    write_atomically(path, "".join(to_json(sentence) + "\n" for sentence in sentences))


def without_overlap(spans: Iterable[Span]) -> list[Span]:
    """The spans that one BIO sequence can hold, sorted: of those that overlap the longest, then the first, stays."""
    kept: list[Span] = []
    for start, end in sorted(set(spans), key=lambda span: (span[0] - span[1], span)):
        if all(end <= s or e <= start for s, e in kept):
            kept.append((start, end))
    return sorted(kept)


def read_sentences(path: str | Path) -> list[Sentence]:
    """All sentences of a file in OneIE's JSON-lines format; nothing is dropped.

    What is legal, but beyond what this model can predict, counts against the scores; a note on stderr says how much
    there is and where.

    Raises:
        UserError: the file cannot be read, is empty, or has bad lines: how many, and the first ones by line and reason.
    """
    sentences, problems, beyond = [], [], []
    for number, line in enumerate(read_lines(path, RECORD_ENDS, LONGEST_RECORD), start=1):
        try:
            sentence = parse(json.loads(line))
        except (ValueError, RecursionError) as error:  # the latter of a thousand brackets
            if isinstance(error, json.JSONDecodeError):
                error = f"not JSON: {error.msg} at column {error.colno}"
            problems.append(f"line {number}: {error}")
            continue
        sentence.sent_id = sentence.sent_id or f"{Path(path).stem}-{number}"
        sentence.doc_id = sentence.doc_id or sentence.sent_id
        sentences.append(sentence)
        groups = (sentence.entities, sentence.events)
        excess = {
            "overlapping spans": sum(len(g) - len(without_overlap((m.start, m.end) for m in g)) for g in groups),
            "an argument with two roles": sum(len(e.arguments) - len(dict(e.arguments)) for e in sentence.events),
            "two relations between two entities": len(sentence.relations)
            - len({frozenset((r.head, r.tail)) for r in sentence.relations}),
        }
        beyond += [f"line {number} ({what})" for what, times in excess.items() for _ in range(times)]
    if problems:
        raise UserError(f"{path}: {len(problems)} bad lines: {first_of(problems, '; ')}")
    if not sentences:
        raise UserError(f"{path} holds no sentence")
    if beyond:
        note = f"{len(beyond)} mentions that this model cannot predict, kept and scored"
        print(f"note: {path}: {note}: {first_of(beyond, ', ')}", file=sys.stderr)
    return sentences


def first_of(items: list[str], separator: str) -> str:
    """The first few of many, and how many more there are."""
    more = len(items) - NAMED_AT_MOST
    return separator.join(items[:NAMED_AT_MOST]) + (f"{separator}and {more} more" if more > 0 else "")


def split_path(directory: str | Path, split: str) -> Path:
    """Where a prepared corpus keeps its train, dev or test sentences."""
    return Path(directory) / f"{split}.oneie.jsonl"
