"""Properties of the autoencoder: losses, layouts, causality, generation, and the encoders it starts from."""

import json
import math
import os
import shutil

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BertTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from common.errors import UserError
from model import SparseLTForPreTraining
from model.latent_typer import LatentTyper, gumbel_noise
from model.losses import entropy, kl_loss, mean_type_probs, sparsity_loss, vocabulary_cross_entropy

LOSSES = ["mlm_loss", "reconstruction_loss", "sparsity_loss", "kl_loss"]
FIGURES = [*LOSSES, "share_typed", "type_perplexity"]


def lay_out(rows, width, tokenizer, padding_id=0):
    """A batch with the given sentences (lists of ids) in each row; in each, every fourth token is masked."""
    batch = {
        "input_ids": torch.full((len(rows), width), padding_id),
        "masked_input_ids": torch.full((len(rows), width), padding_id),
        "attention_mask": torch.zeros(len(rows), width, dtype=torch.long),
        "mlm_labels": torch.full((len(rows), width), -100),
    }
    for r, row in enumerate(rows):
        start = 0
        for number, ids in enumerate(row, 1):
            ids = torch.tensor(ids)
            chosen = torch.zeros(len(ids), dtype=torch.bool)
            chosen[1:-1:4] = True
            place = (r, slice(start, start + len(ids)))
            batch["input_ids"][place] = ids
            batch["masked_input_ids"][place] = ids.masked_fill(chosen, tokenizer.mask_token_id)
            batch["attention_mask"][place] = number
            batch["mlm_labels"][place] = ids.masked_fill(~chosen, -100)
            start += len(ids)
    return batch


@pytest.fixture
def ids(tiny_tokenizer, sentences):
    return tiny_tokenizer(sentences)["input_ids"]


@pytest.fixture
def padded(tiny_tokenizer, ids):
    return lay_out([[i] for i in ids], max(map(len, ids)), tiny_tokenizer)


def figures(output):
    return {name: output[name].item() for name in FIGURES}


def gradients(model, batch):
    output = model(**batch)
    model.zero_grad()
    (
        output.mlm_loss + 0.05 * output.reconstruction_loss + 0.05 * output.sparsity_loss + 0.1 * output.kl_loss
    ).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


# --- losses -----------------------------------------------------------------------------------------------------------


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
    mlm = F.cross_entropy(tiny_model.mlm_logits(masked_states).transpose(1, 2), padded["mlm_labels"])
    torch.testing.assert_close(output.mlm_loss, mlm)
    next_ids = ids[:, 1:].masked_fill(~real[:, 1:], -100)
    torch.testing.assert_close(
        output.reconstruction_loss, F.cross_entropy(output.reconstruction_logits.transpose(1, 2), next_ids)
    )
    p = output.type_probs[real].mean(0)
    torch.testing.assert_close(output.type_distribution, p)
    torch.testing.assert_close(output.sparsity_loss, -p[0].log())
    perplexity = (-(p * p.log()).sum()).exp()
    torch.testing.assert_close(output.type_perplexity, perplexity)
    torch.testing.assert_close(output.kl_loss, (4 - perplexity) / 4)
    torch.testing.assert_close(output.share_typed, (output.type_ids[real] > 0).float().mean())
    assert 0 < output.share_typed < 1
    tiny_model.config.kl_form = "plain"
    torch.testing.assert_close(tiny_model(**padded).kl_loss, math.log(4) - perplexity.log())


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
    assert output.type_probs.dtype == output.reconstruction_loss.dtype == output.mlm_loss.dtype == torch.float32
    torch.testing.assert_close(output.type_distribution.double(), p, rtol=1e-6, atol=0)
    assert output.sparsity_loss.item() == pytest.approx(-p[0].log().item(), rel=1e-6)
    entropy = -(p * p.log()).sum()
    assert output.kl_loss.item() == pytest.approx((1 - entropy.exp() / len(p)).item(), rel=1e-4)


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


