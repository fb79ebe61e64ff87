"""Sentences rebuilt from their types, beside the originals."""

from dataclasses import dataclass
from difflib import SequenceMatcher

from transformers import PreTrainedTokenizerBase

from model import SparseLTForPreTraining
from model.describe import bleu, describe

Pieces = list[tuple[str, bool]]  # (text, whether the other sentence has it too)


@dataclass
class Reconstruction:
    """One sentence of the corpus, as it was and as it was rebuilt."""

    line: int
    original: Pieces
    rebuilt: Pieces


def differences(original: list[str], rebuilt: list[str]) -> tuple[Pieces, Pieces]:
    """Both word sequences cut into stretches that they share and stretches that they do not."""
    left: Pieces = []
    right: Pieces = []
    matcher = SequenceMatcher(None, original, rebuilt, autojunk=False)
    for operation, a, b, c, d in matcher.get_opcodes():
        for pieces, words in ((left, original[a:b]), (right, rebuilt[c:d])):
            if words:
                pieces.append((" ".join(words), operation == "equal"))
    return left, right


def reconstruct(
    model: SparseLTForPreTraining,
    tokenizer: PreTrainedTokenizerBase,
    lines: list[int],
    sentences: list[list[int]],
    max_length: int,
) -> tuple[list[Reconstruction], float]:
    """Greedy reconstructions of sentences of ids, and their corpus BLEU in percent, as `pretrain.py` validates it."""
    texts = [str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in sentences]
    described = list(describe(model, tokenizer, texts, max_length))
    found = [
        Reconstruction(line, *differences(d.sentence.split(), d.reconstruction.split()))
        for line, d in zip(lines, described, strict=True)
    ]
    return found, bleu([d.sentence for d in described], [d.reconstruction for d in described])
