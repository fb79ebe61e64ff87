"""What a typed corpus tells about the types, as tables: numbers and words only, nothing about how they look."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from evaluations.latent_types.typed_corpus import TypedCorpus

WORDS_SHOWN = 10
CONTEXTS_SHOWN = 3
CONTEXT_WIDTH = 5  # tokens on either side
FEWEST_FOR_SPECIFIC = 5  # a word seen less often is `specific` by chance


@dataclass
class Context:
    before: str
    token: str
    after: str


@dataclass
class TypeRow:
    type_id: int
    tokens: int
    share: float  # of all tokens, 0..1
    words: int  # distinct ones
    entropy: float  # of its words, bits
    frequent: list[tuple[str, int]]  # (word, times it has the type)
    specific: list[tuple[str, float]]  # (word, NPMI)
    contexts: list[Context]


@dataclass
class Share:
    """The share of typed tokens in one part of the corpus."""

    part: str
    tokens: int
    typed: float  # 0..1


def pair_counts(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """How many of the M tokens are in which row and column of a table; (M,), (M,) -> `shape`."""
    return np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)


def type_word_counts(corpus: TypedCorpus) -> tuple[np.ndarray, np.ndarray]:
    """The ids of the W words that occur, (W,), and how often each has each type, (C, W)."""
    words, index = np.unique(corpus.token_ids, return_inverse=True)
    return words, pair_counts(corpus.type_ids, index, (corpus.num_types, len(words)))


def highest(values: np.ndarray, number: int) -> list[int]:
    """Where the highest positive values stand, the highest first."""
    return [i for i in np.argsort(-values, kind="stable")[:number].tolist() if values[i] > 0]


def npmi(counts: np.ndarray) -> np.ndarray:
    """Normalised pointwise mutual information of types and words, log(p(t,w) / p(t)p(w)) / -log p(t,w) (Bouma 2009),
    from their counts, (C, W): 1 where they only occur together, 0 where independent, -1 where they never meet."""
    with np.errstate(divide="ignore", invalid="ignore"):
        joint = np.log(counts / counts.sum())
        expected = np.log(counts.sum(1, keepdims=True) / counts.sum()) + np.log(counts.sum(0) / counts.sum())
        result = (joint - expected) / -joint
    result[joint == 0] = 1.0  # all tokens are one word of one type
    return np.where(counts > 0, result, -1.0)


def entropy_bits(counts: np.ndarray) -> float:
    """Entropy of the distribution that the counts give, in bits; 0 for no counts."""
    p = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(p * np.log2(p)).sum()) + 0.0


def contexts(corpus: TypedCorpus, type_id: int, generator: np.random.Generator) -> list[Context]:
    """A few tokens of a type among their neighbours, of different words as far as may be."""
    places = generator.permutation(np.flatnonzero(corpus.type_ids == type_id))[: 20 * CONTEXTS_SHOWN]
    _, first = np.unique(corpus.token_ids[places], return_index=True)
    found = []
    for place in np.sort(places[np.sort(first)][:CONTEXTS_SHOWN]).tolist():
        sentence = np.searchsorted(corpus.bounds, place, side="right") - 1
        start, end = corpus.bounds[sentence : sentence + 2].tolist()
        parts = (max(start, place - CONTEXT_WIDTH), place, place + 1, min(end, place + 1 + CONTEXT_WIDTH))
        found.append(Context(*(" ".join(corpus.tokens(*part)) for part in pairwise(parts))))
    return found


def type_rows(corpus: TypedCorpus, seed: int) -> list[TypeRow]:
    """One row for each type that occurs, type 0 first."""
    ids, counts = type_word_counts(corpus)
    words = [corpus.vocabulary[i] for i in ids]
    specificity = np.where(counts.sum(0) >= FEWEST_FOR_SPECIFIC, npmi(counts), -1.0)
    generator = np.random.default_rng(seed)
    return [
        TypeRow(
            type_id=type_id,
            tokens=int(times.sum()),
            share=float(times.sum() / counts.sum()),
            words=int((times > 0).sum()),
            entropy=entropy_bits(times),
            frequent=[(words[w], int(times[w])) for w in highest(times, WORDS_SHOWN)],
            specific=[(words[w], float(special[w])) for w in highest(special, WORDS_SHOWN)],
            contexts=contexts(corpus, type_id, generator),
        )
        for type_id, (times, special) in enumerate(zip(counts, specificity, strict=True))
        if times.any()
    ]


def shares(corpus: TypedCorpus, part_of_token: np.ndarray, names: list[str]) -> list[Share]:
    """The share of typed tokens in each part; `part_of_token` is (M,) indices into `names`."""
    tokens = np.bincount(part_of_token, minlength=len(names))
    typed = np.bincount(part_of_token, weights=corpus.type_ids > 0, minlength=len(names))
    return [Share(name, int(n), float(t / n)) for name, n, t in zip(names, tokens, typed, strict=True) if n]


def shares_by_frequency(corpus: TypedCorpus) -> list[Share]:
    """By how often the token's word occurs in these sentences, in powers of ten."""
    _, index, times = np.unique(corpus.token_ids, return_inverse=True, return_counts=True)
    decade = np.array([len(str(n)) - 1 for n in times])
    names = [f"{10**d:,} to {10 ** (d + 1) - 1:,} times" for d in range(decade.max() + 1)]
    return shares(corpus, decade[index], names)


def shares_by_position(corpus: TypedCorpus) -> list[Share]:
    """By the tenth of its sentence in which the token stands."""
    lengths = np.diff(corpus.bounds)
    place = np.arange(len(corpus.token_ids)) - np.repeat(corpus.bounds[:-1], lengths)
    tenth = 10 * (2 * place + 1) // (2 * np.repeat(lengths, lengths))  # of the token's middle
    return shares(corpus, tenth, [f"tenth {i}" for i in range(1, 11)])
