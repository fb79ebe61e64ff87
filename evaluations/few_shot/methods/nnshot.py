"""NNShot (Yang and Katiyar 2020): the label of the nearest support token."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from encoders import Encoded
from evaluations.few_shot.data import Sentence
from evaluations.few_shot.methods.contrastive import Contrastive

UNSUPPORTED = -100_000.0  # score of a label without support tokens


def label_scores(query: Tensor, references: Tensor, labels: Tensor, number: int) -> Tensor:
    """How near each query token is to each label: minus the squared distance to its nearest reference.

    Query tokens (n, D), of length 1 each, and references (m, D) with `labels` (m,) below `number` -> (n, number); a
    label without references gets -100,000.
    """
    nearness = 2 * query @ references.T - references.square().sum(1) - 1  # (n, m)
    scores = nearness.new_full((len(query), number), UNSUPPORTED)
    return scores.scatter_reduce(1, labels.expand(len(query), -1), nearness, "amax")


class NNShot(Contrastive):
    """Nothing is fine-tuned: the hidden states of the query lie beside those of the support set."""

    support: list[Encoded]
    support_labels: Tensor  # (m,) of the support's first pieces
    labels: list[str]

    def fit(self, support: Sequence[Sentence], labels: list[str]) -> list[float]:
        self.support, self.labels = [self.words.encode(sentence.words) for sentence in support], labels
        self.support_labels = self.label_ids(support, self.support, labels)
        return []

    @torch.no_grad()
    def tag(self, query: Sequence[Sequence[str]]) -> list[list[str]]:
        encoded = [self.words.encode(words) for words in query]
        hidden = F.normalize(self.hidden(self.pack([*self.support, *encoded])), dim=1)  # (m + n, D)
        references, tokens = hidden.tensor_split([len(self.support_labels)])
        scores = label_scores(tokens, *self.references(references), len(self.labels))
        lengths = [len(sentence.first) for sentence in encoded]
        self.probabilities = scores.softmax(1).split(lengths)
        tags = self.decode(scores, lengths)
        return [[self.labels[tag] for tag in sentence.tolist()] for sentence in tags]

    def references(self, support: Tensor) -> tuple[Tensor, Tensor]:
        """What query tokens are compared with, and its labels; `support` (m, D) -> (k, D), (k,)."""
        return support, self.support_labels

    def decode(self, scores: Tensor, lengths: list[int]) -> Sequence[Tensor]:
        """The labels (length,) of each sentence, of `scores` (n, Y) of all words one after another."""
        return scores.argmax(1).split(lengths)
