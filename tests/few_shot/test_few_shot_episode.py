"""Word pieces, packing and one episode, against the plain way of doing each."""

import random
from dataclasses import dataclass
from unittest.mock import patch

import few_shot_cases as cases
import pytest
import torch

from common.flags import Count, LearningRate, flag
from encoders import WordPieces, load_encoder
from evaluations.few_shot.data import Episode, Sentence
from evaluations.few_shot.gaussian import contrastive_loss
from evaluations.few_shot.methods import METHODS, parse_recipe
from evaluations.few_shot.methods.contrastive import Contrastive
from evaluations.few_shot.methods.nnshot import label_scores
from evaluations.few_shot.recipe import Recipe
from evaluations.few_shot.run import run_episode

STATISTICS = [0.8, 0.2, 0.9, 0.1, 0.46, 0.53, 0.01]
LABELS = ["O", *cases.TEST_TYPES]


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    return cases.write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def method(encoder_folder):
    """A method of the given flags on the encoder, with random heads, always the same."""

    def make(*flags):
        recipe = parse_recipe(["--type", "intra", "--name", "test", *flags], "")
        encoder, tokenizer = load_encoder(str(encoder_folder))
        torch.manual_seed(1)
        made = METHODS[recipe.method](encoder, tokenizer, recipe)
        if isinstance(made, Contrastive):
            made.statistics.copy_(torch.tensor(STATISTICS))
        return made.eval()

    return make


def run(method, index, episode):
    return run_episode(method, index, episode, LABELS)


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
def test_packed_states_equal_those_of_sentences_alone(method, number):
    rng, model = random.Random(number), method()
    sentences = [model.words.encode(cases.sentence(rng, cases.TEST_TYPES[: i % 4])[0]) for i in range(number)]
    packed = model.pack(sentences)
    assert packed.input_ids.numel() < 1.2 * sum(len(s.ids) for s in sentences)
    with torch.no_grad():
        alone = [model.encoder(torch.tensor([s.ids])).last_hidden_state[0, s.first] for s in sentences]
        torch.testing.assert_close(model.hidden(packed), torch.cat(alone), rtol=1e-4, atol=1e-5)


def plain_finetuning(model, episode, steps):
    """Padded batch, all weights, one learning rate group each, no tricks."""
    encoded = [model.words.encode(s.words) for s in episode.support]
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
        loss = contrastive_loss(*model.heads(first), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return losses


def test_finetuning_equals_the_plain_way_and_is_undone(method):
    (episode,) = episodes(1)
    model, plain = method("--dropout", "0", "--max_steps", "6"), method()
    trained = weights(model)
    losses = model.fit(episode.support, LABELS)
    finetuned = weights(model)
    model.restore()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in model.state_dict().items())

    assert losses == pytest.approx(plain_finetuning(plain, episode, 6), rel=1e-5)
    assert len(losses) == 6 and losses[-1] < losses[0]
    for name, tensor in plain.state_dict().items():
        # the loss does not depend on these biases: their gradient is rounding, of which Adam makes a step
        if not name.endswith(("attention.self.key.bias", "mu.bias")):
            torch.testing.assert_close(finetuned[name], tensor, rtol=1e-4, atol=2e-5)
    words = "encoder.embeddings.word_embeddings.weight"
    changed = finetuned[words] != trained[words]
    assert changed.any()
    supported = {i for s in episode.support for i in model.words.encode(s.words).ids}
    assert set(changed.any(1).nonzero()[:, 0].tolist()) <= supported


def test_finetuning_stops_when_the_loss_rises(method, monkeypatch):
    (episode,) = episodes(1)
    given = iter([5.0, 4.0, 4.0, 3.0, 3.5, 1.0])
    monkeypatch.setattr(
        "evaluations.few_shot.methods.contrastive.contrastive_loss",
        lambda mu, variance, labels, distance: 0 * mu.sum() + next(given),
    )
    assert run(method(), 0, episode).losses == [5.0, 4.0, 4.0, 3.0, 3.5]


@pytest.mark.parametrize(
    "flags", [*(("--method", name) for name in METHODS), ("--method", "tadner", "--transductive")], ids=" ".join
)
def test_an_episode_does_not_depend_on_what_ran_before_and_changes_no_weight(method, flags):
    model = method(*flags)
    given, trained = list(episodes(3)), weights(model)
    alone = [run(method(*flags), index, episode) for index, episode in enumerate(given)]
    backwards = [run(model, index, given[index]) for index in (2, 1, 0)][::-1]
    assert backwards == alone
    assert all(torch.equal(tensor, trained[name]) for name, tensor in model.state_dict().items())
    assert not any(module.training for module in model.modules())


