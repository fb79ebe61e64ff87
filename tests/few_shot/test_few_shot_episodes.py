"""Episodes of one's own sentences: N-way K~2K-shot sampling, and the commands that run on the result."""

import json
import random
from collections import Counter
from itertools import combinations

import few_shot_cases as cases
import pytest
from few_shot_cases import ANNE, BIO, IN_ROME, columns

from common.errors import UserError
from evaluations.bootstrap import micro_prf
from evaluations.few_shot import episodes, run, tables, train
from evaluations.few_shot.data import Sentence, Split, identity, read_episodes, read_labels
from evaluations.few_shot.records import read_run
from evaluations.few_shot.scores import entities


def holding(*kinds):
    """A sentence with an entity of each."""
    return Sentence(["a"] * 2 * len(kinds), [label for kind in kinds for label in (kind, "O")])


def small_sets(number):
    rng = random.Random(5)
    for _ in range(number):
        kinds = "ABC"[: rng.randint(1, 3)]
        yield [holding(*rng.choices(kinds, k=rng.randint(0, 3))) for _ in range(rng.randint(1, 7))], kinds


def is_set(sentences, types, shot):
    counts = Counter(kind for sentence in sentences for *_, kind in entities(sentence.labels))
    return counts.keys() == set(types) and all(shot <= number <= 2 * shot for number in counts.values())


def episode_exists(sentences, way, shot):
    """Whether any two disjoint sets of sentences are a support and a query set; greedy sampling can draw any of them,
    or what is left of them without sentences that they do not need."""
    types = sorted({kind for s in sentences for *_, kind in entities(s.labels)})
    parts = [part for n in range(1, len(sentences) + 1) for part in combinations(range(len(sentences)), n)]
    for chosen in combinations(types, way):
        sets = [set(part) for part in parts if is_set([sentences[i] for i in part], chosen, shot)]
        if any(not a & b for a, b in combinations(sets, 2)):
            return True
    return False


@pytest.mark.parametrize("chance", [True, False])
def test_an_episode_is_found_whenever_there_is_one(monkeypatch, chance):
    """With and without attempts by chance before the search, against all pairs of sets."""
    if not chance:
        monkeypatch.setattr(episodes, "ATTEMPTS", 0)
    outcomes = Counter()
    for sentences, kinds in small_sets(150):
        way, shot = random.Random(len(sentences)).randint(1, len(kinds)), 1 + len(sentences) % 2
        expected = episode_exists(sentences, way, shot)
        try:
            support, query = episodes.Sampler(sentences, way, shot, "mine.txt").draw(random.Random(0))
        except UserError as error:
            assert not expected and "\n" not in str(error) and "mine.txt" in str(error)
        else:
            assert expected and not set(support) & set(query)
            types = {kind for i in support for *_, kind in entities(sentences[i].labels)}
            assert len(types) == way
            assert all(is_set([sentences[i] for i in part], types, shot) for part in (support, query))
        outcomes[expected] += 1
    assert min(outcomes.values()) > 20


def test_sets_are_drawn_as_the_published_sampler_draws_them():
    """Each sentence at random among all of these types, until one fits: the share of every outcome, in 4,000 draws."""
    sentences = [holding("A"), holding("A", "A"), holding("B"), holding("A", "B"), holding("B", "B"), holding("C")]
    sampler = episodes.Sampler([*sentences, *sentences], 2, 1, "")
    counts = sampler.counts

    def published(rng):
        chosen, total = [], Counter()
        while not all(total[kind] >= 1 for kind in "AB"):
            index = rng.choice(range(5))
            fits = all(total[kind] + n <= 2 for kind, n in counts[index].items())
            if index not in chosen and fits and any(total[kind] < 1 for kind in counts[index]):
                chosen.append(index)
                total += counts[index]
        return chosen

    rng = random.Random(1)
    ours = Counter(tuple(sampler.greedy(rng, ["A", "B"], range(5))) for _ in range(4000))
    theirs = Counter(tuple(published(rng)) for _ in range(4000))
    assert ours.keys() == theirs.keys()
    assert all(abs(ours[key] - theirs[key]) < 4 * (ours[key] + theirs[key]) ** 0.5 for key in ours)


@pytest.fixture
def mine(tmp_path):
    """400 sentences of the five test types of the small Few-NERD, and 64 of its training types."""
    rng = random.Random(2)
    for name, number, types in (("mine", 400, cases.TEST_TYPES), ("source", 64, cases.TRAIN_TYPES)):
        pairs = [cases.sentence(rng, rng.choices(types, k=rng.randint(0, 2))) for _ in range(number)]
        part = {"word": [words for words, _ in pairs], "label": [labels for _, labels in pairs]}
        cases.two_columns(tmp_path / f"{name}.txt", part)
    return tmp_path


def make(folder, *more, way=3, shot=2, output="data"):
    flags = ["--way", str(way), "--shot", str(shot), "--episodes", "40", "--output", str(folder / output)]
    episodes.main(["--input", str(folder / "mine.txt"), *flags, *more])
    return list(read_episodes(Split(folder / output, "own").episodes(way, shot)))


