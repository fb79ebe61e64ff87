"""The encoders that a model starts from: any BERT, and clear words for what is none."""

import json
import os
import shutil
from itertools import zip_longest

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BertTokenizerFast,
    GPT2Config,
)

from common.errors import UserError
from encoders import (
    WordPieces,
    by_length,
    cpu,
    encode,
    fingerprint,
    load_encoder,
    load_masked_lm,
    pack_sentences,
    same_sentence,
    sentence_positions,
    to_plain,
    token_states,
)
from model import SparseLTForPreTraining


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
    torch.testing.assert_close(model.plain.cls(states)[real], bert(**batch).logits[real])

    output = model(batch.input_ids, batch.attention_mask)
    assert output.type_probs.shape == (2, 5, 64) and output.losses["reconstruction"].isfinite()
    assert model.generate(batch.input_ids, batch.attention_mask)[0, 0] == tokenizer.cls_token_id


def test_an_encoder_without_mlm_head_gets_a_new_one(tiny_encoder, tiny_tokenizer, tmp_path, padded):
    BertModel.from_pretrained(tiny_encoder).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    model = SparseLTForPreTraining.from_encoder(str(tmp_path), num_types=4).eval()
    with_head = SparseLTForPreTraining.from_encoder(str(tiny_encoder), num_types=4).eval()
    assert torch.equal(*(m.encode(padded["input_ids"], padded["attention_mask"]) for m in (model, with_head)))
    assert (model.plain.cls.predictions.bias == 0).all() and model(**padded).losses["mlm"].isfinite()


def test_not_every_directory_is_an_encoder(tmp_path, ours):
    with pytest.raises(UserError, match=r"no config\.json"):
        SparseLTForPreTraining.from_encoder(str(tmp_path))
    GPT2Config().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is a gpt2, which transformers has no masked language model of"):
        SparseLTForPreTraining.from_encoder(str(tmp_path))
    with pytest.raises(UserError, match=r"is an autoencoder; convert_checkpoint\.py makes"):
        SparseLTForPreTraining.from_encoder(str(ours))
    with pytest.raises(UserError, match="no directory `nobody/nothing`"):
        SparseLTForPreTraining.from_encoder("nobody/nothing")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "model.safetensors").write_bytes(b""), "is damaged"),
        (lambda d: os.truncate(d / "model.safetensors", 5000), "is damaged"),
        (lambda d: (d / "model.safetensors").unlink(), r"no model\.safetensors"),
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
    for load in (SparseLTForPreTraining.from_encoder, load_encoder):
        with pytest.raises(UserError, match=f"{directory}.*({message})"):
            load(str(directory))


def edit_config(directory, **fields):
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | fields))


def rename_weights(directory, prefix, other):
    tensors = load_file(directory / "model.safetensors")
    renamed = {name.replace(prefix, other, 1): tensor for name, tensor in tensors.items()}
    save_file(renamed, directory / "model.safetensors", metadata={"format": "pt"})


# --- words, rows, states ----------------------------------------------------------------------------------------------


def words_of(tokenizer, sentences, max_length=10**9):
    splitter = WordPieces(tokenizer, max_length)
    return splitter, [splitter.encode(sentence.split()) for sentence in sentences]


def test_word_pieces_are_the_tokenizers(tiny_tokenizer, sentences):
    _, encoded = words_of(tiny_tokenizer, sentences)
    for sentence, (ids, first) in zip(sentences, encoded, strict=True):
        whole = tiny_tokenizer(sentence.split(), is_split_into_words=True)
        assert ids == whole["input_ids"]
        words = whole.word_ids()
        assert first == [words.index(number) for number in range(len(sentence.split()))]


def test_words_of_which_a_tokenizer_makes_nothing(tiny_tokenizer):
    splitter = WordPieces(tiny_tokenizer)
    ids, first = splitter.encode(["he", "", "\u200b", "won", ""])
    assert tiny_tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "he", "[UNK]", "[UNK]", "won", "[UNK]", "[SEP]"]
    assert first == [1, 2, 3, 4, 5] and splitter.unknown == 3
    splitter.encode([""])
    assert splitter.unknown == 4, "counted at each occurrence"
    assert splitter.encode([]) == ([2, 3], [])


@pytest.mark.parametrize("max_length", range(3, 12))
def test_a_long_sentence_is_cut_and_its_lost_words_counted(tiny_tokenizer, max_length):
    words = ["he", "resigned", "won", "letters", "."]  # some are several pieces
    whole = WordPieces(tiny_tokenizer).encode(words)
    splitter = WordPieces(tiny_tokenizer, max_length)
    ids, first = splitter.encode(words)
    assert ids == [*whole.ids[: max_length - 1], 3] if max_length < len(whole.ids) else whole.ids
    assert first == [place for place in whole.first if place < max_length - 1]
    assert splitter.cut == len(words) - len(first)


