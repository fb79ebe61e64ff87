"""Episodes of one's own sentences: their formats, N-way K~2K-shot sampling, and the commands that run on the result."""

import json
import random
from collections import Counter
from itertools import combinations

import datasets
import few_shot_cases as cases
import pytest

from common.errors import UserError
from evaluations.bootstrap import micro_prf
from evaluations.few_shot import episodes, run, tables, train
from evaluations.few_shot.data import Sentence, Split, identity, read_episodes, read_labels
from evaluations.few_shot.formats import read_examples, word_spans
from evaluations.few_shot.records import read_run
from evaluations.few_shot.scores import entities

ANNE = Sentence(
    ["Anne", "Lee", "met", "Bob", "in", "Paris", "."], ["person", "person", "O", "person", "O", "city", "O"]
)
IN_ROME = Sentence(["in", "Rome"], ["O", "city"])
TEXT = "Anne Lee met Bob in Paris."
SPANS = [[0, 8, "person"], [13, 16, "person"], [20, 25, "city"]]
BIO = [["B-person", "I-person", "O", "B-person", "O", "B-city", "O"], ["O", "B-city"]]
BIOES = [["B-person", "E-person", "O", "S-person", "O", "S-city", "O"], ["O", "S-city"]]


def columns(sentences, labels, middle=""):
    parts = [zip(s.words, own, strict=True) for s, own in zip(sentences, labels, strict=True)]
    return "\n\n".join("\n".join(f"{word}{middle} {label}" for word, label in part) for part in parts) + "\n"