def test_mlm_head_runs_on_the_selected_tokens_only(tiny_model, padded):
    seen = []
    tiny_model.mlm_transform.register_forward_hook(
        lambda module, inputs, output: seen.append(output.shape[:-1].numel())
    )
    output = tiny_model(**padded, return_logits=True)
    selected = padded["mlm_labels"] != -100
    assert seen == [selected.sum()]
    assert output.mlm_logits.shape == (selected.sum(), tiny_model.config.encoder.vocab_size)
    masked_states = tiny_model.encode(padded["masked_input_ids"], padded["attention_mask"])
    torch.testing.assert_close(output.mlm_logits, tiny_model.mlm_logits(masked_states)[selected])
    positions = selected.flatten().nonzero().squeeze(1)
    assert tiny_model(**padded, mlm_positions=positions).mlm_loss == output.mlm_loss
    assert tiny_model(**padded).mlm_logits is None


def test_either_input_alone(tiny_model, padded):
    both = tiny_model(**padded)
    typing = tiny_model(padded["input_ids"], padded["attention_mask"])
    assert typing.mlm_loss is None
    mlm = tiny_model(**padded | {"input_ids": None})
    assert mlm.reconstruction_loss is None and mlm.type_ids is None
    for name in LOSSES:
        torch.testing.assert_close((mlm if name == "mlm_loss" else typing)[name], both[name])


# --- layouts: padding and packing -------------------------------------------------------------------------------------


