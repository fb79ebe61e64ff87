"""The extractor: word vectors, batching and targets against plain loops."""

from copy import deepcopy
from itertools import chain

import numpy as np
import pytest
import torch
from supervised_ie_cases import one_thread, sentences, write_encoder  # noqa: F401

from encoders import load_encoder
from evaluations.supervised_ie.batches import collate, make_examples, shuffled_batches
from evaluations.supervised_ie.data import Sentence
from evaluations.supervised_ie.labels import collect_labels
from evaluations.supervised_ie.model import Extractor


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("ie") / "encoder"
    write_encoder(directory)
    encoder, tokenizer = load_encoder(str(directory))
    labels = collect_labels(sentences(), ["PER-SOC"])
    return Extractor(encoder, labels).eval(), tokenizer, labels


def one_by_one(model, tokenizer, sentence):
    """(T, 2H) word vectors by the definition, from one unpadded forward pass."""
    pieces = [tokenizer.encode(word, add_special_tokens=False) or [tokenizer.unk_token_id] for word in sentence.tokens]
    ids = [tokenizer.cls_token_id, *chain(*pieces), tokenizer.sep_token_id]
    with torch.no_grad():
        states = model.encoder(torch.tensor([ids]), output_hidden_states=True).hidden_states
    assert len(states) == 4  # embeddings and three layers: the third from the end is the first layer
    both = torch.cat([states[3][0], states[1][0]], dim=-1)
    vectors, at = [], 1
    for word in pieces:
        vectors.append(both[at : at + len(word)].mean(dim=0))
        at += len(word)
    return torch.stack(vectors)


def test_word_vectors_are_means_over_pieces_of_two_layers(case):
    model, tokenizer, _ = case
    some = [*sentences()[:5], Sentence("d", "s", ["caf\u00e9", "\u200b", "anna"])]  # a word of no pieces
    batch = collate(make_examples(some, tokenizer), tokenizer, 64)
    with torch.no_grad():
        words = model.words(batch)
    expected = [one_by_one(model, tokenizer, sentence) for sentence in some]
    torch.testing.assert_close(words, torch.cat(expected), atol=1e-5, rtol=1e-4)
    for b, vectors in enumerate(expected):
        torch.testing.assert_close(words[batch.word_grid[b]][batch.word_mask[b]], vectors, atol=1e-5, rtol=1e-4)


def test_attention_in_training_sees_no_padding(case):
    model, tokenizer, _ = case
    batch = collate(make_examples(sentences(), tokenizer), tokenizer, 64)
    training = deepcopy(model)
    for layer in training.encoder.encoder.layer:
        layer.attention.self.train().dropout.p = 1e-12  # the path of training, with nothing dropped
    with torch.no_grad():
        torch.testing.assert_close(training.words(batch), model.words(batch), atol=1e-5, rtol=1e-4)


def test_bf16_rounds_the_encoder_alone(case):
    model, tokenizer, labels = case
    batch = collate(make_examples(sentences(), tokenizer, labels), tokenizer, 64)
    rounded = Extractor(model.encoder, labels, "bf16").eval()
    rounded.load_state_dict(model.state_dict())
    with torch.no_grad():
        exact, words = model.words(batch), rounded.words(batch)
        assert all(part.dtype == torch.float32 for part in [words, *rounded.loss(batch).values()])
    assert not torch.equal(words, exact)
    torch.testing.assert_close(words, exact, atol=0.05, rtol=0)
    assert all(parameter.dtype == torch.float32 for parameter in rounded.parameters())


def test_a_sentence_longer_than_the_encoder_takes_several_rows(case):
    model, tokenizer, _ = case
    words = ["attacked", "zzz", "anna"] * 40  # 5 pieces a round, 200 in all, 64 positions
    batch = collate(make_examples([Sentence("d", "s", words)], tokenizer), tokenizer, 64)
    assert batch.input_ids.shape[1] <= 64
    assert batch.word_mask.sum() == len(words)
    rows = [row[mask.bool()][1:-1].tolist() for row, mask in zip(batch.input_ids, batch.attention_mask, strict=True)]
    assert list(chain(*rows)) == list(chain(*(tokenizer.encode(word, add_special_tokens=False) for word in words)))
    first = sum(len(tokenizer.encode(word, add_special_tokens=False)) for word in words[:20])
    assert len(rows[0]) > first
    with torch.no_grad():
        vectors = model.words(batch)
    head = Sentence("d", "s", words[: sum(1 for p in batch.word_offsets if p < len(rows[0]))])
    torch.testing.assert_close(vectors[: len(head.tokens)], one_by_one(model, tokenizer, head), atol=1e-5, rtol=1e-4)


