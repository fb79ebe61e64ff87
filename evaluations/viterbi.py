"""The best sequence of labels, found by dynamic programming."""

import torch
from torch import Tensor


def viterbi(
    emissions: Tensor, lengths: Tensor, start: Tensor, transitions: Tensor, end: Tensor | float = 0.0
) -> list[Tensor]:
    """The best label sequence of every sentence, all sentences at once (Viterbi 1967).

    Args:
        emissions: (S, T, Y) scores of the labels, as log probabilities; anything at padding.
        lengths: (S,) number of words of each sentence, at least one.
        start: (Y,), transitions: (Y, Y), from rows to columns, and end: (Y,), scores likewise.

    Returns:
        S tensors (length,) of labels, on the CPU; of equally good labels the smaller.
    """
    best = start + emissions[:, 0]  # (S, Y) score of the best path that ends in the label
    bests, origins = [best], []
    for t in range(1, emissions.shape[1]):
        arrived, origin = (best[:, :, None] + transitions).max(1)  # (S, Y): over the label before
        best = arrived + emissions[:, t]
        bests.append(best)
        origins.append(origin)
    last = (torch.stack(bests, 1)[torch.arange(len(lengths)), lengths - 1] + end).argmax(1)  # (S,)
    label, path = last, [last]
    for t in range(len(origins), 0, -1):
        # beyond a sentence's end the path stays at its last label
        label = torch.where(t < lengths, origins[t - 1].gather(1, label[:, None])[:, 0], label)
        path.append(label)
    return [row[:length] for row, length in zip(torch.stack(path[::-1], 1).cpu(), lengths.tolist(), strict=True)]