def test_losses_do_not_depend_on_padding(tiny_model, padded, ids, tiny_tokenizer):
    expected = figures(tiny_model(**padded))
    assert figures(tiny_model(**lay_out([[i] for i in ids], 40, tiny_tokenizer))) == pytest.approx(expected, rel=1e-5)
    # nor on what stands there
    other = lay_out([[i] for i in ids], 40, tiny_tokenizer, padding_id=17)
    assert figures(tiny_model(**other)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("layout", [[[0, 1, 2], [3, 4], [5, 6, 7]], [[7, 6, 5, 4], [3, 2, 1, 0]], [[2], [2, 2, 2]]])
def test_packed_is_padded(tiny_model, tiny_tokenizer, ids, layout):
    packed = lay_out([[ids[i] for i in row] for row in layout], 60, tiny_tokenizer)
    one_a_row = lay_out([[ids[i]] for row in layout for i in row], 25, tiny_tokenizer)
    assert figures(tiny_model(**packed)) == pytest.approx(figures(tiny_model(**one_a_row)), rel=1e-5)
    ours, theirs = gradients(tiny_model, packed), gradients(tiny_model, one_a_row)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_sentences_of_a_row_do_not_see_each_other(tiny_model, tiny_tokenizer, ids):
    a = lay_out([[ids[0], ids[3]]], 40, tiny_tokenizer)
    b = lay_out([[ids[0], ids[6]]], 40, tiny_tokenizer)
    n = len(ids[0])
    with torch.no_grad():
        outputs = [tiny_model(x["input_ids"], x["attention_mask"], return_logits=True) for x in (a, b)]
    for name in ("encoder_last_hidden_state", "gated", "reconstruction_logits"):
        first, second = (output[name][0] for output in outputs)
        torch.testing.assert_close(first[: n - 1], second[: n - 1], rtol=1e-5, atol=1e-5)
        assert not torch.allclose(first[n : n + 10], second[n : n + 10], atol=1e-2)


# --- latent typer -----------------------------------------------------------------------------------------------------


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
    expected = figures(tiny_model(**padded))
    with torch.no_grad():
        tiny_model.typer.weight[0] = math.nan
        tiny_model.typer.type_embeddings[0] = math.nan
    torch.manual_seed(0)
    assert figures(tiny_model(**padded)) == expected
    grads = gradients(tiny_model, padded)
    for name in ("typer.weight", "typer.type_embeddings"):
        assert (grads[name][0] == 0).all() and (grads[name][1:] != 0).any()


def test_published_initialisation():
    typer = LatentTyper(100, 64)
    typer.reset_parameters()
    bound = math.sqrt(3 / 100)  # Kaiming uniform, gain 1
    assert 0.95 * bound < typer.weight.abs().max() <= bound
    assert 0.49 < typer.type_embeddings.abs().max() <= 0.5


# --- decoder and generation -------------------------------------------------------------------------------------------


def test_the_decoder_is_causal(tiny_model, padded):
    ids, mask = padded["input_ids"], padded["attention_mask"]
    gated = tiny_model.type_tokens(ids, mask).gated
    embed = tiny_model.get_input_embeddings()
    for changed in (1, 3, 10):
        other = ids.clone()
        other[:, changed:] = (ids[:, changed:] + 7) % 160
        a, b = (
            tiny_model.reconstruction_logits(tiny_model._decode(x, mask, gated)) for x in (embed(ids), embed(other))
        )
        torch.testing.assert_close(a[:, :changed], b[:, :changed])
        has_it = mask[:, changed] > 0
        assert ((a - b)[has_it, changed].abs().amax(-1) > 1e-2).all()


def test_every_typed_token_reaches_every_logit(tiny_model, padded):
    """Cross-attention is not causal: the first prediction depends on all gated states, of real tokens only."""
    ids, mask = padded["input_ids"], padded["attention_mask"]
    gated = tiny_model.type_tokens(ids, mask).gated.detach().requires_grad_()
    tiny_model._decode(tiny_model.get_input_embeddings()(ids), mask, gated)[:, 0].pow(3).sum().backward()
    assert torch.equal(gated.grad.abs().amax(-1) > 0, mask > 0)


@pytest.mark.parametrize("num_beams", [1, 4])
def test_cached_generation_is_uncached(tiny_model, padded, num_beams):
    ids, mask = padded["input_ids"], padded["attention_mask"]
    cached, uncached = (
        tiny_model.generate(ids, mask, num_beams=num_beams, do_sample=False, use_cache=use) for use in (True, False)
    )
    assert torch.equal(cached, uncached)
    assert (cached[:, 0] == tiny_model.config.bos_token_id).all()


@torch.no_grad()
def test_greedy_generation_is_the_argmax_of_the_decoder(tiny_model, padded):
    ids, mask = padded["input_ids"], padded["attention_mask"]
    gated = tiny_model.type_tokens(ids, mask).gated
    generated = tiny_model.generate(ids, mask, do_sample=False)
    assert len({tuple(row) for row in generated.tolist()}) == len(ids)  # each sentence another one
    ended = 0
    for row, length in enumerate(mask.sum(1).tolist()):
        so_far = [tiny_model.config.bos_token_id]
        while len(so_far) < ids.shape[1] and so_far[-1] != tiny_model.config.eos_token_id:
            n = len(so_far)
            hidden = tiny_model.decoder(
                tiny_model.get_input_embeddings()(torch.tensor([so_far])),
                torch.arange(n)[None],
                tiny_model.encoder.embeddings,
                gated[row : row + 1, :length],
                self_mask=torch.ones(1, 1, n, n, dtype=torch.bool).tril(),
                cross_mask=torch.ones(1, 1, n, length, dtype=torch.bool),
            )
            so_far.append(tiny_model.reconstruction_logits(hidden[0, -1]).argmax().item())
        ended += so_far[-1] == tiny_model.config.eos_token_id
        padding = [tiny_model.config.pad_token_id] * (generated.shape[1] - len(so_far))
        assert generated[row].tolist() == so_far + padding
    assert 0 < ended < len(ids)  # both ways to stop were seen


def test_sampling(tiny_model, padded):
    def sample(seed):
        torch.manual_seed(seed)
        return tiny_model.generate(
            padded["input_ids"], padded["attention_mask"], do_sample=True, num_return_sequences=2, max_new_tokens=12
        )

    assert sample(0).shape == (16, 13)
    assert torch.equal(sample(0), sample(0))
    assert not torch.equal(sample(0), sample(1))


# --- encoders ---------------------------------------------------------------------------------------------------------


def other_tokenizer(cased):
    words = ["Paris", "paris", "Der", "der", "##s", "Minister", "minister", ".", "[SEP]", "[MASK]", "[CLS]", "[UNK]"]
    return BertTokenizerFast(vocab={w: i for i, w in enumerate(["[PAD]", *words])}, do_lower_case=not cased)


@pytest.mark.parametrize("cased", [False, True])
@pytest.mark.parametrize(("hidden_size", "layers", "heads"), [(24, 3, 6), (40, 1, 2)])
def test_other_encoders(tmp_path, cased, hidden_size, layers, heads):
    tokenizer = other_tokenizer(cased)
    config = BertConfig(
        vocab_size=len(tokenizer) + 3,  # padded to a round number, as some are
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=50,
        hidden_act="relu",
        max_position_embeddings=20,
        initializer_range=0.3,
    )
    BertForMaskedLM(config).half().save_pretrained(tmp_path)  # stored in half precision
    tokenizer.save_pretrained(tmp_path)
    model = SparseLTForPreTraining.from_encoder(str(tmp_path)).eval()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert (model.config.bos_token_id, model.config.eos_token_id) == (tokenizer.cls_token_id, tokenizer.sep_token_id)

    batch = tokenizer(["Der Minister .", "Paris"], padding=True, return_tensors="pt")
    real = batch.attention_mask.bool()
    states = model.encode(batch.input_ids, batch.attention_mask)
    bert = AutoModel.from_pretrained(tmp_path, dtype=torch.float32)
    assert torch.equal(states[real], bert(**batch).last_hidden_state[real])
    bert = AutoModelForMaskedLM.from_pretrained(tmp_path, dtype=torch.float32)
    torch.testing.assert_close(model.mlm_logits(states)[real], bert(**batch).logits[real])

    output = model(batch.input_ids, batch.attention_mask)
    assert output.type_probs.shape == (2, 5, 64) and output.reconstruction_loss.isfinite()
    assert model.generate(batch.input_ids, batch.attention_mask)[0, 0] == tokenizer.cls_token_id


def test_an_encoder_without_mlm_head_gets_a_new_one(tiny_encoder, tiny_tokenizer, tmp_path, padded):
    BertModel.from_pretrained(tiny_encoder).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    model = SparseLTForPreTraining.from_encoder(str(tmp_path), num_types=4).eval()
    with_head = SparseLTForPreTraining.from_encoder(str(tiny_encoder), num_types=4).eval()
    assert torch.equal(*(m.encode(padded["input_ids"], padded["attention_mask"]) for m in (model, with_head)))
    assert (model.mlm_bias == 0).all() and model(**padded).mlm_loss.isfinite()


def test_not_every_directory_is_an_encoder(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json"):
        SparseLTForPreTraining.from_encoder(str(tmp_path))
    RobertaModel(
        RobertaConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    ).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is a roberta, not a BERT"):
        SparseLTForPreTraining.from_encoder(str(tmp_path))
    with pytest.raises(UserError, match="no directory `nobody/nothing`"):
        SparseLTForPreTraining.from_encoder("nobody/nothing")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "model.safetensors").write_bytes(b""), "cannot be loaded"),
        (lambda d: os.truncate(d / "model.safetensors", 5000), "cannot be loaded"),
        (lambda d: (d / "model.safetensors").unlink(), "cannot be loaded"),
        (lambda d: (d / "config.json").write_text('{"model_type"'), "is not a model's configuration"),
        (lambda d: (d / "config.json").write_text("[1]"), "is not a model's configuration"),
        (lambda d: edit_config(d, hidden_size="32"), "is not a model's configuration"),
        (lambda d: edit_config(d, num_attention_heads=3), "not a multiple"),
        (lambda d: edit_config(d, num_hidden_layers=3), r"encoder\.layer\.2.* is missing"),
        (lambda d: edit_config(d, vocab_size=170), r"word_embeddings\.weight` has another size"),
        (lambda d: (d / "tokenizer.json").unlink(), "has no tokenizer"),
        (lambda d: (d / "tokenizer.json").write_text("{}"), "has no readable tokenizer"),
    ],
)
def test_a_damaged_encoder(tiny_encoder, tmp_path, damage, message):
    directory = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    damage(directory)
    with pytest.raises(UserError, match=f"{directory}.*{message}"):
        SparseLTForPreTraining.from_encoder(str(directory))


def edit_config(directory, **fields):
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | fields))
