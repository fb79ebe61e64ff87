"""Agreement with gold entity types: the format, the measures by hand and by definition, and both controls."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from transformers import AutoModel

from common.errors import UserError
from evaluations.latent_types.agreement import (
    CONTROL_SEEDS,
    LabelledTokens,
    agreement,
    load_labelled,
    measure,
    plain_states,
)
from evaluations.latent_types.typed_corpus import types_of

FILE = "officials\tO\nparis\tlocation-GPE\n\n\nhe\tO\nwon\tO\n.\tO\n\nthe\tO\nminister\tperson\nparis\tlocation-GPE"


@pytest.fixture
def labelled_file(tmp_path):
    path = tmp_path / "labelled.txt"
    path.write_text(FILE)
    return path


def tokens_of(labels: list[str]) -> LabelledTokens:
    return LabelledTokens([], np.array(labels))


@pytest.mark.parametrize("text", ["", "\n\n", "he\tO\nwon\tO\n", "he\tperson\n"])
def test_a_file_without_two_entity_types_is_refused(tmp_path, tiny_tokenizer, text):
    (tmp_path / "few.txt").write_text(text)
    with pytest.raises(UserError, match=r"few\.txt"):
        load_labelled(tmp_path / "few.txt", tiny_tokenizer, 64, 10, seed=0)


def test_labels_of_bio_are_converted_when_asked_for(tmp_path, tiny_tokenizer):
    path = tmp_path / "bio.txt"
    path.write_text("paris\tB-location\nmet\tO\nthe\tB-person\nminister\tI-person\n")
    with pytest.raises(UserError, match=r"bio\.txt, line 1: `B-location` .* --bio convert"):
        load_labelled(path, tiny_tokenizer, 64, 10, seed=0)
    tokens = load_labelled(path, tiny_tokenizer, 64, 10, seed=0, bio="convert")
    assert tokens.labels.tolist() == ["location", "O", "person", "person"]


def test_a_word_counts_by_its_first_piece(labelled_file, tiny_tokenizer):
    labelled_file.write_text("qqq\tperson\nparis\tlocation\nhe\tO\n")  # `qqq` is three pieces
    tokens = load_labelled(labelled_file, tiny_tokenizer, 64, 10, seed=0)
    (sentence,) = tokens.sentences
    assert tiny_tokenizer.convert_ids_to_tokens(sentence.ids) == ["[CLS]", "q", "##q", "##q", "paris", "he", "[SEP]"]
    assert sentence.first == [1, 4, 5]
    assert tokens.labels.tolist() == ["person", "location", "O"]


def test_words_behind_the_cut_are_left_out(labelled_file, tiny_tokenizer):
    labelled_file.write_text("minister\tperson\nparis\tlocation\nparis\tlocation\nhe\tO\n")
    tokens = load_labelled(labelled_file, tiny_tokenizer, 4, 10, seed=0)
    assert tokens.labels.tolist() == ["person", "location"]


def entropy(labels) -> float:
    return -sum(n / len(labels) * math.log(n / len(labels)) for n in Counter(labels).values())


def test_measures_by_their_definitions():
    generator = np.random.default_rng(0)
    labels = generator.choice(["O", "person", "location", "event"], 200)
    clusters = np.where(generator.random(200) < 0.5, generator.integers(5, size=200), (labels == "person") * 1)
    found = measure(clusters, tokens_of(labels), True)

    entity = labels != "O"
    gold, own = labels[entity].tolist(), clusters[entity].tolist()
    information = entropy(gold) + entropy(own) - entropy(list(zip(gold, own, strict=True)))
    assert found.v_measure == pytest.approx(2 * information / (entropy(gold) + entropy(own)))
    assert found.nmi == pytest.approx(information / math.sqrt(entropy(gold) * entropy(own)))
    commonest = [Counter(g for g, c in zip(gold, own, strict=True) if c == k).most_common(1)[0][1] for k in set(own)]
    assert found.purity == pytest.approx(sum(commonest) / len(gold))
    assert found.typed_entities == pytest.approx(sum(c > 0 for c in own) / len(own))
    assert found.ratio == pytest.approx(found.typed_entities / (clusters[~entity] > 0).mean())


def test_a_perfect_and_an_empty_typing():
    tokens = tokens_of(["O", "person", "location", "O", "person"])
    perfect = measure(np.array([0, 7, 3, 0, 7]), tokens, True)
    assert (perfect.v_measure, perfect.nmi, perfect.purity, perfect.typed_entities) == pytest.approx((1, 1, 1, 1))
    assert perfect.ratio is None  # no other token is typed, there is nothing to divide by
    nothing = measure(np.zeros(5, dtype=int), tokens, True)
    assert (nothing.v_measure, nothing.nmi, nothing.purity) == pytest.approx((0, 0, 2 / 3))


def test_a_file_of_entities_alone_has_no_others():
    found = measure(np.array([1, 0]), tokens_of(["person", "location"]), True)
    assert (found.typed_entities, found.typed_others, found.ratio) == (0.5, None, None)


def test_both_controls(labelled_file, tiny_model, tiny_tokenizer, tiny_encoder):
    tokens = load_labelled(labelled_file, tiny_tokenizer, 64, 10, seed=0)
    results = agreement(tiny_model, tiny_tokenizer, tokens, str(tiny_encoder), seed=0)
    trained, random, kmeans = results
    assert [len(result.runs) for result in results] == [1, CONTROL_SEEDS, CONTROL_SEEDS]
    assert trained.runs == [measure(types_of(tiny_model, tokens.sentences), tokens, True)]
    assert trained.deviation("purity") is None and random.deviation("purity") is not None
    assert kmeans.mean("ratio") is None and "3 clusters" in kmeans.name
    assert agreement(tiny_model, tiny_tokenizer, tokens, str(tiny_encoder), seed=0) == results


def test_states_are_those_that_transformers_computes(labelled_file, tiny_tokenizer, tiny_encoder):
    tokens = load_labelled(labelled_file, tiny_tokenizer, 64, 10, seed=0)
    states = plain_states(str(tiny_encoder), tiny_tokenizer, tokens, torch.device("cpu"))
    bert = AutoModel.from_pretrained(tiny_encoder)
    with torch.no_grad():
        alone = [bert(torch.tensor([s.ids])).last_hidden_state[0, s.first] for s in tokens.sentences]
    assert states == pytest.approx(torch.cat(alone).numpy(), abs=1e-5)


def test_a_plain_encoder_of_another_vocabulary_is_refused(labelled_file, tiny_model, tiny_tokenizer):
    tokens = load_labelled(labelled_file, tiny_tokenizer, 64, 10, seed=0)
    with pytest.raises(UserError, match="`minilm` and the checkpoint have different vocabularies"):
        agreement(tiny_model, tiny_tokenizer, tokens, "minilm", seed=0)
