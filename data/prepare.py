"""Raw text -> one sentence a line.

    python -m data.prepare INPUT... --output data/NAME.txt

Sentences are found by Punkt (Kiss and Strunk 2006, as in nltk), trained on the corpus itself and helped by lists
of English abbreviations and sentence starters; nothing is downloaded. Every line of the input is a paragraph, as in
most news and Wikipedia extracts; with `--hard_wrapped` (Project Gutenberg, e-mail) a paragraph runs over
several lines up to a blank one. No sentence reaches over the end of a paragraph. White space of any kind
becomes one space, control and zero-width characters are removed; sentences under `--min_words` words and
exact repetitions of an earlier sentence are dropped and counted.

The corpus is streamed twice (learn, then split). Memory does not grow with it but for the hashes of the distinct
sentences, 8 bytes each (16 while new ones are sorted in). The same input gives the same bytes.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from nltk.tokenize.punkt import PunktSentenceTokenizer, PunktTrainer
from tqdm import tqdm

from common.errors import UserError, run
from common.files import replacing, sha256_of
from common.text import LONGEST_LINE, read_lines

# Known beforehand, since a small corpus shows too few of them. Left out: those that are words too (no, may, sat).
ABBREVIATIONS = """
    mr mrs ms messrs dr prof rev hon st jr sr gen lt col maj capt sgt cpl cmdr adm brig sen rep gov pres supt insp det
    jan feb mar apr jun jul aug sep sept oct nov dec a.m p.m b.c a.d u.s u.k u.n u.s.a d.c e.u ph.d
    inc ltd co corp bros dept univ assn e.g i.e etc vs cf al approx vol pp eds fig mt ft ave blvd rd hwy
    ariz calif colo conn fla ga ky md minn neb nev okla penn tenn tex va vt wis wyo
""".split()  # noqa: SIM905 (a list of strings would fill a page)
# Words that begin a new sentence after an abbreviation ("in the U.S. The"). Punkt would learn them too, but from
# news also "President" and "Chris", and then splits "U.S. President" and "Gov. Chris Christie".
SENTENCE_STARTERS = """
    the a an this that these those it he she they we i you there here his her its their our my in on at by to of for
    from with without after before during since until when while where although though if unless because as once but and
    or so yet then thus however meanwhile moreover furthermore instead despite besides also according among some many
    most several all both each one another other others such what who how why
""".split()  # noqa: SIM905
# Punkt learns from this much of the corpus at most: its counters grow with the vocabulary, a pass costs more
# than splitting does, and after millions of words hardly an abbreviation is new.
LEARN_FROM = 10_000_000  # characters
LEARN_AT_ONCE = 1_000_000  # characters; Punkt holds an object per word of what it is given
MIN_WORDS = 3
INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff]")


@dataclass
class Summary:
    """What a preparation read, dropped and wrote."""

    output: Path
    sha256: str = ""
    paragraphs: int = 0
    sentences: int = 0  # written, one a line
    words: int = 0  # in these sentences, between spaces
    short: int = 0  # dropped
    duplicates: int = 0  # dropped

    def __str__(self) -> str:
        return (
            f"{self.paragraphs:,} paragraphs -> {self.sentences:,} sentences, "
            f"{self.words / self.sentences:.1f} words each ({self.words:,} words)\n"
            f"dropped: {self.short:,} too short, {self.duplicates:,} duplicates\n"
            f"{self.output}  sha256 {self.sha256}"
        )


class SeenSentences:
    """Which sentences were there before, at 8 bytes each: a sorted array of 64-bit hashes and a small set of new ones.

    Among n sentences a new one is taken for a duplicate with probability below n / 2^64.
    """

    RECENT = 2**18

    def __init__(self) -> None:
        self.sorted = np.empty(0, dtype=np.uint64)
        self.recent: set[np.uint64] = set()

    def add(self, sentence: str) -> bool:
        """Remember the sentence; True if it is new."""
        key = np.uint64(int.from_bytes(blake2b(sentence.encode(), digest_size=8).digest()))
        place = np.searchsorted(self.sorted, key)
        if key in self.recent or (place < len(self.sorted) and self.sorted[place] == key):
            return False
        self.recent.add(key)
        if len(self.recent) == self.RECENT:
            self.sorted = np.concatenate([self.sorted, np.fromiter(self.recent, dtype=np.uint64)])
            self.sorted.sort()
            self.recent.clear()
        return True


def clean(text: str) -> str:
    """Single spaces for white space of any kind (Unicode's too), and no invisible characters."""
    return " ".join(INVISIBLE.sub("", text).split())


def find_files(inputs: Iterable[str | Path]) -> list[Path]:
    """The files among the inputs and, sorted by path, all .txt and .gz files below the directories.

    Raises:
        UserError: an input is missing, or a directory has no such file.
    """
    files = []
    for path in map(Path, inputs):
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.name.lower().endswith((".txt", ".gz")) and p.is_file())
            if not found:
                raise UserError(f"the directory {path} has no .txt or .gz file")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"no file or directory {path}")
    return files


