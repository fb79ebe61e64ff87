"""TadNER (Li et al. 2023): one encoder finds spans, another one types them by label names and examples."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.flags import Count, CountOrZero, LearningRate, Positive, Share, flag
from encoders import Encoded
from encoders.cpu import Dropout
from evaluations.few_shot.data import Sentence
from evaluations.few_shot.methods.names import NamesRecipe, ReadsNames, names_of
from evaluations.few_shot.methods.optimisation import FineTuning, make_optimizer
from evaluations.few_shot.methods.spans import Span, as_labels, prototypes, runs, span_states
from evaluations.few_shot.scores import entities

LAYERS = 4  # of which the mean is a label name's embedding in episodes


@dataclass(frozen=True, kw_only=True)
class TadNERRecipe(NamesRecipe):
    learning_rate: LearningRate = flag(3e-5, "of the new layer")
    encoder_learning_rate: LearningRate = flag(3e-5, "of both encoders")
    span_dropout: Share = flag(0.2, "before the span layer, while training")
    temperature: Positive = flag(0.05, "that similarities are divided by")
    patience: Count | None = flag(
        None, "steps without a lower loss that end fine-tuning; else 2 with one shot, 6 with more"
    )
    max_steps: CountOrZero = flag(1, "fine-tuning steps at most, of each encoder; 100: until patience ends it")
    transductive: bool = flag(False, "the published variant: all query spans normalised together, tagging with dropout")

    OF_EPISODES: ClassVar = NamesRecipe.OF_EPISODES | {"patience", "max_steps", "transductive"}

    @property
    def setting(self) -> str:
        return super().setting + "-transductive" * self.transductive


def type_loss(words: Tensor, names: Tensor, types: Tensor, temperature: float) -> Tensor:
    """The supervised contrastive loss of entity tokens and their types' names.

    With `S_ij = (t_i . w_j + w_i . t_j) / temperature` on normalised vectors, t_i being the name of token i's type: the
    mean over the tokens i that have a positive (another token of their type), and over these positives p, of
    `log sum_{j != i} exp(S_ij) - S_ip`; zero, with zero gradient, if none has.

    Args:
        words: (n, D) states of the tokens, of the types (n,).
        names: (Y, D) states of the types' names.
    """
    words = F.normalize(words, dim=1)
    nearness = words @ F.normalize(names, dim=1)[types].T  # (n, n): w_i . t_j
    itself = torch.eye(len(types), dtype=torch.bool, device=types.device)
    scores = ((nearness + nearness.T) / temperature).masked_fill(itself, -torch.inf)
    positive = (types[:, None] == types) & ~itself
    anchors = positive.any(1)
    if not anchors.any():
        return 0 * nearness.sum()
    scores, positive = scores[anchors], positive[anchors]
    among_positives = scores.masked_fill(~positive, 0).sum(1) / positive.sum(1)
    return (scores.logsumexp(1) - among_positives).mean()


class TadNER(ReadsNames):
    """`encoder` finds spans, `type_encoder` types them; each is fine-tuned on the support set."""

    RECIPE, SOURCE = TadNERRecipe, "tadner"
    recipe: TadNERRecipe
    support: list[list[str]]  # the labels of its words
    encoded: list[Encoded]  # its words
    types: list[str]  # of the episode
    embeddings: Tensor  # (Y, D) of their names, normalised

    def __init__(self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recipe: TadNERRecipe):
        super().__init__(encoder, tokenizer, recipe)
        self.type_encoder = copy.deepcopy(encoder)
        self.span_dropout = Dropout(recipe.span_dropout)
        self.inside = nn.Linear(encoder.config.hidden_size, 2)  # O, I

    def name_pieces(self, types: Sequence[str]) -> list[Encoded]:
        """The names of types, of which [CLS] is read."""
        names = names_of(types, self.recipe.label_names)
        return [Encoded(self.words.encode(names[kind]).ids, [0]) for kind in types]

    def span_loss(
        self, sentences: Sequence[Encoded], labels: Sequence[Sequence[str]], embedded: Tensor | None = None
    ) -> Tensor:
        """Cross entropy of inside and outside over the words; `embedded` as for `hidden`."""
        wanted = [name != "O" for e, names in zip(sentences, labels, strict=True) for name in names[: len(e.first)]]
        logits = self.inside(self.span_dropout(self.hidden(self.pack(sentences), embedded)))  # (n, 2)
        return F.cross_entropy(logits, torch.tensor(wanted, device=self.device).long())

    def train_on_source(self, sentences: Sequence[Sentence], labels: list[str]) -> None:
        """`epochs` over the sentences for the one encoder, then for the other."""
        encoded = [self.words.encode(sentence.words) for sentence in sentences]

        def spans(batch: list[int]) -> Tensor:
            return self.span_loss([encoded[i] for i in batch], [sentences[i].labels for i in batch])

        def types(batch: list[int]) -> Tensor:
            tokens, kinds = entity_tokens([encoded[i] for i in batch], [sentences[i].labels for i in batch])
            there = sorted(set(kinds))
            states = self.hidden(self.pack([*tokens, *self.name_pieces(there)]), encoder=self.type_encoder)
            words, names = states.tensor_split([len(kinds)])  # (n, D), (Y, D)
            numbers = torch.tensor([there.index(kind) for kind in kinds], device=self.device, dtype=torch.long)
            return type_loss(words, names, numbers, self.recipe.temperature)

        parts = (("spans", spans, self.encoder, self.inside.parameters()), ("types", types, self.type_encoder, []))
        for what, loss, encoder, heads in parts:
            optimizer = make_optimizer(encoder.parameters(), heads, self.recipe)
            batches = self.random_batches(len(sentences), self.recipe.epochs)
            self.train_in_steps(batches, loss, optimizer, what, decay=True)

    def stop(self, losses: list[float]) -> bool:
        """Whether the loss has not fallen for `patience` steps."""
        patience = self.recipe.patience or (2 if self.recipe.shot == 1 else 6)
        return len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])

    def fit(self, support: Sequence[Sentence], labels: list[str]) -> list[float]:
        """Fine-tune both encoders, each on the support set; returns the losses of the one, then those of the other."""
        self.encoded = [self.words.encode(sentence.words) for sentence in support]
        self.support = [sentence.labels for sentence in support]
        tokens, kinds = entity_tokens(self.encoded, self.support)
        self.types = [label for label in labels if label in kinds]
        if not self.types:
            return []
        with torch.no_grad():
            names = self.hidden(self.pack(self.name_pieces(self.types)), encoder=self.type_encoder, layers=LAYERS)
        self.embeddings = F.normalize(names, dim=1)
        parts = ((self.encoder, self.inside.parameters()), (self.type_encoder, []))
        self.tuning = self.tuning or [FineTuning(encoder, heads, self.recipe) for encoder, heads in parts]
        numbers = torch.tensor([self.types.index(kind) for kind in kinds], device=self.device)
        packed = self.pack(tokens)

        def spans_loss(embedded: Tensor) -> Tensor:
            return self.span_loss(self.encoded, self.support, embedded)

        def types_loss(embedded: Tensor) -> Tensor:
            words = F.normalize(self.hidden(packed, embedded, self.type_encoder), dim=1)  # (n, D)
            return F.cross_entropy(words @ self.embeddings.T / self.recipe.temperature, numbers)

        self.train()
        losses = self.tuning[0].run(self.pack(self.encoded), spans_loss, self.stop, self.recipe.max_steps)
        losses += self.tuning[1].run(packed, types_loss, self.stop, self.recipe.max_steps)
        self.train(self.recipe.transductive)
        return losses

    @torch.no_grad()
    def tag(self, query: Sequence[Sequence[str]]) -> list[list[str]]:
        encoded = [self.words.encode(words) for words in query]
        lengths = [len(sentence.first) for sentence in encoded]
        if not self.types or not sum(lengths):
            return [["O"] * length for length in lengths]
        inside = self.inside(self.span_dropout(self.hidden(self.pack(encoded)))).argmax(1).bool()  # (n,)
        spans = [runs(words.tolist()) for words in inside.split(lengths)]
        if not any(spans):
            return [["O"] * length for length in lengths]
        known = [sorted(entities(own[: len(e.first)])) for own, e in zip(self.support, self.encoded, strict=True)]
        both = [*self.encoded, *(sentence for sentence, found in zip(encoded, spans, strict=True) if found)]
        states = F.normalize(self.hidden(self.pack(both), encoder=self.type_encoder), dim=1)
        states = states.split([len(sentence.first) for sentence in both])
        found = span_states(states[len(known) :], [found for found in spans if found])
        if self.recipe.transductive:
            found = F.normalize(found, dim=0)
        means = prototypes(states[: len(known)], known, self.types)
        tags = self.type_spans(found, means, self.threshold(states, known))
        return as_labels(lengths, spans, ["O" if tag < 0 else self.types[tag] for tag in tags.tolist()])

    def threshold(self, states: Sequence[Tensor], known: Sequence[Sequence[Span]]) -> float:
        """The least similarity of a support set's entity token to the name of its type."""
        return min(
            (own[begin:end] @ self.embeddings[self.types.index(kind)]).min().item()
            for own, spans in zip(states, known, strict=False)
            for begin, end, kind in spans
        )

    def type_spans(self, found: Tensor, means: Tensor, threshold: float) -> Tensor:
        """The types (n,) of the query's spans (n, D), -1 for one less similar than the threshold to its type's name.

        A type's prototype is its name's embedding e beside the mean p of its examples, of `means` (Y, D): a span s
        scores `[e ; p] . [s ; s] = (e + p) . s`. The threshold is one of similarities to names, which the score exceeds
        by `p . s`: compared with it, nothing would ever be dropped.
        """
        to_names = found @ self.embeddings.T  # (n, Y)
        best = (to_names + found @ means.T).argmax(1)
        return best.where(to_names.gather(1, best[:, None])[:, 0] >= threshold, -1)


def entity_tokens(sentences: Sequence[Encoded], labels: Sequence[Sequence[str]]) -> tuple[list[Encoded], list[str]]:
    """The sentences with the first pieces of entities' words alone, and the types of all of these."""
    inside = [
        [(place, kind) for place, kind in zip(sentence.first, kinds, strict=False) if kind != "O"]
        for sentence, kinds in zip(sentences, labels, strict=True)
    ]
    tokens = [Encoded(e.ids, [place for place, _ in found]) for e, found in zip(sentences, inside, strict=True)]
    return tokens, [kind for found in inside for _, kind in found]
