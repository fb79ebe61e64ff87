"""The curves picture and the model card: from the metrics of whole, torn, odd and absent runs."""

import contextlib
import io
import json
import re
from xml.etree import ElementTree

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from transformers import BertConfig, BertTokenizerFast

from model.autoencoder import SparseLTForPreTraining
from model.configuration import SparseLTConfig
from runs import read_metrics
from training.cards import write_model_card
from training.report import MOST_POINTS, curves, thinned, write_curves


def training_line(step: int, **values: float) -> dict:
    return {"step": step, "mlm_loss": 8 - step / 100, "tau": 5 * 0.99**step, "share_typed": 0.5, **values}


def write_run(directory, lines, record=None):
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if record is not None:
        (directory / "run.json").write_text(json.dumps(record))
    return directory


LINES = [
    training_line(50, sparsity_loss=1.5, loss=9.25),
    {"step": 100, "validation": {"mlm_loss": 6.125, "bleu": 0.25}},
    training_line(100, sparsity_loss=1.25, loss=8.5),
]
RECORD = {
    "arguments": {"name": "a|b", "data": "news.txt", "model": "minilm", "num_types": 64, "alpha": 0.05},
    "environment": {"torch": "2.13.0", "commit": "abc"},
    "inputs": {"corpus": "f" * 64, "encoder": "e" * 64},
}


def svg_text(path) -> str:
    return " ".join(ElementTree.parse(path).getroot().itertext())


def test_metrics_are_read_by_name(tmp_path):
    training, validation = curves(read_metrics(write_run(tmp_path, LINES)))
    assert training["sparsity_loss"] == [(50, 1.5), (100, 1.25)]
    assert validation == {"mlm_loss": [(100, 6.125)], "bleu": [(100, 0.25)]}


def test_a_step_written_twice_counts_once(tmp_path):
    lines = [training_line(1, loss=5.0), training_line(2, loss=4.0), training_line(1, loss=3.0)]
    training, _ = curves(read_metrics(write_run(tmp_path, lines)))
    assert training["loss"] == [(1, 3.0), (2, 4.0)]


ODD = {
    "empty": "",
    "torn last line": json.dumps(LINES[0]) + '\n{"step": 100, "loss"',
    "not numbers": '{"step": 1, "loss": NaN, "mlm_loss": Infinity, "tau": "5", "kl_loss": null, "bleu": [1]}',
    "an enormous integer": '{"step": 1, "loss": 1' + "0" * 400 + "}",
    "other JSON": '[]\n3\nnull\n{"loss": 1}\n{"step": "x", "loss": 1}\n{"step": 1, "validation": 5}',
    "bytes": "\x00\x01\ufffd",
}


@pytest.mark.parametrize("content", ODD.values(), ids=ODD.keys())
def test_odd_metrics_still_make_both_files(tmp_path, content):
    (tmp_path / "metrics.jsonl").write_text(content)
    (tmp_path / "run.json").write_text(content)
    assert ElementTree.parse(write_curves(tmp_path)).getroot().tag.endswith("svg")
    assert tmp_path.name in write_model_card(tmp_path).read_text()


def test_a_run_without_files_makes_both_files(tmp_path):
    assert "no metrics were recorded" in svg_text(write_curves(tmp_path))
    assert "Not recorded." in write_model_card(tmp_path).read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "curves.svg"]


def test_the_picture_has_a_panel_for_each_curve_there_is(tmp_path):
    text = svg_text(write_curves(write_run(tmp_path, LINES)))
    for title in ("MLM loss", "temperature", "share of tokens typed", "sparsity loss", "BLEU of reconstructions"):
        assert title in text
    assert "KL loss" not in text and "type perplexity" not in text


def test_metrics_of_no_known_name_have_a_panel_too(tmp_path):
    text = svg_text(write_curves(write_run(tmp_path, [training_line(1, norm_loss=2.0)])))
    assert "norm_loss" in text and "MLM loss" in text


def test_a_long_curve_is_thinned_by_means():
    curve = [(step, float(step % 2)) for step in range(10 * MOST_POINTS)]
    short = thinned(curve)
    assert len(short) == MOST_POINTS
    assert {value for _, value in short} == {0.5}
    assert thinned(curve[:7]) == curve[:7] and thinned([]) == []


def test_the_card_says_what_the_files_say(tmp_path):
    text = write_model_card(write_run(tmp_path, LINES, RECORD)).read_text()
    for piece in ("`news.txt`", "f" * 64, "| alpha | 0.05 |", "| torch | 2.13.0 |", "| MLM loss | 6.125 |", "a\\|b"):
        assert piece in text
    assert "Trained for 100 steps" in text and "latent types" in text


def test_the_card_of_a_control_run_promises_no_types(tmp_path):
    lines = [{"step": 50, "mlm_loss": 5.0}, {"step": 50, "validation": {"mlm_loss": 5.5}}]
    text = write_model_card(write_run(tmp_path, lines, RECORD)).read_text()
    assert "which were not trained" in text


def test_the_hub_can_read_the_card(tmp_path):
    card = ModelCard.load(write_model_card(write_run(tmp_path, LINES, RECORD)))
    metadata = yaml.safe_load(card.data.to_yaml())
    assert metadata["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert metadata["library_name"] == "transformers"
    values = {
        metric["name"]: metric["value"]
        for result in metadata["model-index"][0]["results"]
        for metric in result["metrics"]
    }
    assert values == {"MLM loss": 6.125, "BLEU of reconstructions": 0.25}


def test_the_usage_snippet_runs(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "letters", "from", "the", "minister", "have", "been"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    BertTokenizerFast.from_pretrained(tmp_path).save_pretrained(tmp_path)
    torch.manual_seed(0)
    encoder = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    SparseLTForPreTraining(SparseLTConfig(encoder=encoder, bos_token_id=2, eos_token_id=3)).save_pretrained(tmp_path)
    snippet = re.search(r"```python\n(.*?)```", write_model_card(tmp_path).read_text(), re.DOTALL).group(1)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(snippet, {})
    typed, reconstruction = printed.getvalue().splitlines()
    assert set(reconstruction.split()) <= set(words)
    assert re.search(r"'(letters|from|the|minister|have|been)\(\d+\)'", typed)
