"""The losses against their definitions, values by hand, and float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from model.losses import (
    entropy,
    kl_loss,
    mean_type_probs,
    sampled_cross_entropy,
    sparsity_loss,
    vocabulary_cross_entropy,
)


@pytest.mark.parametrize(
    ("p", "kl"),
    [
        ([0.5, 0.25, 0.25, 0.0], 0.5 * math.log(2)),  # H = 1.5 log 2
        ([0.25, 0.25, 0.25, 0.25], 0.0),
        ([0.0, 1.0, 0.0, 0.0], math.log(4)),
    ],
)
def test_both_kl_forms(p, kl):
    p = torch.tensor(p)
    assert kl_loss(p, "plain").item() == pytest.approx(kl, abs=1e-6)
    assert kl_loss(p, "exponential").item() == pytest.approx(1 - math.exp(-kl), abs=1e-6)
    assert entropy(p).item() == pytest.approx(math.log(4) - kl, abs=1e-6)


@pytest.mark.parametrize("form", ["exponential", "plain"])
def test_a_type_that_is_never_used_leaves_gradients_finite(form):
    logits = torch.tensor([[0.0, -200.0, 3.0], [1.0, -300.0, 0.0]], requires_grad=True)
    p = logits.softmax(-1).mean(0)
    assert p[1] == 0
    kl_loss(p, form).backward()
    assert logits.grad.isfinite().all() and (logits.grad[:, [0, 2]] != 0).all()


def test_sparsity_is_the_log_of_the_mean_not_the_mean_of_the_logs():
    probabilities = torch.tensor([[[0.5, 0.5], [0.1, 0.9], [0.7, 0.3]]])  # (1, 3, 2), the last is padding
    p = mean_type_probs(probabilities, torch.tensor([[1, 1, 0]]))
    torch.testing.assert_close(p, torch.tensor([0.3, 0.7]))
    assert sparsity_loss(p).item() == pytest.approx(-math.log(0.3))


def test_losses_by_their_definitions(tiny_model, padded):
    output = tiny_model(**padded, return_logits=True)
    real, ids = padded["attention_mask"] > 0, padded["input_ids"]
    masked_states = tiny_model.encode(padded["masked_input_ids"], padded["attention_mask"])
    mlm = F.cross_entropy(tiny_model.plain.cls(masked_states).transpose(1, 2), padded["mlm_labels"])
    torch.testing.assert_close(output.losses["mlm"], mlm)
    next_ids = ids[:, 1:].masked_fill(~real[:, 1:], -100)
    torch.testing.assert_close(
        output.losses["reconstruction"], F.cross_entropy(output.reconstruction_logits.transpose(1, 2), next_ids)
    )
    p = output.type_probs[real].mean(0)
    torch.testing.assert_close(output.type_distribution, p)
    torch.testing.assert_close(output.losses["sparsity"], -p[0].log())
    perplexity = (-(p * p.log()).sum()).exp()
    torch.testing.assert_close(output.metrics["type_perplexity"], perplexity)
    torch.testing.assert_close(output.losses["kl"], (4 - perplexity) / 4)
    torch.testing.assert_close(output.metrics["share_typed"], (output.type_ids[real] > 0).float().mean())
    assert 0 < output.metrics["share_typed"] < 1
    tiny_model.config.kl_form = "plain"
    torch.testing.assert_close(tiny_model(**padded).losses["kl"], math.log(4) - perplexity.log())


@pytest.mark.parametrize(("tokens", "vocabulary"), [(70, 11), (600, 30_522)])  # the second takes three blocks of logits
def test_cross_entropy_by_blocks(tokens, vocabulary):
    torch.manual_seed(0)
    labels = torch.randint(vocabulary, (tokens,)).masked_fill(torch.rand(tokens) < 0.3, -100)
    single = [torch.randn(tokens, 2), torch.randn(vocabulary, 2), torch.randn(vocabulary)]
    double = [part.double().requires_grad_() for part in single]
    expected = F.cross_entropy(F.linear(*double), labels)
    (3 * expected).backward()

    ours = [part.requires_grad_() for part in single]
    loss = vocabulary_cross_entropy(*ours, labels)
    (3 * loss).backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for part, reference in zip(ours, double, strict=True):
        torch.testing.assert_close(part.grad.double(), reference.grad, rtol=1e-4, atol=1e-6)
    with torch.no_grad():  # validation goes another way
        assert vocabulary_cross_entropy(*ours, labels).item() == pytest.approx(expected.item(), rel=1e-6)


def test_batch_means_stay_in_float32_under_autocast(tiny_model, padded):
    with torch.autocast("cpu", torch.bfloat16):
        output = tiny_model(**padded)
    p = output.type_probs.double()[padded["attention_mask"] > 0].mean(0)
    scalars = output.named_scalars()
    assert output.type_probs.dtype == torch.float32 and {value.dtype for value in scalars.values()} == {torch.float32}
    torch.testing.assert_close(output.type_distribution.double(), p, rtol=1e-6, atol=0)
    assert output.losses["sparsity"].item() == pytest.approx(-p[0].log().item(), rel=1e-6)
    entropy = -(p * p.log()).sum()
    assert output.losses["kl"].item() == pytest.approx((1 - entropy.exp() / len(p)).item(), rel=1e-4)


@pytest.mark.parametrize("tokens", [0, 5])
def test_cross_entropy_of_no_token(tokens):
    """A process may get sentences none of whose tokens is selected: its share is 0, and so is its gradient."""
    parts = [torch.randn(tokens, 2), torch.randn(11, 2), torch.randn(11)]
    torch.use_deterministic_algorithms(True)  # fills uninitialised memory with NaN
    try:
        loss = vocabulary_cross_entropy(*(part.requires_grad_() for part in parts), torch.full((tokens,), -100))
        loss.backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert loss == 0
    for part in parts:
        assert torch.equal(part.grad, torch.zeros_like(part))


# --- the estimate over sampled words ----------------------------------------------------------------------------------


@pytest.fixture
def head():
    """States, words, bias and labels of 40 tokens of 11 words in a vocabulary of 200; some tokens have no label."""
    torch.manual_seed(0)
    labels = torch.randint(11, (40,)).masked_fill(torch.rand(40) < 0.3, -100)
    return [torch.randn(40, 4), torch.randn(200, 4), torch.randn(200), labels]


def test_the_estimate_reaches_words_of_the_batch_and_drawn_ones_alone(head):
    hidden, weight, bias, labels = head
    weight.requires_grad_()
    sampled_cross_entropy(hidden, weight, bias, labels, 20).backward()
    reached = weight.grad.abs().amax(1) > 0
    assert reached[labels[labels != -100].unique()].all() and 11 < reached.sum() <= 31


def test_the_estimate_where_every_word_or_none_is_in_the_batch(head):
    hidden, weight, bias, labels = head
    every = [hidden, weight[:11], bias[:11], torch.cat([torch.arange(11), labels[11:]])]
    torch.testing.assert_close(sampled_cross_entropy(*every, 5), vocabulary_cross_entropy(*every))
    assert sampled_cross_entropy(hidden, weight, bias, labels.new_full((40,), -100), 5) == 0
