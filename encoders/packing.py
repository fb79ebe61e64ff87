"""Sentences laid out in rows: several one after another, numbered 1, 2, 3, ... by the attention mask, 0 at padding."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from encoders.words import Encoded

IGNORED = -100  # the label of positions that have none
PADDING = 0.02  # share of a batch's places that may be empty


def sentence_positions(attention_mask: Tensor) -> Tensor:
    """Positions that restart at 0 wherever a new sentence (another number in the mask) begins; (R, W) -> (R, W)."""
    index = torch.arange(attention_mask.shape[1], device=attention_mask.device).expand_as(attention_mask)
    begins = attention_mask != F.pad(attention_mask, (1, 0), value=-1)[:, :-1]
    return index - torch.where(begins, index, 0).cummax(1).values


def same_sentence(queries: Tensor, keys: Tensor) -> Tensor:
    """Block-diagonal attention: (R, S) and (R, T) sentence numbers -> (R, 1, S, T) bool.

    Padding (0) sees padding, so that no row of the softmax is empty; nothing reads what it computes.
    """
    return (queries[:, :, None] == keys[:, None, :])[:, None]


def first_fit_decreasing(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Pack items into as few rows of `width` as the longest-first heuristic finds; rows of item numbers."""
    rows: list[list[int]] = []
    room: list[int] = []
    for item in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        row = next((row for row, left in enumerate(room) if lengths[item] <= left), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(width)
        rows[row].append(item)
        room[row] -= lengths[item]
    return rows


def pack(lengths: Sequence[int], max_width: int) -> list[list[int]]:
    """Rows of sentences with hardly any padding, and narrow, because a token's attention costs a row's width.

    The narrowest rows with at most `PADDING` of padding; where no width up to `max_width` allows that, the best one.
    """

    def padding(rows: list[list[int]]) -> float:
        return 1 - sum(lengths) / (len(rows) * max(sum(lengths[i] for i in row) for row in rows))

    best: list[list[int]] = []
    for width in range(max(lengths), max_width + 1):
        rows = first_fit_decreasing(lengths, width)
        if not best or padding(rows) < padding(best):
            best = rows
        if padding(best) <= PADDING:
            break
    return best


def pack_in_few_shapes(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Rows of `width` for a GPU, where each new shape of a batch costs time: their number is rounded up, to one of at
    most 8 between a power of two and the next, by rows without a sentence."""
    rows = first_fit_decreasing(lengths, width)
    unit = 2 ** max(0, len(rows).bit_length() - 4)
    return rows + [[] for _ in range(-len(rows) % unit)]


def collate(
    sentences: Sequence[Sequence[int] | np.ndarray], rows: list[list[int]], fill: int, width: int = 0
) -> Tensor:
    """Sentences laid out in rows: (R, W) int64, `fill` behind each row's last sentence; W is at least `width`."""
    joined = [np.concatenate([sentences[i] for i in row]) if row else np.empty(0, np.int64) for row in rows]
    batch = np.full((len(rows), max(width, *map(len, joined))), fill, dtype=np.int64)
    for row, ids in zip(batch, joined, strict=True):
        row[: len(ids)] = ids
    return torch.from_numpy(batch)


def sentence_numbers(lengths: Sequence[int], rows: list[list[int]], width: int = 0) -> Tensor:
    """The attention mask of rows of sentences, (R, W): 1 for a row's first sentence, 2 for its second, ..."""
    place = {sentence: number for row in rows for number, sentence in enumerate(row, 1)}
    return collate([np.full(length, place[i]) for i, length in enumerate(lengths)], rows, 0, width)


class PackedSentences(NamedTuple):
    """Sentences laid out in R rows of W tokens."""

    input_ids: Tensor  # (R, W)
    attention_mask: Tensor  # (R, W) numbers the sentences of a row from 1, 0 at padding
    first: Tensor  # (n,) where the words' first pieces stand in the flattened rows, in the sentences' order


def pack_sentences(
    sentences: Sequence[Encoded], fill: int, max_width: int, device: torch.device | str = "cpu"
) -> PackedSentences:
    """Lay sentences out in rows of at most `max_width` tokens; `fill` is the id at padding."""
    lengths = [len(sentence.ids) for sentence in sentences]
    rows = pack(lengths, max_width)
    ids = collate([sentence.ids for sentence in sentences], rows, fill)  # (R, W)
    begin = {}  # of each sentence, in the flattened rows
    for number, row in enumerate(rows):
        ends = np.cumsum([lengths[i] for i in row])
        begin |= {i: number * ids.shape[1] + int(end) - lengths[i] for i, end in zip(row, ends, strict=True)}
    first = [begin[i] + place for i, sentence in enumerate(sentences) for place in sentence.first]
    tensors = (ids, sentence_numbers(lengths, rows), torch.tensor(first, dtype=torch.long))
    return PackedSentences(*(tensor.to(device) for tensor in tensors))


def packed_batches(
    sentences: Sequence[Encoded], fill: int, batch_size: int, device: torch.device | str = "cpu", description: str = ""
) -> Iterator[PackedSentences]:
    """Sentences in their order, `batch_size` at a time, under a progress bar; `fill` is the id at padding."""
    width = max(len(sentence.ids) for sentence in sentences)
    for start in tqdm(range(0, len(sentences), batch_size), desc=description, unit="batch", leave=False):
        yield pack_sentences(sentences[start : start + batch_size], fill, width, device)


def by_length(lengths: Sequence[int], positions: int) -> Iterator[list[int]]:
    """Items in batches of like length, the longest first: at most `positions` in all with the padding, or one item.

    For one sentence a row, where no training needs a batch of a given size.
    """
    batch: list[int] = []
    for item in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > positions:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
