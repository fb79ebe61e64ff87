"""Perplexity of plain BERTs: against transformers' own loss, a sentence at a time."""

import json
import math

import pytest
import torch
from transformers import BertForMaskedLM, BertModel

from common.errors import UserError
from data.batches import Batches
from data.corpus import hold_out, load_corpus
from evaluations import perplexity


@pytest.fixture
def corpus(sentences, tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(f"{one} {two}" for one in sentences for two in sentences))
    return path


def metrics(output: str) -> tuple[int, float, float, float]:
    """Tokens, loss, perplexity and accuracy in the last line of the table."""
    _, _, tokens, loss, ppl, accuracy, _ = output.splitlines()[-1].split("|")
    return int(tokens.replace(",", "")), float(loss), float(ppl), float(accuracy.strip(" %")) / 100


def brute_force(encoder, tokenizer, sentences) -> tuple[int, float, float]:
    """Selected tokens, mean loss and accuracy, of one unpadded sentence after the other."""
    model = BertForMaskedLM.from_pretrained(encoder).eval()
    tokens, loss, right = 0, 0.0, 0
    batches = Batches(sentences, tokenizer, 1, 64, seed=0, packing="none")
    for number in range(len(sentences)):
        batch = batches[number]
        labels = batch["mlm_labels"]
        if (selected := int((labels != -100).sum())) == 0:
            continue
        with torch.no_grad():
            output = model(batch["masked_input_ids"], labels=labels)
        tokens, loss = tokens + selected, loss + output.loss.item() * selected
        right += int((output.logits.argmax(-1) == labels).sum())
    return tokens, loss / tokens, right / tokens


def test_equals_transformers_loss(tiny_encoder, tiny_tokenizer, corpus, capsys):
    perplexity.main(["--data", str(corpus), "--max_length", "64", "--device", "cpu", str(tiny_encoder)])
    tokens, loss, ppl, accuracy = metrics(capsys.readouterr().out)
    sentences, _ = load_corpus(str(corpus), tiny_tokenizer, 64)
    expected = brute_force(tiny_encoder, tiny_tokenizer, sentences)
    assert (tokens, loss, accuracy) == pytest.approx(expected, abs=1e-4) and tokens > 50
    assert ppl == pytest.approx(math.exp(loss), rel=1e-3)


def test_an_encoder_without_an_mlm_head_has_a_row_without_numbers(
    tiny_encoder, tiny_tokenizer, corpus, tmp_path, capsys
):
    headless = tmp_path / "headless"
    BertModel.from_pretrained(tiny_encoder).save_pretrained(headless)
    tiny_tokenizer.save_pretrained(headless)
    perplexity.main(["--data", str(corpus), "--device", "cpu", str(headless), str(tiny_encoder)])
    output = capsys.readouterr().out
    assert output.splitlines()[-2] == f"| {headless} | - | no MLM head | - | - |"
    assert metrics(output)[0] > 50


def test_the_sentences_that_a_run_held_out(tiny_encoder, tiny_tokenizer, corpus, tmp_path, capsys):
    everything, summary = load_corpus(str(corpus), tiny_tokenizer, 64)
    arguments = {"data": str(corpus), "max_length": 64, "text_column": "text", "validation_fraction": 0.2, "seed": 7}
    record = tmp_path / "run.json"
    record.write_text(json.dumps({"arguments": arguments, "inputs": {"corpus": summary.identity}}))
    command = ["--held_out_by", str(tmp_path), "--max_length", "64", "--device", "cpu", str(tiny_encoder)]
    perplexity.main(command)
    _, held_out = hold_out(everything, 0.2, 7)
    table = capsys.readouterr().out
    assert metrics(table)[:2] == pytest.approx(brute_force(tiny_encoder, tiny_tokenizer, held_out)[:2], abs=1e-4)
    record.write_text(json.dumps({"arguments": arguments, "corpus_sha256": summary.identity}))  # as at first
    perplexity.main(command)
    assert capsys.readouterr().out == table
    for broken, message in (
        ({"arguments": arguments, "inputs": {"corpus": "another"}}, "is not the corpus of"),
        ({"arguments": {"data": str(corpus)}}, "is no run of pretrain.py: it has no 'max_length'"),
    ):
        record.write_text(json.dumps(broken))
        with pytest.raises(UserError, match=message):
            perplexity.main(command)
    with pytest.raises(UserError, match=r"nowhere has no run\.json"):
        perplexity.main(["--held_out_by", str(tmp_path / "nowhere"), str(tiny_encoder)])


@pytest.mark.parametrize("text", [[], ["--data", "lee_news", "--held_out_by", "nowhere"]])
def test_one_text_is_asked_for(text):
    with pytest.raises(UserError, match="one of the two"):
        perplexity.main([*text, "minilm"])


def test_text_with_nothing_to_mask_is_refused(tiny_encoder, tmp_path):
    (tmp_path / "corpus.txt").write_text("Ω Ω Ω\n")  # [UNK] is never selected
    with pytest.raises(UserError, match="can be masked"):
        perplexity.main(["--data", str(tmp_path / "corpus.txt"), "--device", "cpu", str(tiny_encoder)])
