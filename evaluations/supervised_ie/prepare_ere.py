"""Read Rich ERE (LDC2015E29, LDC2015E68, LDC2015E78): `<name>.rich_ere.xml` and its source, found by name.

`offset` and `length` count every character of the source file, tags and escapes included. A nominal mention is
its head, a relation its coarse type, an event type:subtype. Fillers that are weapons and vehicles are entities,
as in OneIE's experiments; the other fillers are no entities, and relations and arguments with one are left out
and counted.
"""

import xml.etree.ElementTree as ET
from pathlib import Path

from common.errors import UserError
from evaluations.supervised_ie.data import NO_MENTION_TYPE
from evaluations.supervised_ie.documents import Document, Mention, part, read_source

SUFFIX = ".rich_ere.xml"
SOURCE_SUFFIXES = (".cmp.txt", ".mpdf.xml", ".mp.txt", ".xml", ".txt")
FILLER_ENTITIES = {"weapon": "WEA", "vehicle": "VEH"}


def source_of(path: Path, files: dict[str, list[Path]]) -> Path:
    """The text that an annotation file belongs to: among all files by name, the one of its name, which may not exist; a
    `UserError` if it is there twice."""
    names = [path.name.removesuffix(SUFFIX) + suffix for suffix in SOURCE_SUFFIXES]
    found = next((files[name] for name in names if name in files), [path.with_name(names[0])])
    if len(found) > 1:
        raise UserError(f"the text of {path} is there twice: {found[0]} and {found[1]}")
    return found[0]


def read_document(path: Path, raw: str, root: ET.Element) -> Document:
    """One document, of the content of its source file and the root of its .rich_ere.xml; a `ValueError` or
    `LookupError` if a part that the format demands is missing or wrong."""
    document = Document(path.name.removesuffix(SUFFIX), path, *read_source(raw, tags_count=True))
    for entity in root.iter("entity"):
        for mention in entity.iter("entity_mention"):
            nominal_head, text = mention.find("nom_head"), mention.findtext("mention_text", "")
            at, text = (mention, text) if nominal_head is None else (nominal_head, nominal_head.text)
            mention_type = mention.get("noun_type") or NO_MENTION_TYPE
            document.add_entity(_mention(mention, at, text, entity.attrib["type"], mention_type))
    for filler in root.iter("filler"):
        if kind := FILLER_ENTITIES.get(filler.attrib["type"]):
            document.add_entity(_mention(filler, filler, filler.text, kind, "NOM"))
        else:
            document.no_entities.add(filler.attrib["id"])
    for relation in root.iter("relation"):
        for mention in relation.iter("relation_mention"):
            head, tail = (_reference(part(mention, name)) for name in ("rel_arg1", "rel_arg2"))
            document.relations.append((relation.attrib["type"], head, tail))
    for event in root.iter("event_mention"):
        trigger = part(event, "trigger")
        kind = f"{event.attrib['type']}:{event.attrib['subtype']}"
        arguments = [(_reference(argument), argument.attrib["role"]) for argument in event.iter("em_arg")]
        document.events.append((_mention(event, trigger, trigger.text, kind), arguments))
    return document


def _mention(
    element: ET.Element, at: ET.Element, text: str | None, kind: str, mention_type: str = NO_MENTION_TYPE
) -> Mention:
    start = int(at.attrib["offset"])
    return Mention(element.attrib["id"], start, start + int(at.attrib["length"]), kind, text or "", mention_type)


def _reference(argument: ET.Element) -> str:
    return argument.get("entity_mention_id") or argument.attrib["filler_id"]
