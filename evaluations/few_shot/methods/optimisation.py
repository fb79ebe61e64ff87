"""How weights change: the optimiser of source training, and fine-tuning, which is taken back after the episode."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from encoders import PackedSentences
from evaluations.few_shot.recipe import TrainedRecipe


def make_optimizer(
    encoder: Iterable[nn.Parameter], heads: Iterable[nn.Parameter], recipe: TrainedRecipe
) -> torch.optim.AdamW:
    """AdamW without weight decay, the heads at `learning_rate`, the encoder at `encoder_learning_rate`."""
    groups = [{"params": heads, "lr": recipe.learning_rate}, {"params": encoder, "lr": recipe.encoder_learning_rate}]
    return torch.optim.AdamW(groups, weight_decay=0.0, fused=True)


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One update, the gradient's norm clipped to 1."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()


class FineTuning:
    """Changes the weights of an encoder and its heads in place; `restore` copies the trained ones back. Of the word
    embeddings only the rows of the support set's pieces take part: without weight decay the others would not change."""

    def __init__(self, encoder: PreTrainedModel, heads: Iterable[nn.Parameter], recipe: TrainedRecipe):
        layer: Any = encoder.get_input_embeddings()
        self.embeddings: nn.Parameter = layer.weight  # (V, D)
        self.encoder = [p for p in encoder.parameters() if p is not self.embeddings]
        self.heads, self.recipe = list(heads), recipe
        self.trained = [p.detach().clone() for p in [*self.encoder, *self.heads]]
        self.touched: tuple[Tensor, Tensor] | None = None  # word ids and their trained embeddings

    def run(
        self,
        packed: PackedSentences,
        loss: Callable[[Tensor], Tensor],
        stop: Callable[[list[float]], bool],
        max_steps: int,
    ) -> list[float]:
        """Fine-tune on the support set as one batch, by `max_steps` updates at most; returns the losses.

        Args:
            loss: (R, W, D) word embeddings of `packed.input_ids` -> scalar.
            stop: whether to end after these losses, without an update for the last.
        """
        self.embeddings.requires_grad_(False)
        ids, inverse = packed.input_ids.unique(return_inverse=True)  # (v,), (R, W)
        rows = nn.Parameter(self.embeddings[ids])  # (v, D)
        self.touched = ids, rows.detach().clone()
        optimizer = make_optimizer([*self.encoder, rows], self.heads, self.recipe)
        losses: list[float] = []
        while len(losses) < max_steps:
            value = loss(F.embedding(inverse, rows))
            losses.append(value.item())
            if stop(losses):
                break
            step(optimizer, value)
        with torch.no_grad():
            self.embeddings[ids] = rows
        return losses

    @torch.no_grad()
    def restore(self) -> None:
        """Put the trained weights back."""
        if self.touched is not None:
            for parameter, trained in zip([*self.encoder, *self.heads], self.trained, strict=True):
                parameter.copy_(trained)
            self.embeddings[self.touched[0]] = self.touched[1]
            self.touched = None
