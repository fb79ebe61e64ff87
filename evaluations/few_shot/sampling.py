"""N-way K~2K-shot episodes out of labelled sentences, drawn greedily as Few-NERD's were (Ding et al. 2021, 4.2)."""

import random
from collections import Counter
from collections.abc import Sequence

from common.errors import UserError
from evaluations.few_shot.data import Sentence
from evaluations.few_shot.scores import entities

DRAWS, EPISODES = 10_000, 100  # sentences tried for a set, and episodes tried, before giving up


class EpisodeSampler:
    """Draws support and query sets: in each, every one of `way` types has `shot` to twice `shot` entities, no other
    type has any, and every sentence was needed when it was drawn.

    Args:
        sentences: to draw from.
        way: types of an episode, all of the sentences' if they have fewer.
        shot: entities of each type, at least.
    """

    def __init__(self, sentences: Sequence[Sentence], way: int, shot: int):
        self.counts = [Counter(kind for *_, kind in entities(sentence.labels)) for sentence in sentences]
        self.having: dict[str, list[int]] = {}  # the sentences that have an entity of a type
        for index, counts in enumerate(self.counts):
            for kind in counts:
                self.having.setdefault(kind, []).append(index)
        self.types, self.shot = sorted(self.having), shot
        self.way = min(way, len(self.types))

    def draw(self, rng: random.Random) -> tuple[list[int], list[int]]:
        """The sentences' numbers in a support set and a query set of one episode.

        Raises:
            UserError: there is no such episode, or it is too rare.
        """
        for _ in range(EPISODES if self.types else 0):
            types = rng.sample(self.types, self.way)
            support = self.draw_set(rng, types, set())
            query = self.draw_set(rng, types, set(support))
            if support and query:
                return support, query
        raise UserError(f"the training sentences have no episode of {self.way} types with {self.shot} entities of each")

    def draw_set(self, rng: random.Random, types: Sequence[str], taken: set[int]) -> list[int]:
        """Numbers of sentences that are not `taken`; none if chance leads nowhere."""
        chosen, total = dict[int, None](), Counter[str]()
        weights = [len(self.having[kind]) for kind in types]
        for _ in range(DRAWS):
            if all(total[kind] >= self.shot for kind in types):
                return list(chosen)
            index = rng.choice(self.having[rng.choices(types, weights)[0]])
            counts = self.counts[index]
            fits = all(kind in types and total[kind] + number <= 2 * self.shot for kind, number in counts.items())
            if fits and index not in taken and index not in chosen and any(total[k] < self.shot for k in counts):
                chosen[index] = None
                total += counts
        return []
