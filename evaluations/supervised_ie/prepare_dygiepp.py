"""Read DyGIE++'s JSON (Wadden et al., EMNLP 2019): one document a line, spans in words of the document, inclusive."""

from evaluations.supervised_ie.data import Entity, Event, Relation, Sentence
from evaluations.supervised_ie.documents import Report


def read_document(record: dict, where: str, report: Report) -> list[Sentence]:
    """One document's sentences. `Life.Die` becomes `Life:Die`; an argument or a relation between words that are
    no entity of the sentence is left out and counted.

    Args:
        where: file and line, for the report.

    Raises:
        ValueError, KeyError, TypeError: the record is not of the format; the message says what is wrong.
    """
    doc_id, first, sentences = record["doc_key"], 0, []
    absent = [[] for _ in record["sentences"]]
    layers = [record.get(name, absent) for name in ("ner", "relations", "events")]
    for number, (tokens, ner, relations, events) in enumerate(zip(record["sentences"], *layers, strict=True)):
        sentence = Sentence(doc_id, f"{doc_id}-{number}", tokens)

        def span(start: int, end: int, first=first, tokens=tokens) -> tuple[int, int]:
            if not first <= start <= end < first + len(tokens):
                raise ValueError(f"the span [{start}, {end}] is not in the words of its sentence")
            return start - first, end - first + 1

        position: dict[tuple[int, int], int] = {}
        for start, end, kind in ner:
            position.setdefault(span(start, end), len(sentence.entities))
            sentence.entities.append(Entity(*span(start, end), kind))
        for *ends, kind in relations:
            head, tail = span(*ends[:2]), span(*ends[2:])
            if head in position and tail in position and head != tail:
                sentence.relations.append(Relation(kind, position[head], position[tail]))
            else:
                report.add("relation between words that are not two entities", where, kind)
        for (*bounds, kind), *arguments in events:
            trigger = span(bounds[0], bounds[-1])  # one word, or first and last
            kept = []
            for start, end, role in arguments:
                if span(start, end) in position:
                    kept.append((position[span(start, end)], role))
                else:
                    report.add("argument that is no entity", where, f"{role} of {kind}")
            sentence.events.append(Event(*trigger, kind.replace(".", ":"), tuple(kept)))
        if tokens:
            sentences.append(sentence)
        else:
            report.add("sentence without words", where, sentence.sent_id)
        first += len(tokens)
    return sentences
