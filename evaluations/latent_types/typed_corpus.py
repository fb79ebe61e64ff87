"""A corpus with the latent type of every token: made in batches, kept in flat arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from common.errors import UserError
from data.corpus import load_corpus
from encoders import Encoded, check_tokenizer, packed_batches, shown_pieces
from model import SparseLTForPreTraining, load_autoencoder, tokenizer_of
from model.checkpoints import check_links
from runs import read_record
from runs.directory import RECORD

BATCH_SIZE = 32


@dataclass
class TypedCorpus:
    """M tokens in N sentences, [CLS] and [SEP] left out; the types are 0 to C - 1, 0 is `not typed`."""

    lines: np.ndarray  # (N,) line in the corpus, from 1
    bounds: np.ndarray  # (N + 1,) sentence i is tokens bounds[i] to bounds[i + 1]
    token_ids: np.ndarray  # (M,)
    type_ids: np.ndarray  # (M,)
    num_types: int
    vocabulary: list[str]  # the word piece of each id

    @property
    def share_typed(self) -> float:
        """Of the M tokens, in 0..1."""
        return float((self.type_ids > 0).mean())

    def tokens(self, start: int, end: int) -> list[str]:
        """Word pieces of a stretch of tokens."""
        return [self.vocabulary[i] for i in self.token_ids[start:end]]


def load_checkpoint(
    path: Path, tokenizer_name: str | None, device: torch.device
) -> tuple[SparseLTForPreTraining, PreTrainedTokenizerBase]:
    """An autoencoder in eval mode and its tokenizer.

    Args:
        tokenizer_name: see `model.tokenizer_of`.

    Raises:
        UserError: the directory is no checkpoint or is damaged, or there is no tokenizer that fits it.
    """
    check_links(run_directory_of(path))  # what a page shows of it
    model, tokenizer = load_autoencoder(path), tokenizer_of(path, tokenizer_name)
    check_tokenizer(model.config.encoder, tokenizer)
    return model.to(device), tokenizer  # pyright: ignore[reportArgumentType]


def run_directory_of(checkpoint: Path) -> Path:
    """Where run.json and metrics.jsonl lie: in a run's directory itself, above one of its steps."""
    checkpoint = checkpoint.absolute()
    is_step = (checkpoint.parent / RECORD).is_file() and not (checkpoint / RECORD).is_file()
    return checkpoint.parent if is_step else checkpoint


def arguments_of(run_directory: Path) -> dict[str, Any]:
    """What a run was started with; nothing where that was not recorded, as for a published checkpoint."""
    try:
        return read_record(run_directory)["arguments"]
    except UserError:
        return {}


def display_name(checkpoint: Path) -> str:
    """What to call a checkpoint: the name of its run, and the step if it is one."""
    checkpoint = checkpoint.absolute()
    above = run_directory_of(checkpoint)
    return checkpoint.name if above == checkpoint else f"{above.name}/{checkpoint.name}"


def draw_sentences(
    data: str, tokenizer: PreTrainedTokenizerBase, max_length: int, most: int, seed: int
) -> tuple[np.ndarray, list[list[int]]]:
    """At most so many sentences of a corpus, drawn without replacement, in the corpus' order.

    Returns:
        their lines (N,), their ids with [CLS] and [SEP].
    """
    corpus, _ = load_corpus(data, tokenizer, max_length)
    if len(corpus) > most:
        corpus = corpus.select(np.sort(np.random.default_rng(seed).choice(len(corpus), most, replace=False)))
    return np.array(corpus["line"]), list(corpus["input_ids"])


@torch.no_grad()
def types_of(model: SparseLTForPreTraining, sentences: Sequence[Encoded], description: str = "typing") -> np.ndarray:
    """The types of the tokens that stand at the sentences' `first`, in their order; (M,)."""
    batches = packed_batches(sentences, model.config.encoder.pad_token_id, BATCH_SIZE, model.device, description)
    types = [model.type_tokens(b.input_ids, b.attention_mask).type_ids.flatten()[b.first].cpu() for b in batches]
    return torch.cat(types).numpy()


def type_corpus(
    model: SparseLTForPreTraining,
    tokenizer: PreTrainedTokenizerBase,
    lines: np.ndarray,
    sentences: list[list[int]],
    description: str = "typing",
) -> TypedCorpus:
    """Type every token of the sentences; `lines` and `sentences` are those of `draw_sentences`."""
    tokens = [Encoded(ids, list(range(1, len(ids) - 1))) for ids in sentences]
    return TypedCorpus(
        lines=lines,
        bounds=np.cumsum([0] + [len(sentence.first) for sentence in tokens]),
        token_ids=np.concatenate([ids[1:-1] for ids in sentences]),
        type_ids=types_of(model, tokens, description),
        num_types=model.config.num_types,
        vocabulary=shown_pieces(
            tokenizer, tokenizer.convert_ids_to_tokens(list(range(model.config.encoder.vocab_size)))
        ),
    )
