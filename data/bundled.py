"""Corpora that come with the package gensim, so that a fresh machine has text to train on without a download:
`lee_news` (Lee et al. 2005) and `wiki_sample`, see `docs/data.md`."""

import bz2
import re
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from common.errors import UserError
from common.text import read_lines
from data.prepare import prepare

HERE = Path(__file__).resolve().parent
LEE = "lee_background.cor"
WIKIPEDIA = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"

# {{convert|50|km|mi}} stands in the middle of sentences; gensim removes templates with their content.
MEASURE = re.compile(r"\{\{(?:convert|cvt)\|([^|{}]+)\|([^|{}]+)[^{}]*\}\}", re.IGNORECASE)
# Prose is a line that starts like a sentence (no list, heading, table cell, caption) and ends like one.
PROSE = re.compile(r"""["'“‘(]*[^\W_a-z].*[.!?]["'”’)]*""")
MARKUP = re.compile(r"[{}|<>\[\]=]|https?:|\bthumb\b")
LEFT_BEHIND = [  # by the removal of templates, quotes around italics and references
    (re.compile(r"'{2,}"), ""),
    (re.compile(r"\([\s,;:]+"), "("),
    (re.compile(r"[\s,;:]+\)"), ")"),
    (re.compile(r"\(\)"), ""),
    (re.compile(r"\s+(?=[,.;:](\s|$))"), ""),
    (re.compile(r",{2,}"), ","),
]


def gensim_file(name: str) -> Path:
    try:
        path = files("gensim") / "test" / "test_data" / name
    except ModuleNotFoundError:
        raise UserError("the bundled corpora need their package: pip install gensim==4.4.0") from None
    if not path.is_file():
        raise UserError(f"gensim has no {path}; pip install --force-reinstall gensim==4.4.0")
    return Path(str(path))


def wiki_sample() -> Iterator[str]:
    """The paragraphs of the articles that are prose, without markup."""
    dump = gensim_file(WIKIPEDIA)
    from gensim.corpora.wikicorpus import extract_pages, filter_wiki  # takes a second

    with bz2.open(dump) as file:
        for _, text, _ in extract_pages(file, filter_namespaces=("0",)):  # pyright: ignore[reportArgumentType]
            for line in filter_wiki(MEASURE.sub(r"\1 \2", text)).split("\n"):
                if PROSE.fullmatch(line) and not MARKUP.search(line):
                    for pattern, instead in LEFT_BEHIND:
                        line = pattern.sub(instead, line)
                    yield line


BUNDLED = {"lee_news": lambda: read_lines(gensim_file(LEE)), "wiki_sample": wiki_sample}


def bundled_corpus(name: str) -> Path:
    """The path data/NAME.txt of a bundled corpus, one sentence a line; made by `prepare` on first use.

    Two processes that make it at once write the same bytes, and either file is whole.

    Raises:
        UserError: there is no such corpus, gensim or its file is missing, or data/ cannot be written.
    """
    if name not in BUNDLED:
        raise UserError(f"no bundled corpus `{name}`; there are {', '.join(BUNDLED)}")
    output = HERE / f"{name}.txt"
    if not output.exists():
        print(f"preparing {output} from the text that gensim ships (once)")
        with tempfile.TemporaryDirectory() as directory:
            raw = Path(directory) / f"{name}.txt"
            with open(raw, "w", encoding="utf-8") as file:
                file.writelines(f"{paragraph}\n" for paragraph in BUNDLED[name]())
            prepare([raw], output)
    return output