@pytest.mark.parametrize("width", [24, 30, 64, 500])
def test_packed_sentences_by_brute_force(tiny_tokenizer, sentences, width):
    _, encoded = words_of(tiny_tokenizer, sentences)
    batch = pack_sentences(encoded, 0, width)
    ids, mask = batch.input_ids, batch.attention_mask
    assert ids.shape == mask.shape and ids.shape[1] <= width
    rows = {}  # the row and the begin of each sentence, found by its ids
    for row in range(len(ids)):
        for number in range(1, int(mask[row].max()) + 1):
            places = (mask[row] == number).nonzero().flatten().tolist()
            assert places == list(range(places[0], places[-1] + 1))
            rows[tuple(ids[row, places].tolist())] = row * ids.shape[1] + places[0]
    assert (ids[mask == 0] == 0).all() and (mask > 0).sum() == sum(len(sentence.ids) for sentence in encoded)
    assert rows.keys() == {tuple(sentence.ids) for sentence in encoded}
    expected = [rows[tuple(sentence.ids)] + place for sentence in encoded for place in sentence.first]
    assert batch.first.tolist() == expected


def test_positions_and_masks_by_brute_force():
    mask = torch.tensor([[1, 1, 1, 2, 2, 3, 0, 0], [1, 2, 2, 2, 2, 2, 2, 2]])
    assert sentence_positions(mask).tolist() == [[0, 1, 2, 0, 1, 0, 0, 1], [0, 0, 1, 2, 3, 4, 5, 6]]
    seen = same_sentence(mask, mask)
    for row in range(2):
        for i in range(8):
            assert seen[row, 0, i].tolist() == [mask[row, i] == mask[row, j] for j in range(8)]


@torch.no_grad()
def test_packed_sentences_have_the_states_that_they_have_alone(tiny_encoder, sentences):
    encoder, tokenizer = load_encoder(str(tiny_encoder))
    reference = AutoModel.from_pretrained(tiny_encoder)
    _, encoded = words_of(tokenizer, sentences)
    batch = pack_sentences(encoded, 0, 50)
    assert batch.attention_mask.max() > 1
    output = encode(encoder, batch.attention_mask, batch.input_ids, output_hidden_states=True)
    for layer in range(3):
        packed = output.hidden_states[layer].flatten(0, 1)[batch.first]
        alone = [
            reference(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0, first]
            for ids, first in encoded
        ]
        torch.testing.assert_close(packed, torch.cat(alone), rtol=1e-5, atol=1e-5)
    words = encoder.get_input_embeddings()(batch.input_ids)
    again = encode(encoder, batch.attention_mask, inputs_embeds=words).last_hidden_state
    assert torch.equal(again, output.last_hidden_state)
    for batch_size in (1, 3, 100):
        states = token_states(encoder, encoded, batch_size)
        torch.testing.assert_close(states, torch.cat(alone), rtol=1e-5, atol=1e-5)


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 300))
def test_batches_by_length_hold_each_item_once_and_keep_to_their_room(lengths, positions):
    batches = list(by_length(lengths, positions))
    order = [item for batch in batches for item in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[item] for item in order] == sorted(lengths, reverse=True)
    for batch, after in zip_longest(batches, batches[1:]):
        longest = lengths[batch[0]]
        assert longest * len(batch) <= positions or len(batch) == 1
        assert after is None or longest * (len(batch) + 1) > positions, "the next item did not fit"


def test_a_fingerprint_is_of_the_weights_alone(tiny_encoder, tmp_path):
    model = load_masked_lm(str(tiny_encoder))
    shutil.copytree(tiny_encoder, tmp_path / "copy")
    assert fingerprint(load_masked_lm(str(tmp_path / "copy"))) == fingerprint(model)
    model.half().save_pretrained(tmp_path / "copy")
    assert fingerprint(load_masked_lm(str(tmp_path / "copy"))) != fingerprint(load_masked_lm(str(tiny_encoder)))


def test_to_plain_undoes_from_config(tiny_encoder):
    ours = load_masked_lm(str(tiny_encoder)).train()
    plain = to_plain(ours)
    assert not plain.training and plain.config._attn_implementation == "sdpa"
    assert {type(module).__module__ for module in plain.modules() if "ropout" in type(module).__name__} == {
        "torch.nn.modules.dropout"
    }
    assert ours.training and ours.config._attn_implementation != "sdpa"
    assert fingerprint(plain) == fingerprint(ours)
    assert plain.get_output_embeddings().weight is plain.get_input_embeddings().weight


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 1e-9])  # the latter, which drops nothing, takes the way of training
def test_attention_is_the_softmax_with_and_without_a_mask(dtype, masked, dropout):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 9, 8).to(dtype)  # (B, H, T, D / H) each
    mask = (torch.arange(9) < torch.tensor([[9], [5]]))[:, None, None].expand(2, 1, 9, 9) if masked else None
    module = torch.nn.Module()
    module.is_causal = False  # as transformers' layers of encoders say
    found, _ = cpu.attention(module, query, key, value, mask, dropout=dropout, scaling=0.3)
    scores = 0.3 * query.double() @ key.double().transpose(2, 3)
    scores = scores if mask is None else scores.masked_fill(~mask, -torch.inf)
    expected = (scores.softmax(-1) @ value.double()).transpose(1, 2)
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("training", [True, False])
def test_an_encoder_of_one_sentence_needs_no_mask_in_bfloat16(tiny_encoder, training):
    encoder, tokenizer = load_encoder(str(tiny_encoder))
    batch = tokenizer("the minister met officials", return_tensors="pt")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        states = encoder.train(training)(input_ids=batch["input_ids"]).last_hidden_state
    assert states.isfinite().all()
