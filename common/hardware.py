"""Where to compute, and in which precision: the flags --device and --mixed_precision of every command."""

import ctypes
import os

import torch

from common.errors import UserError


def pick_device(name: str) -> torch.device:
    """The device of `--device`: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, ...

    Raises:
        UserError: torch knows no such device, or it is not there.
    """
    try:
        device = torch.device(name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
    except RuntimeError:
        raise UserError(f"--device {name}: no device; there are auto, cpu, cuda, cuda:1, ...") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name}: only CPUs and CUDA devices are supported")
    if device.type == "cuda":
        if (device.index or 0) >= torch.cuda.device_count():
            raise UserError(f"--device {name}: there is no such GPU that torch can use")
        # cuDNN's attention is built anew for each shape of a batch: with it a step of BERT-base with 32 sentences took
        # 368 ms on an H100, without it 137.
        torch.backends.cuda.enable_cudnn_sdp(False)
        if device.index is not None:
            torch.cuda.set_device(device)  # for what takes no device, as accelerate
    # oneDNN keeps 1,024 kernels. Each is of one shape, and pieces of memory that stay fragment the heap of a run whose
    # batches are of ever other shapes (`benchmarks/README.md`).
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    keep_freed_memory()
    return device


def pick_precision(wanted: str, device: torch.device) -> str:
    """The precision of `--mixed_precision`. `auto`: bf16 on GPUs and CPUs that multiply in it, fp16 with a loss
    scaler on older GPUs, float32 ("no") elsewhere.

    Raises:
        UserError: fp16 was asked for on a CPU, which has no loss scaler.
    """
    if wanted == "fp16" and device.type == "cpu":
        raise UserError("--mixed_precision fp16 needs a GPU")
    if wanted != "auto":
        return wanted
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "no"
    return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"


def keep_freed_memory() -> None:
    """Let glibc's heap keep what is freed, for the next step; nothing with another C library.

    By default it maps each large block anew and gives back at once what is free at its end: a step then spends a fifth
    of its time on pages that it had a moment ago (`benchmarks/README.md`).
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no block in a mapping of its own
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD, in bytes


def trim_heap() -> None:
    """Give back to the system what glibc's heap holds and nothing uses; nothing with another C library.

    Batches are of ever other shapes, which fragments the heap: without this a run's memory grows for hundreds of steps.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
