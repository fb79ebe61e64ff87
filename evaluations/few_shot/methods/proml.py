"""ProML (Chen et al. 2022): two prompts with label names, and Gaussians trained on episodes; nothing is fine-tuned."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.errors import UserError
from common.flags import Count, LearningRate, Share, flag
from encoders import Encoded, WordPieces, max_positions
from encoders.cpu import Dropout
from evaluations.few_shot.data import Sentence, types_of
from evaluations.few_shot.episodes import Sampler
from evaluations.few_shot.gaussian import GaussianHeads, pairwise_kl
from evaluations.few_shot.methods.names import NamesRecipe, ReadsNames, names_of
from evaluations.few_shot.methods.optimisation import make_optimizer


@dataclass(frozen=True, kw_only=True)
class ProMLRecipe(NamesRecipe):
    learning_rate: LearningRate = flag(3e-5, "of the new heads")
    encoder_learning_rate: LearningRate = flag(3e-5, "of the encoder")
    embedding_dimension: Count = flag(128, "of the Gaussians")
    rho: Share = flag(0.5, "share of the states with the option prefix in a support token's; the paper: 0.3, 0.5, 0.7")
    train_way: Count = flag(5, "types of a training episode; all, if there are fewer")
    train_shot: Count = flag(1, "entities of each type in its support set, at least, and in its query set")

    OF_SOURCE: ClassVar = NamesRecipe.OF_SOURCE | {"embedding_dimension", "train_way", "train_shot"}


def option_prefix(names: Sequence[list[str]]) -> list[str]:
    """The words that stand before a sentence: `actor , sports team :`."""
    words = [word for name in names for word in [",", *name]]
    return [*words[1:], ":"]


def label_aware(sentence: Sentence, names: dict[str, list[str]]) -> tuple[list[str], list[int]]:
    """A sentence with `[ entity | type ]` for each entity, and where its own words stand in it."""
    words, own = list[str](), list[int]()
    for label, part in groupby(zip(sentence.labels, sentence.words, strict=True), key=lambda pair: pair[0]):
        inside = [word for _, word in part]
        begin = len(words) + (label != "O")
        own += range(begin, begin + len(inside))
        words += inside if label == "O" else ["[", *inside, "|", *names[label], "]"]
    return words, own


def proml_loss(query: tuple[Tensor, Tensor], support: tuple[Tensor, Tensor], same: Tensor) -> Tensor:
    """Minus the log of the share of their own label in the query tokens' nearness to the support tokens.

    With the symmetric KL divergences d_ij, the mean over the query tokens i of `-log(sum_{j of the label of i}
    exp(-d_ij) / sum_j exp(-d_ij))`, in float64. Tokens of a label without support tokens are left out; if all are, it
    is zero, with zero gradient.

    Args:
        query, support: means and variances, (n, dim) and (m, dim) each.
        same: (n, m) bool, whether two tokens have one label.
    """
    mu, variance = (torch.cat(parts).double() for parts in zip(query, support, strict=True))
    n = len(same)
    scores = -pairwise_kl(mu, variance)[:n, n:]  # (n, m)
    if not same.any():
        return 0 * scores.sum()
    scores, same = scores[same.any(1)], same[same.any(1)]
    return (scores.logsumexp(1) - scores.masked_fill(~same, -torch.inf).logsumexp(1)).mean()


def neighbour_distances(query: Tensor, support: Tensor, labels: Tensor, number: int, neighbours: int) -> Tensor:
    """How far each query token is from each label: the mean squared distance to its nearest support tokens.

    Query tokens (n, D) and support tokens (m, D) with `labels` (m,) below `number` -> (n, number); infinite for a label
    without support tokens. Of each label `neighbours` count, or all it has if they are fewer.
    """
    distances = torch.cdist(query, support).square()  # (n, m)
    result = query.new_full((len(query), number), torch.inf)
    for label in labels.unique():
        own = distances[:, labels == label]  # (n, tokens of the label)
        result[:, label] = own.topk(min(neighbours, own.shape[1]), largest=False).values.mean(1)
    return result


class Prompted(NamedTuple):
    """The option prefix, the support sentences behind it and in the label-aware prompt, and the labels of the words
    that are read in both, one sentence after another."""

    prefix: list[str]
    behind: list[Encoded]
    marked: list[Encoded]
    labels: list[str]


class ProML(ReadsNames):
    """A support token's state is `rho` of its state behind the option prefix and the rest of its state in the
    label-aware prompt; a query token has the former alone. The prompts do not count among the `max_length` pieces."""

    RECIPE, SOURCE = ProMLRecipe, "proml"
    recipe: ProMLRecipe
    support: Prompted
    labels: list[str]

    def __init__(self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recipe: ProMLRecipe):
        super().__init__(encoder, tokenizer, recipe)
        self.dropout = Dropout(recipe.dropout)
        self.heads = GaussianHeads(encoder.config.hidden_size, recipe.embedding_dimension)
        self.prompted = WordPieces(tokenizer, max_positions(encoder.config))

    @property
    def limit(self) -> str:
        return f"{super().limit}, or {self.prompted.max_length} with the prompts,"

    def prompt(self, support: Sequence[Sentence], types: Sequence[str]) -> Prompted:
        """The support set in both prompts, the types in the order of the option prefix."""
        names = names_of(types, self.recipe.label_names)
        prompted = Prompted(option_prefix([names[kind] for kind in types]), [], [], [])
        for words, labels in support:
            kept = self.kept(words)
            behind = self.behind(prompted.prefix, kept)
            marked, own = label_aware(Sentence(kept, labels[: len(kept)]), names)
            ids, first = self.prompted.encode(marked)
            inside = [first[i] for i in own if i < len(first)]
            length = min(len(behind.first), len(inside))  # a token needs both states
            self.words.cut += len(kept) - length
            prompted.behind.append(Encoded(behind.ids, behind.first[:length]))
            prompted.marked.append(Encoded(ids, inside[:length]))
            prompted.labels.extend(labels[:length])
        return prompted

    def read(self, support: Prompted, query: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor, list[int]]:
        """The states of support tokens (m, D), and of query tokens (n, D) with the number in each sentence: words
        beyond `max_length`, or beyond what the encoder can read with the prompts, are left out."""
        kept = [self.kept(words) for words in query]
        asked = [self.behind(support.prefix, words) for words in kept]
        lengths = [len(sentence.first) for sentence in asked]
        self.words.cut += sum(map(len, kept)) - sum(lengths)
        m, n = len(support.labels), sum(lengths)
        states = self.hidden(self.pack([*support.behind, *asked, *support.marked]))
        behind, queried, inside = states.tensor_split([m, m + n])  # (m, D), (n, D), (m, D)
        return self.recipe.rho * behind + (1 - self.recipe.rho) * inside, queried, lengths

    def kept(self, words: Sequence[str]) -> list[str]:
        """The words up to `max_length` pieces."""
        return list(words[: len(self.words.encode(words).first)])

    def behind(self, prefix: list[str], words: list[str]) -> Encoded:
        """A sentence behind the option prefix; UserError if this leaves no room for it."""
        encoded = self.prompted.encode([*prefix, *words])
        if words and len(encoded.first) <= len(prefix):
            raise UserError(
                f"the label names, {len(prefix)} words with the commas, fill the {self.prompted.max_length} word "
                "pieces that the encoder reads at once, and leave no room for a sentence; --label_names shortens them"
            )
        return Encoded(encoded.ids, encoded.first[len(prefix) :])

    def train_on_source(self, sentences: Sequence[Sentence], labels: list[str]) -> None:
        """A step for each of so many episodes as have, for each epoch, as many sentences as there are."""
        rng = random.Random(self.recipe.seed)
        sampler = Sampler(sentences, self.recipe.train_way, self.recipe.train_shot, "source training")
        sampler.way = max(1, min(sampler.way, len(sampler.types)))
        episodes, left = list[tuple[list[int], list[int]]](), self.recipe.epochs * len(sentences)
        while left > 0:
            episodes.append(sampler.draw(rng))
            left -= sum(map(len, episodes[-1]))

        def loss(episode: tuple[list[int], list[int]]) -> Tensor:
            support, query = ([sentences[i] for i in numbers] for numbers in episode)
            types = sorted(types_of(support))
            rng.shuffle(types)  # their order says nothing
            prompted = self.prompt(support, types)
            states, asked, lengths = self.read(prompted, [s.words for s in query])
            wanted = [label for s, length in zip(query, lengths, strict=True) for label in s.labels[:length]]
            number = {label: i for i, label in enumerate(["O", *types])}
            ours, theirs = (torch.tensor([number[label] for label in names]) for names in (wanted, prompted.labels))
            same = (ours[:, None] == theirs).to(self.device)
            return proml_loss(self.heads(self.dropout(asked)), self.heads(self.dropout(states)), same)

        optimizer = make_optimizer(self.encoder.parameters(), self.heads.parameters(), self.recipe)
        self.train_in_steps(episodes, loss, optimizer)

    def fit(self, support: Sequence[Sentence], labels: list[str]) -> list[float]:
        there = types_of(support)
        self.labels, self.support = labels, self.prompt(support, [label for label in labels if label in there])
        return []

    @torch.no_grad()
    def tag(self, query: Sequence[Sequence[str]]) -> list[list[str]]:
        states, asked, lengths = self.read(self.support, query)
        numbers = torch.tensor([self.labels.index(label) for label in self.support.labels], device=self.device)
        distances = neighbour_distances(asked, states, numbers, len(self.labels), self.recipe.shot)
        self.probabilities = (-distances).softmax(1).split(lengths)
        return [[self.labels[tag] for tag in tags.tolist()] for tags in distances.argmin(1).split(lengths)]