def paragraphs(files: Iterable[Path], hard_wrapped: bool, progress: tqdm) -> Iterator[tuple[str, str]]:
    """Stream ("FILE, line N", cleaned paragraph), advancing `progress` by the bytes of text read.

    Raises:
        UserError: a file cannot be read (see `read_lines`), or a paragraph is longer than `LONGEST_LINE`.
    """
    for file in files:
        held: list[str] = []  # lines of the paragraph that is still open
        place, size = "", 0
        for number, line in enumerate(read_lines(file), 1):
            progress.update(len(line.encode()) + 1)
            text = clean(line)
            if held and not (hard_wrapped and text):
                yield place, " ".join(held)
                held = []
            if not text:
                continue
            if not held:
                place, size = f"{file}, line {number}", 0
            held.append(text)
            size += len(text.encode()) + 1
            if size > LONGEST_LINE:
                raise UserError(f"{place}: a paragraph of over {LONGEST_LINE:,} bytes; is it one text a line?")
        if held:
            yield place, " ".join(held)


def learn_punkt(texts: Iterable[str]) -> PunktSentenceTokenizer:
    """Punkt trained on the first `LEARN_FROM` characters of the paragraphs, knowing our two lists."""
    trainer = PunktTrainer()
    trainer.ABBREV = 1.0  # nltk's 0.3 takes each word of three letters for one that is seen only once and before a stop
    # The trainer's own parameters: known before the first word, so that what follows "Dr." counts as no beginning.
    trainer.get_params().abbrev_types.update(ABBREVIATIONS)
    batch: list[str] = []
    size = learned = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= LEARN_AT_ONCE:
            trainer.train("\n\n".join(batch), finalize=False)
            learned += size
            batch, size = [], 0
            if learned >= LEARN_FROM:
                break
    trainer.train("\n\n".join(batch), finalize=True)
    parameters = trainer.get_params()
    parameters.abbrev_types.update(ABBREVIATIONS)  # training may have taken some back
    parameters.sent_starters = set(SENTENCE_STARTERS)
    parameters.collocations.add(("no", "##number##"))  # "No. 5", though "no." alone ends a sentence
    parameters.ortho_context = Counter(parameters.ortho_context)  # nltk's defaultdict grows with each word looked up
    return PunktSentenceTokenizer(parameters)


def prepare(
    inputs: Sequence[str | Path], output: str | Path, min_words: int = MIN_WORDS, hard_wrapped: bool = False
) -> Summary:
    """Write the sentences of the inputs to `output`, one a line, in the order they are found.

    The output appears, or replaces an earlier one, only when it is complete.

    Args:
        inputs: files (plain or .gz) and directories, see `find_files`.
        min_words: shorter sentences are dropped; words are what stands between spaces.
        hard_wrapped: paragraphs end at blank lines rather than at every line.

    Raises:
        UserError: an input is missing, unreadable, not text, or the output itself; a paragraph is over
            `LONGEST_LINE` bytes or nothing Punkt can read; nothing is left; the output cannot be written.
    """
    output = Path(output)
    files = find_files(inputs)
    if output.is_dir():
        raise UserError(f"the output {output} is a directory; name a file")
    for file in files:
        if output.exists() and output.samefile(file):
            raise UserError(f"{file} is input and output at once; choose another output")
    # How much text a .gz holds is known at its end only: no total then.
    size = None if any(file.suffix == ".gz" for file in files) else sum(file.stat().st_size for file in files)
    place = ""

    def texts(task: str, total: int | None) -> Iterator[str]:
        nonlocal place
        with tqdm(desc=task, total=total, unit="B", unit_scale=True, leave=False) as progress:
            for place, text in paragraphs(files, hard_wrapped, progress):  # noqa: B007 (error messages name it)
                yield text

    summary = Summary(output)
    seen = SeenSentences()
    try:
        punkt = learn_punkt(texts("learning abbreviations", size and min(size, LEARN_FROM)))
        output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output) as file:
            for text in texts("splitting sentences", size):
                summary.paragraphs += 1
                for sentence in punkt.tokenize(text):
                    words = len(sentence.split())
                    if words < min_words:
                        summary.short += 1
                    elif not seen.add(sentence):
                        summary.duplicates += 1
                    else:
                        file.write(sentence.encode() + b"\n")
                        summary.sentences += 1
                        summary.words += words
            if not summary.sentences:
                raise UserError(f"no sentence of {min_words} or more words in {', '.join(map(str, inputs))}")
    except TimeoutError:  # nltk stops a regular expression that runs for seconds
        raise UserError(f"{place}: Punkt cannot split this paragraph in reasonable time; is it text?") from None
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}") from None
    summary.sha256 = sha256_of(output)
    return summary


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m data.prepare", description="Raw text to one sentence a line.")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="text files, plain or .gz, or directories of them")
    parser.add_argument("--output", required=True, help="where the sentences go, e.g. data/NAME.txt")
    parser.add_argument("--min_words", type=int, default=MIN_WORDS, help="drop shorter sentences")
    parser.add_argument("--hard_wrapped", action="store_true", help="paragraphs end at blank lines, not at every line")
    print(prepare(**vars(parser.parse_args(argv))))


if __name__ == "__main__":
    run(main)
