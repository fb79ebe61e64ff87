"""What lies on a disk under an encoder's name, looked at before transformers reads it.

Transformers is silent about fields of config.json, tensors and files that it does not know. Here they are honoured,
named or refused.
"""

import json
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING
from transformers.utils.hub import cached_file

from common.errors import UserError, note
from common.tensors import refuse_pointer, stored_dtypes
from encoders.families import FAMILIES

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
FOREIGN = (".h5", ".msgpack", ".onnx", ".ot", ".gguf", ".ckpt", ".index", ".pt", ".pth", ".bin", ".safetensors")
BUFFERS = ("position_ids", "token_type_ids")  # integers that old versions of transformers stored
FLOATS = {"F64", "F32", "F16", "BF16", "float64", "float32", "float16", "bfloat16"}


def stored_file(name_or_path: str, file: str) -> Path | None:
    """A file of a directory or of a hub id; None where it has none of that name."""
    if Path(name_or_path).is_dir():
        return path if (path := Path(name_or_path) / file).is_file() else None
    lenient = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    found = cached_file(name_or_path, file, **lenient)
    return Path(found) if found else None


def check_fields(name: str, fields: dict[str, Any]) -> None:
    """Raise a `UserError` for a field of a config.json that asks for what transformers would not do."""
    kind, positions = fields.get("model_type"), fields.get("position_embedding_type") or "absolute"
    code = set(fields.get("auto_map") or ())
    problem = None
    if fields.get("quantization_config"):
        problem = "`quantization_config`: its weights are quantised; take those that are not"
    elif positions != "absolute" and kind != "esm":
        problem = f"`position_embedding_type` {positions}: only absolute positions are supported"
    elif fields.get("pruned_heads"):
        problem = "`pruned_heads`: heads that were cut out are not supported"
    elif fields.get("add_cross_attention"):
        problem = "`add_cross_attention`: it reads another model's states, an encoder does not"
    elif code and (kind not in CONFIG_MAPPING or (kind in FAMILIES and code & {"AutoModel", "AutoModelForMaskedLM"})):
        problem = "`auto_map`: it is computed by code of its own, which is not run"
    if problem:
        raise UserError(f"the encoder `{name}` cannot be used as its config.json asks: {problem}")
    if fields.get("is_decoder"):
        note(f"the encoder `{name}` is read in both directions, although its config.json says `is_decoder`")


def mend_config(config: Any) -> None:
    """Set what a config.json may say of decoders, outputs and memory, but an encoder here never has; in place."""
    config.is_decoder = config.add_cross_attention = False
    config.output_hidden_states = config.output_attentions = False
    config.return_dict = True
    config.chunk_size_feed_forward = 0  # the same numbers, but only of lengths that it divides


def weight_files(name_or_path: str) -> list[Path]:
    """The files that transformers takes an encoder's weights from."""
    directory = Path(name_or_path)
    if (directory / "adapter_config.json").is_file():
        raise UserError(f"{directory}/adapter_config.json: an adapter's weights; merge them into its encoder first")
    first = next((path for file in WEIGHTS if (path := stored_file(name_or_path, file))), None)
    if first is None:
        others = sorted(path for path in directory.rglob("*") if path.suffix in FOREIGN)
        instead = f", and {others[0].relative_to(directory)} is of another framework or name" if others else ""
        raise UserError(f"the encoder `{name_or_path}` has no model.safetensors and no pytorch_model.bin{instead}")
    refuse_pointer(first)
    if first.suffix != ".json":
        return [first]
    try:
        shards = sorted(set(json.loads(first.read_text(encoding="utf-8"))["weight_map"].values()))
        found = {shard: stored_file(name_or_path, shard) for shard in shards}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise UserError(f"{first} is damaged: it lists no files of weights") from None
    if missing := [shard for shard, path in found.items() if path is None]:
        raise UserError(f"the encoder `{name_or_path}` has no {missing[0]}, which {first.name} lists")
    return [path for path in found.values() if path]


def check_weights(name_or_path: str) -> None:
    """Raise a `UserError` unless an encoder's weights are there, whole, and stored as floating-point numbers."""
    for file in weight_files(name_or_path):
        for tensor, dtype in stored_dtypes(file).items():
            if dtype not in FLOATS and tensor.split(".")[-1] not in BUFFERS:
                raise UserError(f"{file}: `{tensor}` is stored as {dtype}: quantised weights are not supported")


def check_unused(name: str, model: Any, unused: set[str]) -> None:
    """Raise a `UserError` if a stored tensor that a masked language model left out is of the encoder, not of a head."""
    parts = {part for part, _ in model.base_model.named_children()}
    for tensor in sorted(unused):
        inside = tensor.removeprefix(f"{model.base_model_prefix}.").split(".")
        if inside[0] in parts and inside[-1] not in BUFFERS:
            raise UserError(
                f"the weights of the encoder `{name}` do not fit its config.json: `{tensor}` has no place in it"
            )
