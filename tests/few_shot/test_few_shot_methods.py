"""ProML, TadNER and the frozen readout: losses against their formulas, scores by hand, prompts, names."""

import math

import few_shot_cases as cases
import pytest
import torch
from torch.nn import functional as F

from common.errors import UserError
from encoders import load_encoder
from evaluations.few_shot.data import Episode, Sentence
from evaluations.few_shot.methods import METHODS, parse_recipe
from evaluations.few_shot.methods.names import TABLE, names_of, read_label_names
from evaluations.few_shot.methods.proml import label_aware, neighbour_distances, option_prefix, proml_loss
from evaluations.few_shot.methods.spans import as_labels, prototypes, runs, span_states
from evaluations.few_shot.methods.tadner import type_loss
from evaluations.few_shot.run import run_episode


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    return cases.write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def method(encoder_folder):
    def make(name, *flags):
        recipe = parse_recipe(["--type", "intra", "--name", "test", "--method", name, "--dropout", "0", *flags], "")
        torch.manual_seed(1)
        return METHODS[name](*load_encoder(str(encoder_folder)), recipe).eval()

    return make


EPISODE = Episode(
    [
        Sentence(["word1", "locationgpe0", "locationgpe1", "word2"], ["O", "location-GPE", "location-GPE", "O"]),
        Sentence(["organizationcompany0", "word3"], ["organization-company", "O"]),
    ],
    [Sentence(["word4", "locationgpe1", "word5"], ["O", "location-GPE", "O"])],
)
LABELS = ["O", *cases.TEST_TYPES]


def test_proml_loss_equals_its_formula():
    torch.manual_seed(0)
    query, support = ([torch.randn(n, 3).double(), torch.rand(n, 3).double() + 0.1] for n in (4, 5))
    ours, theirs = [0, 1, 2, 0], [0, 0, 1, 1, 1]  # label 2 has no support token

    def kl(p, q):
        (mu, v), (nu, w) = p, q
        return 0.5 * sum(math.log(w[k] / v[k]) + (v[k] + (mu[k] - nu[k]) ** 2) / w[k] - 1 for k in range(3))

    terms = []
    for i, label in enumerate(ours):
        one = [part[i].tolist() for part in query]
        others = [[part[j].tolist() for part in support] for j in range(5)]
        near = [math.exp(-(kl(one, other) + kl(other, one)) / 2) for other in others]
        if label in theirs:
            terms.append(-math.log(sum(n for n, kind in zip(near, theirs, strict=True) if kind == label) / sum(near)))
    same = torch.tensor(ours)[:, None] == torch.tensor(theirs)
    assert proml_loss(tuple(query), tuple(support), same).item() == pytest.approx(sum(terms) / 3, rel=1e-10)
    query[0].requires_grad_()
    nothing = proml_loss(tuple(query), tuple(support), torch.zeros_like(same))
    nothing.backward()
    assert nothing == 0 and not query[0].grad.any()


