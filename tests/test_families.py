"""Every family of encoders through the whole method, on tiny random models."""

import csv
import json
import shutil

import few_shot_cases
import pytest
import torch
from family_cases import PACKED, UNPACKED, train_tokenizer, write_model
from model_cases import lay_out
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

import pretrain
from convert_checkpoint import convert
from encoders import (
    WordPieces,
    encode,
    load_encoder,
    load_masked_lm,
    max_positions,
    mlm_transform,
    pack_sentences,
    packs,
    shown_pieces,
    to_plain,
)
from evaluations.few_shot import run, train
from evaluations.latent_types import explore
from model import SparseLTForPreTraining, load_autoencoder, tokenizer_of
from model.describe import describe

FAMILIES = [*PACKED, *UNPACKED]


@pytest.fixture(scope="module")
def directories(tmp_path_factory, sentences):
    return {family: write_model(family, sentences, tmp_path_factory.mktemp(family)) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def directory(request, directories):
    return directories[request.param]


@pytest.fixture
def corpus(tmp_path, sentences):
    (tmp_path / "corpus.txt").write_text("\n".join(sentences * 4))
    return tmp_path / "corpus.txt"


def tiny_autoencoder(directory):
    torch.manual_seed(1)
    return SparseLTForPreTraining.from_encoder(str(directory), num_types=4).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_whether_a_family_can_be_packed(directories, family):
    encoder, _ = load_encoder(str(directories[family]))
    assert packs(encoder) == (family in PACKED)


@pytest.mark.parametrize("family", PACKED)
def test_a_broken_mask_is_found_out(directories, family, monkeypatch):
    """The check at load time believes no table: without the block mask it sends the sentences one a row."""
    encoder, _ = load_encoder(str(directories[family]))
    monkeypatch.setattr("encoders.states.same_sentence", lambda a, b: torch.ones(len(a), 1, a.shape[1], b.shape[1]) > 0)
    assert not packs(encoder)


def test_packed_states_are_those_of_transformers_alone(directory, sentences):
    encoder, tokenizer = load_encoder(str(directory))
    words = WordPieces(tokenizer, max_positions(encoder.config))
    encoded = [words.encode(sentence.split()) for sentence in sentences]
    batch = pack_sentences(encoded, tokenizer.pad_token_id, 64)
    encoder.eval()
    states = encode(encoder, batch.attention_mask, batch.input_ids).last_hidden_state.flatten(0, 1)[batch.first]
    reference = AutoModel.from_pretrained(directory).eval()
    expected = []
    for sentence in encoded:
        ids = torch.tensor([sentence.ids])
        expected.append(reference(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0, sentence.first])
    torch.testing.assert_close(states, torch.cat(expected), rtol=0, atol=1e-5)


def test_mlm_head_is_transformers_own(directory, sentences):
    model, reference = load_masked_lm(str(directory)).eval(), AutoModelForMaskedLM.from_pretrained(directory).eval()
    batch = AutoTokenizer.from_pretrained(directory)(sentences[0], return_tensors="pt")
    states = encode(model.base_model, batch["attention_mask"], batch["input_ids"]).last_hidden_state
    logits = model.get_output_embeddings()(mlm_transform(model, states))
    expected = reference(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


def losses_and_gradients(model, batch):
    model.zero_grad()
    output = model(**batch)
    sum(output.losses.values()).backward()
    return output.losses, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_packed_and_padded_agree(directory, sentences):
    model, tokenizer = tiny_autoencoder(directory), AutoTokenizer.from_pretrained(directory)
    ids = sorted((tokenizer(sentence)["input_ids"][:30] for sentence in sentences), key=len)
    width = max(map(len, ids))
    padded = lay_out([[i] for i in ids], width, tokenizer, tokenizer.pad_token_id)
    packed = lay_out([[a, b] for a, b in zip(ids[:4], ids[4:], strict=True)], 64, tokenizer, tokenizer.pad_token_id)
    (losses, gradients), (others, other_gradients) = (losses_and_gradients(model, batch) for batch in (padded, packed))
    for name, loss in losses.items():
        assert others[name].item() == pytest.approx(loss.item(), abs=1e-5), name
    assert gradients.keys() == other_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(other_gradients[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_the_losses_fall_and_the_result_converts(directory, corpus, tmp_path, sentences):
    """Sixty steps, and the same from a checkpoint at 30; save, load, generate, convert: bit-equal to transformers."""
    flags = (
        "--batch_size 8 --max_length 48 --learning_rate 1e-2 --encoder_learning_rate 1e-3 --warmup_steps 5 --device cpu"
    )
    flags += " --mixed_precision no --num_types 4 --name run --max_steps 60"
    flags += " --eval_sentences 4 --logging_steps 5 --save_steps 30"
    argv = ["--model", str(directory), "--data", str(corpus), *flags.split()]
    whole, resumed = tmp_path / "whole/run", tmp_path / "resumed/run"
    pretrain.main([*argv, "--output_dir", str(whole.parent)])
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    training = [line for line in lines if "validation" not in line]
    for name in ("mlm_loss", "reconstruction_loss", "sparsity_loss", "loss"):
        assert training[-1][name] < training[0][name], name

    shutil.copytree(whole / "step-30", resumed / "step-30")
    for file in ("run.json", "metrics.jsonl"):
        shutil.copy(whole / file, resumed / file)
    pretrain.main([*argv, "--output_dir", str(resumed.parent)])
    for file in ("metrics.jsonl", "model.safetensors"):
        assert (resumed / file).read_bytes() == (whole / file).read_bytes(), file

    explore.main(["--checkpoint", str(whole), "--data", str(corpus), "--output", str(tmp_path / "page")])
    with open(tmp_path / "page" / "words.csv", newline="") as file:
        shown = {row["word"] for row in csv.DictReader(file)}
    assert shown and shown <= set(shown_pieces(tokenizer_of(whole), [*tokenizer_of(whole).get_vocab()]))

    autoencoder = load_autoencoder(whole)
    tokenizer = tokenizer_of(whole)
    batch = tokenizer(sentences[:3], padding=True, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    cached = autoencoder.generate(ids, mask, do_sample=False)
    assert torch.equal(cached, autoencoder.generate(ids, mask, do_sample=False, use_cache=False))
    descriptions = list(describe(autoencoder, tokenizer, sentences[:2], 48))
    assert all(description.reconstruction for description in descriptions)

    convert(whole, tmp_path / "plain")
    plain = AutoModelForMaskedLM.from_pretrained(tmp_path / "plain").eval()
    assert plain.config.model_type == AutoModelForMaskedLM.from_pretrained(directory).config.model_type
    for name, tensor in autoencoder.plain.state_dict().items():
        assert torch.equal(plain.state_dict()[name], tensor), name
    with torch.no_grad():
        one = ids[:1, : mask[0].sum()]
        kept = to_plain(autoencoder.plain)  # by transformers' own code, never on a disk
        assert torch.equal(plain(one).logits, kept(one).logits)
        reference = AutoModel.from_pretrained(tmp_path / "plain").eval()
        assert torch.equal(reference(one).last_hidden_state, kept.base_model(one).last_hidden_state)
        states = autoencoder.encode(one, torch.ones_like(one))
        torch.testing.assert_close(reference(one).last_hidden_state, states, rtol=0, atol=1e-5)
    assert AutoTokenizer.from_pretrained(tmp_path / "plain")(sentences[0]) == tokenizer(sentences[0])


def test_words_have_the_pieces_that_they_have_in_a_sentence(directory):
    tokenizer = AutoTokenizer.from_pretrained(directory)
    words = ["the", "minister", "met", "officials"]
    pieces = WordPieces(tokenizer).pieces(words)
    assert [i for word in pieces[1:] for i in word] == tokenizer(" ".join(words), add_special_tokens=False)[
        "input_ids"
    ][-sum(map(len, pieces[1:])) :]


@pytest.mark.parametrize(("family", "shown"), [("roberta", "theĠcaféĠclosedĠ."), ("albert", "▁the▁café▁closed▁.")])
def test_pieces_are_shown_readably(family, shown):
    """In the family's own way, with letters instead of the names of bytes (roberta's pieces spell "cafÃ©")."""
    tokenizer = train_tokenizer(family, ["the café closed ."] * 50)
    *pieces, last = shown_pieces(tokenizer, [*tokenizer.tokenize("the café closed ."), None])
    assert "".join(pieces) == shown and last == ""


def test_a_few_shot_episode(directory, tmp_path):
    """Source training of CONTaiNER and one episode, fine-tuned on its support set."""
    few_shot_cases.write_data(tmp_path / "data", episodes=1)
    flags = "--type intra --way 5 --shot 1 --device cpu --name tiny --batch_size 32 --max_length 60 --processes 1"
    places = ["--data", str(tmp_path / "data"), "--model", str(directory), "--output", str(tmp_path / "out")]
    train.main([*flags.split(), *places])
    run.main([*flags.split(), *places])
    (line,) = (tmp_path / "out/intra/tiny/5-1/episodes.jsonl").read_text().splitlines()
    assert json.loads(line)["steps"] >= 1
