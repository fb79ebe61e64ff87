"""A corpus with the latent type of every token: made in batches, kept in flat arrays."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from common.errors import UserError
from data.corpus import load_corpus
from model import SparseLTForPreTraining, load_autoencoder

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


def load_checkpoint(path: str | Path) -> tuple[SparseLTForPreTraining, PreTrainedTokenizerBase]:
    """An autoencoder, on the GPU if there is one, and its tokenizer.

    Raises:
        UserError: the directory is no checkpoint, is damaged, or has no tokenizer.
    """
    model = load_autoencoder(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} has no readable tokenizer; copy its encoder's files there ({error})") from None
    if len(tokenizer) > model.config.encoder.vocab_size:
        raise UserError(f"{path}: the tokenizer has {len(tokenizer)} entries, more than the model's embeddings")
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer


def run_directory_of(checkpoint: Path) -> Path:
    """Where run.json and metrics.jsonl lie: in a run's directory itself, above one of its steps."""
    checkpoint = checkpoint.absolute()
    above = checkpoint.parent / "run.json"
    return checkpoint.parent if above.is_file() and not (checkpoint / "run.json").is_file() else checkpoint


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


def batches(
    sentences: list[list[int]], tokenizer: PreTrainedTokenizerBase, device: torch.device, description: str
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Sentences of like length together, the longest first, under a progress bar.

    Yields:
        which sentences; their ids (B, T) and attention mask (B, T).
    """
    order = sorted(range(len(sentences)), key=lambda i: -len(sentences[i]))
    with tqdm(total=len(order), desc=description, unit="sentence") as progress:
        for start in range(0, len(order), BATCH_SIZE):
            chosen = order[start : start + BATCH_SIZE]
            batch = tokenizer.pad({"input_ids": [sentences[i] for i in chosen]}, return_tensors="pt").to(device)
            yield chosen, batch["input_ids"], batch["attention_mask"]
            progress.update(len(chosen))


@torch.no_grad()
def type_sentences(
    model: SparseLTForPreTraining,
    tokenizer: PreTrainedTokenizerBase,
    sentences: list[list[int]],
    description: str = "typing",
) -> list[np.ndarray]:
    """The types of each sentence's tokens, as many as it has ids, [CLS] and [SEP] included."""
    types: list[np.ndarray] = [np.empty(0)] * len(sentences)
    for chosen, input_ids, attention_mask in batches(sentences, tokenizer, model.device, description):
        type_ids = model.type_tokens(input_ids, attention_mask).type_ids.cpu().numpy()  # (B, T)
        for i, row in zip(chosen, type_ids, strict=True):
            types[i] = row[: len(sentences[i])].astype(np.int32)
    return types


def type_corpus(
    model: SparseLTForPreTraining,
    tokenizer: PreTrainedTokenizerBase,
    lines: np.ndarray,
    sentences: list[list[int]],
    description: str = "typing",
) -> TypedCorpus:
    """Type every token of the sentences; `lines` and `sentences` are those of `draw_sentences`."""
    types = type_sentences(model, tokenizer, sentences, description)
    return TypedCorpus(
        lines=lines,
        bounds=np.cumsum([0] + [len(ids) - 2 for ids in sentences]),
        token_ids=np.concatenate([np.array(ids[1:-1], dtype=np.int32) for ids in sentences]),
        type_ids=np.concatenate([t[1:-1] for t in types]),
        num_types=model.config.num_types,
        vocabulary=tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))),
    )
