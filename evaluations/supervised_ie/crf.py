"""A linear-chain conditional random field over BIO tags (Lafferty et al., ICML 2001), batched over sentences."""

import re

import torch
from torch import Tensor, nn

from evaluations.viterbi import viterbi

FORBIDDEN = -1e4  # added to a score, leaves a probability of 0 in float32 and no infinities in the gradient


def bio_rules(tags: list[str]) -> tuple[Tensor, Tensor]:
    """Which tags may start a sentence, (L,) bool, and which may follow which, (L, L) bool: I-X needs X before it."""
    inside = [tag.startswith("I-") for tag in tags]
    follows = [[not i or before[2:] == tag[2:] for i, tag in zip(inside, tags, strict=True)] for before in tags]
    return ~torch.tensor(inside), torch.tensor(follows)


class CRF(nn.Module):
    """p(y | x) = exp(score(x, y)) / sum over y' of exp(score(x, y')), with

    score(x, y) = start[y_1] + sum_t emission[t, y_t] + sum_t transition[y_t, y_t+1] + end[y_T],

    over the tag sequences that are well-formed BIO. `mask` is (B, T) bool and true on words; a sentence's
    words come first and there is at least one.
    """

    start_rule: Tensor  # (L,) what forbids and allows: FORBIDDEN or 0
    transition_rule: Tensor  # (L, L)

    def __init__(self, tags: list[str]):
        super().__init__()
        may_start, may_follow = bio_rules(tags)
        self.start = nn.Parameter(torch.randn(len(tags)) * 0.1)
        self.end = nn.Parameter(torch.randn(len(tags)) * 0.1)
        self.transition = nn.Parameter(torch.randn(len(tags), len(tags)) * 0.1)
        self.register_buffer("start_rule", FORBIDDEN * ~may_start, persistent=False)
        self.register_buffer("transition_rule", FORBIDDEN * ~may_follow, persistent=False)

    def log_likelihood(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """log p(tags | x), (B,), of emissions (B, T, L) and tags (B, T) int64; the tags of padding do not matter."""
        tags = tags * mask
        last = mask.sum(dim=1, keepdim=True) - 1  # (B, 1)
        emitted = emissions.gather(2, tags[:, :, None])[:, :, 0]  # (B, T)
        moved = (self.transition + self.transition_rule)[tags[:, :-1], tags[:, 1:]]  # (B, T-1)
        path = (emitted * mask).sum(dim=1) + (moved * mask[:, 1:]).sum(dim=1)
        path = path + (self.start + self.start_rule)[tags[:, 0]] + self.end[tags.gather(1, last)[:, 0]]
        return path - self.log_partition(emissions, mask)

    def log_partition(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """log sum over all tag sequences of exp(score), (B,), by the forward algorithm."""
        transition = self.transition + self.transition_rule
        alpha = self.start + self.start_rule + emissions[:, 0]  # (B, L)
        for t in range(1, emissions.shape[1]):
            step = torch.logsumexp(alpha[:, :, None] + transition, dim=1) + emissions[:, t]  # (B, L)
            alpha = torch.where(mask[:, t, None], step, alpha)
        return torch.logsumexp(alpha + self.end, dim=1)

    @torch.no_grad()
    def viterbi(self, emissions: Tensor, mask: Tensor) -> list[list[int]]:
        """The most probable tags of each sentence, as many as it has words."""
        start, transition = self.start + self.start_rule, self.transition + self.transition_rule
        return [tags.tolist() for tags in viterbi(emissions, mask.sum(dim=1), start, transition, self.end)]


def tags_to_spans(tags: list[str]) -> list[tuple[int, int]]:
    """The spans [start, end) of well-formed BIO tags, in order; their types are decided later."""
    return [found.span() for found in re.finditer("BI*", "".join(tag[0] for tag in tags))]
