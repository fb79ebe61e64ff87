"""What must hold on a GPU; `python -m benchmarks.gpu` measures the rest there. The same code runs on a CPU first."""

import pytest
import torch

from benchmarks.gpu import packed_against_padded, resumed_against_whole

on_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
DEVICES = ["cpu", pytest.param("cuda", marks=on_gpu)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("dtype", "of_loss", "of_gradient"), [(torch.float32, 1e-5, 1e-4), (torch.bfloat16, 0.01, 0.05)]
)
def test_packed_is_padded(tiny_encoder, device, dtype, of_loss, of_gradient):
    loss, gradient = packed_against_padded(str(tiny_encoder), torch.device(device), dtype)
    assert loss < of_loss and gradient < of_gradient


@pytest.mark.parametrize("device", DEVICES)
def test_a_resumed_run_ends_as_an_unbroken_one(tiny_encoder, device, tmp_path):
    flags = ("--mixed_precision", "no", "--batch_size", "8", "--max_length", "64")
    assert resumed_against_whole(str(tiny_encoder), device, tmp_path, True, *flags) == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_resumed_run_in_mixed_precision(tiny_encoder, tmp_path, precision):
    flags = ("--mixed_precision", precision, "--batch_size", "8", "--max_length", "64")
    assert resumed_against_whole(str(tiny_encoder), "cuda", tmp_path, True, *flags) == 0
