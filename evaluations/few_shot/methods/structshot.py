"""StructShot (Yang and Katiyar 2020): NNShot, decoded by Viterbi with the source split's transitions."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from evaluations.few_shot.methods.nnshot import NNShot
from evaluations.few_shot.transitions import log_transitions
from evaluations.viterbi import viterbi


class StructShot(NNShot):
    """With `no_viterbi` it is NNShot."""

    def decode(self, scores: Tensor, lengths: list[int]) -> Sequence[Tensor]:
        if self.recipe.no_viterbi or not any(lengths):
            return super().decode(scores, lengths)
        transitions = log_transitions(self.statistics.tolist(), len(self.labels) - 1, self.recipe.temp_trans)
        emissions = pad_sequence(list(scores.log_softmax(1).split(lengths)), batch_first=True)  # (S, T, Y)
        words = torch.tensor(lengths, device=self.device)
        return viterbi(emissions, words, *(tensor.to(self.device) for tensor in transitions))
