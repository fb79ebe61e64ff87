"""What a corpus is known by, and the cached copy that is found again, or made anew."""

import gzip

import datasets
import pytest
from corpus_cases import ROWS, TEXTS, as_parquet, read

import data.corpus
from common.errors import UserError
from common.files import sha256_of
from data.corpus import load_corpus


def test_the_hash_follows_the_content_and_so_does_the_cache(write, tiny_tokenizer):
    path = write(b"he won .\nprices rose .\n")
    first, first_summary = load_corpus(path, tiny_tokenizer, 64)
    assert first_summary.identity == sha256_of(path)
    again, again_summary = load_corpus(path, tiny_tokenizer, 64)
    assert again_summary == first_summary
    assert again.cache_files == first.cache_files and first.cache_files  # memory-mapped, and found again

    write(b"he won .\nprices fell .\n")  # same name, same size
    changed, changed_summary = load_corpus(path, tiny_tokenizer, 64)
    assert changed_summary.identity == sha256_of(path) != first_summary.identity
    assert changed.cache_files != first.cache_files
    assert tiny_tokenizer.decode(changed[1]["input_ids"], skip_special_tokens=True) == "prices fell."
    shorter, _ = load_corpus(path, tiny_tokenizer, 4)
    assert [len(ids) for ids in shorter["input_ids"]] == [4, 4]


def test_the_cache_is_found_whatever_the_tokenizer_did_before(write, tiny_tokenizer, monkeypatch):
    path = write(b"he won .\nprices rose .\n")
    load_corpus(path, tiny_tokenizer, 64)
    tiny_tokenizer(["a", "b c"], padding="max_length", truncation=True, max_length=9)  # leaves traces in it

    def no_tokenising(*_, **__):
        raise AssertionError("the cached data set was not found")

    monkeypatch.setattr(datasets.Dataset, "_map_single", no_tokenising)
    dataset, _ = load_corpus(path, tiny_tokenizer, 64)
    assert len(dataset) == 2


def test_the_identity_is_that_of_the_content(write, tiny_tokenizer):
    plain = write(b"he won .\nhe won .\n")

    def identity(path, **options):
        return load_corpus(path, tiny_tokenizer, 64, **options)[1].identity

    same = {identity(path) for path in (plain, write(gzip.compress(b"he won .\nhe won .\n"), "other.gz"))}
    assert same == {sha256_of(plain)} == {identity(plain, text_column="body")}
    rows = write(b'{"text": "he won", "body": "he"}\n', "c.jsonl")
    assert identity(rows) == f"{sha256_of(rows)} (column text)" != identity(rows, text_column="body")
    assert read(rows, tiny_tokenizer, text_column="body") == [(1, "he")] != read(rows, tiny_tokenizer)


def halved(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    "damage", [lambda _: b"", halved, lambda b: b[:-8], None], ids=["empty", "half", "end", "gone"]
)
@pytest.mark.parametrize("pattern", ["generator-train.arrow", "cache-*.arrow", "dataset_info.json"])
def test_a_damaged_cache_is_made_anew(write, tiny_tokenizer, datasets_cache, capsys, pattern, damage):
    path = write(b"he won .\nprices rose .\nofficials say .\n")

    def splits():
        corpus, summary = load_corpus(path, tiny_tokenizer, 64)
        return [[row["line"] for row in part] for part in data.corpus.hold_out(corpus, 0.3, 0)], summary

    before = splits()
    files = list(datasets_cache.rglob(pattern))
    assert files
    capsys.readouterr()
    for file in files:
        if damage:
            file.write_bytes(damage(file.read_bytes()))
        else:
            file.unlink()
        assert splits() == before
        said = capsys.readouterr().out
        rebuilt = damage is not None or pattern == "generator-train.arrow"  # the others are not missed
        assert (said.count("\n") == 1 and f"the cached copy of {path} is damaged and made anew" in said) == rebuilt
        assert splits() == before and capsys.readouterr().out == ""


def test_a_cache_that_cannot_be_written(write, tiny_tokenizer, datasets_cache, monkeypatch):
    (datasets_cache / "file").write_text("")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", datasets_cache / "file")
    with pytest.raises(UserError, match=r"the cache .*sentences-\w+ cannot be used: .*Not a directory"):
        load_corpus(write(b"he won .\n"), tiny_tokenizer, 64)


def test_a_damaged_copy_of_a_hub_data_set(tmp_path, tiny_tokenizer, monkeypatch, capsys, datasets_cache):
    (tmp_path / "d.parquet").write_bytes(as_parquet(ROWS))
    load = datasets.load_dataset

    def from_hub(identifier, part, split, download_mode):
        assert (identifier, part) == ("nobody/news", "en")
        return load("parquet", data_files=str(tmp_path / "d.parquet"), split=split, download_mode=download_mode)

    monkeypatch.setattr(data.corpus, "load_dataset", from_hub)
    for damage in (lambda content: content, lambda _: b"", halved, lambda content: content[:-8]):
        for file in datasets_cache.rglob("parquet-train.arrow"):
            file.write_bytes(damage(file.read_bytes()))
        dataset, summary = load_corpus("nobody/news:en", tiny_tokenizer, 64)
        texts = [tiny_tokenizer.decode(ids, skip_special_tokens=True) for ids in dataset["input_ids"]]
        assert list(zip(dataset["line"], texts, strict=True)) == TEXTS
        assert str(summary) == "1 rows without text, 0% [UNK]"
    assert capsys.readouterr().out == "the cached copy of nobody/news:en is damaged and made anew\n" * 3
    with pytest.raises(
        UserError, match="nobody/news:en has no column `body`; --text_column takes one of id, text, more"
    ):
        load_corpus("nobody/news:en", tiny_tokenizer, 64, text_column="body")
