"""What every few-shot method has: an encoder, and four things that it must be able to do."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Self, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.errors import UserError
from common.tensors import read_safetensors
from encoders import Encoded, PackedSentences, WordPieces, encode, fingerprint, load_encoder, pack_sentences, quiet
from evaluations.few_shot.data import Sentence
from evaluations.few_shot.methods.optimisation import FineTuning, step
from evaluations.few_shot.recipe import Recipe, TrainedRecipe
from runs import read_summary

HEADS = "heads.safetensors"
Batch = TypeVar("Batch")


class Method(nn.Module, ABC):
    """A few-shot method. It is trained on the source split once; then, for each episode, `fit`, `tag`, `restore`.

    A subclass says how it does each, and names its flags (`RECIPE`) and its way of source training (`SOURCE`): methods
    of one name share the weights. All parameters and buffers are saved and loaded; no other state outlives an episode.
    Dropout is the recipe's in train mode, and none in eval mode, in which episodes begin and end.

    `READS_LABEL_NAMES`: whether the words of a label tell the method something, which is another setting.
    `probabilities`: after `tag`, those of `fit`'s labels for each sentence, (length, Y); None for a method without.
    """

    RECIPE: ClassVar[type[Recipe]] = Recipe
    SOURCE: ClassVar[str]
    READS_LABEL_NAMES: ClassVar[bool] = False
    probabilities: Sequence[Tensor] | None = None
    tuning: Sequence[FineTuning] = ()  # of a method that fine-tunes, since its first episode

    def __init__(self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recipe: Recipe):
        super().__init__()
        self.encoder, self.recipe = encoder, recipe
        self.words = WordPieces(tokenizer, recipe.max_length)
        if isinstance(recipe, TrainedRecipe):
            for module in encoder.modules():
                if isinstance(module, nn.Dropout):
                    module.p = recipe.dropout

    @abstractmethod
    def train_on_source(self, sentences: Sequence[Sentence], labels: list[str]) -> None:
        """Train on the sentences of the source split, whose labels are among `labels`, `O` first."""

    @abstractmethod
    def fit(self, support: Sequence[Sentence], labels: list[str]) -> list[float]:
        """Adapt to a support set, in which there is a word, and whose labels are among `labels`, `O` first; returns the
        loss before each step of fine-tuning."""

    @abstractmethod
    def tag(self, query: Sequence[Sequence[str]]) -> list[list[str]]:
        """The labels of the words of each sentence, of which those beyond `max_length` may be left out."""

    @classmethod
    def source_folder(cls, recipe: Recipe) -> Path:
        """The directory of the run's source training."""
        return recipe.run / "source" / cls.SOURCE

    def restore(self) -> None:
        """Take back what `fit` changed in the weights; in eval mode again."""
        for tuning in self.tuning:
            tuning.restore()
        self.eval()

    def measure(self, query: Sequence[Sentence]) -> dict[str, list[int]]:
        """What to count besides the tags, after `tag` of these sentences: by name, how many were right, of how many."""
        return {}

    @classmethod
    def inputs(cls, recipe: Recipe, labels: list[str]) -> dict[str, str]:
        """Hashes, by name, of what the method reads besides the sentences with these labels."""
        return {}

    @property
    def device(self) -> torch.device:
        return self.encoder.device

    @property
    def limit(self) -> str:
        """How much of a sentence is read, in words."""
        return f"{self.words.max_length} word pieces"

    def pack(self, sentences: Sequence[Encoded]) -> PackedSentences:
        """Sentences in rows of at most `max_length` word pieces, or as many as the longest has."""
        width = max(self.recipe.max_length, *(len(sentence.ids) for sentence in sentences))
        return pack_sentences(sentences, self.encoder.config.pad_token_id, width, self.device)

    def hidden(
        self,
        packed: PackedSentences,
        embedded: Tensor | None = None,
        encoder: PreTrainedModel | None = None,
        layers: int = 1,
    ) -> Tensor:
        """Hidden states of the words' first pieces, (n, D), in the sentences' order, the mean of the last `layers`.

        The encoder is the method's first if no other is given; `embedded` (R, W, D) are word embeddings in place of
        those of `packed.input_ids`.
        """
        ids, encoder = packed.input_ids if embedded is None else None, encoder or self.encoder
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.mixed_precision == "bf16"):
            output = encode(encoder, packed.attention_mask, ids, embedded, output_hidden_states=layers > 1)
        states = [output.last_hidden_state] if layers == 1 else output.hidden_states[-layers:]
        return torch.stack([state.flatten(0, 1)[packed.first].float() for state in states]).mean(0)

    def train_in_steps(
        self,
        batches: Sequence[Batch],
        loss: Callable[[Batch], Tensor],
        optimizer: torch.optim.Optimizer,
        what: str = "source training",
        decay: bool = False,
    ) -> None:
        """A step for each batch, under a progress bar; with `decay` the learning rates fall linearly towards 0."""
        share = LambdaLR(optimizer, lambda number: 1 - number / max(1, len(batches)) if decay else 1.0)
        self.train()
        bar = tqdm(batches, desc=what, unit="step")
        for batch in bar:
            value = loss(batch)
            step(optimizer, value)
            share.step()
            bar.set_postfix_str(f"loss {value.item():.3f}", refresh=False)
        self.eval()

    def random_batches(self, number: int, epochs: int) -> list[list[int]]:
        """`epochs` over the numbers of so many sentences, each in an order of its own, `batch_size` at a time."""
        orders = [torch.randperm(number).split(self.recipe.batch_size) for _ in range(epochs)]
        return [batch.tolist() for order in orders for batch in order]

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
        method.load_state_dict(method.state_dict() | read_safetensors(folder / HEADS))
        return method.eval()

    @classmethod
    def trained(cls, source: Path, recipe: Recipe) -> Self:
        """The method, in eval mode, with the weights that its training ended with; UserError if they are gone."""
        problem = f"{source} does not hold the weights that its training ended with"
        try:
            method = cls.load(source, recipe)
            if fingerprint(method) == read_summary(source)["weights"]:
                return method
        except UserError as error:
            problem = str(error)
        except RuntimeError:  # heads of other names or sizes
            pass
        raise UserError(f"{problem}; train again: python -m evaluations.few_shot.train with --restart")
