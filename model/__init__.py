"""The sparse latent typing autoencoder."""

from model.autoencoder import SparseLTForPreTraining
from model.checkpoints import is_autoencoder, load_autoencoder, start_from, tokenizer_of
from model.configuration import SparseLTConfig
