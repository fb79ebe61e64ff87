"""Reading autoencoders from disk: our own layout and the published one, neither trusted.

Nothing in a checkpoint is executed (safetensors, or pickles with `weights_only=True`), and nothing is allocated
before the configuration was seen to fit the tensors that the file really holds.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, BertConfig, PreTrainedConfig, PreTrainedTokenizerBase

from common.errors import UserError, first_line
from common.tensors import read_pickle, read_safetensors
from encoders import load_tokenizer, read_tokenizer
from model.autoencoder import SparseLTForPreTraining
from model.configuration import SparseLTConfig

# Published state-dict names -> ours, in the order in which they are tried. Shared tensors have several.
PUBLISHED_NAMES = [
    (r"model\.cls\.predictions\.decoder\.weight|glm_head\.weight", "plain.bert.embeddings.word_embeddings.weight"),
    (r"model\.cls\.predictions\.decoder\.bias", "plain.cls.predictions.bias"),
    (r"decoder\.embeddings\.(.+)", r"plain.bert.embeddings.\1"),
    (r"model\.(.+)", r"plain.\1"),
    (r"sa_pm\.weight_proj\.weight", "typer.weight"),
    (r"sa_pm\.vars", "typer.type_embeddings"),
    (r"glm_head\.bias", "reconstruction_bias"),
    (r"decoder\.layernorm_embedding\.(.+)", r"decoder.embedding_norm.\1"),
    (r"(decoder\.layers\.\d+)\.self_attn\.(.+)", r"\1.attention.\2"),
    (r"(decoder\.layers\.\d+)\.encoder_attn\.(.+)", r"\1.crossattention.\2"),
    (r"(decoder\.layers\.\d+)\.self_attn_layer_norm\.(.+)", r"\1.attention.output.LayerNorm.\2"),
    (r"(decoder\.layers\.\d+)\.encoder_attn_layer_norm\.(.+)", r"\1.crossattention.output.LayerNorm.\2"),
    (r"(decoder\.layers\.\d+)\.fc1\.(.+)", r"\1.intermediate.dense.\2"),
    (r"(decoder\.layers\.\d+)\.fc2\.(.+)", r"\1.output.dense.\2"),
    (r"(decoder\.layers\.\d+)\.final_layer_norm\.(.+)", r"\1.output.LayerNorm.\2"),
]
# Names in the checkpoints that this project wrote at first -> ours.
EARLIER_NAMES = [
    (r"encoder\.(.+)", r"plain.bert.\1"),
    (r"mlm_transform\.(.+)", r"plain.cls.predictions.transform.\1"),
    (r"mlm_bias", "plain.cls.predictions.bias"),
]
PROJECTIONS = {"q_proj": "self.query", "k_proj": "self.key", "v_proj": "self.value", "out_proj": "output.dense"}


def our_name(other: str, names: list[tuple[str, str]]) -> str:
    """Our name of a tensor that a table of `names` knows by another; a name not in the table is ours already."""
    for pattern, ours in names:
        if match := re.fullmatch(pattern, other):
            return re.sub(r"\b[qkv]_proj|\bout_proj", lambda part: PROJECTIONS[part.group()], match.expand(ours))
    return other


def rename_published(published: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """A published state dict under our names, each shared tensor once."""
    names: dict[str, str] = {}  # ours -> theirs
    for name, tensor in published.items():
        first = names.setdefault(our_name(name, PUBLISHED_NAMES), name)
        if first != name and not torch.equal(tensor, published[first]):
            raise UserError(f"{path}: `{name}` should be the same tensor as `{first}` but differs")
    names.pop("plain.bert.embeddings.position_ids", None)  # a buffer that old versions of transformers saved
    return {ours: published[name] for ours, name in names.items()}


def known_fields(fields: dict, config_class: type[PreTrainedConfig]) -> dict[str, Any]:
    """Those that the class itself declares; some inherited ones, as `num_labels`, make transformers build tables."""
    classes = config_class.__mro__[: config_class.__mro__.index(PreTrainedConfig)]
    declared = {name for one in classes for name in one.__annotations__}
    return {name: value for name, value in fields.items() if name in declared}


def our_config(fields: dict) -> SparseLTConfig:
    """The configuration of a checkpoint in our layout."""
    encoder_class = CONFIG_MAPPING[fields["encoder"].get("model_type", "bert")]
    encoder = encoder_class(**known_fields(fields["encoder"], encoder_class))
    return SparseLTConfig(**dict(known_fields(fields, SparseLTConfig), encoder=encoder))


def published_config(fields: dict, shapes: dict[str, tuple[int, ...]]) -> SparseLTConfig:
    """The configuration of a published checkpoint: its BERT's, and what the tensors tell of the rest."""
    return SparseLTConfig(
        encoder=BertConfig(**known_fields(fields, BertConfig)),
        num_types=shapes["typer.weight"][0],
        decoder_layers=sum(name.endswith("crossattention.self.query.weight") for name in shapes),
        decoder_attention_heads=fields.get("decoder_attention_heads"),
        decoder_intermediate_size=shapes["decoder.layers.0.intermediate.dense.weight"][0],
    )


