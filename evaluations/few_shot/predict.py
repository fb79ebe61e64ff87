"""Tag your own text from a few examples, with a run's source training.

python -m evaluations.few_shot.predict --run NAME --support examples.txt --input text.txt --html page.html

The examples are in any format of evaluations.few_shot.episodes. The text is a sentence a line, or, in a file .jsonl,
{"text": ...} or {"tokens": [...]} a line. Each entity is printed as a line: number of the sentence's line, characters
START-END from 0, type, text and score, with tabs between them. The score is the probability of the type by the method's
scores of the labels, averaged over the entity's words; it is empty for methods without scores (tadner, readout).
"""

import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.errors import UserError, note, run
from common.files import write_atomically
from common.flags import Count, flag, parse
from common.text import RECORD_ENDS, read_lines
from evaluations.few_shot.formats import check_text, json_object, looks_like_json, named_json, read_examples
from evaluations.few_shot.methods import METHODS
from evaluations.few_shot.methods.names import read_label_names
from evaluations.few_shot.recipe import PLACE
from evaluations.few_shot.tagger import Entity, FewShotTagger, Texts, spans_of
from evaluations.pages import render
from runs.directory import FINISHED, disk_errors

SHOWN = (10_000, 3_000, 1_000, 300, 100, 30, 10)  # sentences on the page, as it has room for
WORDS, CHARACTERS = 1_000, 1_000  # on the page, of a sentence and of a word or an entity


@dataclass(frozen=True, kw_only=True)
class Recipe:
    run: str = flag(help="name of the run whose source training is used, or its directory")
    type: str | None = flag(None, "of the run, where there are several of the name: intra, inter, ...")
    method: str = flag("container", "few-shot method", choices=METHODS)
    support: str = flag(help="examples: a file, a hub id or a directory")
    split: str = flag("train", "of examples in a data set: which of them are read")
    tags: str = flag("ner_tags", "of examples in a data set: the column of the labels")
    input: Path = flag(help="text to tag; /dev/stdin for what is piped in")
    json: bool = flag(False, "print each entity as JSON: sentence, start, end, label, text, score")
    html: Path | None = flag(None, "page to write, with the entities in colour")
    batch_size: Count = flag(64, "sentences that are tagged at once")
    label_names: Path | None = flag(None, "label<TAB>words, a line each, for methods that read label names")
    output: Path = flag(PLACE / "outputs/few-nerd", "directory of the runs")
    device: str = flag("auto", "cpu, cuda, cuda:1, ...; auto: a GPU where there is one")


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    if recipe.html and (recipe.html.is_dir() or not recipe.html.parent.is_dir()):
        what = "is a directory" if recipe.html.is_dir() else "lies in a directory that does not exist"
        raise UserError(f"--html {recipe.html} {what}")
    if recipe.html and recipe.html.resolve() in (recipe.input.resolve(), Path(recipe.support).resolve()):
        raise UserError(f"--html {recipe.html} would take the place of what is read")
    folder = find_run(recipe)
    examples = read_examples(recipe.support, recipe.split, recipe.tags)
    print(f"{recipe.support}: {examples}", file=sys.stderr)
    if not any(label == "O" for sentence in examples.sentences for label in sentence.labels):
        note(f"{recipe.support}: no word is outside entities, so that words outside cannot be told from those in them")
    sentences = read_text(recipe.input)
    flags = {"label_names": recipe.label_names} if recipe.label_names else {}
    tagger = FewShotTagger.from_run(folder, recipe.method, recipe.device, **flags)
    words = tagger.fit(examples).method.words
    if recipe.label_names and not read_label_names(recipe.label_names).keys() & set(tagger.labels):
        note(f"{recipe.label_names} names no type of {recipe.support}: {', '.join(tagger.labels[1:])}")
    if words.cut:
        note(f"{recipe.support}: {words.cut:,} words beyond {tagger.method.limit} of a sentence are not read")
    found = []
    for entities in tagger.stream(sentences, recipe.batch_size, sys.stderr.isatty()):
        found.append(entities)
        for entity in entities:
            tqdm.write(line_of(len(found), entity, recipe.json))  # above the progress bar
    if long := [(number, beyond) for number, beyond in enumerate(tagger.beyond, 1) if beyond]:
        (line, beyond), words = long[0], f"words beyond {tagger.method.limit}"
        note(f"{recipe.input}, line {line}: {beyond:,} {words} are not tagged ({len(long):,} such lines)")
    total = sum(map(len, found))
    print(f"{total:,} entities in {sum(map(bool, found)):,} of {len(found):,} sentences", file=sys.stderr)
    if recipe.html:
        page = page_of(sentences, found, recipe, folder, len(examples.sentences))
        with disk_errors(recipe.html.parent):
            write_atomically(recipe.html, page)
        print(recipe.html, file=sys.stderr)


