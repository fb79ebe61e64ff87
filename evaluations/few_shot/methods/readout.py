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
from evaluations.few_shot.methods.spans import Span, as_labels, prototypes, runs, span_states
from evaluations.few_shot.recipe import Recipe
from evaluations.few_shot.scores import entities


@dataclass(frozen=True, kw_only=True)
class ReadoutRecipe(Recipe):
    probe_sentences: Count = flag(2000, "source sentences that the probe is trained on, from a random order")
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
        """Fit the probe to frozen states by logistic regression; UserError if the words are all inside, or outside."""
        self.eval()
        chosen = [sentences[i] for i in torch.randperm(len(sentences))[: self.recipe.probe_sentences].tolist()]
        encoded = [self.words.encode(sentence.words) for sentence in chosen]
        read = [s.labels[: len(e.first)] for s, e in zip(chosen, encoded, strict=True)]
        inside = [label != "O" for labels in read for label in labels]
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
        known = [sorted(entities(s.labels[: len(e.first)])) for s, e in zip(support, encoded, strict=True)]
        there = {kind for found in known for *_, kind in found}
        self.types = [label for label in labels if label in there]
        if self.types:
            self.prototypes = prototypes(self.states(encoded), known, self.types)
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
        gold = [sorted(entities(s.labels[: len(own)])) for s, own in zip(query, self.asked, strict=True)]
        wanted = [kind for spans in gold for *_, kind in spans]
        return {"typing": [sum(a == b for a, b in zip(self.type_spans(gold), wanted, strict=True)), len(wanted)]}
