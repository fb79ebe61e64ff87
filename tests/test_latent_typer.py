"""The latent typer: its noise, its temperature, and what an untyped token hands over."""

import math

import pytest
import torch
from model_cases import gradients, scalars

from model.latent_typer import LatentTyper, gumbel_noise


def test_gumbel_noise_has_the_distribution():
    torch.manual_seed(0)
    n = 1_000_000
    noise = gumbel_noise(torch.empty(n, dtype=torch.bfloat16))
    assert noise.dtype == torch.float32 and noise.isfinite().all()
    variance = math.pi**2 / 6
    assert noise.double().mean().item() == pytest.approx(0.5772157, abs=5 * math.sqrt(variance / n))
    # the variance of a sample variance is sigma^4 (kurtosis - 1) / n, and a Gumbel variable's kurtosis is 5.4
    assert noise.double().var().item() == pytest.approx(variance, abs=5 * variance * math.sqrt(4.4 / n))


def test_cold_samples_follow_the_probabilities():
    """At tau -> 0 a Gumbel-softmax sample is a draw from softmax(logits) (the Gumbel-max trick)."""
    torch.manual_seed(0)
    typer = LatentTyper(8, 5)
    typer.reset_parameters()
    state, n = torch.randn(8), 20_000
    type_probs, _, gated = typer(state.expand(1, n, 8), tau=1e-4)
    kinds = torch.cat([torch.zeros(1, 8), state * typer.type_embeddings[1:]])  # (C, D), what each type hands on
    drawn = torch.cdist(gated[0], kinds).argmin(-1)
    frequency = torch.bincount(drawn, minlength=5) / n
    p = type_probs[0, 0]
    assert ((frequency - p).abs() < 5 * (p * (1 - p) / n).sqrt()).all()


def test_tau_matters_in_training_only(tiny_model, padded):
    ids, mask = padded["input_ids"], padded["attention_mask"]
    cold, hot = (tiny_model.type_tokens(ids, mask, tau) for tau in (0.5, 5.0))
    assert torch.equal(cold.gated, hot.gated)

    typer = tiny_model.typer.train()
    states = cold.encoder_last_hidden_state
    gated = {}
    for tau in (0.01, 0.5, 5.0, 1e6):
        torch.manual_seed(0)
        type_probs, type_ids, gated[tau] = typer(states, tau)
        torch.testing.assert_close(type_probs, cold.type_probs)  # without noise, at every tau
        assert torch.equal(type_ids, cold.type_ids)
    assert not torch.allclose(gated[0.5], gated[5.0], atol=1e-2)
    uniform = states * typer.type_embeddings[1:].sum(0) / 4
    torch.testing.assert_close(gated[1e6], uniform, rtol=1e-3, atol=1e-3)


def test_an_untyped_token_hands_over_exactly_nothing(tiny_model, padded):
    output = tiny_model.type_tokens(padded["input_ids"], padded["attention_mask"])
    untyped = output.type_ids == 0
    assert untyped.any() and not untyped.all()
    assert (output.gated[untyped] == 0).all()
    assert (output.gated[~untyped] != 0).any(-1).all()
    # whatever its state: twice the state has twice the logits, so it stays untyped
    states = output.encoder_last_hidden_state
    _, type_ids, gated = tiny_model.typer(torch.where(untyped[..., None], 2 * states, states), 1.0)
    assert torch.equal(type_ids, output.type_ids) and torch.equal(gated, output.gated)


@pytest.mark.parametrize("training", [False, True])
def test_the_rows_of_type_0_are_never_read(tiny_model, padded, training):
    tiny_model.typer.train(training)
    torch.manual_seed(0)
    expected = scalars(tiny_model(**padded))
    with torch.no_grad():
        tiny_model.typer.weight[0] = math.nan
        tiny_model.typer.type_embeddings[0] = math.nan
    torch.manual_seed(0)
    assert scalars(tiny_model(**padded)) == expected
    grads = gradients(tiny_model, padded)
    for name in ("typer.weight", "typer.type_embeddings"):
        assert (grads[name][0] == 0).all() and (grads[name][1:] != 0).any()


def test_types_start_as_published_and_the_gate_open():
    typer = LatentTyper(100, 64)
    torch.manual_seed(0)
    typer.reset_parameters()
    bound = math.sqrt(3 / 100)  # Kaiming uniform, gain 1
    assert 0.95 * bound < typer.weight.abs().max() <= bound
    n = typer.type_embeddings.numel()
    assert typer.type_embeddings.mean().item() == pytest.approx(1, abs=5 * 0.3 / math.sqrt(n))
    assert typer.type_embeddings.std().item() == pytest.approx(0.3, abs=5 * 0.3 / math.sqrt(2 * n))
