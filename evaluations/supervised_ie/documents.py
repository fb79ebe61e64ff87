"""Stand-off annotation -> sentences: text with its tags, offsets of characters, mentions aligned to words."""

import re
import xml.etree.ElementTree as ET
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from operator import itemgetter
from pathlib import Path
from typing import Any
from unicodedata import category

from nltk.tokenize import NLTKWordTokenizer, WordPunctTokenizer
from nltk.tokenize.punkt import PunktSentenceTokenizer

from data.sentences import UNSPACED
from evaluations.supervised_ie.data import NO_MENTION_TYPE, Entity, Event, Relation, Sentence

TAG = re.compile(r"(?P<tag><(?P<end>/?)(?P<name>[A-Za-z][\w.:-]*)[^<>]*?(?P<empty>/?)>|<[?!][^<>]*>)")
PIECE = re.compile(TAG.pattern + r"|&(?:#\d+|#x[0-9A-Fa-f]+|\w+);|[\s\S]")  # a tag, an escape, or one character
INLINE = {"a", "img"}  # tags that do not end a paragraph
# Not the document's own running text: headers, and posts quoted in a forum, which are not annotated again.
LEFT_OUT = {"docid", "doctype", "datetime", "date_time", "endtime", "postdate", "quote"}
# "Arab-Israeli" is three words, for annotation often ends at the hyphen; a letter of a script without spaces between
# words (Chinese, Japanese, Thai, Lao, Tibetan, Burmese, Khmer) is one, with the vowels and tones written on it.
MARKS = "".join(character for character in map(chr, range(0x0E00, 0x1800)) if category(character)[0] == "M")
LETTER = UNSPACED.pattern
WORD_PARTS = re.compile(rf"[-/–—]+|{LETTER}[{MARKS}\u3099\u309a]*|(?:(?!{LETTER})[^-/–—])+")


@dataclass(frozen=True)
class Mention:
    """An annotated stretch of a document: the characters [start, end) of its file, as the corpus counts them."""

    id: str
    start: int
    end: int
    type: str
    text: str
    mention_type: str = NO_MENTION_TYPE

    def __post_init__(self):
        if not self.type.strip():
            raise ValueError(f"the mention {self.id} has no type")


@dataclass
class Paragraph:
    """Running text with, for each character, where it begins and ends in the file ("&amp;" is one for five)."""

    text: str = ""
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)


class Report(dict[str, dict[str, Any]]):
    """How many annotations were changed or left out, by reason, and the first of each."""

    def add(self, reason: str, where: str | Path, what: str) -> None:
        self.setdefault(reason, {"count": 0, "first": f"{where}: {what}"})["count"] += 1


@dataclass
class Document:
    """A document as annotated; relations and arguments name mentions by id."""

    doc_id: str
    path: Path  # of its annotation
    counted: str  # the characters that the corpus's offsets count
    paragraphs: list[Paragraph]
    entities: dict[str, Mention] = field(default_factory=dict)  # by id
    no_entities: set[str] = field(default_factory=set)  # ids of annotated times, values and fillers
    relations: list[tuple[str, str, str]] = field(default_factory=list)  # type, Arg-1, Arg-2
    events: list[tuple[Mention, list[tuple[str, str]]]] = field(default_factory=list)  # trigger, (mention id, role)

    def add_entity(self, mention: Mention) -> None:
        """Add the mention of an entity; a `ValueError` if another one has its id."""
        if mention.id in self.entities:
            raise ValueError(f"two mentions have the id {mention.id}")
        self.entities[mention.id] = mention


def read_source(raw: str, tags_count: bool) -> tuple[str, list[Paragraph]]:
    """The counted characters of a file, and its running text in paragraphs, cut at tags and blank lines.

    Offsets count the characters of escapes such as `&amp;`, and those of tags if `tags_count` (Rich ERE, not ACE).
    """
    tags = [(tag["name"].lower(), bool(tag["end"])) for tag in TAG.finditer(raw) if tag["name"] and not tag["empty"]]
    closed = {name for name in LEFT_OUT if tags.count((name, False)) == tags.count((name, True))}
    runs, position, left_out = [Paragraph()], 0, 0
    for piece in PIECE.finditer(raw):
        if piece["tag"]:
            name = (piece["name"] or "").lower()
            if name in closed and not piece["empty"]:
                left_out += -1 if piece["end"] else 1
            if name not in INLINE:
                runs.append(Paragraph())
        elif not left_out:
            text, after = unescape(piece[0]), position + len(piece[0])
            escaped = text != piece[0]  # its characters are one in the file; "&D;" is no escape
            runs[-1].text += text
            runs[-1].starts += [position] * len(text) if escaped else range(position, after)
            runs[-1].ends += [after] * len(text) if escaped else range(position + 1, after + 1)
        if tags_count or not piece["tag"]:
            position += len(piece[0])
    paragraphs = []
    for run in runs:
        for part in re.finditer(r"(?:(?!\n\s*\n)[\s\S])+", run.text):
            if part[0].strip():
                cut = slice(*part.span())
                paragraphs.append(Paragraph(run.text[cut], run.starts[cut], run.ends[cut]))
    return raw if tags_count else TAG.sub("", raw), paragraphs


