"""A tiny random BERT with its tokenizer, and the autoencoder around it; nothing here reaches the hub."""

import os
import shutil
import string

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported
if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: a core for each process
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import datasets
import pytest
import torch
from accelerate.state import AcceleratorState
from checkpoint_cases import write_earlier, write_published
from model_cases import lay_out
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

from common.errors import note
from model import SparseLTForPreTraining

SENTENCES = [
    "the president met the foreign minister in paris on monday .",
    "officials say that talks will resume next week .",
    "he won .",
    "a strong earthquake hit the coast of the island early in the morning , and many people left their houses .",
    'the minister said "we need more time" .',
    "prices rose again in march .",
    "rebels attacked the town near the border ; nobody was hurt .",
    "the court will hear the case on tuesday .",
]


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path_factory, monkeypatch):
    """Each test has its own, empty cache of datasets; returned is where it lies."""
    cache = tmp_path_factory.mktemp("datasets_cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    return cache


@pytest.fixture(autouse=True)
def accelerate_forgets():
    """A run in this process leaves its precision to no later one, as every run of a user is a process of its own."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """Lower-cased WordPiece: special tokens (ids 0 to 4), every letter as a word and as a ##piece, some words."""
    words = {word for sentence in SENTENCES for word in sentence.split() if word.isalpha() and len(word) > 1}
    letters = string.ascii_lowercase + string.digits
    pieces = [*string.punctuation, *letters, *(f"##{letter}" for letter in letters), "##ing", "##ed", *sorted(words)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces]
    return BertTokenizerFast(vocab={piece: number for number, piece in enumerate(vocabulary)})


@pytest.fixture(scope="session")
def tiny_encoder(tiny_tokenizer, tmp_path_factory):
    """Directory of a plain BERT with an MLM head and its tokenizer; read only."""
    config = BertConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,  # at BERT's 0.02 such a small model says the same of every token
    )
    torch.manual_seed(0)
    bert = BertForMaskedLM(config)
    torch.nn.init.normal_(bert.cls.predictions.bias, std=0.2)  # new models have zeros, which would hide a mistake
    directory = tmp_path_factory.mktemp("tiny_encoder")
    bert.save_pretrained(directory)
    tiny_tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def encoder(tiny_encoder, tmp_path):
    """A copy of the tiny encoder, to be damaged; notes that were printed before are printed again."""
    note.cache_clear()
    return shutil.copytree(tiny_encoder, tmp_path / "encoder")


@pytest.fixture
def tiny_model(tiny_encoder):
    """A new autoencoder on the tiny encoder, 4 types, in eval mode; each test has its own."""
    torch.manual_seed(4)
    model = SparseLTForPreTraining.from_encoder(str(tiny_encoder), num_types=4)
    torch.nn.init.normal_(model.reconstruction_bias, std=0.2)
    for weight in model.decoder.layers.parameters():  # else it repeats one token, whatever it reads
        if weight.dim() == 2:
            torch.nn.init.normal_(weight, std=1.0)
    return model.eval()


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_encoder, sentences):
    """Pre-training runs of a file of tests, each in a process of its own."""
    from run_cases import Runs  # it imports pretrain, which few tests need

    return Runs(tmp_path_factory.mktemp("runs"), tiny_encoder, sentences)


@pytest.fixture(scope="module")
def untouched(runs):
    """The result of a run that nothing happened to."""
    runs.complete("untouched")
    return runs.result("untouched")


@pytest.fixture(scope="session")
def sentences():
    """Eight sentences of 4 to 24 tokens that the tiny tokenizer knows the words of."""
    return SENTENCES


@pytest.fixture
def ids(tiny_tokenizer, sentences):
    """The eight sentences as lists of ids."""
    return tiny_tokenizer(sentences)["input_ids"]


@pytest.fixture
def padded(tiny_tokenizer, ids):
    """A batch of them, one a row."""
    return lay_out([[i] for i in ids], max(map(len, ids)), tiny_tokenizer)


@pytest.fixture
def ours(tiny_model, tmp_path):
    """A checkpoint in our layout that each test may damage."""
    tiny_model.save_pretrained(tmp_path / "ours")
    return tmp_path / "ours"


@pytest.fixture
def published(tiny_model, tmp_path):
    """The same model in the published layout."""
    return write_published(tiny_model, tmp_path / "published")


@pytest.fixture
def earlier(tiny_model, tmp_path):
    """The same model as this project wrote it at first."""
    return write_earlier(tiny_model, tmp_path / "earlier")


@pytest.fixture
def write(tmp_path):
    """Write a corpus; returns its path."""

    def write(content: bytes, name: str = "corpus.txt") -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write
