"""Words -> word pieces, and where each word begins."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from transformers import PreTrainedTokenizerBase


def shown_pieces(tokenizer: PreTrainedTokenizerBase, pieces: Sequence[str | None]) -> list[str]:
    """Word pieces in the way of their family (`##der`, `▁word`, `Ġword`), but readable: pieces of bytes, in which "é"
    is "Ã©", as the text that they stand for. An id without a piece (None) is shown as nothing."""
    backend: Any = tokenizer.backend_tokenizer
    if type(backend.decoder).__name__ != "ByteLevel":
        return [piece or "" for piece in pieces]
    texts = [tokenizer.convert_tokens_to_string([piece]) if piece else "" for piece in pieces]
    return ["Ġ" + text[1:] if text.startswith(" ") else text for text in texts]


class Encoded(NamedTuple):
    """A sentence as word pieces with [CLS] and [SEP], and where the first piece of each word stands."""

    ids: list[int]
    first: list[int]


class WordPieces:
    """Splits words into pieces as they have them inside a sentence, each distinct word once; a word of which the
    tokenizer makes nothing becomes [UNK].

    `unknown` and `cut` count the words so replaced and the words beyond `max_length`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int = 10**9):
        self.tokenizer, self.max_length = tokenizer, max_length
        self.known: dict[str, list[int]] = {}
        self.unknown = self.cut = 0
        one, two = tokenizer(["a", "a a"], add_special_tokens=False)["input_ids"]
        self.space = "" if two == one + one else " "  # pieces of bytes tell a word by the space before it

    def pieces(self, words: Sequence[str]) -> list[list[int]]:
        """The pieces of each word, at least one."""
        tokenizer = self.tokenizer
        if new := [word for word in dict.fromkeys(words) if word not in self.known]:
            texts = [self.space + word for word in new]
            ids = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
            self.known.update(zip(new, ids, strict=True))
        self.unknown += sum(not self.known[word] for word in words)
        return [self.known[word] or [cast(int, tokenizer.unk_token_id)] for word in words]

    def encode(self, words: Sequence[str]) -> Encoded:
        """A sentence's pieces up to `max_length`, [CLS] and [SEP] included; words beyond it have no first piece."""
        ids, first = [cast(int, self.tokenizer.cls_token_id)], []
        for pieces in self.pieces(words):
            first.append(len(ids))
            ids += pieces
        del ids[self.max_length - 1 :]
        first = [position for position in first if position < len(ids)]
        self.cut += len(words) - len(first)
        return Encoded([*ids, cast(int, self.tokenizer.sep_token_id)], first)
