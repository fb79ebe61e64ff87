"""Read DyGIE++'s JSON (Wadden et al., EMNLP 2019): one document a line, spans in words of the document, inclusive.

Left out and counted: what reaches from one sentence into another, and relations and arguments between words that are
no entity. Words of white space, as some tokenizers make them, are dropped and counted; spans shrink by them.
"""

from bisect import bisect_right
from itertools import accumulate

from evaluations.supervised_ie.data import Entity, Event, Relation, Sentence
from evaluations.supervised_ie.documents import Report

Place = tuple[int, int, int]  # sentence, first word and one past the last in it
ACROSS = -1  # the sentence of what reaches from one into another


def read_document(record: dict, where: str, report: Report) -> list[Sentence]:
    """One document's sentences; `where` is its file and line, for the report. `Life.Die` becomes `Life:Die`. What is
    not of the format is a `ValueError`, `KeyError` or `TypeError`."""
    doc_id, texts = record["doc_key"], record["sentences"]
    words = [word for tokens in texts for word in tokens]
    if not all(isinstance(tokens, list) for tokens in texts) or not all(isinstance(word, str) for word in words):
        raise ValueError("`sentences` are not lists of words")
    begins = [0, *accumulate(map(len, texts))]  # the first word of each sentence, and one past the last of all
    kept = [0, *accumulate(bool(word.strip()) for word in words)]  # words in front of each that stay

    def place(start: int, end: int) -> Place:
        if not 0 <= start <= end < len(words):
            raise ValueError(f"the span [{start}, {end}] is not in the words of its document")
        number, last = (bisect_right(begins, word) - 1 for word in (start, end))
        first = kept[begins[number]]
        return number if number == last else ACROSS, kept[start] - first, kept[end + 1] - first

    for word in words:
        if not word.strip():
            report.add("word of white space", where, repr(word))
    sentences = []
    absent = [[] for _ in texts]
    layers = [record.get(name, absent) for name in ("ner", "relations", "events")]
    for number, (tokens, ner, relations, events) in enumerate(zip(texts, *layers, strict=True)):
        sentence = Sentence(doc_id, f"{doc_id}-{number}", [word for word in tokens if word.strip()])
        position: dict[Place, int] = {}
        for start, end, kind in ner:
            at = place(start, end)
            if at[0] not in (number, ACROSS):  # where offsets land that count from the sentence's own beginning
                raise ValueError(f"the span [{start}, {end}] is not in the words of its sentence")
            if at[0] == ACROSS or at[1] == at[2]:
                report.add(f"entity {'across sentences' if at[0] == ACROSS else 'of white space alone'}", where, kind)
            else:
                position.setdefault(at, len(sentence.entities))
                sentence.entities.append(Entity(*at[1:], kind))
        for *ends, kind in relations:
            head, tail = place(*ends[:2]), place(*ends[2:])
            if not head[0] == tail[0] == number:
                report.add("relation across sentences", where, kind)
            elif head in position and tail in position and head != tail:
                sentence.relations.append(Relation(kind, position[head], position[tail]))
            else:
                report.add("relation between words that are not two entities", where, kind)
        for (*bounds, kind), *arguments in events:
            trigger = place(bounds[0], bounds[-1])  # one word, or first and last
            places = [(place(start, end), role) for start, end, role in arguments]
            if trigger[0] != number or trigger[1] == trigger[2]:
                reason = "across sentences" if trigger[0] != number else "of white space alone"
                report.add(f"trigger {reason}", where, kind)
                continue
            for at, role in places:
                if at not in position:
                    reason = "that is no entity" if at[0] == number else "in another sentence"
                    report.add(f"argument {reason}", where, f"{role} of {kind}")
            taken = tuple((position[at], role) for at, role in places if at in position)
            sentence.events.append(Event(*trigger[1:], kind.replace(".", ":"), taken))
        if sentence.tokens:
            sentences.append(sentence)
        else:
            report.add("sentence without words", where, sentence.sent_id)
    return sentences
