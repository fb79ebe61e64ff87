"""One episode: fine-tune on the support set, then tag the query set (Das et al. 2022, section 3.3)."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from container.data import Episode, Sentence
from container.gaussian import contrastive_loss
from container.model import Container, Encoded, Packed, WordPieces, pack
from container.viterbi import log_transitions, viterbi

METHODS = ("container", "nnshot", "structshot", "protobert")  # all but the first tag without fine-tuning
WITH_VITERBI = ("container", "structshot")
UNSUPPORTED = -100_000.0  # score of a label without support tokens


def make_optimizer(encoder: Iterable[nn.Parameter], heads: Iterable[nn.Parameter], args) -> torch.optim.AdamW:
    """AdamW without weight decay, the heads at `learning_rate`, the encoder at `encoder_learning_rate`."""
    groups = [{"params": heads, "lr": args.learning_rate}, {"params": encoder, "lr": args.encoder_learning_rate}]
    return torch.optim.AdamW(groups, weight_decay=0.0, fused=True)


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One update, the gradient's norm clipped to 1."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()


def label_scores(query: Tensor, support: Tensor, labels: Tensor, number: int, prototypes: bool = False) -> Tensor:
    """How near each query token is to each label: minus the squared distance to its nearest support token.

    Args:
        query (n, D) and support (m, D): hidden states; L2-normalised here.
        labels: (m,) labels of the support tokens, below `number`.
        prototypes: measure to the mean of a label's support tokens instead.

    Returns:
        (n, number); a label without support tokens gets -100,000.
    """
    query, support = F.normalize(query, dim=1), F.normalize(support, dim=1)
    if prototypes:
        present = labels.unique()
        support, labels = torch.stack([support[labels == label].mean(0) for label in present]), present
    nearness = 2 * query @ support.T - support.square().sum(1) - 1  # (n, m)
    scores = nearness.new_full((len(query), number), UNSUPPORTED)
    return scores.scatter_reduce(1, labels.expand(len(query), -1), nearness, "amax")


class Outcome(NamedTuple):
    """The labels of the query sentences' words, and the loss before each fine-tuning step."""

    labels: list[list[str]]
    losses: list[float]


class Tagger:
    """Tags episodes, each from the same trained weights, which it keeps in memory.

    Fine-tuning changes the model in place, `restore` copies the trained weights back. Of the word embeddings
    only the rows of the support set's pieces take part: without weight decay the others would not change.
    """

    def __init__(self, model: Container, words: WordPieces, labels: list[str], statistics: Sequence[float], args):
        self.model, self.words, self.labels, self.args = model.eval(), words, labels, args
        self.device = model.words.device
        self.transitions = [t.to(self.device) for t in log_transitions(statistics, len(labels) - 1, args.temp_trans)]
        self.viterbi = args.method in WITH_VITERBI and not args.no_viterbi
        model.words.requires_grad_(False)
        model.set_dropout(args.dropout)
        self.encoder = [p for p in model.encoder.parameters() if p.requires_grad]
        self.heads = list(model.heads.parameters())
        self.trained = [p.detach().clone() for p in self.encoder + self.heads]
        self.touched: tuple[Tensor, Tensor] | None = None  # word ids and their trained embeddings

    def run(self, index: int, episode: Episode) -> Outcome:
        """Tag the query set of episode number `index`; the model is left with its trained weights.

        The index and `args.seed` decide what is random, whatever was run before in this process. Words
        beyond `max_length` are tagged O, and so is everything if the support set has no word.
        """
        torch.manual_seed(int(np.random.SeedSequence([self.args.seed, index]).generate_state(1)[0]))
        support, query = ([self.words.encode(s.words) for s in part] for part in (episode.support, episode.query))
        labels = self.label_ids(episode.support, support)
        losses: list[float] = []
        if self.args.method == "container" and len(labels):
            losses = self.finetune(pack(support, self.device), labels)
        tags = self.tag(support, labels, query) if len(labels) else [[] for _ in query]
        self.restore()
        named = [[self.labels[tag] for tag in sentence] for sentence in tags]
        padded = [n + ["O"] * (len(s.words) - len(n)) for n, s in zip(named, episode.query, strict=True)]
        return Outcome(padded, losses)

    def label_ids(self, sentences: Sequence[Sentence], encoded: Sequence[Encoded]) -> Tensor:
        """(n,) labels of the first pieces; words beyond `max_length` have none."""
        kept = [s.labels[: len(e.first)] for s, e in zip(sentences, encoded, strict=True)]
        return torch.tensor([self.labels.index(name) for names in kept for name in names], device=self.device)

    def finetune(self, support: Packed, labels: Tensor) -> list[float]:
        """Fine-tune on the support set as one batch until the loss rises above the one before.

        Args:
            labels: (n,) of the support's first pieces.

        Returns:
            the loss before each update, and the one that rose, after which there was none.
        """
        model = self.model
        ids, inverse = support.ids.unique(return_inverse=True)  # (v,), (R, L)
        rows = nn.Parameter(model.words[ids])  # (v, D)
        self.touched = ids, rows.detach().clone()
        optimizer = make_optimizer([*self.encoder, rows], self.heads, self.args)
        losses: list[float] = []
        model.train()
        while len(losses) < self.args.max_steps:
            hidden = model.hidden(support, F.embedding(inverse, rows))  # (n, D)
            loss = contrastive_loss(*model.gaussians(hidden), labels, self.args.distance)
            losses.append(loss.item())
            if losses[-1] > min(losses[-2:]):
                break
            step(optimizer, loss)
        model.eval()
        with torch.no_grad():
            model.words[ids] = rows
        return losses

    @torch.no_grad()
    def restore(self) -> None:
        """Put the trained weights back."""
        if self.touched is not None:
            for parameter, trained in zip(self.encoder + self.heads, self.trained, strict=True):
                parameter.copy_(trained)
            self.model.words[self.touched[0]] = self.touched[1]
            self.touched = None

    @torch.no_grad()
    def tag(self, support: Sequence[Encoded], labels: Tensor, query: Sequence[Encoded]) -> list[list[int]]:
        """Label every word of the query by its nearest support tokens, with Viterbi or without."""
        hidden = self.model.hidden(pack([*support, *query], self.device))
        prototypes = self.args.method == "protobert"
        scores = label_scores(hidden[len(labels) :], hidden[: len(labels)], labels, len(self.labels), prototypes)
        lengths = [len(sentence.first) for sentence in query]
        if not self.viterbi:
            return [tags.tolist() for tags in scores.argmax(1).split(lengths)]
        emissions = pad_sequence(scores.log_softmax(1).split(lengths), batch_first=True)  # (S, T, Y)
        words = torch.tensor(lengths, device=self.device)
        return [tags.tolist() for tags in viterbi(emissions, words, *self.transitions)]