def test_the_counts_of_every_episode_hold(mine, capsys):
    drawn = make(mine)
    for episode in drawn:
        types = {label for sentence in episode.support for label in sentence.labels} - {"O"}
        assert len(types) == 3
        assert is_set(episode.support, types, 2) and is_set(episode.query, types, 2)
        assert not any(sentence in episode.support for sentence in episode.query)
    assert len(drawn) == 40
    assert {label for e in drawn for s in e.query for label in s.labels} == {"O", *cases.TEST_TYPES}
    out = capsys.readouterr().out
    assert "400 sentences" in out and "repeated sentences left out" in out
    assert f"DATA={mine}/data bash evaluations/ner/CONTaiNER/exec_container.sh own 0 3 2 NAME --epochs 0" in out


def test_of_sentences_of_the_same_words_the_first_is_kept(capsys):
    """With other labels they would stand in support and query set, too."""
    otherwise = Sentence(ANNE.words, ["O"] * len(ANNE.words))
    assert episodes.distinct([ANNE, IN_ROME, otherwise, IN_ROME], "mine.txt") == [ANNE, IN_ROME]
    assert capsys.readouterr().out == "mine.txt: 2 repeated sentences left out, 1 labelled otherwise\n"


def test_the_seed_decides_what_is_drawn(mine):
    first = make(mine)
    assert make(mine, output="again") == first != make(mine, "--seed", "1", output="other")
    assert make(mine, "--episodes", "5", output="fewer") == first[:5]


def test_the_manifest_and_further_settings(mine):
    make(mine, "--train", str(mine / "source.txt"))
    split = Split(mine / "data", "own")
    before = identity(split, train=split.train, episodes=split.episodes(3, 2), labels=split.labels("train"))
    assert before["version"].startswith("own-")
    assert read_labels(split.labels("train")) == ["O", *cases.TRAIN_TYPES]
    make(mine, "--train", str(mine / "source.txt"), way=2, shot=1)
    assert before == identity(split, train=split.train, episodes=split.episodes(3, 2), labels=split.labels("train"))
    assert identity(split, episodes=split.episodes(2, 1))["version"] == before["version"]
    manifest = json.loads((mine / "data" / "manifest.json").read_text())
    assert [source["name"] for source in manifest["sources"]] == ["mine.txt", "source.txt"]
    assert [source["role"] for source in manifest["sources"]] == ["input", "train"]
    assert manifest["files"]["episode-data/own/test_2_1.jsonl"]["episodes"] == 40
    with pytest.raises(UserError, match=r"manifest\.json is of episodes that were made of other files"):
        make(mine)
    both = [str(mine / "mine.txt"), str(mine / "source.txt")]  # the same files in other roles
    with pytest.raises(UserError, match=r"manifest\.json is of episodes that were made of other files"):
        episodes.main(["--given", *both, "--output", f"{mine}/data"])
    make(mine, "--train", str(mine / "source.txt"), "--type", "second")
    assert before == identity(split, train=split.train, episodes=split.episodes(3, 2), labels=split.labels("train"))


