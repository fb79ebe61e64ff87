"""ProtoBERT (Snell et al. 2017, as Few-NERD's authors use it): the label of the nearest prototype."""

import torch
from torch import Tensor

from evaluations.few_shot.methods.nnshot import NNShot


class ProtoBERT(NNShot):
    """A label's prototype is the mean of its support tokens."""

    def references(self, support: Tensor) -> tuple[Tensor, Tensor]:
        present = self.support_labels.unique()
        return torch.stack([support[self.support_labels == label].mean(0) for label in present]), present
