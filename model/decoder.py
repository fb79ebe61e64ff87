"""The decoder that must rebuild a sentence from its typed tokens."""

from torch import Tensor, nn
from transformers import BertConfig, Cache
from transformers.models.bert.modeling_bert import BertLayer


class Decoder(nn.Module):
    """Post-LN Transformer layers with causal self-attention and cross-attention over the gated states.

    Its input comes from the encoder's embedding module (`encoders.embed`) and goes through one more LayerNorm; its
    output is what the word embeddings are compared with. Where these are narrower than the states (factorised
    embeddings, E < D), it is projected on both ends.
    """

    def __init__(self, config: BertConfig, num_layers: int, embedding_size: int):
        super().__init__()
        self.widen = self.narrow = None
        if embedding_size != config.hidden_size:
            self.widen = nn.Linear(embedding_size, config.hidden_size)
            self.narrow = nn.Linear(config.hidden_size, embedding_size, bias=False)
        self.embedding_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(BertLayer(config, layer_idx=i) for i in range(num_layers))

    def forward(
        self, embedded: Tensor, gated: Tensor, self_mask: Tensor, cross_mask: Tensor, cache: Cache | None = None
    ) -> Tensor:
        """States (B, S, E) from which each next token is predicted.

        Args:
            embedded: (B, S, E or D), see `encoders.embed`.
            gated: (B, T, D), the typer's output.
            self_mask: (B, 1, S, S) bool (with a cache: keys include the past), True where a token may look.
            cross_mask: (B, 1, S, T) bool.
            cache: of generation.
        """
        if self.widen is not None and embedded.shape[-1] != gated.shape[-1]:
            embedded = self.widen(embedded)
        hidden = self.embedding_norm(embedded)  # (B, S, D)
        for layer in self.layers:
            hidden = layer(hidden, self_mask, gated, cross_mask, past_key_values=cache)
        return hidden if self.narrow is None else self.narrow(hidden)
