"""The sparse latent typing autoencoder: a masked language model, latent typer, decoder and reconstruction head."""

import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, Cache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.utils.generic import ModelOutput

from common.errors import note
from encoders import (
    IGNORED,
    embed,
    encode,
    from_config,
    load_masked_lm,
    load_tokenizer,
    mlm_transform,
    same_sentence,
    sentence_positions,
)
from encoders.cpu import use_cpu_dropout
from model.configuration import SparseLTConfig
from model.decoder import Decoder
from model.latent_typer import LatentTyper
from model.losses import (
    entropy,
    global_mean,
    kl_loss,
    mean_type_probs,
    sampled_cross_entropy,
    sparsity_loss,
    vocabulary_cross_entropy,
)

NONE: Any = None  # ModelOutput requires defaults


@dataclass
class TypingOutput(ModelOutput):
    """What the typer makes of clean sentences: `SparseLTForPreTraining.type_tokens`."""

    type_probs: Tensor = NONE  # (B, T, C) float32
    type_ids: Tensor = NONE  # (B, T)
    gated: Tensor = NONE  # (B, T, D)
    encoder_last_hidden_state: Tensor = NONE  # (B, T, D)


@dataclass
class SparseLTOutput(TypingOutput):
    """The unweighted losses, and what they were computed from: `SparseLTForPreTraining.forward`."""

    losses: dict[str, Tensor] | None = None  # () each: mlm, reconstruction, sparsity, kl
    metrics: dict[str, Tensor] | None = None  # () each, to be watched
    type_distribution: Tensor | None = None  # (C,) mean of type_probs over the global batch
    mlm_logits: Tensor | None = None  # (K, V), of the K selected tokens in reading order
    reconstruction_logits: Tensor | None = None  # (B, T - 1, V)

    def named_scalars(self) -> dict[str, Tensor]:
        """Every loss as NAME_loss, and the metrics; () each."""
        return {f"{name}_loss": loss for name, loss in (self.losses or {}).items()} | (self.metrics or {})


