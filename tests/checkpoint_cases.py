"""A model in both layouts of checkpoints, and ways to damage one."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from model import SparseLTForPreTraining


def write_published(model: SparseLTForPreTraining, directory: Path) -> Path:
    """The model in the published layout."""
    model.config.encoder.save_pretrained(directory)
    torch.save(state_in_the_published_layout(model), directory / "pytorch_model.bin")
    return directory


def state_in_the_published_layout(model):
    """Written down from the table in the published layout's description, independently of `our_name`."""
    state = {}
    projections = [("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")]
    for name, tensor in model.state_dict().items():
        if name.startswith("plain.bert.embeddings."):
            state[name.replace("plain.bert.", "decoder.", 1)] = tensor
        if name.startswith("plain."):
            name = f"model.{name.removeprefix('plain.')}"
        elif name.startswith("decoder.layers"):
            for part, theirs in (("attention", "self_attn"), ("crossattention", "encoder_attn")):
                name = name.replace(f".{part}.output.LayerNorm.", f".{theirs}_layer_norm.")
                name = name.replace(f".{part}.output.dense.", f".{theirs}.out_proj.")
                for old, new in projections:
                    name = name.replace(f".{part}.self.{old}.", f".{theirs}.{new}.")
            name = name.replace(".intermediate.dense.", ".fc1.").replace(".output.dense.", ".fc2.")
            name = name.replace(".output.LayerNorm.", ".final_layer_norm.")
        state[name] = tensor
    for name, new_name in {
        "decoder.embedding_norm.weight": "decoder.layernorm_embedding.weight",
        "decoder.embedding_norm.bias": "decoder.layernorm_embedding.bias",
        "typer.weight": "sa_pm.weight_proj.weight",
        "typer.type_embeddings": "sa_pm.vars",
        "reconstruction_bias": "glm_head.bias",
    }.items():
        state[new_name] = state.pop(name)
    words = state["model.bert.embeddings.word_embeddings.weight"]
    state |= {"model.cls.predictions.decoder.weight": words, "glm_head.weight": words}
    state["model.cls.predictions.decoder.bias"] = state["model.cls.predictions.bias"]
    state["model.bert.embeddings.position_ids"] = torch.arange(64)[None]
    return state


def write_earlier(model: SparseLTForPreTraining, directory: Path) -> Path:
    """The model as this project wrote it at first."""
    model.save_pretrained(directory)
    tensors = load_file(directory / "model.safetensors")
    for name in list(tensors):
        earlier = name.replace("plain.cls.predictions.transform.", "mlm_transform.").replace("plain.bert.", "encoder.")
        tensors[earlier.replace("plain.cls.predictions.bias", "mlm_bias")] = tensors.pop(name)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def edit_config(directory, **fields):
    config = json.loads((directory / "config.json").read_text())
    for name, value in fields.items():
        encoder = config.get("encoder")  # another edit may have made it anything
        (encoder if isinstance(encoder, dict) and name in encoder else config)[name] = value
    (directory / "config.json").write_text(json.dumps(config))


def edit_tensors(directory, change):
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
