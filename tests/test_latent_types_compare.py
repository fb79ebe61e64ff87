"""The comparison of two typings: the matching against brute force, and the whole script on two checkpoints."""

import json
from itertools import permutations

import numpy as np
import pytest
import torch

from common.errors import UserError
from evaluations.latent_types import compare
from evaluations.latent_types.matching import joint_counts, match_types, matches, movement
from evaluations.latent_types.typed_corpus import TypedCorpus


def typed(type_ids, num_types: int) -> TypedCorpus:
    n = len(type_ids)
    vocabulary = [f"w{i}" for i in range(n)]
    return TypedCorpus(np.array([1]), np.array([0, n]), np.arange(n), np.array(type_ids), num_types, vocabulary)


@pytest.mark.parametrize("seed", range(5))
def test_the_matching_keeps_the_most_tokens(seed):
    joint = np.random.default_rng(seed).integers(0, 9, (6, 6))
    best = max(sum(joint[a, b] for a, b in zip(range(1, 6), order, strict=True)) for order in permutations(range(1, 6)))
    assert sum(joint[a, b] for a, b in match_types(joint)) == best


def test_renumbered_types_are_recognised():
    generator = np.random.default_rng(0)
    a = generator.integers(8, size=500)
    new_number = np.concatenate([[0], 1 + generator.permutation(7)])
    moved = movement(typed(a, 8), typed(new_number[a], 8), seed=0)
    assert moved.kept == (a > 0).sum() and moved.moved == moved.gained == moved.lost == 0
    assert moved.nmi == pytest.approx(1)
    assert moved.kept_by_chance < moved.kept / 2


def test_movement_by_hand():
    a = typed([0, 0, 1, 1, 1, 2, 2], 3)
    b = typed([0, 3, 3, 3, 0, 1, 3], 4)
    moved = movement(a, b, seed=0)
    assert (moved.kept, moved.moved, moved.gained, moved.lost, moved.untyped) == (3, 1, 1, 1, 1)
    found = [(m.type_a, m.type_b, m.tokens_a, m.tokens_b, m.shared, m.overlap) for m in matches(a, b)]
    assert found == [(1, 3, 3, 4, 2, 2 / 5), (2, 1, 2, 1, 1, 1 / 2)]
    assert matches(a, b)[1].words_a == ["w5", "w6"] and matches(a, b)[1].words_b == ["w5"]


def test_nothing_typed_matches_nothing():
    nothing = typed([0, 0, 0], 3)
    assert matches(nothing, nothing) == []
    moved = movement(nothing, nothing, seed=0)
    assert (moved.kept, moved.untyped) == (0, 3)


def test_joint_counts_add_up():
    assert joint_counts(typed([0, 1, 1], 2), typed([2, 0, 0], 3)).tolist() == [[0, 0, 1], [2, 0, 0]]


@pytest.fixture
def two_checkpoints(tiny_model, tiny_tokenizer, sentences, tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(sentences))
    for name in ("a", "b"):
        tiny_model.save_pretrained(tmp_path / name)
        tiny_tokenizer.save_pretrained(tmp_path / name)
        torch.nn.init.normal_(tiny_model.typer.weight)  # B types otherwise
    return tmp_path / "a", tmp_path / "b", corpus


def test_the_script(two_checkpoints, capsys):
    a, b, corpus = two_checkpoints
    compare.main([str(a), str(b), "--data", str(corpus)])
    found = json.loads((b / "latent_types_compared" / "comparison.json").read_text())
    parts = found["movement"]
    assert sum(parts[part] for part in ("kept", "moved", "gained", "lost", "untyped")) == found["tokens"]
    assert parts["nmi"] < 1
    assert sum(match["shared"] for match in found["matches"]) == parts["kept"]
    assert "keep their (matched) type" in capsys.readouterr().out
    assert (b / "latent_types_compared" / "index.html").read_text().count("<li ") == 8


def test_a_checkpoint_equals_itself(two_checkpoints, tmp_path):
    a, _, corpus = two_checkpoints
    (a / "run.json").write_text(json.dumps({"arguments": {"data": str(corpus)}}))  # the corpus is found there
    compare.main([str(a), str(a), "--output", str(tmp_path / "out")])
    parts = json.loads((tmp_path / "out" / "comparison.json").read_text())["movement"]
    assert parts["moved"] == parts["gained"] == parts["lost"] == 0 < parts["kept"]


def test_no_corpus_is_a_users_mistake(two_checkpoints):
    a, b, _ = two_checkpoints
    with pytest.raises(UserError, match="--data"):
        compare.main([str(a), str(b)])


def test_other_vocabularies_are_refused(two_checkpoints):
    a, b, corpus = two_checkpoints
    for file in b.glob("tokenizer*"):
        file.write_text(file.read_text().replace('"officials"', '"ministers"'))
    with pytest.raises(UserError, match="vocabular"):
        compare.main([str(a), str(b), "--data", str(corpus)])
