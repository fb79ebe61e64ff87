"""The sparse latent typing autoencoder."""

from model.autoencoder import SparseLTForPreTraining
from model.checkpoints import load_autoencoder, tokenizer_of
from model.configuration import SparseLTConfig

__all__ = ["SparseLTConfig", "SparseLTForPreTraining", "load_autoencoder", "tokenizer_of"]