def test_type_loss_equals_its_formula():
    torch.manual_seed(0)
    words, names = torch.randn(6, 4).double(), torch.randn(3, 4).double()
    types, temperature = [0, 0, 1, 0, 2, 1], 0.5  # the token of type 2 has no positive
    w, t = F.normalize(words, dim=1).tolist(), F.normalize(names, dim=1)[types].tolist()

    def dot(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    terms = []
    for i in range(6):
        s = {j: (dot(t[i], w[j]) + dot(w[i], t[j])) / temperature for j in range(6) if j != i}
        positives = [j for j in s if types[j] == types[i]]
        if positives:
            total = sum(math.exp(score) for score in s.values())
            terms.append(sum(-math.log(math.exp(s[p]) / total) for p in positives) / len(positives))
    loss = type_loss(words, names, torch.tensor(types), temperature)
    assert loss.item() == pytest.approx(sum(terms) / 5, rel=1e-10)
    alone = words.clone().requires_grad_()
    type_loss(alone[:2], names, torch.tensor([0, 1]), 1.0).backward()
    assert alone.grad is not None and not alone.grad.any()


def test_proml_prompts():
    names = {"a": ["actor"], "b": ["sports", "team"]}
    assert option_prefix([names["a"], names["b"]]) == ["actor", ",", "sports", "team", ":"]
    words, own = label_aware(Sentence(["x", "y", "z", "u", "v"], ["a", "a", "b", "O", "b"]), names)
    assert " ".join(words) == "[ x y | actor ] [ z | sports team ] u [ v | sports team ]"
    assert [words[i] for i in own] == ["x", "y", "z", "u", "v"]


def test_proml_distances_by_hand():
    support, labels = torch.tensor([[0.0, 0], [3, 4], [0, 2], [1, 0]]), torch.tensor([0, 0, 2, 2])
    query = torch.tensor([[0.0, 0], [3, 0]])
    inf = math.inf
    one = [[0, inf, 1], [9, inf, 4]]
    two = [[12.5, inf, 2.5], [12.5, inf, 8.5]]
    for neighbours, expected in ((1, one), (2, two), (5, two)):
        found = neighbour_distances(query, support, labels, 3, neighbours)
        torch.testing.assert_close(found, torch.tensor(expected))


def test_proml_reads_the_sentences_tokens_behind_the_prompts(method):
    model = method("proml", "--rho", "0.3")
    types = ["location-GPE", "organization-company"]
    with torch.no_grad():
        prompted = model.prompt(EPISODE.support, types)
        states, asked, lengths = model.read(prompted, [s.words for s in EPISODE.query])

        def plain(text):
            ids = [model.words.tokenizer.convert_tokens_to_ids(word) for word in ["[CLS]", *text.split(), "[SEP]"]]
            return model.encoder(torch.tensor([ids])).last_hidden_state[0, 1:]

        prefix = "geographical social political , company :"
        first = plain(f"{prefix} word1 locationgpe0 locationgpe1 word2")[6:10]
        marked = plain("word1 [ locationgpe0 locationgpe1 | geographical social political ] word2")
        expected = 0.3 * first + 0.7 * marked[[0, 2, 3, 9]]
        torch.testing.assert_close(states[:4], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(asked, plain(f"{prefix} word4 locationgpe1 word5")[6:9], rtol=1e-4, atol=1e-5)
    assert prompted.labels == [label for s in EPISODE.support for label in s.labels] and lengths == [3]


def test_proml_leaves_out_what_the_encoder_cannot_read_with_the_prompts(method):
    model = method("proml")
    long = Sentence(["word1", "locationgpe0"] * 62, ["O", "location-GPE"] * 62)  # 124 words, 128 positions
    outcome = run_episode(model, 0, Episode([long], [long]), LABELS)
    assert len(outcome.labels[0]) == 124 and set(outcome.labels[0][122:]) == {"O"}


def test_proml_counts_the_words_that_the_prompts_push_out(method):
    """Those of the support set once, however many batches of the query are tagged."""
    model = method("proml")
    long = Sentence(["word1", "locationgpe0"] * 62, ["O", "location-GPE"] * 62)  # 124 words, 128 positions
    model.fit([long], LABELS)
    marked = 126 // 8 * 2 + 2  # word1 [ locationgpe0 | geographical social political ]: 8 pieces for 2 words
    assert model.words.cut == 124 - marked
    for number in (1, 2):
        assert len(model.tag([long.words])[0]) == 122  # behind four words of the prefix
        assert model.words.cut == 124 - marked + 2 * number


def test_proml_refuses_names_that_leave_no_room(method, tmp_path):
    (tmp_path / "names.tsv").write_text("location-GPE\t" + "word1 " * 130)
    model = method("proml", "--label_names", str(tmp_path / "names.tsv"))
    with pytest.raises(UserError, match="131 words with the commas, fill the 128 word pieces"):
        model.fit(EPISODE.support[:1], LABELS)


@pytest.mark.parametrize("name", ["proml", "readout"])
@pytest.mark.parametrize("labels", [["O", "O"], ["thing", "O"], ["thing", "thing"]])
def test_source_sentences_from_which_nothing_can_be_learnt_are_refused(encoder_folder, name, labels):
    """Not one episode can be drawn, or the probe has words of one kind alone."""
    recipe = parse_recipe(["--type", "intra", "--name", "test", "--method", name], "")
    model = METHODS[name](*load_encoder(str(encoder_folder)), recipe)
    sentences = [Sentence(["word1", "word2"], labels)]
    if name == "readout" and len(set(labels)) == 2:
        model.train_on_source(sentences, ["O", "thing"])
        return
    with pytest.raises(UserError, match=r"source training has too few entities|no probe can be trained"):
        model.train_on_source(sentences, ["O", "thing"])


def test_tadner_types_by_hand(method):
    """Names and examples add up; what is less similar to its type's name than the threshold has no type."""
    model = method("tadner")
    model.types, model.embeddings = ["a", "b"], torch.tensor([[1.0, 0], [0, 1]])
    means = torch.tensor([[0.8, 0.4], [0, 1.0]])  # of the examples
    spans = torch.tensor([[1.0, 0], [0.6, 0.8], [-1.0, 0]])
    # prototypes: a (1, 0) + (0.8, 0.4), b (0, 1) + (0, 1); scores: (1.8, 0), (1.08 + 0.32, 1.6), (-1.8, 0)
    # to the names of these types: 1, 0.8, 0
    assert model.type_spans(spans, means, 0.0).tolist() == [0, 1, 1]
    assert model.type_spans(spans, means, 0.5).tolist() == [0, 1, -1]
    assert model.type_spans(spans, means, 0.9).tolist() == [0, -1, -1]
    states = [torch.tensor([[1.0, 0], [0.6, 0.8]]), torch.tensor([[0.8, 0.6], [0, 1.0]])]
    known = [[(0, 2, "a")], [(1, 2, "b")]]
    assert model.threshold(states, known) == pytest.approx(0.6)


def test_tadner_span_loss_and_names(method):
    model = method("tadner")
    encoded = [model.words.encode(s.words) for s in EPISODE.support]
    with torch.no_grad():
        logits = model.inside(
            torch.cat([model.encoder(torch.tensor([e.ids])).last_hidden_state[0, e.first] for e in encoded])
        )
        loss = model.span_loss(encoded, [s.labels for s in EPISODE.support])
        expected = F.cross_entropy(logits, torch.tensor([0, 1, 1, 0, 1, 0]))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    losses = model.fit(EPISODE.support, LABELS)
    model.restore()
    assert model.types == ["location-GPE", "organization-company"] and len(losses) == 2  # a step of each
    ids = torch.tensor([model.words.encode(["company"]).ids])
    with torch.no_grad():
        states = model.type_encoder(ids, output_hidden_states=True).hidden_states[-2:]  # the tiny one has 2 layers and
        states = [*model.type_encoder(ids, output_hidden_states=True).hidden_states[:1], *states]  # the embeddings
    name = F.normalize(torch.stack(states).mean(0)[0, :1], dim=1)
    torch.testing.assert_close(model.embeddings[1:], name, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("flags", "steps"), [((), 4), (("--shot", "5"), 8), (("--patience", "1"), 2), (("--patience", "3"), 7)]
)
def test_tadner_stops_when_the_loss_has_not_fallen(method, flags, steps):
    losses = [5.0, 4.0, 4.5, 4.0, 3.0, 3.0, 3.5, 3.2, 2.0, 9.0]
    model = method("tadner", *flags)
    stopped = next((n for n in range(1, 11) if model.stop(losses[:n])), None)
    assert stopped == {4: 4, 8: None, 2: 3, 7: 8}[steps]


def test_the_readout_by_hand(method):
    model = METHODS["readout"](
        *load_encoder(str(method("proml").encoder.config._name_or_path)),
        parse_recipe(["--type", "intra", "--name", "test", "--method", "readout"], ""),
    ).eval()
    model.types, model.prototypes = ["a", "b"], torch.tensor([[1.0, 0], [0, 1]])
    model.asked = (torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]]),)
    assert model.type_spans([[(0, 1, "I"), (1, 3, "I")]]) == ["a", "b"]
    assert model.measure([Sentence(["x", "y", "z"], ["b", "b", "a"])]) == {"typing": [0, 2]}
    assert model.measure([Sentence(["x", "y", "z"], ["a", "b", "O"])]) == {"typing": [2, 2]}


