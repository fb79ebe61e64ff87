"""Where sentences end: nltk's Punkt, trained on the corpus itself, and the full stops that it does not know.

Punkt (Kiss and Strunk 2006) decides on `.`, `!` and `?` before white space. Other full stops (Chinese, Japanese, Hindi,
Urdu, Arabic, Burmese, Armenian, Ethiopic, Khmer, Tibetan, ...) need no decision: they end a sentence, together with
the quotation marks and brackets that close after them. Thai and Lao have none.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from nltk.tokenize.punkt import PunktSentenceTokenizer, PunktTrainer

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

# Letters of scripts without spaces between words; each counts as a word, as each ideograph is one for BERT's tokenizer:
# kana, ideographs, and the consonants of Thai, Lao, Tibetan, Burmese and Khmer.
IDEOGRAPHS = "\u3005-\u3007\u3041-\u3096\u30a1-\u30fa\u3400-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"
UNSPACED = re.compile(f"[\u0e01-\u0e2e\u0e81-\u0eae\u0f40-\u0f6c\u1000-\u102a\u1780-\u17b3{IDEOGRAPHS}]")
# Unicode's property Sentence_Terminal, without what Punkt decides on and what is closer to a comma.
FULL_STOPS = (
    "։؝؞؟܀-܂߹।॥။።፧፨᙮᜵᜶៕᠃᠉᥄᥅᪨-᪫᭚᭛᭟᱾᱿⸮⸼。꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧉꩝-꩟꫰꫱꯫︒︕︖﹒﹖﹗！？｡"
    "།-༒༔"  # Tibetan shads, which end clauses too
)
GREEK = "\u0370-\u03ff\u1f00-\u1fff"
CLOSING = "”’»›)\\]}」』》〉】〕〗）］｝〟＂＇｣"
GOES_ON = ("と", "って", "，", "、", "；", "：", ",", ";")  # the sentence around a quotation, after it
END = re.compile(
    rf"""
    (?: [{FULL_STOPS}]
    |   ។(?!ល។)(?<!។ល។)                 # Khmer; not in "etc."
    |   ۔(?=[\s۔{CLOSING}]|$)          # Urdu; between letters it abbreviates
    |   (?<![\d．])．                    # full width; after a digit it numbers or is a decimal point
    |   ፡፡                              # Ethiopic, typed as two word spaces
    |   (?<=[{GREEK}]{{2}})[;\u037e](?=["{CLOSING}]*(?:$|\s+[«“"(]?[{GREEK}]))  # Greek
    |   (?<=[{IDEOGRAPHS}])[.!?‼⁇-⁉]+(?=["{CLOSING}]*[“‘「『《（{IDEOGRAPHS}])  # no space, where Punkt does not look
    )
    (?: [{FULL_STOPS}۔!?…] | \s+[།༎] )*+
    (?: [{CLOSING}] | ["'](?!\S) )*+
    (?! (?<=[{CLOSING}]) (?: {"|".join(GOES_ON)} ) )
    """,
    re.VERBOSE,
)
WITHOUT_FULL_STOPS = re.compile("[\u0e00-\u0eff]")  # Thai and Lao
LONG = 200  # words; few sentences are longer


class SentenceTokenizer(PunktSentenceTokenizer):
    """Punkt between the full stops that it does not know."""

    def span_tokenize(self, text: str, realign_boundaries: bool = True) -> Iterator[tuple[int, int]]:
        """The sentences of a paragraph as (first character, one past the last)."""
        for start, end in stretches(text):
            for first, last in super().span_tokenize(text[start:end], realign_boundaries):
                yield start + first, start + last


def stretches(text: str) -> Iterator[tuple[int, int]]:
    """The parts of a paragraph up to full stops that leave no doubt, as (first character, one past the last)."""
    start = counted = 0
    quoted = False  # whether a straight quotation mark is open
    if not text.isascii():
        for match in END.finditer(text):
            end = match.end()
            quoted ^= text.count('"', counted, end) % 2 == 1
            counted = end
            if quoted and text.startswith('"', end):
                end += 1
                if text.startswith(GOES_ON, end):
                    continue
            yield start, end
            start = end
            while text[start : start + 1].isspace():
                start += 1
    if start < len(text):
        yield start, len(text)


def count_words(sentence: str) -> int:
    """How many words stand between spaces; where letters of scripts without spaces are among them, these letters."""
    words = sentence.split()
    if sentence.isascii() or not UNSPACED.search(sentence):
        return len(words)
    return sum(len(UNSPACED.findall(word)) or 1 for word in words)


def is_undivided(sentence: str, words: int) -> bool:
    """Whether a sentence may be several: it is very long, or in a script without full stops and has spaces."""
    return words > LONG or (" " in sentence and 2 * len(WITHOUT_FULL_STOPS.findall(sentence)) > len(sentence))


def learn_punkt(texts: Iterable[str]) -> SentenceTokenizer:
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
    parameters: Any = trainer.get_params()
    parameters.abbrev_types.update(ABBREVIATIONS)  # training may have taken some back
    parameters.sent_starters = set(SENTENCE_STARTERS)
    parameters.collocations.add(("no", "##number##"))  # "No. 5", though "no." alone ends a sentence
    parameters.ortho_context = Counter(parameters.ortho_context)  # nltk's defaultdict grows with each word looked up
    return SentenceTokenizer(parameters)
