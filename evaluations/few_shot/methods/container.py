"""CONTaiNER (Das et al. 2022, section 3.3): fine-tuned on the support set, then tagging as StructShot does."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evaluations.few_shot.data import Sentence
from evaluations.few_shot.methods.base import make_optimizer, step
from evaluations.few_shot.methods.structshot import StructShot


class Container(StructShot):
    """Fine-tuning changes the weights in place, and `restore` copies the trained ones back.

    Of the word embeddings only the rows of the support set's pieces take part: without weight decay the others
    would not change.
    """

    trained: list[Tensor] | None = None  # a copy of `tuned` before the first episode
    touched: tuple[Tensor, Tensor] | None = None  # word ids and their trained embeddings

    def tuned(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The parameters of the encoder but its word embeddings, and those of the heads."""
        return [p for p in self.encoder.parameters() if p is not self.embeddings], list(self.heads.parameters())

    @property
    def embeddings(self) -> nn.Parameter:
        """The word embeddings, (V, D)."""
        layer: Any = self.encoder.get_input_embeddings()
        return layer.weight

    def fit(self, support: Sequence[Sentence], labels: list[str]) -> list[float]:
        """Fine-tune on the support set as one batch until the loss rises above the one before.

        Returns:
            the loss before each update, and the one that rose, after which there was none.
        """
        super().fit(support, labels)
        encoder, heads = self.tuned()
        if self.trained is None:
            self.trained = [p.detach().clone() for p in encoder + heads]
        packed = self.pack(self.support)
        self.embeddings.requires_grad_(False)
        ids, inverse = packed.input_ids.unique(return_inverse=True)  # (v,), (R, W)
        rows = nn.Parameter(self.embeddings[ids])  # (v, D)
        self.touched = ids, rows.detach().clone()
        optimizer = make_optimizer([*encoder, rows], heads, self.recipe)
        losses: list[float] = []
        self.train()
        while len(losses) < self.recipe.max_steps:
            loss = self.loss(packed, self.support_labels, F.embedding(inverse, rows))
            losses.append(loss.item())
            if losses[-1] > min(losses[-2:]):
                break
            step(optimizer, loss)
        self.eval()
        with torch.no_grad():
            self.embeddings[ids] = rows
        return losses

    @torch.no_grad()
    def restore(self) -> None:
        if self.touched is not None and self.trained is not None:
            encoder, heads = self.tuned()
            for parameter, trained in zip(encoder + heads, self.trained, strict=True):
                parameter.copy_(trained)
            self.embeddings[self.touched[0]] = self.touched[1]
            self.touched = None
