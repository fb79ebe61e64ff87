"""What a disk may hold as an encoder's tokenizer: it is read as it was made, or refused in one line."""

import json

import pytest
from transformers import AutoTokenizer, BertTokenizerFast

from common.errors import UserError
from encoders import load_encoder, load_tokenizer, read_tokenizer, tokenizer_fingerprint


def vocabulary(encoder, change=lambda words: words, **config):
    """vocab.txt in place of tokenizer.json, with a tokenizer_config.json if there is anything in it."""
    vocab = AutoTokenizer.from_pretrained(encoder).get_vocab()
    words = change(sorted(vocab, key=lambda word: vocab[word]))
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (encoder / file).unlink(missing_ok=True)
    (encoder / "vocab.txt").write_text("\n".join(words))
    if config:
        (encoder / "tokenizer_config.json").write_text(json.dumps(config))


def capitals(words):
    return [word.title() if len(word) > 3 and word.isalpha() and n % 2 else word for n, word in enumerate(words)]


@pytest.mark.parametrize(
    ("config", "pieces", "said"),
    [
        ({}, ["[UNK]", "President"], "read as cased"),
        ({"do_lower_case": False}, ["[UNK]", "President"], ""),
        ({"do_lower_case": True}, ["the", "p"], "lower-cases, although"),
    ],
)
def test_a_cased_vocabulary(encoder, capsys, config, pieces, said):
    vocabulary(encoder, capitals, **config)
    for _ in range(2):
        assert load_tokenizer(str(encoder)).tokenize("The President")[:2] == pieces
    printed = capsys.readouterr().err
    assert said in printed and printed.count("note:") == bool(said)


@pytest.mark.parametrize("config", [None, {"tokenizer_class": "BertTokenizer"}])
def test_what_tokenizer_json_says_holds_where_nothing_else_does(encoder, capsys, config):
    """transformers would lower-case and strip accents: it asks tokenizer_config.json alone."""
    vocab = AutoTokenizer.from_pretrained(encoder).get_vocab()
    words = capitals(sorted(vocab, key=lambda word: vocab[word]))
    (encoder / "tokenizer_config.json").unlink()
    cased = BertTokenizerFast(vocab={word: n for n, word in enumerate(words)}, do_lower_case=False)
    cased.save_pretrained(encoder)
    (encoder / "tokenizer_config.json").unlink()
    if config:
        (encoder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(str(encoder))
    assert tokenizer.tokenize("The President") == ["[UNK]", "President"]
    tokenizer.save_pretrained(encoder)  # as a checkpoint keeps it
    assert load_tokenizer(str(encoder)).tokenize("The President") == ["[UNK]", "President"]
    assert not capsys.readouterr().err.count("note:")


def test_a_lower_cased_vocabulary_is_read_as_it_was(encoder, capsys):
    vocabulary(encoder)
    assert load_tokenizer(str(encoder)).tokenize("The President") == ["the", "president"]
    assert not capsys.readouterr().err


def spread(encoder):
    vocab = AutoTokenizer.from_pretrained(encoder).get_vocab()
    words = sorted(vocab, key=lambda word: vocab[word])[:-20]
    ids = [number if number < 50 else number + 30 for number in range(len(words))]  # fewer entries, larger ids
    BertTokenizerFast(vocab=dict(zip(words, ids, strict=True))).save_pretrained(encoder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: vocabulary(e, tokenizer_class="BertJapaneseTokenizer", word_tokenizer_type="basic"), "no fast"),
        (spread, "has ids up to"),
        (lambda e: vocabulary(e, lambda words: [*words, "zebra"]), "has ids up to"),
        (lambda e: vocabulary(e, sep_token="[CLS]"), "one id, 2, for its cls and sep tokens"),
        (lambda e: vocabulary(e, mask_token="[UNK]"), "one id, 1, for its mask and unk tokens"),
        (lambda e: vocabulary(e, lambda words: [w for w in words if w != "[MASK]"]), r"has no \[MASK\]"),
        (lambda e: vocabulary(e, lambda words: [w for w in words if w != "[SEP]"]), r"has no \[SEP\]"),
        (lambda e: vocabulary(e, mask_token=None), "has no mask token"),
    ],
)
def test_tokenizers_that_do_not_fit_are_refused(encoder, change, message):
    change(encoder)
    with pytest.raises(UserError, match=message):
        load_encoder(str(encoder))


def test_a_tokenizer_is_known_by_what_it_does(encoder, tmp_path):
    tokenizer = load_tokenizer(str(encoder))
    before = tokenizer_fingerprint(tokenizer)
    tokenizer(["a", "the president"], padding=True, truncation=True, max_length=3)
    assert tokenizer_fingerprint(tokenizer) == before == tokenizer_fingerprint(load_tokenizer(str(encoder)))
    tokenizer.save_pretrained(tmp_path / "again")
    assert tokenizer_fingerprint(read_tokenizer(tmp_path / "again")) == before
    vocabulary(encoder, do_lower_case=False)
    assert tokenizer_fingerprint(load_tokenizer(str(encoder))) != before
