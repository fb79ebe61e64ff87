"""The decoder that must rebuild a sentence from its typed tokens."""

from torch import Tensor, nn
from transformers import BertConfig, Cache
from transformers.models.bert.modeling_bert import BertEmbeddings, BertLayer


class Decoder(nn.Module):
    """Post-LN Transformer layers with causal self-attention and cross-attention over the gated states.

    Its input goes through the encoder's embedding module twice and then one more LayerNorm. Nobody would design
    this, but it is what the published checkpoints were trained with.
    """

    def __init__(self, config: BertConfig, num_layers: int):
        super().__init__()
        self.embedding_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(BertLayer(config, layer_idx=i) for i in range(num_layers))

    def forward(
        self,
        inputs_embeds: Tensor,
        position_ids: Tensor,
        embeddings: BertEmbeddings,
        gated: Tensor,
        self_mask: Tensor,
        cross_mask: Tensor,
        past_key_values: Cache | None = None,
    ) -> Tensor:
        """States from which each next token is predicted.

        Args:
            inputs_embeds: (B, S, D), word embeddings.
            position_ids: (B, S).
            embeddings: the encoder's embedding module.
            gated: (B, T, D), the typer's output.
            self_mask: (B, 1, S, S) bool (with a cache: keys include the past), True where a token may look.
            cross_mask: (B, 1, S, T) bool.
            past_key_values: cache of generation.

        Returns:
            (B, S, D)
        """
        hidden = embeddings(inputs_embeds=inputs_embeds, position_ids=position_ids)  # (B, S, D)
        hidden = embeddings(inputs_embeds=hidden, position_ids=position_ids)
        hidden = self.embedding_norm(hidden)
        for layer in self.layers:
            hidden = layer(hidden, self_mask, gated, cross_mask, past_key_values=past_key_values)
        return hidden
