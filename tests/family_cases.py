"""A tiny random masked language model of every family, with a tokenizer trained on the spot in the family's way."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedTokenizerFast

PACKED = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "albert", "modernbert")
UNPACKED = ("mpnet", "deberta-v2", "ernie")  # the last is in no table
BYTES = ("roberta", "modernbert")  # pieces of bytes, "Ġword"
UNDERLINED = ("xlm-roberta", "camembert", "albert", "deberta-v2")  # pieces of characters, "▁word"

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def train_tokenizer(family: str, sentences: list[str]) -> PreTrainedTokenizerFast:
    """Special tokens have ids 0 to 4, padding 1, in every family."""
    if family in BYTES:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet)
    elif family in UNDERLINED:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=SPECIAL, unk_token="<unk>")
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=SPECIAL)
    tokenizer.train_from_iterator(sentences, trainer)
    ends = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    names = {
        "cls_token": "<s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names)


def write_model(family: str, sentences: list[str], directory: Path) -> Path:
    """The model and the tokenizer as a user would find them on a disk."""
    tokenizer = train_tokenizer(family, sentences)
    options = {"vocab_size": len(tokenizer), "max_position_embeddings": 64, "initializer_range": 0.2}
    options |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2}
    if family == "distilbert":
        options |= {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
    elif family in ("electra", "albert"):
        options |= {"embedding_size": 16}  # factorised
    elif family == "modernbert":
        options |= {"local_attention": 8, "global_attn_every_n_layers": 2}
    elif family == "deberta-v2":
        options |= {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c", "c2p"]}
    if family != "distilbert":
        options |= SIZES
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(AutoConfig.for_model(family, **options))
    bias = model.get_output_embeddings().bias
    if bias is not None:
        torch.nn.init.normal_(bias, std=0.2)  # new models have zeros, which would hide a mistake
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
