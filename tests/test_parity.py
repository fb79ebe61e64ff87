"""The whole model against numbers that the published code produced (../shared/reference)."""

import json
from pathlib import Path

import pytest
import torch
from model_cases import weighted_total
from safetensors.torch import load_file

from model import load_autoencoder
from model.checkpoints import PUBLISHED_NAMES, our_name

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"
pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference vectors are not here")


@pytest.fixture(scope="module")
def golden():
    return load_file(REFERENCE / "golden_tensors.safetensors") | json.loads(
        (REFERENCE / "golden_values.json").read_text()
    )


@pytest.fixture(scope="module")
def model():
    return load_autoencoder(REFERENCE / "official_checkpoint")


@pytest.fixture(scope="module")
def output(model, golden):
    return model(
        golden["input_ids"],
        golden["attention_mask"],
        golden["masked_input_ids"],
        golden["mlm_labels"],
        return_logits=True,
    )


def test_losses(output, golden):
    losses = golden["losses"]
    assert output.losses["mlm"].item() == pytest.approx(losses["mlm"], rel=1e-5)
    assert output.losses["reconstruction"].item() == pytest.approx(losses["reconstruction"], rel=1e-5)
    assert output.losses["sparsity"].item() == pytest.approx(losses["sparsity"], rel=1e-5)
    assert output.losses["kl"].item() == pytest.approx(losses["diversity_perplexity_form"], rel=1e-5)
    total = losses["total_alpha0.05_beta0.05_gamma0.1"]
    assert weighted_total(output).item() == pytest.approx(total, rel=1e-5)
    perplexity = torch.exp(-torch.xlogy(output.type_distribution, output.type_distribution).sum())
    torch.testing.assert_close(perplexity, golden["perplexity"], rtol=1e-5, atol=0)
    torch.testing.assert_close(output.metrics["type_perplexity"], golden["perplexity"], rtol=1e-5, atol=0)


def test_types_and_states(output, golden):
    real = golden["attention_mask"].bool()
    assert torch.equal(output.type_ids[real], golden["type_one_hot"].argmax(-1)[real])
    torch.testing.assert_close(output.type_probs[real], golden["type_probs"][real], rtol=1e-4, atol=1e-6)
    states = golden["encoder_last_hidden_state"]
    torch.testing.assert_close(output.encoder_last_hidden_state[real], states[real], rtol=1e-4, atol=1e-5)
    gated = (states * golden["type_embeddings"])[real]
    torch.testing.assert_close(output.gated[real], gated, rtol=1e-4, atol=1e-5)


def test_logits(model, output, golden):
    real = golden["attention_mask"].bool()
    masked_states = model.encode(golden["masked_input_ids"], golden["attention_mask"])
    torch.testing.assert_close(model.plain.cls(masked_states)[real], golden["mlm_logits"][real], rtol=0, atol=1e-4)
    selected = golden["mlm_labels"] != -100
    torch.testing.assert_close(output.mlm_logits, golden["mlm_logits"][selected], rtol=0, atol=1e-4)
    has_next = real[:, 1:]
    ours, theirs = output.reconstruction_logits[has_next], golden["reconstruction_logits"][has_next]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_gradient_norms(model, output, golden):
    model.zero_grad()
    weighted_total(output).backward(retain_graph=True)
    parameters = dict(model.named_parameters())
    compared = set()
    # A shift of all keys changes no softmax: the gradient of a key bias is 0 but for rounding, hence `abs`.
    for name, norm in golden["gradient_norms"].items():
        ours = our_name(name, PUBLISHED_NAMES)
        assert parameters[ours].grad.norm().item() == pytest.approx(norm, rel=1e-3, abs=1e-7), name
        compared.add(ours)
    assert compared == parameters.keys()


def test_greedy_reconstruction(model, golden):
    length = golden["greedy_output_ids"].shape[1]
    ids = model.generate(
        golden["greedy_input_ids"],
        decoder_input_ids=golden["greedy_output_ids"][:, :1],
        max_length=length,
        eos_token_id=None,
    )
    assert torch.equal(ids, golden["greedy_output_ids"])
