"""From tokenised sentences to the batch of a step: chosen, masked, and packed into rows without padding."""

import math
import signal
from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from encoders.packing import IGNORED, collate, pack, pack_in_few_shapes, sentence_numbers


def mask_tokens(
    input_ids: np.ndarray, tokenizer: PreTrainedTokenizerBase, generator: np.random.Generator, probability: float = 0.15
) -> tuple[np.ndarray, np.ndarray]:
    """BERT's masking: a share of the tokens, 15%, is selected, of which 80% become [MASK], 10% another token, 10% stay.

    One sentence's ids (T,), of which special tokens are never selected -> masked ids (T,); labels (T,), the original id
    of selected tokens, -100 elsewhere.
    """
    ordinary = ~np.isin(input_ids, tokenizer.all_special_ids)
    selected = ordinary & (generator.random(len(input_ids)) < probability)
    fate = generator.random(len(input_ids))
    another = generator.integers(len(tokenizer), size=len(input_ids))
    masked = np.where(selected & (fate < 0.8), cast(int, tokenizer.mask_token_id), input_ids)
    masked = np.where(selected & (fate >= 0.9), another, masked)
    return masked, np.where(selected, input_ids, IGNORED)


@dataclass(eq=False)
class Batches(torch.utils.data.Dataset):
    """The batch of every step, as a pure function of the seed and the step.

    Which sentences, in which order, and which of their tokens are masked depend on nothing else: not on the number
    of processes, nor on where a run was interrupted. Sentences are drawn without replacement, epoch after epoch;
    the order of an epoch takes 8 bytes of memory a sentence.

    How sentences share rows, `packing`: `tight` (see `pack`); `few_shapes`, rows of `max_length` in batches of few
    different shapes, as GPUs want them; `none`, a row each, padded to the longest.
    """

    dataset: Dataset  # with a column `input_ids`
    tokenizer: PreTrainedTokenizerBase
    batch_size: int  # sentences of a global batch
    max_length: int
    seed: int
    rank: int = 0  # this process takes the sentences rank, rank + world_size, ... of each batch
    world_size: int = 1
    packing: Literal["tight", "few_shapes", "none"] = "tight"
    mlm_probability: float = 0.15
    _epoch: int | None = field(default=None, init=False)

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
            mlm_labels, all (R, W) int64; mlm_positions (K,), where in the flattened batch labels are. With few shapes
            0, the first [CLS], which has no label, fills these up to a multiple of a quarter of the batch.
        """
        slots = range(self.batch_size)[self.rank :: self.world_size]
        rows = self.rows_of(step)
        sentences = [np.array(ids) for ids in self.dataset[[rows[slot] for slot in slots]]["input_ids"]]
        generators = (np.random.default_rng([self.seed, step, slot]) for slot in slots)
        pairs = (
            mask_tokens(ids, self.tokenizer, generator, self.mlm_probability)
            for ids, generator in zip(sentences, generators, strict=True)
        )
        masked, labels = zip(*pairs, strict=True)
        lengths = [len(ids) for ids in sentences]
        pad, width = cast(int, self.tokenizer.pad_token_id), 0
        match self.packing:
            case "tight":
                layout = pack(lengths, self.max_length)
            case "few_shapes":
                width = self.max_length
                layout = pack_in_few_shapes(lengths, width)
            case "none":
                layout = [[i] for i in range(len(sentences))]
        mlm_labels = collate(labels, layout, IGNORED, width)
        mlm_positions = (mlm_labels != IGNORED).flatten().nonzero().squeeze(1)
        if self.packing == "few_shapes":
            mlm_positions = F.pad(mlm_positions, (0, -len(mlm_positions) % math.ceil(mlm_labels.numel() / 4)))
        return {
            "input_ids": collate(sentences, layout, pad, width),
            "masked_input_ids": collate(masked, layout, pad, width),
            "attention_mask": sentence_numbers(lengths, layout, width),
            "mlm_labels": mlm_labels,
            "mlm_positions": mlm_positions,
        }


def ignore_stop_signals(worker: int) -> None:
    """For processes that prepare batches: they too get a Ctrl-C, but must live until the step is finished."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def batch_loader(batches: Batches, first: int, last: int, device: torch.device, workers: int | None) -> DataLoader:
    """The batches number `first` to `last` - 1, prepared by other processes where there is a GPU to keep busy."""
    on_gpu = device.type == "cuda"
    return DataLoader(
        batches,
        batch_size=None,
        sampler=range(first, last),
        num_workers=workers if workers is not None else (4 if on_gpu else 0),
        worker_init_fn=ignore_stop_signals,
        pin_memory=on_gpu,
    )
