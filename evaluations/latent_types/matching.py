"""Two typings of the same tokens: which types correspond, and which tokens changed."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import normalized_mutual_info_score

from evaluations.latent_types.tables import highest, pair_counts, type_word_counts
from evaluations.latent_types.typed_corpus import TypedCorpus

WORDS_SHOWN = 6
SHUFFLES = 10


@dataclass
class Match:
    """A type of A and the type of B that took its place."""

    type_a: int
    type_b: int
    tokens_a: int
    tokens_b: int
    shared: int  # tokens that have type_a in A and type_b in B
    words_a: list[str]  # the most frequent ones
    words_b: list[str]
    overlap: float  # Jaccard index of the two sets of tokens, 0..1


@dataclass
class Movement:
    """What became of the M tokens between A and B; the five counts add up to M."""

    kept: int  # typed in both, by matched types
    moved: int  # typed in both, by other types
    gained: int  # typed in B only
    lost: int  # typed in A only
    untyped: int  # in neither
    nmi: float  # of the two typings, geometric mean, `not typed` being a type like the others
    kept_by_chance: float  # mean count of kept tokens when the typing of B is shuffled over the tokens


def joint_counts(a: TypedCorpus, b: TypedCorpus) -> np.ndarray:
    """How many tokens have which type in A and which in B, (C_A, C_B)."""
    return pair_counts(a.type_ids, b.type_ids, (a.num_types, b.num_types))


def match_types(joint: np.ndarray) -> list[tuple[int, int]]:
    """The one-to-one matching of types that keeps the most tokens (Kuhn 1955), by the types of A.

    `Not typed` is the same in both by definition and takes no part; pairs that share no token are left out.
    """
    rows, columns = linear_sum_assignment(joint[1:, 1:], maximize=True)
    return [(int(a) + 1, int(b) + 1) for a, b in zip(rows, columns, strict=True) if joint[a + 1, b + 1]]


def kept_tokens(joint: np.ndarray) -> int:
    """Tokens that have matched types in A and B."""
    return int(sum(joint[pair] for pair in match_types(joint)))


def movement(a: TypedCorpus, b: TypedCorpus, seed: int) -> Movement:
    """Count what changed; chance keeps some tokens too, for the matching is chosen to."""
    joint = joint_counts(a, b)
    kept = kept_tokens(joint)
    generator = np.random.default_rng(seed)
    shuffled = [pair_counts(a.type_ids, generator.permutation(b.type_ids), joint.shape) for _ in range(SHUFFLES)]
    return Movement(
        kept=kept,
        moved=int(joint[1:, 1:].sum()) - kept,
        gained=int(joint[0, 1:].sum()),
        lost=int(joint[1:, 0].sum()),
        untyped=int(joint[0, 0]),
        nmi=float(normalized_mutual_info_score(a.type_ids, b.type_ids, average_method="geometric")),
        kept_by_chance=float(np.mean([*map(kept_tokens, shuffled)])),
    )


def matches(a: TypedCorpus, b: TypedCorpus) -> list[Match]:
    """The matched types, those that share most tokens first."""
    joint = joint_counts(a, b)
    (ids, counts_a), (_, counts_b) = type_word_counts(a), type_word_counts(b)  # (W,), (C, W)

    def commonest(times: np.ndarray) -> list[str]:
        return [a.vocabulary[ids[w]] for w in highest(times, WORDS_SHOWN)]

    found = []
    for type_a, type_b in match_types(joint):
        tokens_a, tokens_b, shared = int(joint[type_a].sum()), int(joint[:, type_b].sum()), int(joint[type_a, type_b])
        words = commonest(counts_a[type_a]), commonest(counts_b[type_b])
        overlap = shared / (tokens_a + tokens_b - shared)
        found.append(Match(type_a, type_b, tokens_a, tokens_b, shared, *words, overlap))
    return sorted(found, key=lambda match: -match.shared)
