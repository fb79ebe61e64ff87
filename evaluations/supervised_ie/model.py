"""OneIE's local model (Lin et al., ACL 2020, sections 3.1-3.3): encoder, span taggers and classifiers."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from encoders import IGNORED, encode
from encoders.cpu import Dropout
from evaluations.supervised_ie.batches import Batch
from evaluations.supervised_ie.crf import CRF, tags_to_spans
from evaluations.supervised_ie.data import Sentence, Span
from evaluations.supervised_ie.decode import GraphDecoder, LocalScores
from evaluations.supervised_ie.labels import Labels

WORD_DROPOUT, CLASSIFIER_DROPOUT = 0.5, 0.4
WIDTHS = {"entity": 150, "mention": 150, "event": 600, "relation": 150, "role": 600}
SECOND_LAYER = -3  # word vectors join the last layer and the third from the end


def hidden_states(encoder: PreTrainedModel, batch: Batch, mixed_precision: str) -> tuple[Tensor, ...]:
    """The embeddings and the states after every layer, (R, S, H) each."""
    with torch.autocast(batch.input_ids.device.type, torch.bfloat16, enabled=mixed_precision == "bf16"):
        return encode(encoder, batch.attention_mask, batch.input_ids, output_hidden_states=True).hidden_states


class Tagger(nn.Module):
    """Finds the spans of one kind: a score for every BIO tag of every word, and a CRF over them."""

    def __init__(self, dim: int, tags: list[str]):
        super().__init__()
        self.tags = tags
        self.score = nn.Linear(dim, len(tags))
        self.crf = CRF(tags)

    def loss(self, words: Tensor, batch: Batch, tags: list[np.ndarray]) -> Tensor:
        """The mean over the sentences of -log p(tags); `words` is (W, D)."""
        padded = nn.utils.rnn.pad_sequence([torch.from_numpy(row) for row in tags], batch_first=True)  # (B, T)
        emissions = self.score(words)[batch.word_grid]  # (B, T, L)
        return -self.crf.log_likelihood(emissions, padded.to(words.device), batch.word_mask).mean()

    def find(self, words: Tensor, batch: Batch) -> list[list[Span]]:
        """The spans in the most probable tags of each sentence."""
        paths = self.crf.viterbi(self.score(words)[batch.word_grid], batch.word_mask)
        return [tags_to_spans([self.tags[tag] for tag in path]) for path in paths]


class Classifier(nn.Module):
    """Feed-forward network of one hidden layer over one vector, or over two joined: W [a ; b] = W_a a + W_b b.

    For pairs, each side goes through its part of W once per span instead of once per pair.
    """

    def __init__(self, dims: tuple[int, ...], width: int, labels: int):
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(dim, width, bias=i == 0) for i, dim in enumerate(dims))
        self.dropout = Dropout(CLASSIFIER_DROPOUT)
        self.output = nn.Linear(width, labels)

    def forward(self, *vectors: Tensor, pairs: Tensor | None = None) -> Tensor:
        """(N, labels) from one (N, D); (P, labels) from a (N, D), b (M, D') and pairs (P, 2) of their rows."""
        sides = [layer(v) for layer, v in zip(self.hidden, vectors, strict=True)]
        hidden = sides[0] if pairs is None else sides[0][pairs[:, 0]] + sides[1][pairs[:, 1]]
        return self.output(self.dropout(F.relu(hidden)))


class Extractor(nn.Module):
    """Spans by two CRFs, types by classifiers; `loss` on gold spans, `local_scores` and `predict` on found ones.

    Args:
        encoder: of at least two layers.
        labels: the corpus's label sets; a classifier without labels to choose from is not built.
        mixed_precision: "bf16" has the encoder compute in bfloat16; taggers and classifiers stay in float32.
    """

    def __init__(self, encoder: PreTrainedModel, labels: Labels, mixed_precision: str = "no"):
        super().__init__()
        self.encoder, self.labels, self.mixed_precision = encoder, labels, mixed_precision
        self.decoder = GraphDecoder(labels)
        dim, types = 2 * encoder.config.hidden_size, len(labels.entity_types)
        self.dropout = Dropout(WORD_DROPOUT)
        self.entity_tagger = Tagger(dim, labels.entity_tags)
        self.trigger_tagger = Tagger(dim, labels.trigger_tags) if labels.event_types else None
        sizes = {
            "entity": ((dim,), types),
            "mention": ((dim,), len(labels.mention_types)),
            "event": ((dim,), len(labels.event_types)),
            "relation": ((dim, dim), len(labels.relation_types) and len(labels.relation_types) + 1),
            "role": ((dim, dim + types), len(labels.roles) and len(labels.roles) + 1),
        }
        self.classifiers = nn.ModuleDict(
            {name: Classifier(dims, WIDTHS[name], size) for name, (dims, size) in sizes.items() if size}
        )

    def words(self, batch: Batch) -> Tensor:
        """(W, 2H): for each word the mean over its pieces of [last layer ; third layer from the end]."""
        layers = hidden_states(self.encoder, batch, self.mixed_precision)
        pieces = torch.cat([layers[-1], layers[SECOND_LAYER]], dim=-1).flatten(0, 1).float()  # (R * S, 2H)
        return self.dropout(F.embedding_bag(batch.piece_positions, pieces, batch.word_offsets, mode="mean"))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The parts of the training loss, to be summed: each CRF's mean over sentences of -log p of the gold tags,
        each classifier's mean cross entropy over the gold spans or pairs of the batch."""
        words, gold = self.words(batch), batch.gold
        losses = {"entity_tags": self.entity_tagger.loss(words, batch, [g["entity_tags"] for g in gold])}
        if self.trigger_tagger:
            losses["trigger_tags"] = self.trigger_tagger.loss(words, batch, [g["trigger_tags"] for g in gold])
        entities = [[(e.start, e.end) for e in sentence.entities] for sentence in batch.sentences]
        triggers = [[(e.start, e.end) for e in sentence.events] for sentence in batch.sentences]
        for name, scores in self._classify(words, batch, entities, triggers).items():
            target = torch.from_numpy(np.concatenate([g[name].ravel() for g in gold])).to(scores.device)
            total = F.cross_entropy(scores, target, ignore_index=IGNORED, reduction="sum")
            losses[name] = total / (target != IGNORED).sum().clamp(min=1)
        return losses

    @torch.no_grad()
    def local_scores(self, batch: Batch) -> list[LocalScores]:
        """Find the spans of each sentence and score their types, relations and roles."""
        words = self.words(batch)
        entity_spans = self.entity_tagger.find(words, batch)
        trigger_spans = self.trigger_tagger.find(words, batch) if self.trigger_tagger else [[] for _ in entity_spans]
        logits = self._classify(words, batch, entity_spans, trigger_spans)
        scores = {name: torch.log_softmax(value, dim=-1).cpu().double().numpy() for name, value in logits.items()}
        n = np.array([len(spans) for spans in entity_spans])
        m = np.array([len(spans) for spans in trigger_spans])
        shapes = {"entity": (n,), "mention": (n,), "event": (m,), "relation": (n, n), "role": (m, n)}
        split = {}
        for name, shape in shapes.items():
            sizes = np.prod(shape, axis=0)  # (B,)
            flat = scores.get(name, np.zeros((sizes.sum(), 1)))
            parts = np.split(flat, np.cumsum(sizes)[:-1])
            split[name] = [p.reshape(*size, flat.shape[-1]) for p, *size in zip(parts, *shape, strict=True)]
        return [LocalScores(*of_one) for of_one in zip(entity_spans, trigger_spans, *split.values(), strict=True)]

    def predict(self, batch: Batch) -> list[Sentence]:
        """The sentences with their best graphs in place of any annotation."""
        scores = self.local_scores(batch)
        return [self.decoder(sentence, of_one) for sentence, of_one in zip(batch.sentences, scores, strict=True)]

    def _classify(
        self, words: Tensor, batch: Batch, entity_spans: list[list[Span]], trigger_spans: list[list[Span]]
    ) -> dict[str, Tensor]:
        """Logits of each classifier over all spans of the batch, and over all pairs within its sentences, in order."""
        entities, entity_home = _span_vectors(words, batch, entity_spans)  # (N, D), (N,)
        triggers, trigger_home = _span_vectors(words, batch, trigger_spans)  # (M, D), (M,)
        logits = {}
        for name, vectors in (("entity", entities), ("mention", entities), ("event", triggers)):
            if name in self.classifiers:
                logits[name] = self.classifiers[name](vectors)
        if "relation" in self.classifiers:
            pairs = (entity_home[:, None] == entity_home).nonzero()  # (P, 2) rows that are of one sentence, in order
            logits["relation"] = self.classifiers["relation"](entities, entities, pairs=pairs)
        if "role" in self.classifiers:
            typed = torch.cat([entities, logits["entity"].softmax(dim=-1)], dim=-1)  # (N, D + K)
            pairs = (trigger_home[:, None] == entity_home).nonzero()  # (P, 2)
            logits["role"] = self.classifiers["role"](triggers, typed, pairs=pairs)
        return logits


def _span_vectors(words: Tensor, batch: Batch, spans: list[list[Span]]) -> tuple[Tensor, Tensor]:
    """(N, D) mean word vector of each span, and (N,) the sentence it is in."""
    firsts = batch.word_grid[:, 0].tolist()
    positions, offsets, home = [], [], []
    for sentence, (first, found) in enumerate(zip(firsts, spans, strict=True)):
        for start, end in found:
            offsets.append(len(positions))
            positions += range(first + start, first + end)
            home.append(sentence)
    to = {"dtype": torch.long, "device": words.device}
    vectors = F.embedding_bag(torch.tensor(positions, **to), words, torch.tensor(offsets, **to), mode="mean")
    return vectors, torch.tensor(home, **to)