def part(element: ET.Element, path: str) -> ET.Element:
    """What a format demands below an element; a `LookupError` if it is not there."""
    found = element.find(path)
    if found is None:
        raise LookupError(f"<{element.tag}> without <{path}>")
    return found


def word_spans(text: str) -> Iterator[tuple[int, int]]:
    """The words of a sentence as the Penn Treebank splits them, cut further by `WORD_PARTS`."""
    try:
        spans = list(NLTKWordTokenizer().span_tokenize(text))
    except ValueError:  # it loses its place among mixed kinds of quotes
        spans = list(WordPunctTokenizer().span_tokenize(text))
    for start, end in spans:
        for part in WORD_PARTS.finditer(text[start:end]):
            yield start + part.start(), start + part.end()


def to_sentences(document: Document, splitter: PunktSentenceTokenizer, report: Report) -> list[Sentence]:
    """The document's sentences with all that could be aligned to their words; the rest goes to the report."""
    sentences: list[Sentence] = []
    words: list[tuple[int, int, int, int]] = []  # start, end in the file; sentence; position in it
    for paragraph in document.paragraphs:
        for start, end in splitter.span_tokenize(paragraph.text):
            text = paragraph.text[start:end]
            sentence = Sentence(document.doc_id, f"{document.doc_id}-{len(sentences)}", [])
            for a, b in word_spans(text):
                first, last = start + a, start + b - 1
                words.append((paragraph.starts[first], paragraph.ends[last], len(sentences), len(sentence.tokens)))
                sentence.tokens.append(text[a:b])
            sentences.append(sentence)

    def align(mention: Mention, kind: str) -> tuple[int, int, int] | None:
        """(sentence, first word, one past the last), or None; what is not as it should be goes to the report."""
        start, end, size, what = mention.start, mention.end, len(document.counted), repr(mention.text)
        covered = words[bisect_right(words, start, key=itemgetter(1)) : bisect_left(words, end, key=itemgetter(0))]
        within = {sentence for _, _, sentence, _ in covered}
        problem = None
        if not 0 <= start < end <= size:
            problem, what = "whose offsets leave the document", f"{what}, [{start}, {end}) of {size} characters"
        elif unescape(document.counted[start:end]).split() != unescape(mention.text).split():
            problem = "whose text is not at its offsets"
        elif len(within) != 1:
            problem = "across sentences" if within else "outside the running text"
        elif (covered[0][0], covered[-1][1]) != (start, end):
            report.add(f"{kind} widened to whole words", document.path, what)
        if problem:
            report.add(f"{kind} {problem}", document.path, what)
            return None
        return covered[0][2], covered[0][3], covered[-1][3] + 1

    home: dict[str, tuple[int, int]] = {}  # mention id -> sentence, position in its entities
    for mention in document.entities.values():
        if place := align(mention, "entity"):
            entities = sentences[place[0]].entities
            home[mention.id] = (place[0], len(entities))
            entities.append(Entity(*place[1:], mention.type, mention.mention_type))

    def lost(mention_id: str) -> str:
        """Why a relation or an event does not get this argument; empty where it does."""
        ids = {"": home, "was not aligned": document.entities, "is no entity": document.no_entities}
        return next((why for why, known in ids.items() if mention_id in known), "has an unknown id")

    for kind, head, tail in document.relations:
        if why := lost(head) or lost(tail):
            report.add(f"relation whose argument {why}", document.path, f"{kind} of {head} and {tail}")
        elif head == tail or home[head][0] != home[tail][0]:
            reason = "of an entity with itself" if head == tail else "across sentences"
            report.add(f"relation {reason}", document.path, kind)
        else:
            sentences[home[head][0]].relations.append(Relation(kind, home[head][1], home[tail][1]))
    for trigger, arguments in document.events:
        if not (place := align(trigger, "trigger")):
            continue
        kept = []
        for mention_id, role in arguments:
            what = f"{role} {mention_id} of {trigger.text!r}"
            if why := lost(mention_id):
                report.add(f"argument that {why}", document.path, what)
            elif home[mention_id][0] != place[0]:
                report.add("argument in another sentence", document.path, what)
            else:
                kept.append((home[mention_id][1], role))
        sentences[place[0]].events.append(Event(*place[1:], trigger.type, tuple(kept)))
    return sentences
