"""What the model makes of plain sentences: the type of every token, and the sentence rebuilt from the types."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu
from transformers import PreTrainedTokenizerBase

from encoders import shown_pieces
from model.autoencoder import SparseLTForPreTraining


@dataclass
class Description:
    """One sentence: its typed tokens in order (untyped ones, [CLS] and [SEP] left out) and its reconstruction."""

    sentence: str
    types: list[tuple[str, int]]
    reconstruction: str
    cut_at: int | None  # max_length, where the sentence was longer and only its beginning was read

    def __str__(self) -> str:
        types = ", ".join(f"{token}({type_id})" for token, type_id in self.types)
        cut = f"(cut: only its first {self.cut_at} tokens were read)\n" if self.cut_at else ""
        return (
            f"INPUT SENTENCE:\n{self.sentence}\n{cut}\n"
            f"LATENT TYPINGS:\n{types}\n\n"
            f"OUTPUT SENTENCE:\n{self.reconstruction}\n"
        )


@torch.no_grad()
def describe(
    model: SparseLTForPreTraining,
    tokenizer: PreTrainedTokenizerBase,
    sentences: Iterable[str],
    max_length: int,
    num_beams: int = 1,
    batch_size: int = 32,
) -> Iterator[Description]:
    """Type and rebuild sentences, in the order given, by a model in eval mode; any text goes, also none.

    A reconstruction has at most as many tokens as what was read of its sentence.

    Args:
        max_length: of a sentence in tokens, [CLS] and [SEP] included; longer ones are cut and marked so.
        num_beams: 1 for greedy search.
    """
    sentences = iter(sentences)
    while texts := [text.encode("utf-8", "replace").decode() for text in islice(sentences, batch_size)]:
        batch = tokenizer(texts, truncation=True, max_length=max_length, padding=True, return_tensors="pt")
        input_ids = batch["input_ids"].to(model.device)  # (B, T)
        attention_mask = batch["attention_mask"].to(model.device)  # (B, T)
        type_ids = model.type_tokens(input_ids, attention_mask).type_ids.tolist()  # (B, T)
        rebuilt = model.generate(
            input_ids,
            attention_mask,
            num_beams=num_beams,
            do_sample=False,
            decoder_start_token_id=tokenizer.cls_token_id,
            eos_token_id=tokenizer.sep_token_id,
        )
        for i, text in enumerate(texts):
            encoding = batch[i]  # tokens; special_tokens_mask is 1 for [CLS], [SEP] and padding
            pieces = shown_pieces(tokenizer, encoding.tokens)
            tokens = zip(pieces, type_ids[i], encoding.special_tokens_mask, strict=True)
            yield Description(
                sentence=text,
                types=[(token, type_id) for token, type_id, special in tokens if type_id and not special],
                reconstruction=str(tokenizer.decode(rebuilt[i, : attention_mask[i].sum()], skip_special_tokens=True)),
                cut_at=max_length if encoding.overflowing else None,
            )


def bleu(originals: Sequence[str], rebuilt: Sequence[str]) -> float:
    """Corpus BLEU of reconstructions over the words between spaces, in percent (Papineni et al. 2002, smoothing method
    1 of Chen and Cherry 2014)."""
    references = [[text.split()] for text in originals]
    smoothing = SmoothingFunction().method1
    score: Any = corpus_bleu(references, [text.split() for text in rebuilt], smoothing_function=smoothing)
    return 100 * float(score)
