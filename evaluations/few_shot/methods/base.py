"""What every few-shot method has: an encoder, and four things that it must be able to do."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from encoders import Encoded, PackedSentences, WordPieces, encode, load_encoder, pack_sentences, quiet
from evaluations.few_shot.data import Sentence
from evaluations.few_shot.recipe import Recipe

HEADS = "heads.safetensors"


class Method(nn.Module, ABC):
    """A few-shot method. It is trained on the source split once; then, for each episode, `fit`, `tag`, `restore`.

    A subclass says how it does each, and names its flags (`RECIPE`) and its way of source training (`SOURCE`): methods
    of one name share the weights. All parameters and buffers are saved and loaded; no other state outlives an episode.
    Dropout is the recipe's in train mode, and none in eval mode, in which episodes begin and end.
    """

    RECIPE: ClassVar[type[Recipe]] = Recipe
    SOURCE: ClassVar[str]

    def __init__(self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recipe: Recipe):
        super().__init__()
        self.encoder, self.recipe = encoder, recipe
        self.words = WordPieces(tokenizer, recipe.max_length)
        for module in encoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = recipe.dropout

    @abstractmethod
    def train_on_source(self, sentences: Sequence[Sentence], labels: list[str]) -> None:
        """Train on the sentences of the source split, whose labels are among `labels`, `O` first."""

    @abstractmethod
    def fit(self, support: Sequence[Sentence], labels: list[str]) -> list[float]:
        """Adapt to a support set, in which there is a word, and whose labels are among `labels`, `O` first.

        Returns:
            the loss before each step of fine-tuning.
        """

    @abstractmethod
    def tag(self, query: Sequence[Sequence[str]]) -> list[list[str]]:
        """The labels of the words of each sentence, of which those beyond `max_length` may be left out."""

    @classmethod
    def source_folder(cls, recipe: Recipe) -> Path:
        """The directory of the run's source training."""
        return recipe.run / "source" / cls.SOURCE

    def restore(self) -> None:
        """Take back what `fit` changed in the weights."""

    @property
    def device(self) -> torch.device:
        return self.encoder.device

    def pack(self, sentences: Sequence[Encoded]) -> PackedSentences:
        """Sentences in rows of at most `max_length` word pieces."""
        return pack_sentences(sentences, self.encoder.config.pad_token_id, self.recipe.max_length, self.device)

    def hidden(self, packed: PackedSentences, embedded: Tensor | None = None) -> Tensor:
        """Last hidden states of the words' first pieces, (n, D), in the sentences' order.

        Args:
            embedded: (R, W, D) word embeddings to use in place of those of `packed.input_ids`.
        """
        ids = packed.input_ids if embedded is None else None
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.mixed_precision == "bf16"):
            states = encode(self.encoder, packed.attention_mask, ids, embedded)
        return states.last_hidden_state.flatten(0, 1)[packed.first].float()

    def save(self, folder: Path) -> None:
        """Write the encoder with its tokenizer, and the other tensors."""
        with quiet():
            self.encoder.save_pretrained(folder)
        self.words.tokenizer.save_pretrained(folder)
        own = {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("encoder.")}
        save_file(own, folder / HEADS)

    @classmethod
    def load(cls, folder: Path, recipe: Recipe) -> Self:
        """What `save` wrote, in eval mode."""
        method = cls(*load_encoder(str(folder)), recipe)
        method.load_state_dict(method.state_dict() | load_file(folder / HEADS))
        return method.eval()


def make_optimizer(encoder: Iterable[nn.Parameter], heads: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.AdamW:
    """AdamW without weight decay, the heads at `learning_rate`, the encoder at `encoder_learning_rate`."""
    groups = [{"params": heads, "lr": recipe.learning_rate}, {"params": encoder, "lr": recipe.encoder_learning_rate}]
    return torch.optim.AdamW(groups, weight_decay=0.0, fused=True)


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One update, the gradient's norm clipped to 1."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()