def check_fits(config: SparseLTConfig, shapes: dict[str, tuple[int, ...]], path: Path) -> None:
    """Refuse a configuration that the tensors on disk do not bear out, before memory is allocated for it."""
    encoder_layers = getattr(config.encoder, "num_hidden_groups", config.encoder.num_hidden_layers)  # ALBERT shares
    for stack, layers in {"plain": encoder_layers, "decoder": config.decoder_layers}.items():
        stored = len({match[1] for name in shapes if (match := re.match(rf"{stack}\.[^\d]+\.(\d+)\.", name))})
        if layers != stored:
            raise UserError(f"{path}: `{stack}` has {stored} layers in the weights but {layers} by config.json")
    with torch.device("meta"):
        model = SparseLTForPreTraining(config)
    parameters = model.named_parameters(remove_duplicate=False)
    expected = {name: tuple(p.shape) for name, p in parameters if name not in model.all_tied_weights_keys}
    for name in expected.keys() | shapes.keys():
        if expected.get(name) != shapes.get(name):
            raise UserError(
                f"{path}: `{name}` is {shapes.get(name, 'missing')} in the weights but "
                f"{expected.get(name, 'absent')} by config.json"
            )


def check_links(directory: Path) -> None:
    """Refuse a directory from elsewhere, by a `UserError`, with links that lead out of it: to what is on this machine
    alone. A snapshot in the hub's cache, whose files are links to its blobs, is let pass."""
    root = directory.resolve()
    allowed = [root, *([root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [])]
    for file in sorted(root.glob("*")):
        if file.is_symlink() and file.is_file() and not any(file.resolve().is_relative_to(one) for one in allowed):
            raise UserError(f"{directory / file.name} is refused: it is a link that leads out of its directory")


def read_config(path: Path) -> dict:
    """The fields of DIR/config.json."""
    try:
        fields = json.loads((path / "config.json").read_bytes())
    except OSError:
        steps = ", ".join(sorted(step.name for step in path.glob("step-*")))
        hint = f"; an unfinished run? It has {steps}" if steps else ""
        raise UserError(f"{path} is not a checkpoint: it has no readable config.json{hint}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}/config.json is not valid JSON: {first_line(error)}") from None
    if not isinstance(fields, dict):
        raise UserError(f"{path}/config.json is not a configuration: it holds no JSON object")
    return fields


def load_autoencoder(path: str | Path) -> SparseLTForPreTraining:
    """An autoencoder in eval mode from a directory in our layout (config.json, model.safetensors) or the
    published one (config.json of a BERT, pytorch_model.bin).

    Raises:
        UserError: a file is missing, truncated or not what it should be, or a link; a pickle holds more than tensors;
            the configuration does not fit the weights.
    """
    path = Path(path)
    check_links(path)
    fields = read_config(path)
    ours = fields.get("model_type") == SparseLTConfig.model_type
    stored = path / ("model.safetensors" if ours else "pytorch_model.bin")
    if ours:
        tensors = {our_name(name, EARLIER_NAMES): tensor for name, tensor in read_safetensors(stored).items()}
    elif stored.exists():
        tensors = rename_published(read_pickle(stored), stored)
    else:
        raise UserError(f"{path} holds no autoencoder, neither in our layout nor in the published one")
    if not {"typer.weight", "decoder.layers.0.intermediate.dense.weight"} <= tensors.keys():
        raise UserError(f"{stored} holds no latent typer and decoder; is it a plain BERT?")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        config = our_config(fields) if ours else published_config(fields, shapes)
        check_fits(config, shapes, path)
        model = SparseLTForPreTraining(config)
        model.load_state_dict(tensors, strict=False)  # the second names of tied tensors are not stored
    except UserError:
        raise
    except Exception as error:  # whatever transformers and torch make of a configuration that is none
        raise UserError(f"{path}: config.json and {stored.name} make no model: {first_line(error)}") from None
    return model.eval()


def is_autoencoder(name_or_path: str) -> bool:
    """Whether this is a directory with an autoencoder in our layout, and not the name of an encoder."""
    try:
        return read_config(Path(name_or_path)).get("model_type") == SparseLTConfig.model_type
    except UserError:
        return False


def start_from(name_or_path: str, num_types: int, **config: Any) -> SparseLTForPreTraining:
    """What a pre-training run starts with: an autoencoder that was trained before, or a new one on an encoder.

    Args:
        name_or_path: directory of an autoencoder; or what `SparseLTForPreTraining.from_encoder` takes.
        config: fields of `SparseLTConfig`, whatever those of the autoencoder were.

    Raises:
        UserError: it cannot be loaded, or has another number of types.
    """
    if not is_autoencoder(name_or_path):
        return SparseLTForPreTraining.from_encoder(name_or_path, num_types=num_types, **config)
    model = load_autoencoder(name_or_path)
    if model.config.num_types != num_types:
        raise UserError(f"--num_types {num_types}: {name_or_path} was trained with {model.config.num_types}")
    model.config.update(config)
    return model


def tokenizer_of(path: str | Path, name_or_path: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint: `name_or_path` (hub id, `minilm`, or a directory, which needs no model) if given;
    or its own, or that of the encoder that a published checkpoint, which has none, says it was trained from.

    Raises:
        UserError: none is to be had, or its files are damaged.
    """
    path = Path(path)
    check_links(path)
    if name_or_path is None and any((path / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        return read_tokenizer(path)
    source = name_or_path or read_config(path).get("_name_or_path")
    if not source or not isinstance(source, str):
        raise UserError(f"{path} has no tokenizer and names none; say with --tokenizer which one it was trained with")
    try:
        return read_tokenizer(source) if Path(source).is_dir() else load_tokenizer(source)
    except UserError as error:
        if name_or_path:
            raise
        raise UserError(f"{path} has no tokenizer but names `{source}`; --tokenizer takes another: {error}") from None
