"""Word pieces, packing and one episode, against the plain way of doing each."""

import random

import container_cases as cases
import pytest
import torch
from container.arguments import parse_args
from container.data import Episode, Sentence
from container.episode import Tagger, label_scores
from container.gaussian import contrastive_loss
from container.model import Container, WordPieces, load, load_encoder, pack, save

STATISTICS = [0.8, 0.2, 0.9, 0.1, 0.46, 0.53, 0.01]
LABELS = ["O", *cases.TEST_TYPES]


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    return cases.write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def model(encoder_folder):
    encoder, _ = load_encoder(str(encoder_folder))
    torch.manual_seed(1)
    return Container(encoder, 16).eval()


@pytest.fixture
def words(encoder_folder):
    return WordPieces(load_encoder(str(encoder_folder))[1], max_length=128)


def tagger(model, words, *flags):
    return Tagger(model, words, LABELS, STATISTICS, parse_args(["--type", "intra", "--name", "test", *flags], ""))


def episodes(number):
    rng = random.Random(3)
    for _ in range(number):
        published = cases.episode(rng)
        yield Episode(
            *(
                [Sentence(*pair) for pair in zip(*published[part].values(), strict=True)]
                for part in ("support", "query")
            )
        )


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_word_pieces_equal_the_tokenizer_on_split_words(tiny_tokenizer):
    """A tokenizer with ##pieces; words cut into many, known ones, and the limit in the middle of a word."""
    text = ["president", "walking", "z9", "paris", "unbelievable", "paris", "!", "end"]
    for limit in (40, 12, 7, 3):
        theirs = tiny_tokenizer(text, is_split_into_words=True, truncation=True, max_length=limit)
        ours = WordPieces(tiny_tokenizer, limit).encode(text)
        assert ours.ids == theirs["input_ids"]
        assert ours.first == [theirs.word_ids().index(i) for i in range(len(text)) if i in theirs.word_ids()]


def test_words_that_the_tokenizer_drops_become_unknown_and_are_counted(tiny_tokenizer):
    words = WordPieces(tiny_tokenizer, 16)
    encoded = words.encode(["paris", "\u200b", "", "paris"])
    assert tiny_tokenizer.convert_ids_to_tokens(encoded.ids) == ["[CLS]", "paris", "[UNK]", "[UNK]", "paris", "[SEP]"]
    assert (encoded.first, words.unknown, words.cut) == ([1, 2, 3, 4], 2, 0)
    words.encode(["paris"] * 20)
    assert words.cut == 6


@pytest.mark.parametrize("number", [1, 2, 40])
def test_packed_states_equal_those_of_sentences_alone(model, words, number):
    rng = random.Random(number)
    sentences = [words.encode(cases.sentence(rng, cases.TEST_TYPES[: i % 4])[0]) for i in range(number)]
    packed = pack(sentences)
    assert packed.ids.numel() < 1.2 * sum(len(s.ids) for s in sentences)
    with torch.no_grad():
        alone = [model.encoder(torch.tensor([s.ids])).last_hidden_state[0, s.first] for s in sentences]
        torch.testing.assert_close(model.hidden(packed), torch.cat(alone), rtol=1e-4, atol=1e-5)