def test_spans():
    assert runs([True, True, False, True]) == [(0, 2, "I"), (3, 4, "I")]
    states = [torch.tensor([[1.0], [3], [8]]), torch.tensor([[5.0]])]
    spans = [[(0, 2, "a"), (2, 3, "b")], [(0, 1, "a")]]
    assert span_states(states, spans)[:, 0].tolist() == [2, 8, 5]
    assert prototypes(states, spans, ["a", "b"])[:, 0].tolist() == [3.5, 8]
    found = [[(0, 2, "I")], [], [(0, 1, "I")]]
    assert as_labels([3, 2, 1], found, ["a", "O"]) == [["a", "a", "O"], ["O", "O"], ["O"]]


def test_label_names(tmp_path):
    assert len(read_label_names(TABLE)) == 66
    names = tmp_path / "names.tsv"
    names.write_text("person-actor\tstage player\n\nmine\tmy  own\n")
    found = names_of(["O", "person-actor", "mine", "art-film", "product_mobile-Phone", "--"], names)
    assert found == {
        "person-actor": ["stage", "player"],
        "mine": ["my", "own"],
        "art-film": ["film"],
        "product_mobile-Phone": ["product", "mobile", "phone"],
        "--": ["--"],
    }
    for line in ("no tab", "a\t", "\tb", "a\tb\tc"):
        names.write_text(f"x\ty\n{line}\n")
        with pytest.raises(UserError, match=r"names.tsv, line 2: not a label and its words"):
            read_label_names(names)
    with pytest.raises(UserError, match=r"missing.tsv cannot be read"):
        read_label_names(tmp_path / "missing.tsv")