@pytest.mark.parametrize("type_of_theirs", ["own", "intra"])
def test_no_file_of_the_users_is_overwritten(mine, type_of_theirs):
    """Not what is read either, where the laid out files would take its place."""
    theirs = mine / "data" / type_of_theirs / "train.txt"
    theirs.parent.mkdir(parents=True)
    (mine / "mine.txt").rename(theirs)
    content = theirs.read_text()
    given = ["--input", str(theirs), "--way", "3", "--shot", "2", "--episodes", "1", "--type", type_of_theirs]
    with pytest.raises(UserError, match=r"train\.txt exists, and is not of earlier episodes; choose another --output"):
        episodes.main([*given, "--output", f"{mine}/data"])
    assert theirs.read_text() == content and [*(mine / "data").rglob("*.jsonl")] == []


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"version": "x"}', '{"files": [], "version": "x"}', '{"files": {"a": 1}, "version": "x"}']
)
def test_a_damaged_manifest_is_named(mine, content):
    cases.write_encoder(mine / "encoder")
    make(mine, "--episodes", "1")
    (mine / "data" / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json is damaged or of something else"):
        make(mine, "--episodes", "2")
    with pytest.raises(UserError, match=r"manifest\.json is damaged or of something else"):
        commands(mine, "--epochs", "0")


def test_a_given_support_set_and_query_file(tmp_path, capsys):
    (tmp_path / "support.txt").write_text(columns([ANNE, IN_ROME], BIO))
    (tmp_path / "query.jsonl").write_text('{"text": "Oslo of Norway", "spans": [[0, 4, "city"], [8, 14, "country"]]}')
    given = [str(tmp_path / "support.txt"), str(tmp_path / "query.jsonl")]
    episodes.main(["--given", *given, "--output", str(tmp_path / "data"), "--type", "my trip"])
    (episode,) = read_episodes(Split(tmp_path / "data", "my trip").episodes(2, 2))
    assert episode.support == [ANNE, IN_ROME]
    assert episode.query == [Sentence(["Oslo", "of", "Norway"], ["city", "O", "country"])]
    out = capsys.readouterr().out
    assert "1 entities of the query set are of types without an example: country" in out and "'my trip' 0 2 2" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--input", "MINE", "--way", "3"], "each of 3 types needs 2, .*; 1 of its 2 types do; `city` has 1"),
        (
            ["--input", "MINE", "--way", "1", "--shot", "2"],
            "each of 1 types needs 4, .*; 0 of its 2 types do; `person` has 2",
        ),
        (["--input", "MINE", "--way", "1"], "; in sentences without types but person, `person` has 0 entities"),
        (["--input", "MINE", "--train", "MINE", "--given", "MINE"], "give either --input, .* or --given"),
        (["--given", "MINE"], "--given takes a support set and a query set, not 1"),
        (["--given", "MINE", "MINE", "--way", "3"], "--way applies to drawn episodes only; --given makes one"),
        (["--input", "MINE", "--type", "a/b"], "--type a/b cannot be the name of a directory"),
        (["--input", "MINE", "--type", ".."], "--type .. cannot be the name of a directory"),
        (["--input", "MINE", "--type", ""], "--type  cannot be the name of a directory"),
        (["--input", "MINE.txt"], "MINE.txt does not exist"),
        (["--input", ""], "the name of the examples is empty"),
        (["--input", "MINE", "--way", "1", "--train", ""], "the name of the examples is empty"),
        (["--input", "MINE.TSV"], "MINE.TSV does not exist"),
        (["--input", "MINE.conll.gz"], "MINE.conll.gz does not exist"),
        (["--input", "../MINE"], "../MINE does not exist"),
    ],
)
def test_too_little_data_and_mistakes(tmp_path, flags, message):
    path = tmp_path / "anne.txt"
    path.write_text(columns([ANNE], [ANNE.labels]))
    with pytest.raises(UserError, match=message):
        episodes.main([str(path) if flag == "MINE" else flag for flag in flags] + ["--output", str(tmp_path / "data")])
    assert not (tmp_path / "data").exists()


def test_training_types_among_the_episodes_types_are_refused(mine):
    with pytest.raises(UserError, match=r"mine\.txt has types of the episodes, .*: location-GPE, "):
        make(mine, "--train", str(mine / "mine.txt"))


def commands(folder, *more, way=3, shot=2):
    """Source training and the episodes that `make` made; the lines of the episodes."""
    place = ["--type", "own", "--name", "tiny", "--model", str(folder / "encoder"), "--output", str(folder / "out")]
    flags = [*place, "--data", str(folder / "data"), "--way", str(way), "--shot", str(shot), "--device", "cpu", *more]
    train.main(flags)
    run.main(flags)
    return read_run(folder / "out/own/tiny" / f"{way}-{shot}")


def test_the_commands_run_on_the_result(mine, capsys):
    cases.write_encoder(mine / "encoder")
    make(mine, "--episodes", "3")
    with pytest.raises(UserError, match=r"own/train\.txt has no sentence, .*; --epochs 0 does without"):
        commands(mine)
    assert not (mine / "out").exists()
    result = commands(mine, "--epochs", "0")
    assert len(result.records) == 3 and micro_prf(result.counts("full").sum(0))[2] > 50
    make(mine, "--episodes", "2", way=2, shot=1)  # another setting beside it: the first goes on as it was
    commands(mine, "--epochs", "0", way=2, shot=1)
    capsys.readouterr()
    commands(mine, "--epochs", "0")
    assert "3-2 is finished; nothing to do" in capsys.readouterr().out
    tables.main(["tiny", "--output", str(mine / "out")])
    out = capsys.readouterr().out
    assert "| own 3-2 | 3 |" in out and "| own 2-1 | 2 |" in out and "data version own-" in out


def test_the_commands_run_with_source_training(mine):
    cases.write_encoder(mine / "encoder")
    make(mine, "--episodes", "2", "--train", str(mine / "source.txt"))
    assert len(commands(mine).records) == 2
    for name in ("proml", "readout"):
        assert len(commands(mine, "--method", name).records) == 2


def test_an_empty_query_set_is_an_episode_with_nothing_to_find(mine):
    cases.write_encoder(mine / "encoder")
    make(mine, "--episodes", "3")
    path = Split(mine / "data", "own").episodes(3, 2)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["query"] = {"word": [], "label": []}
    lines[1]["query"] = {"word": [[], ["word1"]], "label": [[], ["O"]]}
    lines[2]["support"] = {"word": [], "label": []}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (mine / "data" / "manifest.json").unlink()
    records = commands(mine, "--epochs", "0").records
    assert records[0]["full"] == records[0]["published"] == {} and records[0]["steps"] == 0
    assert not any(counts[2] for counts in records[1]["full"].values())
    assert records[2]["empty_support"] == 1 and all(counts[:2] == [0, 0] for counts in records[2]["full"].values())
