"""Files of tensors from elsewhere, none trusted: nothing in them is executed, and what is no such file is named."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from common.errors import UserError, first_line

POINTER = b"version https://git-lfs"


def refuse_pointer(file: Path) -> None:
    """Raise a `UserError` for a file that is missing, unreadable, or the few lines that git without git-lfs leaves."""
    try:
        with open(file, "rb") as opened:
            begin = opened.read(len(POINTER))
    except FileNotFoundError:
        raise UserError(f"{file} is missing") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    if begin == POINTER:
        raise UserError(f"{file} is a git-lfs pointer in place of the file; fetch the file itself: git lfs pull")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    refuse_pointer(path)
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is damaged or no safetensors file: {first_line(error)}") from None


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file; a `UserError` if it is missing, truncated or no such file."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickled state dict; a `UserError` if it is truncated or holds, and could run, anything else."""
    refuse_pointer(path)
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise UserError(f"{path} is refused: it is no pickle of tensors alone, and loading it could run code") from None
    except Exception as error:  # a damaged pickle can stop its reader anywhere
        raise UserError(f"{path} is damaged: {first_line(error)}") from None
    if not isinstance(tensors, dict) or any(
        not isinstance(name, str) or not isinstance(value, Tensor) for name, value in tensors.items()
    ):
        raise UserError(f"{path} holds no state dict")
    # An expanded tensor claims any size with one number. Word embeddings have four names, nothing has more.
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > 4 * path.stat().st_size:
        raise UserError(f"{path} is refused: its tensors claim more memory than the file holds")
    return tensors


def stored_dtypes(path: Path) -> dict[str, str]:
    """What the tensors of a safetensors file or a pickled state dict are stored as, by name (`F32`, in pickles
    `float32`).

    Raises:
        UserError: of `read_safetensors` and `read_pickle`.
    """
    if path.suffix != ".safetensors":
        return {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in read_pickle(path).items()}
    with _opened(path) as file:
        return {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118, no mapping
