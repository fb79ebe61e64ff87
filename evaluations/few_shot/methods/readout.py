"""A frozen readout: what an encoder's states tell without any fine-tuning, in seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.errors import UserError
from common.flags import Count, Positive, flag
from encoders import Encoded, token_states
from evaluations.few_shot.data import Sentence
from evaluations.few_shot.methods.base import Method
from evaluations.few_shot.methods.spans import Span, as_labels, runs, span_states, typed_spans
from evaluations.few_shot.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class ReadoutRecipe(Recipe):
    """The flags of the frozen readout."""

    probe_sentences: Count = flag(
        2000, "sentences of the source split that the probe is trained on, from a random order"
    )
    inverse_penalty: Positive = flag(1.0, "of the probe's weights, scikit-learn's C")

    OF_SOURCE: ClassVar = Recipe.OF_SOURCE | {"probe_sentences", "inverse_penalty"}


class Readout(Method):
    """A linear probe, trained on the source split, says which words are inside entities; a run of them has the type of
    the nearest prototype, the mean of the support set's spans of a type. States are normalised. `measure` types the
    query's own entities, so that the two parts can be told apart."""

    RECIPE, SOURCE = ReadoutRecipe, "readout"
    recipe: ReadoutRecipe
    types: list[str]
    prototypes: Tensor  # (Y, D)
    asked: tuple[Tensor, ...]  # states of the query's words, (length, D) of each sentence

    def __init__(self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recipe: ReadoutRecipe):
        super().__init__(encoder, tokenizer, recipe)
        self.probe = nn.Linear(encoder.config.hidden_size, 1)

    @torch.no_grad()
    def states(self, sentences: Sequence[Encoded]) -> tuple[Tensor, ...]:
        """The normalised states of the words, (length, D) of each sentence."""
        hidden = F.normalize(self.hidden(self.pack(sentences)), dim=1)
        return hidden.split([len(sentence.first) for sentence in sentences])

    @torch.no_grad()
    def train_on_source(self, sentences: Sequence[Sentence], labels: list[str]) -> None:
        """Fit the probe to frozen states by logistic regression; UserError if all words are inside entities, or
        outside."""
        self.eval()
        chosen = torch.randperm(len(sentences))[: self.recipe.probe_sentences].tolist()
        encoded = [self.words.encode(sentences[i].words) for i in chosen]
        inside = [
            label != "O"
            for i, sentence in zip(chosen, encoded, strict=True)
            for label in sentences[i].labels[: len(sentence.first)]
        ]
        if len(set(inside)) < 2:
            lacking = "outside entities" if any(inside) else "in an entity"
            raise UserError(
                f"none of the words of {len(chosen):,} source sentences is {lacking}, so no probe can be trained"
            )
        states = F.normalize(token_states(self.encoder, encoded, self.recipe.batch_size, "source states"), dim=1)
        fitted = LogisticRegression(C=self.recipe.inverse_penalty, max_iter=1000).fit(states.numpy(), inside)
        self.probe.weight.copy_(torch.from_numpy(fitted.coef_))
        self.probe.bias.copy_(torch.from_numpy(fitted.intercept_))

    def fit(self, support: Sequence[Sentence], labels: list[str]) -> list[float]:
        encoded = [self.words.encode(sentence.words) for sentence in support]
        known = [typed_spans(s.labels[: len(e.first)]) for s, e in zip(support, encoded, strict=True)]
        kinds = [kind for _, types in known for kind in types]
        self.types = [label for label in labels if label in kinds]
        if self.types:
            spans = span_states(self.states(encoded), [found for found, _ in known])
            numbers = torch.tensor([self.types.index(kind) for kind in kinds], device=self.device)
            self.prototypes = torch.stack([spans[numbers == kind].mean(0) for kind in range(len(self.types))])
        return []

    @torch.no_grad()
    def tag(self, query: Sequence[Sequence[str]]) -> list[list[str]]:
        self.asked = self.states([self.words.encode(words) for words in query])
        spans = [runs((self.probe(own)[:, 0] > 0).tolist()) for own in self.asked]
        return as_labels([len(own) for own in self.asked], spans, self.type_spans(spans))

    def type_spans(self, spans: Sequence[Sequence[Span]]) -> list[str]:
        """The types of all spans of the query by their nearest prototypes, `O` where there is none."""
        if not self.types or not any(spans):
            return ["O"] * sum(map(len, spans))
        nearest = torch.cdist(span_states(self.asked, spans), self.prototypes).argmin(1)
        return [self.types[kind] for kind in nearest.tolist()]

    def measure(self, query: Sequence[Sentence]) -> dict[str, list[int]]:
        """`typing`: entities that get their type when their span is given."""
        gold = [typed_spans(s.labels[: len(own)]) for s, own in zip(query, self.asked, strict=True)]
        found = self.type_spans([spans for spans, _ in gold])
        wanted = [kind for _, types in gold for kind in types]
        return {"typing": [sum(a == b for a, b in zip(found, wanted, strict=True)), len(wanted)]}
