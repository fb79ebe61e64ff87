"""Properties of the autoencoder: layouts, causality and generation."""

from collections import Counter

import pytest
import torch
from model_cases import LOSSES, gradients, lay_out, scalars
from transformers import AutoConfig

from model import SparseLTConfig, SparseLTForPreTraining


def test_mlm_head_runs_on_the_selected_tokens_only(tiny_model, padded):
    seen = []
    tiny_model.plain.cls.predictions.transform.register_forward_hook(
        lambda module, inputs, output: seen.append(output.shape[:-1].numel())
    )
    output = tiny_model(**padded, return_logits=True)
    selected = padded["mlm_labels"] != -100
    assert seen == [selected.sum()]
    assert output.mlm_logits.shape == (selected.sum(), tiny_model.config.encoder.vocab_size)
    masked_states = tiny_model.encode(padded["masked_input_ids"], padded["attention_mask"])
    torch.testing.assert_close(output.mlm_logits, tiny_model.plain.cls(masked_states)[selected])
    positions = selected.flatten().nonzero().squeeze(1)
    assert tiny_model(**padded, mlm_positions=positions).losses["mlm"] == output.losses["mlm"]
    assert tiny_model(**padded).mlm_logits is None


def test_either_input_alone(tiny_model, padded):
    both = tiny_model(**padded)
    typing = tiny_model(padded["input_ids"], padded["attention_mask"])
    mlm = tiny_model(**padded | {"input_ids": None})
    assert list(both.losses) == LOSSES and list(typing.losses) == LOSSES[1:] and list(mlm.losses) == LOSSES[:1]
    assert mlm.type_ids is None and not mlm.metrics and typing.metrics == both.metrics
    for name in LOSSES:
        torch.testing.assert_close((mlm if name == "mlm" else typing).losses[name], both.losses[name])


def test_scalars_have_the_names_of_the_metrics(tiny_model, padded):
    output = tiny_model(**padded)
    names = ["mlm_loss", "reconstruction_loss", "sparsity_loss", "kl_loss", "share_typed", "type_perplexity"]
    assert list(output.named_scalars()) == names
    assert output.named_scalars()["kl_loss"] is output.losses["kl"]
    assert all(value.shape == () for value in output.named_scalars().values())


@pytest.mark.parametrize("argument", ["input_id", "labels", "temperature", "masked_inputs_ids"])
def test_a_misspelt_argument_is_no_argument(tiny_model, padded, argument):
    with pytest.raises(TypeError, match=argument):
        tiny_model(**padded, **{argument: padded["input_ids"]})


def test_a_model_leaves_its_callers_configuration_alone(tiny_encoder):
    config = SparseLTConfig(encoder=AutoConfig.from_pretrained(tiny_encoder, tie_word_embeddings=False), num_types=4)
    config._attn_implementation = "eager"  # of its parts too

    def seen():
        return config.to_dict(), config._attn_implementation, config.encoder._attn_implementation

    before = seen()
    assert before[1:] == ("eager", "eager")
    model = SparseLTForPreTraining(config)
    model.config.encoder.hidden_size = 7
    assert seen() == before


# --- layouts: padding and packing -------------------------------------------------------------------------------------


def test_losses_do_not_depend_on_padding(tiny_model, padded, ids, tiny_tokenizer):
    expected = scalars(tiny_model(**padded))
    assert scalars(tiny_model(**lay_out([[i] for i in ids], 40, tiny_tokenizer))) == pytest.approx(expected, rel=1e-5)
    # nor on what stands there
    other = lay_out([[i] for i in ids], 40, tiny_tokenizer, padding_id=17)
    assert scalars(tiny_model(**other)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("layout", [[[0, 1, 2], [3, 4], [5, 6, 7]], [[7, 6, 5, 4], [3, 2, 1, 0]], [[2], [2, 2, 2]]])
def test_packed_is_padded(tiny_model, tiny_tokenizer, ids, layout):
    packed = lay_out([[ids[i] for i in row] for row in layout], 60, tiny_tokenizer)
    one_a_row = lay_out([[ids[i]] for row in layout for i in row], 25, tiny_tokenizer)
    assert scalars(tiny_model(**packed)) == pytest.approx(scalars(tiny_model(**one_a_row)), rel=1e-5)
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
    endless = tiny_model.generate(ids, mask, do_sample=False, eos_token_id=None)
    assert len({tuple(row) for row in endless.tolist()}) == len(ids)  # each sentence another one
    rows_with = Counter(token for row in endless[:, 1:].tolist() for token in set(row))
    end = next(token for token, rows in rows_with.items() if 0 < rows < len(ids))  # so that both ways to stop are seen
    tiny_model.generation_config.eos_token_id = end
    generated = tiny_model.generate(ids, mask, do_sample=False)
    ended = 0
    for row, length in enumerate(mask.sum(1).tolist()):
        so_far = [tiny_model.config.bos_token_id]
        while len(so_far) < ids.shape[1] and so_far[-1] != end:
            n = len(so_far)
            hidden, positions = tiny_model.get_input_embeddings()(torch.tensor([so_far])), torch.arange(n)[None]
            for _ in range(2):  # as the published decoder does
                hidden = tiny_model.encoder.embeddings(inputs_embeds=hidden, position_ids=positions)
            hidden = tiny_model.decoder(
                hidden,
                gated[row : row + 1, :length],
                self_mask=torch.ones(1, 1, n, n, dtype=torch.bool).tril(),
                cross_mask=torch.ones(1, 1, n, length, dtype=torch.bool),
            )
            so_far.append(tiny_model.reconstruction_logits(hidden[0, -1]).argmax().item())
        ended += so_far[-1] == end
        padding = [tiny_model.config.pad_token_id] * (generated.shape[1] - len(so_far))
        assert generated[row].tolist() == so_far + padding
    assert 0 < ended < len(ids)


def test_sampling(tiny_model, padded):
    def sample(seed):
        torch.manual_seed(seed)
        return tiny_model.generate(
            padded["input_ids"], padded["attention_mask"], do_sample=True, num_return_sequences=2, max_new_tokens=12
        )

    assert sample(0).shape == (16, 13)
    assert torch.equal(sample(0), sample(0))
    assert not torch.equal(sample(0), sample(1))