FORMATS = {
    "plain.txt": columns([ANNE, IN_ROME], [ANNE.labels, IN_ROME.labels]).replace(" ", "\t"),
    "bio.txt": columns([ANNE, IN_ROME], BIO),
    "conll2003.txt": "-DOCSTART- -X- -X- O\n\n" + columns([ANNE, IN_ROME], BIO, " NNP B-NP"),
    "multiconer.conll": "# id 7b domain=en\n" + columns([ANNE, IN_ROME], BIOES, " _ _"),
    "five.tsv": columns([ANNE, IN_ROME], BIOES, " a b c").replace(" ", "\t"),
    "spacy.jsonl": json.dumps({"text": TEXT, "entities": SPANS}) + '\n\n{"text": "in Rome", "spans": [[3, 7, "city"]]}',
    "prodigy.json": json.dumps(
        {"text": TEXT, "tokens": [{}], "spans": [{"start": a, "end": b, "label": kind} for a, b, kind in SPANS]}
    )
    + '\n{"text": "in  Rome", "spans": [{"start": 3, "end": 8, "label": "city"}]}',
    "tokens.txt": "\n".join(
        json.dumps({"tokens": s.words, "ner_tags": tags}) for s, tags in ((ANNE, BIO[0]), (IN_ROME, BIO[1]))
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_holds_the_same_sentences(tmp_path, name):
    (tmp_path / name).write_text(FORMATS[name])
    examples = read_examples(str(tmp_path / name))
    assert examples.sentences == [ANNE, IN_ROME]
    aside = {"conll2003.txt": "1 -DOCSTART- lines left out", "multiconer.conll": "1 comments left out"}.get(name)
    where = {aside: f"; {aside} (first: {tmp_path / name}, line 1)"} if aside else {}
    assert str(examples) == "2 sentences" + where.get(aside, "")


@pytest.mark.parametrize("comment", ["# newdoc", "# id 2", "# text = Anne is at O"])
@pytest.mark.parametrize("middle", ["\t", " ", "\tNNP\t", " NNP "])
def test_comments_are_no_words_whatever_number_of_columns_they_seem_to_have(tmp_path, comment, middle):
    path = tmp_path / "mine.conll"
    parts = [f"{comment}\nAnne{middle}B-person\nleft{middle}O\n", f"{comment}\n#{middle}O\nRome{middle}B-city\n"]
    path.write_text("\n".join(parts))
    examples = read_examples(str(path))
    words = [sentence.words for sentence in examples.sentences]
    assert words == [["Anne", "left"], ["#", "Rome"]]
    assert [sentence.labels for sentence in examples.sentences] == [["person", "O"], ["O", "city"]]
    assert str(examples) == f"2 sentences; 2 comments left out (first: {path}, line 1)"
    path.write_text("# title O\nAnne\tNNP\tB-person\nleft\tV\tO\n")  # three columns, but between spaces
    assert read_examples(str(path)).sentences == [Sentence(["Anne", "left"], ["person", "O"])]


def test_white_space_around_columns_and_tags_is_no_part_of_them(tmp_path):
    (tmp_path / "mine.tsv").write_text("Anne \t B-person\nleft\t O \n\u00a0\tO\n")
    (tmp_path / "mine.jsonl").write_text('{"tokens": ["Anne", "left"], "ner_tags": ["B-person ", "O "]}')
    for name, words in (("mine.tsv", ["Anne", "left", "\u00a0"]), ("mine.jsonl", ["Anne", "left"])):
        (sentence,) = read_examples(str(tmp_path / name)).sentences
        assert sentence.words == words and sentence.labels == ["person", "O", "O"][: len(words)]


def test_labels_of_bio_that_stay_types_are_noted(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("Anne B-person\nleft O\n\nRome city\n\nO O\n")
    assert "1 sentences with labels `B-...`, which are types of their own because `city`" in str(
        read_examples(str(path))
    )


def test_what_is_no_text_of_columns_or_json(tmp_path):
    """A brace in a column is none of JSON, entities beside an empty list of spans count, no pipe can be read twice."""
    (tmp_path / "code.txt").write_text("{ O\nAnne person\n")
    (tmp_path / "both.jsonl").write_text('{"text": "Anne", "spans": [], "entities": [[0, 4, "person"]]}')
    assert read_examples(str(tmp_path / "code.txt")).sentences[0].words == ["{", "Anne"]
    assert read_examples(str(tmp_path / "both.jsonl")).sentences[0].labels == ["person"]
    with pytest.raises(UserError, match=r"/dev/null is no file: .* cannot be piped in"):
        read_examples("/dev/null")


@pytest.mark.parametrize("tags", ["names", "strings"])
def test_a_data_set_of_the_hub(tmp_path, tags):
    names = sorted({label for labels in BIO for label in labels})
    feature = datasets.ClassLabel(names=names) if tags == "names" else datasets.Value("string")
    rows = [[names.index(label) for label in labels] for labels in BIO] if tags == "names" else BIO
    features = {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(feature)}
    table = datasets.Dataset.from_dict(
        {
            "tokens": [[*ANNE.words[:6], "\t", "."], IN_ROME.words],
            "ner_tags": [[*rows[0][:6], rows[0][2], rows[0][6]], rows[1]],
        },
        features=datasets.Features(features),
    )
    table.to_parquet(tmp_path / "hub" / "test.parquet")
    assert read_examples(str(tmp_path / "hub"), "test").sentences == [ANNE, IN_ROME]
    with pytest.raises(UserError, match=r"hub has no column `tags` but tokens, ner_tags"):
        read_examples(str(tmp_path / "hub"), "test", "tags")
    with pytest.raises(UserError, match=r"hub cannot be loaded: Unknown split"):
        read_examples(str(tmp_path / "hub"))


@pytest.mark.parametrize("token", [7, ["Anne"], "a\0"])
def test_tokens_of_a_data_set_that_are_no_words_are_refused(tmp_path, token):
    datasets.Dataset.from_dict({"tokens": [[token]], "ner_tags": [["person"]]}).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"row 1: the token .* is no string, or holds a NUL character"):
        read_examples(str(tmp_path))


def test_entities_that_touch_are_joined_and_spans_without_words_left_out_both_counted(tmp_path):
    path = tmp_path / "mine.jsonl"
    lines = [
        {"text": "Rome Paris, Berlin", "spans": [[0, 4, "city"], [5, 10, "city"], [13, 18, "city"], [12, 18, "x"]]}
    ]
    lines += [{"text": "Rome", "spans": [[0, 4, "city"], [0, 3, "x"], [9, 12, "x"], [2, 2, "x"]]}]
    path.write_text("\n".join(map(json.dumps, lines)))
    examples = read_examples(str(path))
    assert [s.labels for s in examples.sentences] == [["city", "city", "O", "x"], ["city"]]
    assert {what: len(places) for what, places in examples.notes.items()} == {
        "entities joined with another of their type that they touch": 1,
        "spans that begin or end within a word left out": 2,
        "spans that hold no word or leave the text left out": 2,
    }
    assert examples.notes["spans that begin or end within a word left out"][0] == f"{path}, line 1: 'erlin'"
    (tmp_path / "bio.txt").write_text("Rome B-city\nParis B-city\nin O\n")
    assert str(read_examples(str(tmp_path / "bio.txt"))).endswith(f"touch (first: {tmp_path / 'bio.txt'}, line 1)")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Paris's mayor, (Anne) won.", "Paris|'s|mayor|,|(|Anne|)|won|."),
        ("the mobile-phone costs $5.40 -- don't", "the|mobile-phone|costs|$|5.40|-|-|don't"),
        ("北京 is 東京です。", "北|京|is|東|京|で|す|。"),
        ("हिन्दी में ❤️ ok🙂", "हिन्दी|में|❤️|ok|🙂"),
        (" \t\u3000", ""),
    ],
)
def test_words(text, words):
    assert "|".join(text[begin:end] for begin, end in word_spans(text)) == words