def find_run(recipe: Recipe) -> Path:
    """The one directory OUTPUT/TYPE/NAME of a run whose source training for the method is finished, or UserError."""
    source = Path("source") / METHODS[recipe.method].SOURCE / FINISHED
    if (Path(recipe.run) / source).exists():
        return Path(recipe.run).resolve()
    types = [folder for folder in sorted(recipe.output.glob("*")) if recipe.type in (None, folder.name)]
    found = [folder / recipe.run for folder in types if (folder / recipe.run / source).exists()]
    if not found:
        raise UserError(
            f"{recipe.output} holds no run {recipe.run} with finished source training for {recipe.method}; "
            f"train first: python -m evaluations.few_shot.train --method {recipe.method} --name {recipe.run} ..."
        )
    if len(found) > 1:
        raise UserError(f"there are several runs {recipe.run}; --type is {' or '.join(p.parent.name for p in found)}")
    return found[0]


def read_text(path: Path) -> list[str | list[str]]:
    """The sentences of a file, one a line, blank ones too: texts, or the words of each. UserError names a line of a
    file .jsonl that is not as it must be."""
    lines: list[str | list[str]] = []
    as_json = named_json(path)
    for number, line in enumerate(read_lines(path, RECORD_ENDS, longest=sys.maxsize), 1):
        if as_json and line.strip():
            lines.append(read_sentence(line, f"{path}, line {number}"))
        else:
            lines.append(line)
            if number == 1 and looks_like_json(line):
                note(f"{path}, line 1: looks like JSON, but is tagged as text; JSON is read from a file .jsonl")
    return lines


def read_sentence(line: str, where: str) -> str | list[str]:
    """The text, or the words, of a line of JSON."""
    record = json_object(line, where)
    sentence: Any = record.get("tokens") if record.get("text") is None else record["text"]
    words = sentence if isinstance(sentence, list) else [sentence]
    if not all(isinstance(word, str) for word in words):
        raise UserError(f"{where}: neither a `text` nor `tokens`, a list of strings")
    check_text(" ".join(words), where)
    return sentence


def line_of(number: int, entity: Entity, as_json: bool) -> str:
    """What is printed of an entity of the sentence of that number."""
    score = None if entity.score is None else round(entity.score, 4)
    if as_json:
        return json.dumps({"sentence": number, **entity._asdict(), "score": score}, ensure_ascii=False)
    text = " ".join(entity.text.split())
    shown = "" if score is None else f"{score:.2f}"
    return f"{number}\t{entity.start}-{entity.end}\t{entity.label}\t{text}\t{shown}"


def page_of(sentences: Texts, found: list[list[Entity]], recipe: Recipe, folder: Path, support: int) -> str:
    counts = Counter(entity.label for entities in found for entity in entities)
    types = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    type_ids = {kind: number for number, (kind, _) in enumerate(types, 1)}
    rows = []
    for number, (sentence, entities) in enumerate(zip(sentences[: SHOWN[0]], found, strict=False), 1):
        text, words = spans_of(sentence)
        starts = {entity.start: entity for entity in entities}
        parts, end = list[tuple[str, int, float | None]](), 0
        for begin, after in words[:WORDS]:
            if begin < end:  # in the entity before
                continue
            entity = starts.get(begin, Entity(begin, after, "", text[begin:after], None))
            parts += [(text[end:begin], 0, None), (entity.text, type_ids.get(entity.label, 0), entity.score)]
            end = entity.end
        clipped = [(text[:CHARACTERS] + "…" * (len(text) > CHARACTERS), *rest) for text, *rest in parts if text]
        rows.append((number, clipped + [("…", 0, None)] * (len(words) > WORDS)))
    return render(
        "entities.html.jinja",
        rows,
        SHOWN,
        title=recipe.input.name,
        num_types=len(types) + 1,
        types=types,
        sentences=len(sentences),
        entities=sum(counts.values()),
        support=support,
        examples_of=Path(recipe.support).name,
        run=f"{folder.parent.name}/{folder.name}",
        method=recipe.method,
        scored=any(entity.score is not None for entities in found for entity in entities) or not counts,
    )


if __name__ == "__main__":
    run(main)
