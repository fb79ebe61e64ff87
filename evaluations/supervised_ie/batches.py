"""Sentences -> word pieces and gold tensors -> batches of similar length."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from encoders import IGNORED, WordPieces
from encoders import collate as lay_out
from evaluations.supervised_ie.data import Sentence, Span, without_overlap
from evaluations.supervised_ie.labels import Labels

POOL = 50  # batches whose sentences are sorted by length together: little padding, still shuffled


@dataclass
class Gold:
    """The training targets of one sentence, or of a batch when joined by `join`; positions are of words."""

    entity_tags: list[int]
    trigger_tags: list[int]
    entity_spans: list[Span]
    entity_types: list[int]
    mention_types: list[int]
    trigger_spans: list[Span]
    event_types: list[int]
    relations: np.ndarray  # (n, n) label of every ordered pair of entities, IGNORED of one with itself
    roles: np.ndarray  # (m, n) label of every trigger and entity


@dataclass
class Example:
    """A sentence as word pieces, with its targets when it is for training."""

    sentence: Sentence
    pieces: list[list[int]]  # of each word, at least one
    gold: Gold | None = None
    length: int = field(init=False)

    def __post_init__(self):
        self.length = 2 + sum(map(len, self.pieces))  # with [CLS] and [SEP]


@dataclass
class Batch:
    """B sentences of at most T words, W words in all, in R rows of S word pieces."""

    sentences: list[Sentence]
    input_ids: Tensor  # (R, S)
    attention_mask: Tensor  # (R, S) 1, and 0 at padding
    piece_positions: Tensor  # (P,) in the flattened (R * S): the pieces of all words in order
    word_offsets: Tensor  # (W,) where in `piece_positions` each word begins
    word_grid: Tensor  # (B, T) in 0..W-1: a sentence's words; padding points at word 0
    word_mask: Tensor  # (B, T) bool
    gold: list[Gold]

    def to(self, device: torch.device | str) -> "Batch":
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        return self


def gold_of(sentence: Sentence, labels: Labels) -> Gold:
    """The targets of a training sentence, whose types `labels` knows."""
    entities, events = sentence.entities, sentence.events
    relations = np.zeros((len(entities), len(entities)), dtype=np.int64)
    np.fill_diagonal(relations, IGNORED)
    for relation in sentence.relations:
        label = 1 + labels.relation_types.index(relation.type)
        relations[relation.head, relation.tail] = label
        if relation.type in labels.symmetric_relations:
            relations[relation.tail, relation.head] = label
    roles = np.zeros((len(events), len(entities)), dtype=np.int64)
    for i, event in enumerate(events):
        for entity, role in reversed(event.arguments):  # of two roles of one entity the first is trained on
            roles[i, entity] = 1 + labels.roles.index(role)
    with_mentions = entities if labels.mention_types else []
    return Gold(
        entity_tags=_bio_tags(entities, labels.entity_tags, len(sentence.tokens)),
        trigger_tags=_bio_tags(events, labels.trigger_tags, len(sentence.tokens)),
        entity_spans=[(e.start, e.end) for e in entities],
        entity_types=[labels.entity_types.index(e.type) for e in entities],
        mention_types=[labels.mention_types.index(e.mention_type) for e in with_mentions],
        trigger_spans=[(e.start, e.end) for e in events],
        event_types=[labels.event_types.index(e.type) for e in events],
        relations=relations,
        roles=roles,
    )


def _bio_tags(mentions: list, tags: list[str], length: int) -> list[int]:
    row = [0] * length
    type_of = {(m.start, m.end): m.type for m in reversed(mentions)}
    for start, end in without_overlap(type_of):
        row[start] = tags.index("B-" + type_of[start, end])
        row[start + 1 : end] = [tags.index("I-" + type_of[start, end])] * (end - start - 1)
    return row


def make_examples(
    sentences: list[Sentence], tokenizer: PreTrainedTokenizerBase, labels: Labels | None = None
) -> list[Example]:
    """Split the words into pieces; with `labels`, add the training targets. A word of no pieces is [UNK]."""
    words = WordPieces(tokenizer)
    words.pieces([word for sentence in sentences for word in sentence.tokens])  # one call of the tokenizer for all
    return [Example(s, words.pieces(s.tokens), gold_of(s, labels) if labels else None) for s in sentences]


def collate(examples: list[Example], tokenizer: PreTrainedTokenizerBase, longest: int) -> Batch:
    """Lay sentences out in rows of at most `longest` pieces; a longer sentence takes several rows."""
    cls, sep, pad = (getattr(tokenizer, f"{name}_token_id") for name in ("cls", "sep", "pad"))
    rows: list[list[int]] = []
    piece_positions: list[tuple[int, int]] = []  # (row, column)
    word_offsets: list[int] = []
    for example in examples:
        rows.append([cls])
        for word in (pieces[: longest - 2] for pieces in example.pieces):  # of a longer word, what fits in a row
            if len(rows[-1]) + len(word) + 1 > longest:
                rows.append([cls])
            word_offsets.append(len(piece_positions))
            piece_positions += [(len(rows) - 1, len(rows[-1]) + i) for i in range(len(word))]
            rows[-1] += word
    rows = [[*row, sep] for row in rows]
    one_each = [[i] for i in range(len(rows))]
    input_ids = lay_out(rows, one_each, pad)  # (R, S)
    width = input_ids.shape[1]
    lengths = np.array([len(example.pieces) for example in examples])
    word_mask = np.arange(lengths.max()) < lengths[:, None]  # (B, T)
    word_grid = np.where(word_mask, np.arange(lengths.max()) + (np.cumsum(lengths) - lengths)[:, None], 0)
    return Batch(
        sentences=[example.sentence for example in examples],
        input_ids=input_ids,
        attention_mask=lay_out([[1] * len(row) for row in rows], one_each, 0),
        piece_positions=torch.tensor([row * width + column for row, column in piece_positions]),
        word_offsets=torch.tensor(word_offsets),
        word_grid=torch.from_numpy(word_grid),
        word_mask=torch.from_numpy(word_mask),
        gold=[example.gold for example in examples if example.gold],
    )


def shuffled_batches(examples: list[Example], batch_size: int, seed: int, epoch: int) -> list[list[Example]]:
    """One epoch's batches, each of sentences of similar length; a pure function of the seed and the epoch."""
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(examples))
    pool = POOL * batch_size
    batches = []
    for start in range(0, len(order), pool):
        ordered = sorted(order[start : start + pool], key=lambda i: examples[i].length)
        batches += [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]
    return [[examples[i] for i in batches[b]] for b in generator.permutation(len(batches))]
