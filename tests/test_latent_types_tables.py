"""The tables of a typed corpus against numbers worked out by hand, and the typing against one sentence at a time."""

import math

import numpy as np
import pytest
import torch

from evaluations.latent_types import tables
from evaluations.latent_types.page import differences, reconstruct
from evaluations.latent_types.typed_corpus import TypedCorpus, draw_sentences, type_corpus
from model.describe import describe

# "the cat sat" / "the dog": cat and dog are typed 1, sat 2; the is not typed.
CORPUS = TypedCorpus(
    lines=np.array([1, 3]),
    bounds=np.array([0, 3, 5]),
    token_ids=np.array([0, 1, 2, 0, 3]),
    type_ids=np.array([0, 1, 2, 0, 1]),
    num_types=4,
    vocabulary=["the", "cat", "sat", "dog"],
)


def test_counts_of_types_and_words():
    words, counts = tables.type_word_counts(CORPUS)
    assert words.tolist() == [0, 1, 2, 3]
    assert counts.tolist() == [[2, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_npmi_by_hand():
    _, counts = tables.type_word_counts(CORPUS)
    found = tables.npmi(counts)
    assert found[0, 0] == pytest.approx(1)  # `the` and type 0 only occur together
    assert found[2, 2] == pytest.approx(1)
    # p(1, cat) = 1/5, p(1) = 2/5, p(cat) = 1/5
    assert found[1, 1] == pytest.approx(math.log((1 / 5) / (2 / 5 * 1 / 5)) / -math.log(1 / 5))
    assert found[3, 0] == found[0, 1] == -1


def test_npmi_of_one_word_of_one_type():
    assert tables.npmi(np.array([[3]])).tolist() == [[1.0]]


def test_npmi_of_independent_types_and_words_is_zero():
    assert np.allclose(tables.npmi(np.outer([1, 2, 3], [4, 5])), 0)


@pytest.mark.parametrize("counts, bits", [([1, 1, 1, 1], 2), ([8, 0], 0), ([0, 0], 0), ([2, 1, 1], 1.5)])
def test_entropy(counts, bits):
    assert tables.entropy_bits(np.array(counts)) == pytest.approx(bits)


def test_type_rows():
    rows = tables.type_rows(CORPUS, seed=0)
    assert [row.type_id for row in rows] == [0, 1, 2]
    first = rows[1]
    assert (first.tokens, first.share, first.words, first.entropy) == (2, 0.4, 2, 1.0)
    assert first.frequent == [("cat", 1), ("dog", 1)]
    assert first.specific == []  # no word is seen often enough to be called specific
    assert [(c.before, c.token, c.after) for c in first.contexts] == [("the", "cat", "sat"), ("the", "dog", "")]


def test_specific_words_are_those_that_the_type_has_for_itself():
    # Type 1 has word 0 always and word 1 half of the time; word 2 is rare.
    types, words = [1] * 6 + [1] * 5 + [0] * 5 + [1], [0] * 6 + [1] * 10 + [2]
    corpus = TypedCorpus(
        np.array([1]), np.array([0, 17]), np.array(words), np.array(types), 2, ["always", "half", "rare"]
    )
    row = tables.type_rows(corpus, seed=0)[1]
    assert [word for word, _ in row.specific] == ["always"]
    assert [word for word, _ in row.frequent] == ["always", "half", "rare"]


def test_share_typed_by_frequency():
    types = np.array([0] * 10 + [1, 2] + [0])
    corpus = TypedCorpus(np.array([1]), np.array([0, 13]), np.array([0] * 10 + [1, 1] + [2]), types, 3, ["a", "b", "c"])
    assert tables.shares_by_frequency(corpus) == [
        tables.Share("1 to 9 times", 3, 2 / 3),
        tables.Share("10 to 99 times", 10, 0.0),
    ]


def test_share_typed_by_position():
    corpus = TypedCorpus(
        lines=np.array([1, 2]),
        bounds=np.array([0, 20, 21]),
        token_ids=np.zeros(21, dtype=int),
        type_ids=np.array([1, 0] + [0] * 17 + [1] + [1]),
        num_types=2,
        vocabulary=["a"],
    )
    found = {share.part: (share.tokens, share.typed) for share in tables.shares_by_position(corpus)}
    assert len(found) == 10 and sum(tokens for tokens, _ in found.values()) == 21
    assert found["tenth 1"] == (2, 0.5)
    assert found["tenth 10"] == (2, 0.5)
    assert found["tenth 6"] == (3, 1 / 3)  # the middle of a sentence of one token is its token


def test_batches_type_as_single_sentences_do(tiny_model, tiny_tokenizer, sentences, tmp_path):
    torch.manual_seed(0)
    torch.nn.init.normal_(tiny_model.typer.weight)  # so that some tokens are typed and some are not
    (tmp_path / "corpus.txt").write_text("\n\n".join(sentences * 9) + "\n")
    lines, ids = draw_sentences(str(tmp_path / "corpus.txt"), tiny_tokenizer, 64, 1000, seed=0)
    corpus = type_corpus(tiny_model, tiny_tokenizer, lines, ids)
    assert corpus.lines.tolist() == list(range(1, 2 * len(ids), 2)) and len(ids) == 9 * len(sentences)
    for i, sentence in enumerate(sentences):
        alone = tiny_tokenizer(sentence, return_tensors="pt")
        with torch.no_grad():
            expected = tiny_model.type_tokens(alone["input_ids"], alone["attention_mask"]).type_ids[0, 1:-1]
        start, end = corpus.bounds[i : i + 2]
        assert corpus.type_ids[start:end].tolist() == expected.tolist()
        assert corpus.tokens(start, end) == tiny_tokenizer.tokenize(sentence)
    assert 0 < corpus.share_typed < 1  # else the comparison would say little


def test_drawn_sentences_are_different_ones_in_order(tiny_tokenizer, sentences, tmp_path):
    (tmp_path / "corpus.txt").write_text("\n".join(sentences) + "\n")
    lines, ids = draw_sentences(str(tmp_path / "corpus.txt"), tiny_tokenizer, 64, 5, seed=1)
    assert len(ids) == 5 and lines.tolist() == sorted(set(lines.tolist()))
    for line, own in zip(lines, ids, strict=True):
        assert own == tiny_tokenizer(sentences[line - 1])["input_ids"]


def test_differences_cover_both_sentences():
    original = ["the", "cat", "sat", "on", "the", "mat"]
    rebuilt = ["the", "dog", "sat", "on", "mat", "mat"]
    left, right = differences(original, rebuilt)
    assert " ".join(text for text, _ in left).split() == original
    assert " ".join(text for text, _ in right).split() == rebuilt
    assert ("cat", False) in left and ("dog", False) in right and ("sat on", True) in left
    assert [text for text, shared in left if shared] == [text for text, shared in right if shared]


def test_equal_sentences_have_no_differences_and_empty_ones_no_pieces():
    assert differences(["a", "b"], ["a", "b"]) == ([("a b", True)], [("a b", True)])
    assert differences(["a"], []) == ([("a", False)], [])


def test_reconstructions_are_the_models(tiny_model, tiny_tokenizer, sentences):
    ids = [tiny_tokenizer(sentence)["input_ids"] for sentence in sentences]
    found, bleu = reconstruct(tiny_model, tiny_tokenizer, list(range(len(ids))), ids, 64)
    texts = [tiny_tokenizer.decode(own, skip_special_tokens=True) for own in ids]
    expected = [d.reconstruction.split() for d in describe(tiny_model, tiny_tokenizer, texts, 64)]
    assert [" ".join(text for text, _ in row.rebuilt).split() for row in found] == expected
    assert 0 <= bleu < 100
