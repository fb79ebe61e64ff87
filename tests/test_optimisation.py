"""training/optimisation.py: groups, learning rate and temperature."""

import math
from itertools import pairwise

import pytest
import torch

from training.optimisation import make_optimizer, set_learning_rate, temperature


def test_every_parameter_is_in_one_group(tiny_model):
    optimizer = make_optimizer(tiny_model, 1e-4, 0.1, 0.01)
    grouped = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(grouped) == len({id(parameter) for parameter in grouped})
    assert {id(parameter) for parameter in grouped} == {id(parameter) for parameter in tiny_model.parameters()}
    vocabulary = (tiny_model.config.encoder.vocab_size, tiny_model.config.encoder.hidden_size)
    assert sum(parameter.shape == vocabulary for parameter in grouped) == 1  # the shared matrix


def test_groups(tiny_model):
    optimizer = make_optimizer(tiny_model, 1e-4, 0.1, 0.01)
    of = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    undecayed = {id(m.weight) for m in tiny_model.modules() if isinstance(m, torch.nn.LayerNorm)}
    undecayed |= {id(parameter) for name, parameter in tiny_model.named_parameters() if name.endswith("bias")}
    encoder = {id(parameter) for parameter in tiny_model.encoder.parameters()}
    for parameter in tiny_model.parameters():
        group = of[id(parameter)]
        assert group["peak_lr"] == pytest.approx(1e-5 if id(parameter) in encoder else 1e-4)
        assert group["weight_decay"] == (0 if id(parameter) in undecayed else 0.01)
        assert (group["betas"], group["eps"]) == ((0.9, 0.999), 1e-8)
    assert all(of[id(parameter)]["weight_decay"] == 0.01 for parameter in tiny_model.typer.parameters())


def test_frozen_parameters_are_left_out(tiny_model):
    tiny_model.decoder.requires_grad_(False)
    optimizer = make_optimizer(tiny_model, 1e-4, 0.1, 0.01)
    grouped = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert grouped == {id(parameter) for parameter in tiny_model.parameters() if parameter.requires_grad}


def test_an_update_is_adamws(tiny_model):
    """The first update of AdamW moves every weight by lr * (sign of its gradient + decay * weight)."""
    optimizer = make_optimizer(tiny_model, 1e-4, 0.1, 0.01)
    set_learning_rate(optimizer, 0, warmup_steps=2, max_steps=10)
    before = {name: parameter.detach().clone() for name, parameter in tiny_model.named_parameters()}
    for parameter in tiny_model.parameters():
        parameter.grad = torch.full_like(parameter, -3.0)
    optimizer.step()
    expected = {
        "typer.weight": (0.5e-4, 0.01),
        "reconstruction_bias": (0.5e-4, 0.0),
        "encoder.embeddings.word_embeddings.weight": (0.5e-5, 0.01),
        "encoder.embeddings.LayerNorm.weight": (0.5e-5, 0.0),
    }
    after = dict(tiny_model.named_parameters())
    for name, (rate, decay) in expected.items():
        torch.testing.assert_close(after[name], before[name] * (1 - rate * decay) + rate, rtol=1e-6, atol=1e-7)


def test_learning_rate_schedule(tiny_model):
    optimizer = make_optimizer(tiny_model, 1e-4, 0.1, 0.01)
    rates = [set_learning_rate(optimizer, step, warmup_steps=300, max_steps=1000) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-4 / 300)
    assert rates[299] == rates[300] == pytest.approx(1e-4) == max(rates)
    assert rates[650] == pytest.approx(0.5e-4)
    assert rates[999] == pytest.approx(1e-4 / 700)
    warming, decaying = rates[:300], rates[300:]
    steps = [b - a for part in (warming, decaying) for a, b in pairwise(part)]
    assert steps[:299] == pytest.approx([1e-4 / 300] * 299)
    assert steps[299:] == pytest.approx([-1e-4 / 700] * 699)

    for step in (999, 3, 500, 3):  # a function of the step alone
        assert set_learning_rate(optimizer, step, 300, 1000) == rates[step]
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(group["peak_lr"] * rates[step] / 1e-4)


@pytest.mark.parametrize(("warmup_steps", "max_steps"), [(0, 10), (10, 10), (300, 10), (1, 1)])
def test_schedules_shorter_than_the_recipes(tiny_model, warmup_steps, max_steps):
    optimizer = make_optimizer(tiny_model, 1e-4, 0.1, 0.01)
    rates = [set_learning_rate(optimizer, step, warmup_steps, max_steps) for step in range(max_steps)]
    assert all(0 < rate <= 1e-4 for rate in rates)


def test_temperature():
    assert temperature(0) == 5.0
    assert temperature(1) == pytest.approx(4.99985)
    assert temperature(10_000) == pytest.approx(5 * math.exp(10_000 * math.log1p(-3e-5)))
    assert temperature(76_751) > 0.5 == temperature(76_752) == temperature(100_000) == temperature(10**9)
    assert all(temperature(step + 1) < temperature(step) for step in range(0, 76_752, 97))
    assert temperature(300, 0.00383) == pytest.approx(5 * 0.99617**300) and temperature(601, 0.00383) == 0.5
