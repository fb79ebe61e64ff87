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
    """One JSON object as a sentence; only `tokens` must be there.

    Raises:
        ValueError: what is wrong with it: a missing or mistyped field, a span that is empty or leaves the
            sentence, an entity id that is used twice or unknown, a relation without Arg-1 and Arg-2.
    """
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    tokens = record.get("tokens")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(t, str) and t.strip() for t in tokens):
        raise ValueError("`tokens` is not a non-empty list of words")
    sent_id = str(record.get("sent_id") or "")
    doc_id = str(record.get("doc_id") or sent_id)
    "".join([*tokens, doc_id, sent_id]).encode()  # half a surrogate pair, which JSON can spell, is a ValueError too

    def span(of: dict, name: str) -> Span:
        start, end = of["start"], of["end"]
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(tokens):
            raise ValueError(f"{name} spans [{start}, {end}) in a sentence of {len(tokens)} words")
        return start, end

    def label(of: dict, key: str) -> str:
        if not isinstance(of[key], str) or not of[key]:
            raise ValueError(f"`{key}` is {of[key]!r}, not a name")
        of[key].encode()  # see above
        return of[key]

    def entity_position(entity_id: str, user: str) -> int:
        if entity_id not in position:
            raise ValueError(f"{user} names the unknown entity id {entity_id!r}")
        return position[entity_id]

    sentence = Sentence(doc_id, sent_id, tokens)
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
            arguments = {a["role"]: entity_position(a["entity_id"], "a relation") for a in relation["arguments"]}
            if len(relation["arguments"]) != 2 or set(arguments) != {"Arg-1", "Arg-2"}:
                raise ValueError("a relation needs exactly the arguments Arg-1 and Arg-2")
            if arguments["Arg-1"] == arguments["Arg-2"]:
                raise ValueError("a relation of an entity with itself")
            head, tail = arguments["Arg-1"], arguments["Arg-2"]
            sentence.relations.append(Relation(label(relation, "relation_type"), head, tail))
        for event in record.get("event_mentions", []):
            kind = label(event, "event_type")
            bounds = span(event["trigger"], f"the trigger of a {kind} event")
            arguments = [(entity_position(a["entity_id"], "an event"), label(a, "role")) for a in event["arguments"]]
            sentence.events.append(Event(*bounds, kind, tuple(arguments)))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a mention with a missing or mistyped field: {error}") from None
    return sentence


def to_record(sentence: Sentence) -> dict:
    """The inverse of `parse`, with ids made from the sentence's."""

    def text(start: int, end: int) -> str:
        return " ".join(sentence.tokens[start:end])

    def mention(position: int) -> dict:
        entity = sentence.entities[position]
        return {"entity_id": f"{sentence.sent_id}-E{position}", "text": text(entity.start, entity.end)}

    entities = [
        {
            "id": f"{sentence.sent_id}-E{i}",
            "start": e.start,
            "end": e.end,
            "entity_type": e.type,
            "mention_type": e.mention_type,
            "text": text(e.start, e.end),
        }
        for i, e in enumerate(sentence.entities)
    ]
    relations = [
        {
            "id": f"{sentence.sent_id}-R{i}",
            "relation_type": r.type,
            "arguments": [{**mention(r.head), "role": "Arg-1"}, {**mention(r.tail), "role": "Arg-2"}],
        }
        for i, r in enumerate(sentence.relations)
    ]
    events = [
        {
            "id": f"{sentence.sent_id}-EV{i}",
            "event_type": e.type,
            "trigger": {"start": e.start, "end": e.end, "text": text(e.start, e.end)},
            "arguments": [{**mention(entity), "role": role} for entity, role in e.arguments],
        }
        for i, e in enumerate(sentence.events)
    ]
    return {
        "doc_id": sentence.doc_id,
        "sent_id": sentence.sent_id,
        "tokens": list(sentence.tokens),
        "sentence": " ".join(sentence.tokens),
        "entity_mentions": entities,
        "relation_mentions": relations,
        "event_mentions": events,
    }


def write_sentences(path: str | Path, sentences: Iterable[Sentence]) -> None:
    """Write sentences in OneIE's JSON-lines format, the whole file or nothing."""
    write_atomically(path, "".join(json.dumps(to_record(s), ensure_ascii=False) + "\n" for s in sentences))


def without_overlap(spans: Iterable[Span]) -> list[Span]:
    """The spans that one BIO sequence can hold, sorted: of those that overlap the longest, then the first, stays."""
    kept: list[Span] = []
    for start, end in sorted(set(spans), key=lambda span: (span[0] - span[1], span)):
        if all(end <= s or e <= start for s, e in kept):
            kept.append((start, end))
    return sorted(kept)


def read_sentences(path: str | Path) -> list[Sentence]:
    """All sentences of a file in OneIE's JSON-lines format.

    Overlapping spans, an entity with two roles in one event and two relations between the same entities are
    legal, but beyond what this model can predict: they are kept, count against the scores, and a note on
    stderr says how many there are and where.

    Raises:
        UserError: the file cannot be read, is empty, or has bad lines: how many, and the first ones by
            line and reason. Nothing is dropped.
    """
    sentences, problems, beyond = [], [], []
    for number, line in enumerate(read_lines(path, RECORD_ENDS, LONGEST_RECORD), start=1):
        try:
            sentence = parse(json.loads(line))
        except json.JSONDecodeError as error:
            problems.append(f"line {number}: not JSON: {error.msg} at column {error.colno}")
            continue
        except (ValueError, RecursionError) as error:  # the latter of a thousand brackets
            problems.append(f"line {number}: {error}")
            continue
        sentence.sent_id = sentence.sent_id or f"{Path(path).stem}-{number}"
        sentence.doc_id = sentence.doc_id or sentence.sent_id
        sentences.append(sentence)
        for mentions in (sentence.entities, sentence.events):
            excess = len(mentions) - len(without_overlap((m.start, m.end) for m in mentions))
            beyond += [f"line {number} (overlapping spans)"] * excess
        for event in sentence.events:
            excess = len(event.arguments) - len({entity for entity, _ in event.arguments})
            beyond += [f"line {number} (an argument with two roles)"] * excess
        excess = len(sentence.relations) - len({frozenset((r.head, r.tail)) for r in sentence.relations})
        beyond += [f"line {number} (two relations between two entities)"] * excess
    if problems:
        raise UserError(f"{path}: {len(problems)} bad lines: {_first(problems, '; ')}")
    if not sentences:
        raise UserError(f"{path} holds no sentence")
    if beyond:
        note = f"{len(beyond)} mentions that this model cannot predict, kept and scored"
        print(f"note: {path}: {note}: {_first(beyond, ', ')}", file=sys.stderr)
    return sentences


def _first(items: list[str], separator: str) -> str:
    more = len(items) - NAMED_AT_MOST
    return separator.join(items[:NAMED_AT_MOST]) + (f"{separator}and {more} more" if more > 0 else "")


def split_path(directory: str | Path, split: str) -> Path:
    """Where a prepared corpus keeps its train, dev or test sentences."""
    return Path(directory) / f"{split}.oneie.jsonl"