def plain_finetuning(model, words, episode, steps):
    """Padded batch, all weights, one learning rate group each, no tricks."""
    encoded = [words.encode(s.words) for s in episode.support]
    longest = max(len(e.ids) for e in encoded)
    ids = torch.tensor([e.ids + [0] * (longest - len(e.ids)) for e in encoded])
    mask = torch.tensor([[1] * len(e.ids) + [0] * (longest - len(e.ids)) for e in encoded])
    labels = torch.tensor([LABELS.index(label) for s in episode.support for label in s.labels])
    groups = [{"params": model.encoder.parameters(), "lr": 1e-5}, {"params": model.heads.parameters(), "lr": 1e-4}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    losses = []
    for _ in range(steps):
        states = model.encoder(ids, attention_mask=mask).last_hidden_state
        first = torch.cat([row[e.first] for row, e in zip(states, encoded, strict=True)])
        loss = contrastive_loss(*model.gaussians(first), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return losses


def test_finetuning_equals_the_plain_way_and_is_undone(model, words, encoder_folder):
    (episode,) = episodes(1)
    trained = weights(model)
    tagging = tagger(model, words, "--dropout", "0", "--max_steps", "6")
    encoded = [words.encode(s.words) for s in episode.support]
    losses = tagging.finetune(pack(encoded), tagging.label_ids(episode.support, encoded))
    finetuned = weights(model)
    tagging.restore()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in model.state_dict().items())

    plain = Container(load_encoder(str(encoder_folder))[0], 16).eval()
    plain.load_state_dict(trained)
    assert losses == pytest.approx(plain_finetuning(plain, words, episode, 6), rel=1e-5)
    assert len(losses) == 6 and losses[-1] < losses[0]
    for name, tensor in plain.state_dict().items():
        # the loss does not depend on these biases: their gradient is rounding, of which Adam makes a step
        if not name.endswith(("attention.self.key.bias", "mu.bias")):
            torch.testing.assert_close(finetuned[name], tensor, rtol=1e-4, atol=2e-5)
    changed = (
        finetuned["encoder.embeddings.word_embeddings.weight"] != trained["encoder.embeddings.word_embeddings.weight"]
    )
    assert set(changed.any(1).nonzero()[:, 0].tolist()) <= {i for e in encoded for i in e.ids}
    assert changed.any()


def test_finetuning_stops_when_the_loss_rises(model, words, monkeypatch):
    (episode,) = episodes(1)
    given = iter([5.0, 4.0, 4.0, 3.0, 3.5, 1.0])
    monkeypatch.setattr(
        "container.episode.contrastive_loss", lambda mu, variance, labels, distance: 0 * mu.sum() + next(given)
    )
    assert tagger(model, words).run(0, episode).losses == [5.0, 4.0, 4.0, 3.0, 3.5]


def test_an_episode_does_not_depend_on_what_ran_before(model, words):
    tagging = tagger(model, words)
    given = list(episodes(3))
    alone = [tagger(model, words).run(index, episode) for index, episode in enumerate(given)]
    backwards = [tagging.run(index, given[index]) for index in (2, 1, 0)][::-1]
    assert backwards == alone
    assert tagging.run(5, given[0]).losses != alone[0].losses  # dropout: another index, another seed
    assert tagger(model, words, "--seed", "1").run(0, given[0]).losses != alone[0].losses


def test_label_scores_by_hand():
    support, labels = torch.tensor([[2.0, 0], [0, 3], [-1, 0]]), torch.tensor([0, 2, 2])
    scores = label_scores(torch.tensor([[1.0, 0], [3, 4]]), support, labels, 4)
    expected = [[0, -1e5, -2, -1e5], [-((0.4) ** 2 + 0.8**2), -1e5, -(0.6**2 + 0.2**2), -1e5]]
    torch.testing.assert_close(scores, torch.tensor(expected))
    centre = torch.tensor([-0.5, 0.5])  # of label 2
    scores = label_scores(torch.tensor([[1.0, 0]]), support, labels, 3, prototypes=True)
    expected = [[0, -1e5, -(torch.tensor([1.0, 0]) - centre).square().sum().item()]]
    torch.testing.assert_close(scores, torch.tensor(expected))


@pytest.mark.parametrize("method", ["container", "nnshot", "structshot", "protobert"])
def test_known_words_get_their_label(model, words, method):
    """A query that repeats the support sentences is tagged as they are, whatever the method."""
    (episode,) = episodes(1)
    flags = ["--method", method, "--max_steps", "3"]
    tags = tagger(model, words, *flags).run(0, Episode(episode.support, episode.support)).labels
    right = [
        tag == label
        for found, s in zip(tags, episode.support, strict=True)
        for tag, label in zip(found, s.labels, strict=True)
    ]
    assert sum(right) / len(right) > (0.5 if method == "protobert" else 0.95)


def test_an_empty_support_set_leaves_everything_untagged(model, words):
    (episode,) = episodes(1)
    for support in ([], [Sentence([], [])]):
        outcome = tagger(model, words).run(0, Episode(support, episode.query))
        assert outcome.losses == []
        assert outcome.labels == [["O"] * len(s.words) for s in episode.query]


def test_sentences_without_words_and_words_beyond_the_limit_are_tagged_o(model, encoder_folder):
    (episode,) = episodes(1)
    words = WordPieces(load_encoder(str(encoder_folder))[1], max_length=8)
    query = [Sentence([], []), episode.query[0], Sentence(["word1"] * 20, ["O"] * 20)]
    support = [*episode.support, Sentence(["word1"] * 20, ["O"] * 20)]
    outcome = tagger(model, words).run(0, Episode(support, query))
    assert [len(tags) for tags in outcome.labels] == [0, len(episode.query[0].words), 20]
    assert set(outcome.labels[2][6:]) == {"O"}
    assert words.cut == sum(max(0, len(s.words) - 6) for s in [*support, *query])


def test_saved_models_load_as_they_were(model, encoder_folder, tmp_path):
    save(model, load_encoder(str(encoder_folder))[1], tmp_path)
    loaded, tokenizer = load(tmp_path)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert tokenizer.get_vocab() == load_encoder(str(encoder_folder))[1].get_vocab()