BROKEN = {
    "a b c d e O\n": "line 1: 6 columns; there must be 2 to 5",
    "a\n": "line 1: 1 columns",
    "a x O\nb O\n": "line 2: 2 columns, but 3 in the lines before",
    "Rome city\n": "line 1: from `city` on, no word has the label `O`",
    "a O\n": "holds no labelled entity",
    "": "holds no labelled entity",
    '{"text": "a", "spans": []}\n{"text": "b"}\n': "line 2: no `text` with a list",
    '{"text": "a", "spans": []}\nb': "line 2: not a JSON object",
    '{"text": "a", "spans": [[0, "1", "x"]]}': "line 1: a span must be",
    '{"text": "a", "spans": [[0, true, "x"]]}': "line 1: a span must be",
    '{"text": "a", "spans": [[0, 1, "O"]]}': "line 1: 'O' cannot be the label",
    '{"text": "a", "spans": [[0, 1, "x\\ty"]]}': r"line 1: 'x\\ty' cannot be the label",
    '{"text": "\\ud800", "spans": []}': "line 1: holds half a character",
    '{"text": "a\\u0000", "spans": []}': "line 1: holds a NUL",
    '{"tokens": ["a"], "ner_tags": ["O", "O"]}': "line 1: 1 tokens and 2 tags",
    '{"tokens": ["a"], "ner_tags": [0]}': "line 1: `tokens` and `ner_tags` must be lists of strings",
    "{" * 100_000: "line 1: 1 columns",
    '{"text":' * 100_000: "line 1: not a JSON object",
    '{"tokens": ["a", "b"], "ner_tags": ["x\\ny", "O"]}': r"line 1: 'x\\ny' cannot be a label",
    '{"tokens": ["a", "b"], "ner_tags": [" ", "O"]}': "line 1: '' cannot be a label",
    "a x\u200b\nb O\n": r"line 1: 'x\\u200b' cannot be a label",
    "\tO\n": "line 1: the first column, which must hold the word, is empty",
    "1\tAnne\tB-x\n2\tleft\tO\n\n1\tRome\tB-x\n": "line 1: the first column numbers the words",
}


@pytest.mark.parametrize("text", BROKEN)
def test_what_cannot_be_read_is_named_by_file_and_line(tmp_path, text):
    path = tmp_path / "mine.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=BROKEN[text]) as error:
        read_examples(str(path))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


# --- sampling -------------------------------------------------------------------------------------------------------


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
    assert manifest["files"]["episode-data/own/test_2_1.jsonl"]["episodes"] == 40
    with pytest.raises(UserError, match=r"manifest\.json is of episodes that were made of other files"):
        make(mine)


@pytest.mark.parametrize("content", ["{", "[]", '{"version": "x"}', '{"files": [], "version": "x"}'])
def test_a_damaged_manifest_is_named(mine, content):
    cases.write_encoder(mine / "encoder")
    make(mine, "--episodes", "1")
    (mine / "data" / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json is damaged or of something else"):
        make(mine, "--episodes", "2")
    with pytest.raises(UserError, match=r"manifest\.json is damaged or of something else"):
        commands(mine, "--epochs", "0")


def test_a_given_support_set_and_query_file(tmp_path, capsys):
    (tmp_path / "support.txt").write_text(FORMATS["bio.txt"])
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
