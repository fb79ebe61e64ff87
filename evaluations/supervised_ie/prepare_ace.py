"""Read ACE 2005 (LDC2006T06): `<name>.sgm` beside `<name>.apf.xml`.

Offsets count the characters of the .sgm file without its tags, END included; an escape such as `&amp;` counts
with all its characters. A mention is its head, a relation its coarse type, an event TYPE:SUBTYPE, as in OneIE's
experiments; arguments that are times or values and no entities are left out and counted.
"""

import xml.etree.ElementTree as ET
from pathlib import Path

from evaluations.supervised_ie.data import NO_MENTION_TYPE
from evaluations.supervised_ie.documents import Document, Mention, part, read_source

SUFFIX = ".apf.xml"


def source_of(path: Path, files: dict[str, list[Path]]) -> Path:
    """The text that an annotation file belongs to: the one beside it."""
    return path.with_name(path.name.removesuffix(SUFFIX) + ".sgm")


def read_document(path: Path, raw: str, root: ET.Element) -> Document:
    """One document, of the content of its .sgm file and the root of its .apf.xml; a `ValueError` or `LookupError` if a
    part that the format demands is missing or wrong."""
    document = Document(path.name.removesuffix(SUFFIX), path, *read_source(raw, tags_count=False))
    for entity in root.iter("entity"):
        for mention in entity.iter("entity_mention"):
            document.add_entity(
                _mention(mention, "head/charseq", entity.attrib["TYPE"], mention.get("TYPE") or NO_MENTION_TYPE)
            )
    document.no_entities |= {m.attrib["ID"] for name in ("timex2_mention", "value_mention") for m in root.iter(name)}
    for relation in root.iter("relation"):
        for mention in relation.iter("relation_mention"):
            ends = {a.attrib["ROLE"]: a.attrib["REFID"] for a in mention.iter("relation_mention_argument")}
            document.relations.append((relation.attrib["TYPE"], ends["Arg-1"], ends["Arg-2"]))
    for event in root.iter("event"):
        kind = f"{event.attrib['TYPE']}:{event.attrib['SUBTYPE']}"
        for mention in event.iter("event_mention"):
            arguments = [(a.attrib["REFID"], a.attrib["ROLE"]) for a in mention.iter("event_mention_argument")]
            document.events.append((_mention(mention, "anchor/charseq", kind), arguments))
    return document


def _mention(element: ET.Element, place: str, kind: str, mention_type: str = NO_MENTION_TYPE) -> Mention:
    words = part(element, place)
    start, end = int(words.attrib["START"]), int(words.attrib["END"]) + 1
    return Mention(element.attrib["ID"], start, end, kind, words.text or "", mention_type)
