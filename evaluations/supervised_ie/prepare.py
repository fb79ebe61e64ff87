"""Turn ACE 2005, Rich ERE or DyGIE++ files into {train,dev,test}.oneie.jsonl.

    prepare ace --input .../data/English --output DIR --train LIST --dev LIST --test LIST
    prepare ere --input DIR [DIR ...]    --output DIR --train LIST --dev LIST --test LIST
    prepare dygiepp --input DIR --output DIR            (DIR holds train.json, dev.json, test.json)

A LIST names one document a line, by its file name without the suffixes.
"""

import json
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from common.errors import UserError, run
from common.files import write_atomically
from common.flags import argument, flag, parse
from common.text import RECORD_ENDS, read_lines
from data.sentences import learn_punkt
from evaluations.supervised_ie import prepare_ace, prepare_dygiepp, prepare_ere
from evaluations.supervised_ie.data import LONGEST_RECORD, Sentence, first_of, split_path, to_record, write_sentences
from evaluations.supervised_ie.data import parse as parse_sentence
from evaluations.supervised_ie.documents import Document, Report, to_sentences

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    corpus: str = argument("the format of the input", "{ace,ere,dygiepp}", choices=("ace", "ere", "dygiepp"))
    input: list[str] = flag(help="directories of the corpus, searched with all their folders")
    output: str = flag(help="directory to write to")
    train: str | None = flag(None, "file with the names of the train documents (ace, ere)")
    dev: str | None = flag(None, "file with the names of the dev documents (ace, ere)")
    test: str | None = flag(None, "file with the names of the test documents (ace, ere)")


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    if missing := [directory for directory in recipe.input if not Path(directory).is_dir()]:
        raise UserError(f"no directory {missing[0]}")
    output = Path(recipe.output)
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file; --output names a directory")
    report = Report()
    prepared = (prepare_dygiepp_splits if recipe.corpus == "dygiepp" else prepare_xml_splits)(recipe, report)
    if empty := [split for split, sentences in prepared.items() if not sentences]:
        raise UserError(f"the documents of {', '.join(empty)} hold no sentence")
    output.mkdir(parents=True, exist_ok=True)
    for split, sentences in prepared.items():
        write_sentences(split_path(output, split), sentences)
        events = [event for s in sentences for event in s.events]
        print(
            f"{split}: {len({s.doc_id for s in sentences})} documents, {len(sentences)} sentences, "
            f"{sum(len(s.entities) for s in sentences)} entities, "
            f"{sum(len(s.relations) for s in sentences)} relations, "
            f"{len(events)} events, {sum(len(e.arguments) for e in events)} arguments"
        )
    lines = dict(sorted(report.items()))
    write_atomically(output / "alignment.json", json.dumps(lines, indent=1, ensure_ascii=False) + "\n")
    for reason, line in lines.items():
        print(f"{line['count']:6} x {reason}; the first: {line['first']}", file=sys.stderr)


def prepare_xml_splits(recipe: Recipe, report: Report) -> dict[str, list[Sentence]]:
    """The listed documents of ACE or Rich ERE by split.

    Raises:
        UserError: a list cannot be read, names a document twice or one that is not there, or files are broken.
    """
    lists = {split: getattr(recipe, split) for split in SPLITS if getattr(recipe, split)}
    if not lists:
        raise UserError("name the documents of each split: --train LIST --dev LIST --test LIST")
    corpus = prepare_ace if recipe.corpus == "ace" else prepare_ere
    files: dict[str, list[Path]] = defaultdict(list)
    for directory in recipe.input:
        for path in sorted(Path(directory).rglob("*")):
            files[path.name].append(path)
    paths = annotation_files(files, corpus.SUFFIX)
    split_of: dict[str, str] = {}
    for split, path in lists.items():
        for number, line in enumerate(read_lines(path), start=1):
            if not (name := line.strip()):
                continue
            if name in split_of:
                raise UserError(f"{path}, line {number}: the document {name} is listed already, in {split_of[name]}")
            if name not in paths:
                raise UserError(f"{path}, line {number}: no document {name} in {', '.join(recipe.input)}")
            split_of[name] = split
    for name in sorted(paths.keys() - split_of.keys()):
        report.add("document in no list", name, str(paths[name]))
    documents, problems = [], []
    for name in tqdm(split_of, desc="read", leave=False, disable=None):
        try:
            documents.append(read_pair(paths[name], corpus.source_of(paths[name], files), corpus.read_document))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError(f"{len(problems)} broken files: {first_of(problems, '; ')}")
    splitter = learn_punkt(paragraph.text for document in documents for paragraph in document.paragraphs)
    prepared: dict[str, list[Sentence]] = {split: [] for split in lists}
    for document in documents:
        prepared[split_of[document.doc_id]] += to_sentences(document, splitter, report)
    return prepared


def annotation_files(files: dict[str, list[Path]], suffix: str) -> dict[str, Path]:
    """The annotation file of each document, in ACE of its several versions the adjudicated `timex2norm`; a `UserError`
    if a document is there twice."""
    chosen = {}
    for file, paths in files.items():
        if file.endswith(suffix):
            name, final = file.removesuffix(suffix), [p for p in paths if p.parent.name == "timex2norm"] or paths
            if len(final) > 1:
                raise UserError(f"the document {name} is there twice: {final[0]} and {final[1]}")
            chosen[name] = final[0]
    return chosen


def read_pair(path: Path, source: Path, read_document: Callable[[Path, str, ET.Element], Document]) -> Document:
    """A document from its annotation file and its text; a `UserError` if one of them cannot be read, is not UTF-8 or
    no XML, or lacks what its format demands."""
    try:
        raw = source.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{source} cannot be read: {error}") from None
    try:
        return read_document(path, raw, ET.parse(path).getroot())
    except ET.ParseError as error:
        raise UserError(f"{path}, line {error.position[0]}: not XML: {error}") from None
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"{path}: not of the format: {type(error).__name__} {error}") from None


def prepare_dygiepp_splits(recipe: Recipe, report: Report) -> dict[str, list[Sentence]]:
    """The splits of DyGIE++ directories; a `UserError` if there is no such file, or lines of it are broken."""
    prepared: dict[str, list[Sentence]] = {}
    problems = []
    paths = [Path(directory) / f"{split}.json" for directory in recipe.input for split in SPLITS]
    for path in filter(Path.is_file, paths):
        sentences = prepared.setdefault(path.stem, [])
        for number, line in enumerate(read_lines(path, RECORD_ENDS, LONGEST_RECORD), start=1):
            try:
                read = prepare_dygiepp.read_document(json.loads(line), f"{path}, line {number}", report)
                for sentence in read:
                    parse_sentence(to_record(sentence))  # what is written must be readable
                sentences += read
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                problems.append(f"{path}, line {number}: {type(error).__name__} {error}")
    if problems:
        raise UserError(f"{len(problems)} broken lines: {first_of(problems, '; ')}")
    if not prepared:
        raise UserError(f"no train.json, dev.json or test.json in {', '.join(recipe.input)}")
    return prepared


if __name__ == "__main__":
    run(main)