def test_the_loss_of_a_batch_is_made_of_those_of_its_sentences(case):
    model, tokenizer, labels = case
    examples = make_examples(sentences(), tokenizer, labels)
    with torch.no_grad():
        whole = model.loss(collate(examples, tokenizer, 64))
        alone = [model.loss(collate([example], tokenizer, 64)) for example in examples]
    items = {
        "entity_tags": [1 for _ in examples],
        "trigger_tags": [1 for _ in examples],
        "entity": [len(e.sentence.entities) for e in examples],
        "mention": [len(e.sentence.entities) for e in examples],
        "event": [len(e.sentence.events) for e in examples],
        "relation": [len(e.sentence.entities) * (len(e.sentence.entities) - 1) for e in examples],
        "role": [len(e.sentence.entities) * len(e.sentence.events) for e in examples],
    }
    assert whole.keys() == items.keys()
    for name, weights in items.items():
        mean = np.average([losses[name].item() for losses in alone], weights=weights)
        assert whole[name].item() == pytest.approx(mean, rel=1e-4), name


def test_local_scores_of_a_batch_are_those_of_each_sentence(case):
    model, tokenizer, _ = case
    examples = make_examples(sentences(), tokenizer)
    together = model.local_scores(collate(examples, tokenizer, 64))
    found = 0
    for example, of_batch in zip(examples, together, strict=True):
        (alone,) = model.local_scores(collate([example], tokenizer, 64))
        assert (of_batch.entity_spans, of_batch.trigger_spans) == (alone.entity_spans, alone.trigger_spans)
        found += len(alone.entity_spans) * len(alone.trigger_spans)
        for name in ("entities", "mentions", "events", "relations", "roles"):
            np.testing.assert_allclose(getattr(of_batch, name), getattr(alone, name), atol=1e-5)
    assert found  # a random model finds spans of both kinds, so pairs were compared


def test_targets_of_a_sentence(case):
    *_, labels = case
    gold = make_examples([sentences()[4]], case[1], labels)[0].gold
    sentence = sentences()[4]
    names = [labels.entity_tags[tag] for tag in gold["entity_tags"]]
    spans = {(e.start, e.end): e.type for e in sentence.entities}
    for (start, end), kind in spans.items():
        assert names[start:end] == [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
    assert sum(name != "O" for name in names) == sum(end - start for start, end in spans)
    (relation,) = sentence.relations
    assert gold["relation"][relation.head, relation.tail] == 1 + labels.relation_types.index(relation.type)
    assert (gold["relation"] > 0).sum() == 1
    assert (np.diag(gold["relation"]) == -100).all()
    for t, event in enumerate(sentence.events):
        row = {e: 1 + labels.roles.index(role) for e, role in event.arguments}
        assert gold["role"][t].tolist() == [row.get(e, 0) for e in range(len(sentence.entities))]


def test_batches_hold_every_sentence_once_and_depend_on_seed_and_epoch(case):
    examples = make_examples(sentences(), case[1])
    for epoch in (1, 2):
        batches = shuffled_batches(examples, 4, seed=0, epoch=epoch)
        assert sorted(id(e) for batch in batches for e in batch) == sorted(map(id, examples))
    order = [[e.sentence.sent_id for e in batch] for batch in batches]
    again = shuffled_batches(examples, 4, seed=0, epoch=2)
    assert order == [[e.sentence.sent_id for e in batch] for batch in again]
    assert order != [[e.sentence.sent_id for e in b] for b in shuffled_batches(examples, 4, seed=1, epoch=2)]
