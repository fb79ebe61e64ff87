"""Raw text -> one sentence a line.

    python -m data.prepare INPUT... --output data/NAME.txt

Sentences are found as in `data.sentences`, by Punkt trained on the corpus itself; nothing is downloaded. Every line of
the input is a paragraph, as in most news and Wikipedia extracts; with `--hard_wrapped` (Project Gutenberg, e-mail) a
paragraph runs over several lines up to a blank one. No sentence reaches over the end of a paragraph. White space of
any kind becomes one space, control and zero-width characters are removed; sentences under `--min_words` words and
exact repetitions of an earlier sentence are dropped and counted.

The corpus is streamed twice (learn, then split). Memory does not grow with it but for the hashes of the distinct
sentences, 8 bytes each (16 while new ones are sorted in). The same input gives the same bytes.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common.errors import UserError, run
from common.files import replacing, sha256_of
from common.flags import CountOrZero, argument, flag, parse
from common.text import COMPRESSED, LONGEST_LINE, PARAGRAPH_ENDS, TEXT_ENDS
from data.sentences import LEARN_FROM, LONG, count_words, is_undivided, learn_punkt
from data.sources import TextFile, find_files

MIN_WORDS = 3
NAMED_AT_MOST = 5
INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff]")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    inputs: list[str] = argument(
        "text, JSON, CSV or parquet files, also compressed, or directories", "INPUT", nargs="+"
    )
    output: Path = flag(help="where the sentences go, e.g. data/NAME.txt")
    text_column: str = flag("text", "column with the text in JSON, CSV and parquet files")
    min_words: CountOrZero = flag(MIN_WORDS, "words of the shortest sentence to keep")
    hard_wrapped: bool = flag(False, "whether paragraphs end at blank lines rather than at every line")


@dataclass
class Summary:
    """What a preparation read, dropped and wrote."""

    output: Path
    sha256: str = ""
    paragraphs: int = 0
    sentences: int = 0  # written, one a line
    words: int = 0  # in these sentences, see `count_words`
    short: int = 0  # dropped
    duplicates: int = 0  # dropped
    without_text: int = 0  # rows
    undivided: int = 0  # written, and perhaps several sentences
    passed_over: list[Path] = field(default_factory=list)  # files in the directories

    def __str__(self) -> str:
        without_text = f", {self.without_text:,} rows without text" if self.without_text else ""
        lines = [
            f"{self.paragraphs:,} paragraphs -> {self.sentences:,} sentences, "
            f"{self.words / self.sentences:.1f} words each ({self.words:,} words)",
            f"dropped: {self.short:,} too short, {self.duplicates:,} duplicates{without_text}",
            f"{self.output}  sha256 {self.sha256}",
        ]
        if self.passed_over:
            names = ", ".join(map(str, self.passed_over[:NAMED_AT_MOST]))
            more = ", ..." if len(self.passed_over) > NAMED_AT_MOST else ""
            lines.append(f"passed over {len(self.passed_over):,} files that are not named like text: {names}{more}")
        if self.undivided:
            lines.append(
                f"{self.undivided:,} lines may be several sentences: over {LONG} words, or Thai or Lao, which mark no "
                "ends; divide them beforehand, or train with --long_lines split"
            )
        return "\n".join(lines)


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


def paragraphs(files: Iterable[TextFile], hard_wrapped: bool, progress: tqdm) -> Iterator[tuple[str, str]]:
    """Stream ("FILE, line N", cleaned paragraph), "" for a row without text, advancing `progress` by the bytes read."""
    for file in files:
        held: list[str] = []  # lines of the paragraph that is still open
        place, size = "", 0
        for number, line in file:
            progress.update(len((line or "").encode()) + 1)
            text = clean(line or "")
            if held and not (hard_wrapped and text):
                yield place, " ".join(held)
                held = []
            if line is None:
                yield f"{file.path}, row {number}", ""
            if not text:
                continue
            if not held:
                place, size = f"{file.path}, {file.unit} {number}", 0
            held.append(text)
            size += len(text) + 1
            if size > LONGEST_LINE:
                raise UserError(f"{place}: a paragraph of over {LONGEST_LINE:,} characters; is it one text a line?")
        if held:
            yield place, " ".join(held)


def prepare(
    inputs: Sequence[str | Path],
    output: str | Path,
    min_words: int = MIN_WORDS,
    hard_wrapped: bool = False,
    text_column: str = "text",
) -> Summary:
    """Write the sentences of the inputs to `output`, one a line, in the order they are found; see `Recipe`.

    The output appears, or replaces an earlier one, only when it is complete.

    Raises:
        UserError: an input is missing, unreadable, not text, or the output itself; a paragraph is over
            `LONGEST_LINE` characters or nothing Punkt can read; nothing is left; the output cannot be written.
    """
    output = Path(output)
    found, passed_over = find_files(inputs)
    if output.is_dir():
        raise UserError(f"the output {output} is a directory; name a file")
    for file in found:
        if output.exists() and output.samefile(file):
            raise UserError(f"{file} is input and output at once; choose another output")
    ends = PARAGRAPH_ENDS if hard_wrapped else TEXT_ENDS
    files = [TextFile(file, text_column, ends) for file in found]
    # How much text a compressed file or a table holds is known at its end only: no total then.
    whole = all(file.unit == "line" and file.path.suffix.lower() not in COMPRESSED for file in files)
    size = sum(file.stat().st_size for file in found) if whole else None
    place = ""

    def texts(task: str, total: int | None) -> Iterator[str]:
        nonlocal place
        with tqdm(desc=task, total=total, unit="B", unit_scale=True, leave=False) as progress:
            for place, text in paragraphs(files, hard_wrapped, progress):  # noqa: B007 (error messages name it)
                yield text

    summary = Summary(output, passed_over=passed_over)
    seen = SeenSentences()
    try:
        punkt = learn_punkt(filter(None, texts("learning abbreviations", size and min(size, LEARN_FROM))))
        output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output) as file:
            for text in texts("splitting sentences", size):
                if not text:
                    summary.without_text += 1
                    continue
                summary.paragraphs += 1
                for sentence in punkt.tokenize(text):
                    words = count_words(sentence)
                    if words < min_words:
                        summary.short += 1
                    elif not seen.add(sentence):
                        summary.duplicates += 1
                    else:
                        file.write(sentence.encode() + b"\n")
                        summary.sentences += 1
                        summary.words += words
                        summary.undivided += is_undivided(sentence, words)
            if not summary.sentences:
                names = ", ".join(map(str, inputs))
                hint = f": {summary.short:,} are shorter (--min_words)" if summary.short else ", nor any other text"
                raise UserError(f"no sentence of {min_words} or more words in {names}{hint}")
    except TimeoutError:  # nltk stops a regular expression that runs for seconds
        raise UserError(f"{place}: Punkt cannot split this paragraph in reasonable time; is it text?") from None
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}") from None
    summary.sha256 = sha256_of(output)
    return summary


def main(argv: list[str]) -> None:
    print(prepare(**asdict(parse(Recipe, argv, __doc__))))


if __name__ == "__main__":
    run(main)
