"""training/optimisation.py: groups, learning rate and temperature."""

import math
from itertools import pairwise

import pytest
import torch

from training.optimisation import make_optimizer, set_learning_rate
from training.schedules import linear_schedule, ramp, temperature, wsd_schedule


def test_every_parameter_is_in_one_group(tiny_model):
    optimizer = make_optimizer(tiny_model, 1e-4, 1e-5, 0.01)
    grouped = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(grouped) == len({id(parameter) for parameter in grouped})
    assert {id(parameter) for parameter in grouped} == {id(parameter) for parameter in tiny_model.parameters()}
    vocabulary = (tiny_model.config.encoder.vocab_size, tiny_model.config.encoder.hidden_size)
    assert sum(parameter.shape == vocabulary for parameter in grouped) == 1  # the shared matrix


def test_groups(tiny_model):
    optimizer = make_optimizer(tiny_model, 1e-4, 1e-5, 0.01)
    of = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    undecayed = {id(m.weight) for m in tiny_model.modules() if isinstance(m, torch.nn.LayerNorm)}
    undecayed |= {id(parameter) for name, parameter in tiny_model.named_parameters() if name.endswith("bias")}
    encoder = {id(parameter) for parameter in tiny_model.encoder.parameters()}
    for parameter in tiny_model.parameters():
        group = of[id(parameter)]
        assert group["peak_lr"] == (1e-5 if id(parameter) in encoder else 1e-4)
        assert group["weight_decay"] == (0 if id(parameter) in undecayed else 0.01)
        assert (group["betas"], group["eps"]) == ((0.9, 0.999), 1e-8)
    assert all(of[id(parameter)]["weight_decay"] == 0.01 for parameter in tiny_model.typer.parameters())


def test_an_update_is_adamws(tiny_model):
    """The first update of AdamW moves every weight by lr * (sign of its gradient + decay * weight)."""
    optimizer = make_optimizer(tiny_model, 1e-4, 1e-5, 0.01)
    set_learning_rate(optimizer, 0, "linear", warmup_steps=2, frozen_steps=0, max_steps=10)
    before = {name: parameter.detach().clone() for name, parameter in tiny_model.named_parameters()}
    for parameter in tiny_model.parameters():
        parameter.grad = torch.full_like(parameter, -3.0)
    optimizer.step()
    expected = {
        "typer.weight": (0.5e-4, 0.01),
        "reconstruction_bias": (0.5e-4, 0.0),
        "plain.bert.embeddings.word_embeddings.weight": (0.5e-5, 0.01),
        "plain.bert.embeddings.LayerNorm.weight": (0.5e-5, 0.0),
    }
    after = dict(tiny_model.named_parameters())
    for name, (rate, decay) in expected.items():
        torch.testing.assert_close(after[name], before[name] * (1 - rate * decay) + rate, rtol=1e-6, atol=1e-7)


def test_learning_rate_schedule(tiny_model):
    optimizer = make_optimizer(tiny_model, 1e-4, 1e-5, 0.01)
    rates = [set_learning_rate(optimizer, step, "linear", 300, 0, 1000)["learning_rate"] for step in range(1000)]
    assert rates[0] == pytest.approx(1e-4 / 300)
    assert rates[299] == rates[300] == pytest.approx(1e-4) == max(rates)
    assert rates[650] == pytest.approx(0.5e-4)
    assert rates[999] == pytest.approx(1e-4 / 700)
    warming, decaying = rates[:300], rates[300:]
    steps = [b - a for part in (warming, decaying) for a, b in pairwise(part)]
    assert steps[:299] == pytest.approx([1e-4 / 300] * 299)
    assert steps[299:] == pytest.approx([-1e-4 / 700] * 699)

    for step in (999, 3, 500, 3):  # a function of the step alone
        assert set_learning_rate(optimizer, step, "linear", 300, 0, 1000)["learning_rate"] == rates[step]
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(group["peak_lr"] * rates[step] / 1e-4)


def test_warm_up_stable_decay(tiny_model):
    optimizer = make_optimizer(tiny_model, 1e-4, 1e-5, 0.01)
    rates = [set_learning_rate(optimizer, step, "wsd", 4, 0, 40)["learning_rate"] / 1e-4 for step in range(40)]
    assert rates == pytest.approx([0.25, 0.5, 0.75] + [1] * 34 + [0.75, 0.5, 0.25])
    longer = [wsd_schedule(step, 4, 80) for step in range(36)]
    assert longer == [wsd_schedule(step, 4, 40) for step in range(36)]  # a run read before its fall is a shorter run


def test_a_frozen_encoders_schedule_begins_when_it_thaws(tiny_model):
    optimizer = make_optimizer(tiny_model, 1e-4, 1e-5, 0.01)
    for step in range(30):
        rates = set_learning_rate(optimizer, step, "linear", warmup_steps=4, frozen_steps=10, max_steps=30)
        assert rates["learning_rate"] == 1e-4 * linear_schedule(step, 4, 30)
        assert rates["encoder_learning_rate"] == (1e-5 * linear_schedule(step - 10, 4, 20) if step >= 10 else 0)


@pytest.mark.parametrize("schedule", [linear_schedule, wsd_schedule])
@pytest.mark.parametrize(("warmup_steps", "max_steps"), [(0, 10), (10, 10), (300, 10), (1, 1)])
def test_schedules_shorter_than_the_recipes(schedule, warmup_steps, max_steps):
    assert all(0 < schedule(step, warmup_steps, max_steps) <= 1 for step in range(max_steps))


def test_temperature():
    """At the paper's length it is the paper's."""
    assert temperature(0, 100_000) == 5.0
    for step in (1, 300, 10_000, 76_751):
        paper = max(5 * math.exp(step * math.log1p(-3e-5)), 0.5)
        assert temperature(step, 100_000) == pytest.approx(paper, rel=1e-4)
    assert temperature(76_749, 100_000) > 0.5 == temperature(76_752, 100_000) == temperature(100_000, 100_000)
    assert all(temperature(step + 1, 100_000) < temperature(step, 100_000) for step in range(0, 76_700, 97))
    for step in range(0, 1000, 100):  # a function of the share of the run
        assert temperature(step, 1000) == pytest.approx(temperature(100 * step, 100_000))
    assert temperature(5, 20, start=4, end=1, share=0.5) == pytest.approx(2)
    assert temperature(10, 20, start=4, end=1, share=0.5) == temperature(19, 20, start=4, end=1, share=0.5) == 1


def test_ramp():
    assert [ramp(step, 4) for step in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert ramp(0, 0) == 1
