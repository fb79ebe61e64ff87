"""The corpora that come as PyPI packages."""

import pytest

import data.bundled
import data.sentences
from common.errors import UserError
from data.bundled import bundled_corpus


def test_lee_news(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(data.bundled, "HERE", tmp_path)
    path = bundled_corpus("lee_news")
    assert path == tmp_path / "lee_news.txt"
    assert capsys.readouterr().out.count("\n") == 1
    lines = path.read_text(encoding="utf-8").splitlines()
    assert 2550 <= len(lines) <= 2650
    assert 20 <= sum(len(line.split()) for line in lines) / len(lines) <= 25
    assert sum(line[-1] in ".!?\"')" for line in lines) / len(lines) > 0.99
    assert bundled_corpus("lee_news") == path
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match="no bundled corpus `nothing`; there are lee_news, wiki_sample"):
        bundled_corpus("nothing")


@pytest.mark.slow
def test_wiki_sample_is_prose_without_markup(monkeypatch, tmp_path):
    monkeypatch.setattr(data.sentences, "LEARN_FROM", 1_000_000)  # three times as fast
    monkeypatch.setattr(data.bundled, "HERE", tmp_path)
    lines = bundled_corpus("wiki_sample").read_text(encoding="utf-8").splitlines()
    assert 17_000 <= len(lines) <= 17_600
    assert 20 <= sum(len(line.split()) for line in lines) / len(lines) <= 25
    for markup in ("[", "]", "{", "}", "|", "<", ">", "''", "==", "http", "&nbsp", "()", "( ", " ,", "File:"):
        assert not [line for line in lines if markup in line]
