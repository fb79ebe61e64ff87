"""From tokenised sentences to the batch of a step: chosen, masked, and packed into rows without padding."""

from collections.abc import Sequence

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from model.losses import IGNORED

MLM_PROBABILITY = 0.15
PADDING = 0.02  # share of a batch's places that may be empty


def mask_tokens(
    input_ids: np.ndarray, tokenizer: PreTrainedTokenizerBase, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """BERT's masking: 15% of the tokens are selected, of which 80% become [MASK], 10% another token, 10% stay.

    Args:
        input_ids: (T,) one sentence; its special tokens are never selected.

    Returns:
        masked ids (T,); labels (T,), the original id of selected tokens, -100 elsewhere.
    """
    ordinary = ~np.isin(input_ids, tokenizer.all_special_ids)
    selected = ordinary & (generator.random(len(input_ids)) < MLM_PROBABILITY)
    fate = generator.random(len(input_ids))
    another = generator.integers(len(tokenizer), size=len(input_ids))
    masked = np.where(selected & (fate < 0.8), tokenizer.mask_token_id, input_ids)
    masked = np.where(selected & (fate >= 0.9), another, masked)
    return masked, np.where(selected, input_ids, IGNORED)


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


def collate(sentences: Sequence[np.ndarray], rows: list[list[int]], fill: int) -> Tensor:
    """Sentences laid out in rows: (R, W) int64, `fill` behind each row's last sentence."""
    joined = [np.concatenate([sentences[i] for i in row]) for row in rows]
    batch = np.full((len(rows), max(map(len, joined))), fill, dtype=np.int64)
    for row, ids in zip(batch, joined, strict=True):
        row[: len(ids)] = ids
    return torch.from_numpy(batch)


class Batches(torch.utils.data.Dataset):
    """The batch of every step, as a pure function of the seed and the step.

    Which sentences, in which order, and which of their tokens are masked depend on nothing else: not on the number
    of processes, nor on where a run was interrupted. Sentences are drawn without replacement, epoch after epoch;
    the order of an epoch takes 8 bytes of memory a sentence.

    Args:
        dataset: with a column `input_ids`.
        batch_size: sentences of a global batch.
        seed: of the order and the masking.
        rank, world_size: this process takes the sentences rank, rank + world_size, ... of each batch.
        packed: several sentences a row (see `pack`) or one, padded to the longest.
    """

    def __init__(
        self,
        dataset: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int,
        max_length: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        packed: bool = True,
    ):
        self.dataset, self.tokenizer, self.max_length, self.packed = dataset, tokenizer, max_length, packed
        self.batch_size, self.seed, self.rank, self.world_size = batch_size, seed, rank, world_size
        self._epoch: int | None = None

    def _order(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._permutation = np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))
            self._epoch = epoch
        return self._permutation

    def rows_of(self, step: int) -> list[int]:
        """The dataset's rows in the global batch of a step (from 0)."""
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        return [int(self._order(i // len(self.dataset))[i % len(self.dataset)]) for i in places]

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """This process' part of the batch of a step (from 0).

        Returns:
            input_ids, masked_input_ids, attention_mask (numbers the sentences of a row from 1, 0 at padding) and
            mlm_labels, all (R, W) int64; mlm_positions (K,), where in the flattened batch labels are.
        """
        slots = range(self.batch_size)[self.rank :: self.world_size]
        rows = self.rows_of(step)
        sentences = [np.array(ids) for ids in self.dataset[[rows[slot] for slot in slots]]["input_ids"]]
        masked, labels = zip(
            *(
                mask_tokens(ids, self.tokenizer, np.random.default_rng([self.seed, step, slot]))
                for slot, ids in zip(slots, sentences, strict=True)
            ),
            strict=True,
        )
        layout = [[i] for i in range(len(sentences))]
        if self.packed:
            layout = pack([len(ids) for ids in sentences], self.max_length)
        place = {sentence: number for row in layout for number, sentence in enumerate(row, 1)}
        numbers = [np.full(len(ids), place[i]) for i, ids in enumerate(sentences)]
        pad = self.tokenizer.pad_token_id
        mlm_labels = collate(labels, layout, IGNORED)
        return {
            "input_ids": collate(sentences, layout, pad),
            "masked_input_ids": collate(masked, layout, pad),
            "attention_mask": collate(numbers, layout, 0),
            "mlm_labels": mlm_labels,
            "mlm_positions": (mlm_labels != IGNORED).flatten().nonzero().squeeze(1),
        }
