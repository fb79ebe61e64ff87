"""Sentences -> word pieces and gold tensors -> batches of similar length."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from encoders import IGNORED, WordPieces
from evaluations.supervised_ie.data import Sentence, without_overlap
from evaluations.supervised_ie.labels import Labels

POOL = 50  # batches whose sentences are sorted by length together: little padding, still shuffled


Targets = dict[str, np.ndarray]  # of a sentence, int64, by the part of the loss that they are for, see `targets_of`


@dataclass
class Example:
    """A sentence as word pieces, with its targets when it is for training."""

    sentence: Sentence
    pieces: list[list[int]]  # of each word, at least one
    gold: Targets | None = None

    @property
    def length(self) -> int:
        """In word pieces, with [CLS] and [SEP]."""
        return 2 + sum(map(len, self.pieces))


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
    gold: list[Targets]

    def to(self, device: torch.device | str) -> "Batch":
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        return self


def targets_of(sentence: Sentence, labels: Labels) -> Targets:
    """The targets of a training sentence of T words, n entities and m events, whose types `labels` knows."""
    entities, events = sentence.entities, sentence.events
    relations = np.zeros((len(entities), len(entities)))  # of every ordered pair
    np.fill_diagonal(relations, IGNORED)
    for relation in sentence.relations:
        label = 1 + labels.relation_types.index(relation.type)
        relations[relation.head, relation.tail] = label
        if relation.type in labels.symmetric_relations:
            relations[relation.tail, relation.head] = label
    roles = np.zeros((len(events), len(entities)))
    for i, event in enumerate(events):
        for entity, role in reversed(event.arguments):  # of two roles of one entity the first is trained on
            roles[i, entity] = 1 + labels.roles.index(role)
    targets = {
        "entity_tags": _bio_tags(entities, labels.entity_tags, len(sentence.tokens)),  # (T,)
        "trigger_tags": _bio_tags(events, labels.trigger_tags, len(sentence.tokens)),  # (T,)
        "entity": [labels.entity_types.index(e.type) for e in entities],  # (n,)
        "mention": [labels.mention_types.index(e.mention_type) for e in entities if labels.mention_types],  # (n,)
        "event": [labels.event_types.index(e.type) for e in events],  # (m,)
        "relation": relations,  # (n, n)
        "role": roles,  # (m, n)
    }
    return {name: np.array(target, dtype=np.int64) for name, target in targets.items()}


def _bio_tags(mentions: list, tags: list[str], length: int) -> list[int]:
    row = [0] * length
    type_of = {(m.start, m.end): m.type for m in reversed(mentions)}
    for start, end in without_overlap(type_of):
        begin = tags.index("B-" + type_of[start, end])
        row[start:end] = [begin] + [begin + 1] * (end - start - 1)  # I- comes after B-
    return row


def make_examples(
    sentences: list[Sentence], tokenizer: PreTrainedTokenizerBase, labels: Labels | None = None
) -> list[Example]:
    """Split the words into pieces; with `labels`, add the training targets. A word of no pieces is [UNK]."""
    words = WordPieces(tokenizer)
    words.pieces([word for sentence in sentences for word in sentence.tokens])  # one call of the tokenizer for all
    return [Example(s, words.pieces(s.tokens), targets_of(s, labels) if labels else None) for s in sentences]


def collate(examples: list[Example], tokenizer: PreTrainedTokenizerBase, longest: int) -> Batch:
    """Lay sentences out in rows of at most `longest` pieces; a longer sentence takes several rows."""
    cls, sep, pad = (getattr(tokenizer, f"{name}_token_id") for name in ("cls", "sep", "pad"))
    rows: list[list[int]] = []
    sizes: list[int] = []  # word pieces of each word
    for example in examples:
        rows.append([cls])
        for word in (pieces[: longest - 2] for pieces in example.pieces):  # of a longer word, what fits in a row
            if len(rows[-1]) + len(word) + 1 > longest:
                rows.append([cls])
            rows[-1] += word
            sizes.append(len(word))
    tensors = [torch.tensor([*row, sep]) for row in rows]
    attention_mask = pad_sequence([torch.ones_like(row) for row in tensors], batch_first=True)  # (R, S)
    without_ends = F.pad(attention_mask[:, 2:], (1, 1))  # (R, S) 0 at [CLS] and [SEP] too
    piece_counts = torch.tensor(sizes)  # (W,)
    lengths = torch.tensor([[len(example.pieces)] for example in examples])  # (B, 1)
    columns = torch.arange(int(lengths.max()))  # (T,)
    word_mask = columns < lengths  # (B, T)
    return Batch(
        sentences=[example.sentence for example in examples],
        input_ids=pad_sequence(tensors, batch_first=True, padding_value=pad),
        attention_mask=attention_mask,
        piece_positions=without_ends.flatten().nonzero()[:, 0],
        word_offsets=piece_counts.cumsum(0) - piece_counts,
        word_grid=torch.where(word_mask, columns + lengths.cumsum(0) - lengths, 0),
        word_mask=word_mask,
        gold=[example.gold for example in examples if example.gold],
    )


def shuffled_batches(examples: list[Example], batch_size: int, seed: int, epoch: int) -> list[list[Example]]:
    """One epoch's batches, each of sentences of similar length; a pure function of the seed and the epoch."""
    generator = np.random.default_rng([seed, epoch])
    order, pool, batches = generator.permutation(len(examples)), POOL * batch_size, []
    for start in range(0, len(order), pool):
        ordered = sorted(order[start : start + pool], key=lambda i: examples[i].length)
        batches += [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]
    return [[examples[i] for i in batches[b]] for b in generator.permutation(len(batches))]
