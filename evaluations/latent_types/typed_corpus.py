"""A corpus with the latent type of every token: made in batches, kept in flat arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

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
        """The word pieces of a stretch of tokens."""
        return [self.vocabulary[i] for i in self.token_ids[start:end]]


class Checkpoint(NamedTuple):
    """An autoencoder in eval mode, its tokenizer, and what is known of its run."""

    model: SparseLTForPreTraining
    tokenizer: PreTrainedTokenizerBase
    name: str  # of the run, and the step if it is one
    run_directory: Path  # that of run.json and metrics.jsonl: the checkpoint itself, or above one of a run's steps
    arguments: dict[str, Any]  # none where they were not recorded, as for a published checkpoint


def load_checkpoint(path: Path, tokenizer_name: str | None, device: torch.device) -> Checkpoint:
    """A checkpoint with the tokenizer that `model.tokenizer_of` has for it.

    Raises:
        UserError: the directory is no checkpoint or is damaged, or there is no tokenizer that fits it.
    """
    own = path.absolute()
    is_step = (own.parent / RECORD).is_file() and not (own / RECORD).is_file()
    run_directory, name = (own.parent, f"{own.parent.name}/{own.name}") if is_step else (own, own.name)
    check_links(run_directory)  # what a page shows of it
    model, tokenizer = load_autoencoder(path), tokenizer_of(path, tokenizer_name)
    check_tokenizer(model.config.encoder, tokenizer)
    try:
        arguments = read_record(run_directory)["arguments"]
    except UserError:
        arguments = {}
    model.to(device)  # pyright: ignore[reportArgumentType]
    return Checkpoint(model, tokenizer, name, run_directory, arguments)


def draw_sentences(
    data: str, tokenizer: PreTrainedTokenizerBase, max_length: int, most: int, seed: int
) -> tuple[np.ndarray, list[list[int]]]:
    """The lines, (N,), and the ids with [CLS] and [SEP] of at most so many sentences of a corpus, drawn without
    replacement, in its order."""
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
    pieces = tokenizer.convert_ids_to_tokens(list(range(model.config.encoder.vocab_size)))
    return TypedCorpus(
        lines=lines,
        bounds=np.cumsum([0] + [len(sentence.first) for sentence in tokens]),
        token_ids=np.concatenate([ids[1:-1] for ids in sentences]),
        type_ids=types_of(model, tokens, description),
        num_types=model.config.num_types,
        vocabulary=shown_pieces(tokenizer, pieces),
    )
