"""The encoder with its Gaussian heads, and sentences as it wants them: word pieces, packed without padding."""

import hashlib
import math
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertModel, PreTrainedTokenizerBase
from transformers.utils import logging

from common.cpu import IMPLEMENTATION, use_cpu_dropout
from common.encoders import encoder_path, load_tokenizer
from container.gaussian import GaussianHeads

logging.set_verbosity_error()  # that the pooler is left out is no news
logging.disable_progress_bar()

ROW_TOKENS = 128  # a packed row's length: long rows waste attention, short ones leave gaps


class Encoded(NamedTuple):
    """A sentence as word pieces with [CLS] and [SEP], and where the first piece of each word stands."""

    ids: list[int]
    first: list[int]


class Packed(NamedTuple):
    """Sentences laid one after another into R rows of L tokens."""

    ids: Tensor  # (R, L)
    positions: Tensor  # (R, L) restarting at 0 with every sentence
    sentence: Tensor  # (R, L) number of the sentence a token belongs to, -1 at the end of a row
    first: Tensor  # (n,) where the first pieces stand in the flattened rows, in the sentences' order


class WordPieces:
    """Splits words into pieces, each distinct word once; a word that the tokenizer drops becomes [UNK].

    `unknown` and `cut` count the words so replaced and the words beyond `max_length`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int):
        self.tokenizer, self.max_length = tokenizer, max_length
        self.known: dict[str, list[int]] = {}
        self.unknown = self.cut = 0

    def encode(self, words: list[str]) -> Encoded:
        """A sentence's pieces up to `max_length`, [CLS] and [SEP] included; words beyond it have no first piece."""
        tokenizer = self.tokenizer
        if new := [word for word in dict.fromkeys(words) if word not in self.known]:
            self.known.update(zip(new, tokenizer(new, add_special_tokens=False)["input_ids"], strict=True))
        ids, first = [tokenizer.cls_token_id], []
        for word in words:
            first.append(len(ids))
            self.unknown += not self.known[word]
            ids += self.known[word] or [tokenizer.unk_token_id]
        del ids[self.max_length - 1 :]
        first = [position for position in first if position < len(ids)]
        self.cut += len(words) - len(first)
        return Encoded([*ids, tokenizer.sep_token_id], first)


def pack(sentences: list[Encoded], device: torch.device | str = "cpu") -> Packed:
    """Lay sentences into rows of nearly equal length: the longest first, each into the shortest row so far."""
    rows = math.ceil(sum(len(sentence.ids) for sentence in sentences) / ROW_TOKENS)
    filled, place = [0] * rows, {}
    for number in sorted(range(len(sentences)), key=lambda i: -len(sentences[i].ids)):
        row = min(range(rows), key=filled.__getitem__)
        place[number] = (row, filled[row])
        filled[row] += len(sentences[number].ids)
    ids, positions = torch.zeros(2, rows, max(filled), dtype=torch.long)
    owner, first = torch.full_like(ids, -1), []
    for number, sentence in enumerate(sentences):
        row, begin = place[number]
        span = slice(begin, begin + len(sentence.ids))
        ids[row, span] = torch.tensor(sentence.ids)
        positions[row, span] = torch.arange(len(sentence.ids))
        owner[row, span] = number
        first += [row * max(filled) + begin + position for position in sentence.first]
    return Packed(*(tensor.to(device) for tensor in (ids, positions, owner, torch.tensor(first, dtype=torch.long))))


class Container(nn.Module):
    """A BERT encoder and the heads that make a Gaussian of each token.

    With `mixed_precision` "bf16" the encoder computes in bfloat16 (autocast); the heads stay in float32.
    """

    def __init__(self, encoder: BertModel, dimension: int = 128, mixed_precision: str = "no"):
        super().__init__()
        self.encoder, self.mixed_precision = encoder, mixed_precision
        self.dropout = nn.Dropout()
        self.heads = GaussianHeads(encoder.config.hidden_size, dimension)
        use_cpu_dropout(self)

    @property
    def words(self) -> nn.Parameter:
        """The word-embedding matrix, (V, D)."""
        return self.encoder.embeddings.word_embeddings.weight

    def set_dropout(self, p: float) -> None:
        """The dropout rate of the encoder and the heads, in place of the encoder's configured ones."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = p

    def hidden(self, packed: Packed, embedded: Tensor | None = None) -> Tensor:
        """Last hidden states of the words' first pieces, (n, D), in the sentences' order.

        Args:
            embedded: (R, L, D) word embeddings to use in place of those of `packed.ids`.
        """
        owner = packed.sentence
        mask = owner[:, None, :, None] == owner[:, None, None, :]  # (R, 1, L, L): each sentence sees itself alone
        embedded = F.embedding(packed.ids, self.words) if embedded is None else embedded
        with torch.autocast(packed.ids.device.type, torch.bfloat16, enabled=self.mixed_precision == "bf16"):
            states = self.encoder(inputs_embeds=embedded, attention_mask=mask, position_ids=packed.positions)
        return states.last_hidden_state.flatten(0, 1)[packed.first].float()

    def gaussians(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Means and variances, (n, dimension) each, of first pieces' hidden states (n, D)."""
        return self.heads(self.dropout(hidden))


def fingerprint(module: nn.Module) -> str:
    """The sha256 of a module's weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()


def load_encoder(name_or_path: str) -> tuple[BertModel, PreTrainedTokenizerBase]:
    """A plain BERT in float32, without its pooler, and its tokenizer.

    Raises:
        UserError: of `common.encoders`, if there is no such encoder or it is no BERT.
    """
    encoder = BertModel.from_pretrained(
        encoder_path(name_or_path), add_pooling_layer=False, attn_implementation=IMPLEMENTATION, dtype=torch.float32
    )
    return encoder, load_tokenizer(name_or_path)


def save(model: Container, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write the encoder, its tokenizer and the heads into `folder`."""
    model.encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_file(model.heads.state_dict(), folder / "heads.safetensors")


def load(folder: Path, mixed_precision: str = "no") -> tuple[Container, PreTrainedTokenizerBase]:
    """What `save` wrote."""
    encoder, tokenizer = load_encoder(str(folder))
    heads = load_file(folder / "heads.safetensors")
    model = Container(encoder, len(heads["mu.bias"]), mixed_precision)
    model.heads.load_state_dict(heads)
    return model, tokenizer