class SparseLTForPreTraining(PreTrainedModel, GenerationMixin):
    """A masked language model with a latent typer and a decoder that rebuilds the sentence from the typed tokens (paper
    section 3).

    Everywhere, `attention_mask` is (B, T) with 0 at padding. It may also number several sentences packed into one
    row, 1, 2, 3, ...: tokens see their own sentence only and positions restart in each, so the result does not depend
    on the layout.

    `plain` is the encoder with its MLM head, a model of transformers. One matrix, its word embeddings, serves the
    encoder, the decoder and both vocabulary heads.
    """

    config_class = SparseLTConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    _supports_sdpa = True
    encoder_frozen = False

    def __init__(self, config: SparseLTConfig):
        super().__init__(config := copy.deepcopy(config))  # transformers writes into it
        self.plain = from_config(config.encoder)
        self.typer = LatentTyper(config.encoder.hidden_size, config.num_types)
        embedding_size = self.get_input_embeddings().weight.shape[1]
        self.decoder = Decoder(config.decoder_layer_config(), config.decoder_layers, embedding_size)
        self.reconstruction_bias = nn.Parameter(torch.zeros(config.encoder.vocab_size))
        use_cpu_dropout(self)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, LatentTyper):
            module.reset_parameters()
        elif module is self:
            self.reconstruction_bias.zero_()
        else:
            self.plain._init_weights(module)

    @classmethod
    def from_encoder(cls, name_or_path: str, **config: Any) -> "SparseLTForPreTraining":
        """Start from a pre-trained encoder; the typer, the decoder and, where there is none, the MLM head are new.

        Args:
            name_or_path: hub id, local directory or `minilm`.
            config: fields of `SparseLTConfig`.

        Raises:
            UserError: of `encoders.load_masked_lm` and `encoders.load_tokenizer`.
        """
        plain = load_masked_lm(name_or_path)
        tokenizer = load_tokenizer(name_or_path)
        config = {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id} | config
        model = cls(SparseLTConfig(encoder=plain.config, **config))
        tied = plain._tied_weights_keys  # second names of the word embeddings and of the bias
        model.plain.load_state_dict({k: v for k, v in plain.state_dict().items() if k not in tied}, strict=False)
        ours, theirs = (cast(nn.Linear, one.get_output_embeddings()) for one in (model.plain, plain))
        if not torch.equal(ours.weight, theirs.weight):
            matrix = next(name for name, parameter in plain.named_parameters() if parameter is theirs.weight)
            note(f"`{name_or_path}`: not used: `{matrix}`; the word embeddings are the output matrix too")
        if theirs.bias is not None:  # of an untied head, which may have a second one that nothing reads
            with torch.no_grad():
                ours.bias.copy_(theirs.bias)
        return model

    @property
    def encoder(self) -> PreTrainedModel:
        return cast(PreTrainedModel, self.plain.base_model)

    def freeze_encoder(self, frozen: bool) -> None:
        """Freeze the encoder, word embeddings included, or let it learn. Frozen it has no gradient and no dropout."""
        self.encoder_frozen = frozen
        self.encoder.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> "SparseLTForPreTraining":
        super().train(mode)
        if self.encoder_frozen:
            self.encoder.eval()
        return self

    def get_input_embeddings(self) -> nn.Embedding:
        return cast(nn.Embedding, self.plain.get_input_embeddings())

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The encoder's last hidden states; (B, T) ids -> (B, T, D)."""
        return encode(self.encoder, attention_mask, input_ids).last_hidden_state

    def type_tokens(self, input_ids: Tensor, attention_mask: Tensor, tau: float | Tensor = 1.0) -> TypingOutput:
        """Type every token of clean sentences, of which `input_ids` and `attention_mask` are (B, T): the most probable
        type in eval mode, while training a soft sample of the Gumbel-softmax at temperature `tau`."""
        return self._type(self.encode(input_ids, attention_mask), tau)

    def _type(self, hidden_states: Tensor, tau: float | Tensor) -> TypingOutput:
        type_probs, type_ids, gated = self.typer(hidden_states, tau)
        gated = hidden_states if self.config.gate == "open" else gated
        return TypingOutput(type_probs, type_ids, gated, hidden_states)

    def reconstruction_logits(self, hidden_states: Tensor) -> Tensor:
        """The reconstruction head on what the decoder returns; (..., E) -> (..., V)."""
        return F.linear(hidden_states, self.get_input_embeddings().weight, self.reconstruction_bias)

    @staticmethod
    def next_tokens(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Teacher forcing: for each token but a row's last the next one of its own sentence, or -100; (B, T - 1)."""
        sentence, next_sentence = attention_mask[:, :-1], attention_mask[:, 1:]
        return torch.where((sentence == next_sentence) & (sentence > 0), input_ids[:, 1:], IGNORED)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        masked_input_ids: Tensor | None = None,
        mlm_labels: Tensor | None = None,
        tau: float | Tensor = 1.0,
        mlm_positions: Tensor | None = None,
        return_logits: bool = False,
        sampled_words: int = 0,
        encoder_outputs: Any = None,
        decoder_input_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
    ) -> SparseLTOutput | Seq2SeqLMOutput:
        """The losses of a batch by their names (paper section 3).

        Without `masked_input_ids` there is no `mlm` loss; without `input_ids` the typer and the decoder do not run
        (plain masked language modelling). When both are given the encoder runs once over both.

        Args:
            input_ids: (B, T), the clean sentences, [CLS] ... [SEP].
            attention_mask: (B, T), see the class; ones when absent.
            masked_input_ids: (B, T), the same with some of the tokens masked.
            mlm_labels: (B, T), the original ids of the selected tokens, -100 elsewhere.
            tau: see `type_tokens`.
            mlm_positions: (K,) where in the flattened batch the selected tokens are; looked up in `mlm_labels`
                when absent, which on a GPU costs a wait for the device.
            return_logits: also return the logits of both heads.
            sampled_words: estimate the reconstruction loss over so many random words besides those of the batch (see
                `model.losses.sampled_cross_entropy`); 0: over the whole vocabulary.
            encoder_outputs, decoder_input_ids, past_key_values, use_cache, return_dict: what transformers' `generate`
                passes at each of its steps.
        """
        if encoder_outputs is not None:
            assert attention_mask is not None and decoder_input_ids is not None
            gated = encoder_outputs.last_hidden_state
            return self._decode_step(gated, attention_mask, decoder_input_ids, past_key_values)
        given = [ids for ids in (masked_input_ids, input_ids) if ids is not None]
        if attention_mask is None:
            attention_mask = torch.ones_like(given[0])
        words = self.get_input_embeddings().weight  # (V, D)
        # One look-up for all: each has a gradient as large as the whole matrix.
        embedded = F.embedding(torch.cat(given), words)  # (B or 2B, T, D)
        hidden = encode(self.encoder, attention_mask.repeat(len(given), 1), inputs_embeds=embedded).last_hidden_state
        hidden = hidden.chunk(len(given))  # (B, T, D) each
        losses: dict[str, Tensor] = {}
        metrics: dict[str, Tensor] = {}
        # What does not train the encoder reads copies of its states and of its word embeddings.
        rebuilt, typed = (name in self.config.detached for name in ("reconstruction", "types"))
        typing = {} if input_ids is None else self._type(hidden[-1].detach() if rebuilt else hidden[-1], tau)
        output = SparseLTOutput(**typing, losses=losses, metrics=metrics)

        if masked_input_ids is not None:
            assert mlm_labels is not None
            if mlm_positions is None:
                mlm_positions = (mlm_labels != IGNORED).flatten().nonzero().squeeze(1)  # (K,)
            states = mlm_transform(self.plain, hidden[0].flatten(0, 1)[mlm_positions])  # (K, D)
            labels = mlm_labels.flatten()[mlm_positions]  # (K,)
            bias = cast(nn.Linear, self.plain.get_output_embeddings()).bias  # (V,)
            bias = words.new_zeros(len(words)) if bias is None else bias
            losses["mlm"] = vocabulary_cross_entropy(states, words, bias, labels)
            if return_logits:
                output.mlm_logits = F.linear(states, words, bias)

        if input_ids is not None:
            labels = self.next_tokens(input_ids, attention_mask)  # (B, T - 1)
            states = self._decode(embedded[-len(input_ids) :, :-1], attention_mask, output.gated, rebuilt)
            states = states.flatten(0, 1)  # (B * (T - 1), D)
            head = (states, words.detach() if rebuilt else words, self.reconstruction_bias, labels.flatten())
            losses["reconstruction"] = (
                sampled_cross_entropy(*head, sampled_words) if sampled_words else vocabulary_cross_entropy(*head)
            )
            if return_logits:
                output.reconstruction_logits = self.reconstruction_logits(states).view(*labels.shape, -1)

            type_probs = output.type_probs  # (B, T, C)
            if rebuilt != typed:
                type_probs = self.typer.logits(hidden[-1].detach() if typed else hidden[-1]).softmax(-1)
            p = mean_type_probs(type_probs, attention_mask)  # (C,)
            output.type_distribution = p
            losses["sparsity"] = sparsity_loss(p)
            losses["kl"] = kl_loss(p, self.config.kl_form)
            real = attention_mask > 0  # (B, T)
            metrics["share_typed"] = global_mean(((output.type_ids > 0) & real).sum().float(), real.sum())
            metrics["type_perplexity"] = entropy(p).exp()  # from 1 to C
        return output

    def _decode(self, inputs_embeds: Tensor, attention_mask: Tensor, gated: Tensor, detached: bool = False) -> Tensor:
        """The decoder over a whole batch, (B, S, E) word embeddings with S <= T -> (B, S, E); no gradient reaches them
        where they are `detached`."""
        length = inputs_embeds.shape[1]
        sentence = attention_mask[:, :length]
        causal = torch.ones(length, length, dtype=torch.bool, device=sentence.device).tril()
        embedded = embed(self.encoder, inputs_embeds, sentence_positions(sentence))  # (B, S, E)
        return self.decoder(
            embedded.detach() if detached else embedded,
            gated,
            self_mask=same_sentence(sentence, sentence) & causal,
            cross_mask=same_sentence(sentence, attention_mask),
        )

    def _decode_step(
        self, gated: Tensor, attention_mask: Tensor, new_ids: Tensor, cache: Cache | None
    ) -> Seq2SeqLMOutput:
        """One step of `generate`: (B, S) new ids after what the cache holds -> logits (B, S, V)."""
        past = cache.get_seq_length() if cache is not None else 0
        keys = torch.arange(past + new_ids.shape[1], device=new_ids.device)
        positions = keys[past:]
        hidden = self.decoder(
            embed(self.encoder, self.get_input_embeddings()(new_ids), positions[None]),
            gated,
            self_mask=(positions[:, None] >= keys)[None, None],
            cross_mask=(attention_mask > 0)[:, None, None, :],
            cache=cache,
        )
        return Seq2SeqLMOutput(logits=self.reconstruction_logits(hidden), past_key_values=cast(Any, cache))

    @torch.no_grad()
    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Any:
        """Rebuild sentences, one a row, from their types alone, with transformers' generation (greedy, beams, sampling,
        ...) and its options, of which `max_length` is T unless given.

        (B, T) ids -> (B, at most T), from [CLS] on, padded after [SEP]; or what `return_dict_in_generate` asks for.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        gated = self.type_tokens(input_ids, attention_mask).gated
        if "max_new_tokens" not in options:
            options.setdefault("max_length", input_ids.shape[1])
        outputs = BaseModelOutput(last_hidden_state=gated)
        return super().generate(encoder_outputs=outputs, attention_mask=attention_mask, **options)  # pyright: ignore[reportAttributeAccessIssue]


AutoConfig.register("sparse_lt", SparseLTConfig)
AutoModel.register(SparseLTConfig, SparseLTForPreTraining)
