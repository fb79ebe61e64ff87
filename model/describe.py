"""What the model makes of plain sentences: the type of every token, and the sentence rebuilt from the types."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from model.autoencoder import SparseLTForPreTraining


@dataclass
class Description:
    """One sentence: its typed tokens in order (untyped and special ones left out) and its reconstruction."""

    sentence: str
    types: list[tuple[str, int]]
    reconstruction: str
    cut: bool  # the sentence was longer than max_length; only its beginning was seen

    def __str__(self) -> str:
        types = ", ".join(f"{token}({type_id})" for token, type_id in self.types)
        return (
            f"INPUT SENTENCE:\n{self.sentence}\n\nLATENT TYPINGS:\n{types}\n\nOUTPUT SENTENCE:\n{self.reconstruction}\n"
        )


@torch.no_grad()
def describe(
    model: SparseLTForPreTraining,
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[str],
    max_length: int,
    num_beams: int = 1,
    batch_size: int = 32,
) -> list[Description]:
    """Type and rebuild sentences, in the order given; any text goes, also none.

    Args:
        model: in eval mode.
        max_length: of a sentence in tokens, [CLS] and [SEP] included; longer ones are cut and marked so.
        num_beams: 1 for greedy search.
    """
    described = []
    for start in range(0, len(sentences), batch_size):
        texts = list(sentences[start : start + batch_size])
        ids = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
        batch = tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(model.device)
        input_ids, attention_mask = batch["input_ids"], batch["attention_mask"]  # (B, T)
        type_ids = model.type_tokens(input_ids, attention_mask).type_ids  # (B, T)
        rebuilt = model.generate(input_ids, attention_mask, num_beams=num_beams, do_sample=False)
        for i, text in enumerate(texts):
            tokens = tokenizer.convert_ids_to_tokens(ids[i])
            special = tokenizer.all_special_ids
            typed = zip(ids[i], tokens, type_ids[i].tolist()[: len(tokens)], strict=True)
            described.append(
                Description(
                    sentence=text,
                    types=[(token, t) for token_id, token, t in typed if t and token_id not in special],
                    reconstruction=tokenizer.decode(rebuilt[i], skip_special_tokens=True),
                    cut=len(tokens) == max_length and len(tokenizer(text)["input_ids"]) > max_length,
                )
            )
    return described
