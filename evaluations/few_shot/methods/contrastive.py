"""CONTaiNER's source training (Das et al. 2022, section 3.2), which its baselines share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.flags import Count, CountOrZero, Weight, flag
from encoders import Encoded, PackedSentences
from encoders.cpu import Dropout
from evaluations.few_shot.data import Sentence
from evaluations.few_shot.gaussian import DISTANCES, GaussianHeads, contrastive_loss
from evaluations.few_shot.methods.base import Method
from evaluations.few_shot.methods.optimisation import make_optimizer
from evaluations.few_shot.recipe import TrainedRecipe
from evaluations.few_shot.transitions import STATISTICS, transition_statistics


@dataclass(frozen=True, kw_only=True)
class ContrastiveRecipe(TrainedRecipe):
    embedding_dimension: Count = flag(128, "of the Gaussians")
    distance: str = flag("kl", "between tokens in the training loss", choices=DISTANCES)
    no_viterbi: bool = flag(False, "tag by the nearest neighbour alone")
    temp_trans: Weight = flag(0.01, "power of the transition probabilities")
    max_steps: CountOrZero = flag(100, "fine-tuning steps at most, should the loss never rise")

    OF_SOURCE: ClassVar = TrainedRecipe.OF_SOURCE | {"embedding_dimension"}
    OF_EPISODES: ClassVar = TrainedRecipe.OF_EPISODES | {"no_viterbi", "temp_trans", "max_steps"}

    @property
    def setting(self) -> str:
        return super().setting + "-no_viterbi" * self.no_viterbi


class Contrastive(Method):
    """An encoder with heads, always in float32, that make a Gaussian of each token, trained by the contrastive loss."""

    RECIPE = ContrastiveRecipe
    SOURCE = "contrastive"
    recipe: ContrastiveRecipe
    statistics: Tensor  # (7,) float64, of the transitions between the labels of the source split

    def __init__(self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recipe: ContrastiveRecipe):
        super().__init__(encoder, tokenizer, recipe)
        self.dropout = Dropout(recipe.dropout)
        self.heads = GaussianHeads(encoder.config.hidden_size, recipe.embedding_dimension)
        self.register_buffer("statistics", torch.zeros(len(STATISTICS), dtype=torch.float64))

    def loss(self, packed: PackedSentences, labels: Tensor, embedded: Tensor | None = None) -> Tensor:
        """Of the words' first pieces; `labels` (n,), `embedded` as for `hidden`."""
        mu, variance = self.heads(self.dropout(self.hidden(packed, embedded)))  # (n, dimension) each
        return contrastive_loss(mu, variance, labels, self.recipe.distance)

    def label_ids(self, sentences: Sequence[Sentence], encoded: Sequence[Encoded], labels: list[str]) -> Tensor:
        """(n,) labels of the first pieces; words beyond `max_length` have none."""
        kept = [s.labels[: len(e.first)] for s, e in zip(sentences, encoded, strict=True)]
        return torch.tensor([labels.index(name) for names in kept for name in names], device=self.device)

    def train_on_source(self, sentences: Sequence[Sentence], labels: list[str]) -> None:
        """`epochs` over the sentences in random order, a step for each `batch_size` of them."""
        encoded = [self.words.encode(sentence.words) for sentence in sentences]

        def loss(batch: list[int]) -> Tensor:
            chosen = [encoded[i] for i in batch]
            return self.loss(self.pack(chosen), self.label_ids([sentences[i] for i in batch], chosen, labels))

        optimizer = make_optimizer(self.encoder.parameters(), self.heads.parameters(), self.recipe)
        self.train_in_steps(self.random_batches(len(sentences), self.recipe.epochs), loss, optimizer)
        statistics = transition_statistics(sentence.labels for sentence in sentences)
        self.statistics.copy_(torch.tensor(statistics, dtype=torch.float64))
