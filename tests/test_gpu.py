"""What must hold on a GPU; `python -m benchmarks.gpu` measures the rest there. The same code runs on a CPU first."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from benchmarks.gpu import packed_against_padded, resumed_against_whole
from benchmarks.pretrain_throughput import use_plain_parts
from encoders import packs
from encoders.packing import collate, pack_in_few_shapes, sentence_numbers

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
def test_sentences_share_rows_where_products_are_rounded_to_tf32(tiny_model, device):
    """What tells whether they may computes in float32 all the same; a GPU would say no and take twice as long."""
    precisions = []
    encoder = tiny_model.to(device).encoder
    encoder.register_forward_hook(lambda *_: precisions.append(torch.get_float32_matmul_precision()))
    torch.set_float32_matmul_precision("high")
    try:
        assert packs(encoder)
        assert set(precisions) == {"highest"} and torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("device", DEVICES)
def test_a_resumed_run_ends_as_an_unbroken_one(tiny_encoder, device, tmp_path):
    flags = {"mixed_precision": "no", "max_length": 64}
    assert resumed_against_whole(str(tiny_encoder), device, tmp_path, True, **flags) == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_resumed_run_in_mixed_precision(tiny_encoder, tmp_path, precision):
    flags = {"mixed_precision": precision, "max_length": 64}
    assert resumed_against_whole(str(tiny_encoder), "cuda", tmp_path, True, **flags) == 0


def test_compiled_a_batch_is_one_graph_whatever_its_shape(tiny_model):
    """A CUDA graph holds a whole pass only if python is not asked in the middle, nor anew for each shape."""
    use_plain_parts(tiny_model)  # those of a GPU
    packs(tiny_model.encoder)
    counter = CompileCounter()
    compiled = torch.compile(tiny_model.train(), backend=counter, dynamic=True, fullgraph=True)
    for number in (9, 14, 11):
        sentences = [list(range(5, 10 + i)) for i in range(number)]
        rows = pack_in_few_shapes([len(ids) for ids in sentences], 32)
        ids, numbers = collate(sentences, rows, 0, 32), sentence_numbers([*map(len, sentences)], rows, 32)
        labels = ids.where(ids == 7, -100)
        positions = (labels != -100).flatten().nonzero().squeeze(1)
        batch = {"input_ids": ids, "masked_input_ids": ids, "attention_mask": numbers, "mlm_labels": labels}
        losses = compiled(**batch, mlm_positions=positions, tau=torch.tensor(5.0)).losses
        assert all(loss.isfinite() for loss in losses.values())
    assert counter.frame_count == 1