def test_dropout_is_drawn_anew_for_each_index_and_seed(method):
    model = method()
    given = list(episodes(1))
    alone = [run(method(), 0, given[0])]
    assert run(model, 5, given[0]).losses != alone[0].losses  # dropout: another index, another seed
    assert run(method("--seed", "1"), 0, given[0]).losses != alone[0].losses


def test_label_scores_by_hand(method):
    support, labels = torch.tensor([[1.0, 0], [0, 1], [-1, 0]]), torch.tensor([0, 2, 2])
    scores = label_scores(torch.tensor([[1.0, 0], [0.6, 0.8]]), support, labels, 4)
    expected = [[0, -1e5, -2, -1e5], [-((0.4) ** 2 + 0.8**2), -1e5, -(0.6**2 + 0.2**2), -1e5]]
    torch.testing.assert_close(scores, torch.tensor(expected))
    prototypes = method("--method", "protobert")
    prototypes.support_labels = labels
    scores = label_scores(torch.tensor([[1.0, 0]]), *prototypes.references(support), 3)
    centre = torch.tensor([-0.5, 0.5])  # of label 2
    expected = [[0, -1e5, -(torch.tensor([1.0, 0]) - centre).square().sum().item()]]
    torch.testing.assert_close(scores, torch.tensor(expected))


@pytest.mark.parametrize("name", ["container", "nnshot", "structshot", "protobert", "proml"])
def test_known_words_get_their_label(method, name):
    """A query that repeats the support sentences is tagged as they are; methods that look for spans must learn to."""
    (episode,) = episodes(1)
    model = method("--method", name)
    tags = run(model, 0, Episode(episode.support, episode.support)).labels
    right = [
        tag == label
        for found, s in zip(tags, episode.support, strict=True)
        for tag, label in zip(found, s.labels, strict=True)
    ]
    assert sum(right) / len(right) > (0.5 if name == "protobert" else 0.95)


@pytest.mark.parametrize("name", METHODS)
def test_an_empty_support_set_leaves_everything_untagged(method, name):
    (episode,) = episodes(1)
    for support in ([], [Sentence([], [])]):
        outcome = run(method("--method", name), 0, Episode(support, episode.query))
        assert outcome.losses == []
        assert outcome.labels == [["O"] * len(s.words) for s in episode.query]


@pytest.mark.parametrize("name", METHODS)
def test_a_support_set_without_entities_and_a_query_without_words(method, name):
    (episode,) = episodes(1)
    plain = [Sentence(["word1", "word2"], ["O", "O"])]
    assert run(method("--method", name), 0, Episode(plain, plain)).labels == [["O", "O"]]
    assert run(method("--method", name), 0, Episode(episode.support, [Sentence([], [])])).labels == [[]]


@pytest.mark.parametrize("name", METHODS)
def test_sentences_without_words_and_words_beyond_the_limit_are_tagged_o(method, name):
    (episode,) = episodes(1)
    model = method("--method", name, "--max_length", "8")
    query = [Sentence([], []), episode.query[0], Sentence(["word1"] * 20, ["O"] * 20)]
    support = [*episode.support, Sentence(["word1"] * 20, ["O"] * 20)]
    outcome = run(model, 0, Episode(support, query))
    assert [len(tags) for tags in outcome.labels] == [0, len(episode.query[0].words), 20]
    assert set(outcome.labels[2][6:]) == {"O"}
    assert model.words.cut == sum(max(0, len(s.words) - 6) for s in [*support, *query])


@pytest.mark.parametrize("name", ["container", "proml", "tadner", "readout"])
def test_saved_methods_load_as_they_were(method, tmp_path, name):
    model = method("--method", name)
    model.save(tmp_path)
    loaded = type(model).load(tmp_path, model.recipe)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert loaded.words.tokenizer.get_vocab() == model.words.tokenizer.get_vocab()


def test_each_method_has_its_own_flags(capsys):
    """One class with its recipe, and a line in the table: the flags are known to the commands at once."""

    @dataclass(frozen=True, kw_only=True)
    class OtherRecipe(Recipe):
        neighbours: Count = flag(3, "of each label")
        learning_rate: LearningRate = flag(3e-5, "of the new heads")

    class Other(METHODS["nnshot"]):
        RECIPE, SOURCE = OtherRecipe, "other"

    with patch.dict(METHODS, {"other": Other}):
        required = ["--type", "intra", "--name", "test", "--method", "other"]
        recipe = parse_recipe([*required, "--neighbours", "5"], "")
        assert (recipe.neighbours, recipe.learning_rate, recipe.setting) == (5, 3e-5, "5-1-other")
        with pytest.raises(SystemExit):
            parse_recipe([*required, "--distance", "kl"], "")
    with pytest.raises(SystemExit):
        parse_recipe(required, "")
    assert "invalid choice: 'other' (choose from 'container', 'nnshot'" in capsys.readouterr().err
