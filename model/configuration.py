"""Configuration of the sparse latent typing autoencoder."""

from dataclasses import field
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, BertConfig, PreTrainedConfig

from encoders import cpu


@strict  # checks the types of the fields
class SparseLTConfig(PreTrainedConfig):
    """An encoder's configuration plus what the typer and the decoder add to it.

    Args:
        num_types: latent types C, type 0 ("not typed") included.
        kl_form: see `model.losses.kl_loss`.
        gate: "typed", or "open": the decoder reads the states themselves, as if there were no typer.
        detached: what does not train the encoder, its word embeddings included: "reconstruction", "types" (the
            sparsity and KL losses).
        decoder_attention_heads, decoder_intermediate_size: None for the encoder's.
        decoder_layer_norm_eps: the published decoder does not use BERT's 1e-12.
        bos_token_id, eos_token_id: the tokenizer's [CLS] and [SEP]; a reconstruction starts and ends with them.
    """

    model_type = "sparse_lt"
    sub_configs: ClassVar[dict[str, Any]] = {"encoder": AutoConfig}

    encoder: Any = None  # a configuration of transformers; a dictionary becomes one
    num_types: int = 64
    kl_form: Literal["exponential", "plain"] = "exponential"
    gate: Literal["typed", "open"] = "typed"
    detached: list[str] = field(default_factory=list)
    decoder_layers: int = 1
    decoder_attention_heads: int | None = None
    decoder_intermediate_size: int | None = None
    decoder_layer_norm_eps: float = 1e-5
    bos_token_id: int | None = 101
    eos_token_id: int | None = 102
    pad_token_id: int | None = 0
    is_encoder_decoder: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        if self.encoder is None:
            self.encoder = BertConfig()
        elif isinstance(self.encoder, dict):
            self.encoder = AutoConfig.for_model(**self.encoder)
        self.pad_token_id = self.encoder.pad_token_id
        self.decoder_start_token_id = self.bos_token_id
        super().__post_init__(**kwargs)

    def decoder_layer_config(self) -> BertConfig:
        """The configuration of the decoder's layers, as transformers' BERT layer reads it: the encoder's, where its
        family says it by BERT's names, and BERT's own defaults elsewhere."""
        encoder, size = self.encoder, self.encoder.hidden_size
        config = BertConfig(
            hidden_size=size,
            num_attention_heads=self.decoder_attention_heads or encoder.num_attention_heads,
            intermediate_size=self.decoder_intermediate_size or getattr(encoder, "intermediate_size", 4 * size),
            hidden_act=getattr(encoder, "hidden_act", "gelu"),
            hidden_dropout_prob=getattr(encoder, "hidden_dropout_prob", 0.1),
            attention_probs_dropout_prob=getattr(encoder, "attention_probs_dropout_prob", 0.1),
            layer_norm_eps=self.decoder_layer_norm_eps,
            is_decoder=True,
            add_cross_attention=True,
        )
        config._attn_implementation = cpu.IMPLEMENTATION
        return config
