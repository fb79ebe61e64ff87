"""Reading Few-NERD: both layouts, every way a file can be broken, and the preparation with its manifest."""

import json
import shutil
import zipfile

import datasets
import few_shot_cases as cases
import pytest

from common.errors import UserError
from evaluations.few_shot import download, process
from evaluations.few_shot.data import (
    Sentence,
    Split,
    bio_types,
    identity,
    read_columns,
    read_episodes,
    read_labelled,
    read_labels,
)

LABELS = {"O", *cases.TEST_TYPES}


@pytest.fixture
def data(tmp_path):
    return cases.write_data(tmp_path / "few-nerd")


def old_layout(data, folder):
    """The same episodes, one file each for support and query."""
    jsonl = Split(data, "intra").episodes(5, 1)
    for index, line in enumerate(jsonl.read_text().splitlines()):
        episode = json.loads(line)
        for part in ("support", "query"):
            cases.two_columns(folder / f"{part}_test_5_1" / f"{index}.txt", episode[part])


def test_columns(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("\n\nthe\tO\r\nnew york\tlocation-GPE\n\u200b O\n \n\n.\tO", encoding="utf-8")
    first, second = read_columns(path)
    assert first == Sentence(["the", "new york", "\u200b"], ["O", "location-GPE", "O"])
    assert second == Sentence(["."], ["O"])


def test_episodes_equal_plain_json(data):
    path = Split(data, "intra").episodes(5, 1)
    for line, episode in zip(path.read_text().splitlines(), read_episodes(path, LABELS), strict=True):
        published = json.loads(line)
        for part, sentences in zip(("support", "query"), episode, strict=True):
            assert [s.words for s in sentences] == published[part]["word"]
            assert [s.labels for s in sentences] == published[part]["label"]


@pytest.mark.parametrize("place", ["episode-data/intra", "intra"])
def test_the_older_layout_holds_the_same_episodes_in_numerical_order(tmp_path, place):
    data = cases.write_data(tmp_path / "few-nerd", episodes=12)
    jsonl = Split(data, "intra").episodes(5, 1)
    expected = list(read_episodes(jsonl))
    old_layout(data, data / place)
    jsonl.unlink()
    path = Split(data, "intra").episodes(5, 1)
    assert path.is_dir() and list(read_episodes(path, LABELS)) == expected
    before = identity(Split(data, "intra"), episodes=path)["episodes"]
    query = path.with_name("query_test_5_1") / "11.txt"
    query.write_text(query.read_text().replace("O", "organization-other", 1))
    assert identity(Split(data, "intra"), episodes=path)["episodes"] != before


def test_no_episodes(data):
    with pytest.raises(UserError, match="no episodes of intra 10-way 5-shot"):
        Split(data, "intra").episodes(10, 5)


BROKEN = {
    "no JSON": ("{", "line 2: not an episode in JSON"),
    "no object": ("[1]", "line 2: not an episode in JSON"),
    "no query": ('{"support": {"word": [], "label": []}}', "line 2: not an episode in JSON: KeyError 'query'"),
    "a sentence without labels": ({"word": [["a"]], "label": []}, "line 2: not an episode"),
    "unequal": ({"word": [["a"], ["a", "b"]], "label": [["O"], ["O"]]}, "line 2: support sentence 2 has 2 words and 1"),
    "label": ({"word": [["a"]], "label": [["art-film"]]}, "line 2: the label `art-film` is not in the label file"),
    "numbers": ({"word": [[1]], "label": [["O"]]}, "line 2: not an episode"),
    "a string": ({"word": ["ab"], "label": [["O", "O"]]}, "line 2: not an episode"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_episodes_are_named_by_file_and_line(tmp_path, kind):
    line, message = BROKEN[kind]
    good = {"word": [["a"]], "label": [["O"]]}
    whole = {"support": line if isinstance(line, dict) else good, "query": good}
    path = tmp_path / "test_5_1.jsonl"
    path.write_text(json.dumps({"support": good, "query": good}) + "\n")
    path.write_text(path.read_text() + (line if isinstance(line, str) else json.dumps(whole)) + "\n")
    episodes = read_episodes(path, LABELS)
    next(episodes)
    with pytest.raises(UserError, match="test_5_1") as error:
        next(episodes)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tO\nb\n", "line 2: not a word and a label"),
        ("a\tO\nb\tc\tO\n", "line 2: not a word and a label"),
        ("a\tO\nnew york O\n", "line 2: not a word and a label"),
        ("a\tO\nb\t\n", "line 2: not a word and a label"),
        ("a\tO\n\tO\n", "line 2: not a word and a label"),
        ("a\tO\nb \t \n", "line 2: not a word and a label"),
        ("a\tO\nb NNP B-NP art-film\n", "line 2: .*4 columns; CoNLL files are read by .*few_shot.episodes"),
        ("a\tO\nb\tart-film\n", "line 2: the label `art-film`"),
    ],
)
def test_broken_columns_are_named_by_file_and_line(tmp_path, text, message):
    path = tmp_path / "0.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=f"0.txt, {message}"):
        list(read_columns(path, LABELS))


def test_white_space_before_a_label_is_no_part_of_it(tmp_path):
    (tmp_path / "spaces.txt").write_text("the\t O\nParis\t location-GPE\n.\tO\n")
    assert [s.labels for s in read_labelled(tmp_path / "spaces.txt")] == [["O", "location-GPE", "O"]]


def test_white_space_behind_a_line_is_ignored(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("a\tO \nb\tart-film\t\nc O\t \n \t\nd\tO")
    assert list(read_columns(path)) == [Sentence(["a", "b", "c"], ["O", "art-film", "O"]), Sentence(["d"], ["O"])]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nparis\tcity\nmet\tother\n", "line 2: from `city` on, no word has the label `O`"),
        ("city\tparis\nO\tmet\nO\tin\n", "line 2: the columns seem to be swapped"),
        ("O\tthe\nO\tO\ncity\tparis\n\nO\twas\n", "line 1: the columns seem to be swapped"),
        ("in\tO\n\nnew\tB-city\nyork\tI-city\n", "line 3: `B-city` is a label of BIO.* --bio convert"),
        ("in\tO\nparis\tB-city\nmet\tO\n", "line 2: `B-city` is a label of BIO"),
        ("in\tO\nparis\tI-city\n", "line 2: `I-city` is a label of BIO"),
    ],
)
def test_what_a_whole_file_shows_is_named_by_file_and_line(tmp_path, text, message):
    path = tmp_path / "train.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=f"train.txt, {message}"):
        read_labelled(path)


def test_labels_of_bio(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("in\tO\nnew\tB-city\nyork\tI-city\nparis\tB-city\n")
    assert read_labelled(path, "convert") == [Sentence(["in", "new", "york", "paris"], ["O", "city", "city", "city"])]
    path.write_text("O\tO\nO\tart-film\nhe\tO\n")  # the word O, more often than others
    assert read_labelled(path) == [Sentence(["O", "O", "he"], ["O", "art-film", "O"])]
    assert bio_types({"O", "B-city", "I-city", "S-art", "E-art"}) == {"city", "art"}
    assert bio_types({"O", "B-city", "I-city", "art", "E-mail"}) == {"city"}
    assert bio_types({"O", "B-movie", "art"}) == bio_types({"O", "E-mail"}) == bio_types({"O"}) == set()


@pytest.mark.parametrize("text", ["", "person-actor\nO\n", "O\na-b\na-b\n", "O\n\na-b\n"])
def test_broken_label_files(tmp_path, text):
    path = tmp_path / "labels_test.txt"
    path.write_text(text)
    with pytest.raises(UserError, match="labels_test"):
        read_labels(path)


def raw_data(folder, data):
    """What a user has downloaded: capitals in the words, both splits, all settings, the episodes in a zip."""
    for split in ("intra", "inter"):
        (folder / split).mkdir(parents=True)
        (folder / split / "train.txt").write_text((data / "intra" / "train.txt").read_text().replace("word", "Word"))
    episodes = (data / "episode-data" / "intra" / "test_5_1.jsonl").read_text().replace('"word1', '"Word1')
    with zipfile.ZipFile(folder / "episode-data.zip", "w") as file:
        file.writestr("episode-data/intra/train_5_1.jsonl", "not needed")
        for split in ("intra", "inter"):
            for setting in ("5_1", "5_5", "10_1", "10_5"):
                file.writestr(f"episode-data/{split}/test_{setting}.jsonl", episodes)
    return folder


def test_preparation_from_the_published_zip(tmp_path, data, capsys):
    raw, out = raw_data(tmp_path / "raw", data), tmp_path / "out"
    process.main(["--raw", str(raw), "--output", str(out), "--release", "2021-08"])
    mine, theirs = (list(read_episodes(Split(folder, "intra").episodes(5, 1))) for folder in (out, data))
    assert mine == theirs  # lower-cased again
    assert (out / "inter" / "train.txt").read_text() == (data / "intra" / "train.txt").read_text()
    assert read_labels(out / "intra" / "labels_test.txt") == ["O", *sorted(cases.TEST_TYPES)]
    entry = json.loads((out / "manifest.json").read_text())["files"]["episode-data/intra/test_10_5.jsonl"]
    assert (entry["episodes"], entry["sentences"], entry["types"]) == (6, 36, 5)
    assert "episode-data/inter/test_5_5.jsonl" in capsys.readouterr().out
    split = Split(out, "intra")
    assert identity(split, train=split.train)["version"].startswith("2021-08-")
    split.train.write_text("a\tO\n")
    with pytest.raises(UserError, match=r"train.txt is not the file that .*manifest.json describes"):
        identity(split, train=split.train)


@pytest.mark.parametrize("kind", ["cut", "damaged inside", "encrypted"])
def test_a_zip_that_cannot_be_unpacked_is_named(tmp_path, data, kind):
    raw = raw_data(tmp_path / "raw", data)
    archive = raw / "episode-data.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("episode-data/intra/test_5_1.jsonl", "{}\n" * 1000)
    content = bytearray(archive.read_bytes())
    if kind == "cut":
        content = content[:40]
    elif kind == "encrypted":  # the flag in the file's own header and in the list of files
        content[6] |= 1
        content[content.index(b"PK\x01\x02") + 8] |= 1
    else:
        begin = 30 + len("episode-data/intra/test_5_1.jsonl")
        content[begin : begin + 4] = b"\xff" * 4
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"episode-data\.zip cannot be unpacked"):
        process.main(["--raw", str(raw), "--output", str(tmp_path / "out")])


def test_preparation_refuses_training_types_among_the_test_types(tmp_path, data):
    raw = raw_data(tmp_path / "raw", data)
    with open(raw / "intra" / "train.txt", "a") as file:
        file.write("Acme\torganization-company\n")
    with pytest.raises(UserError, match="has types of the test episodes: organization-company"):
        process.main(["--raw", str(raw), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_preparation_refuses_or_converts_labels_of_bio(tmp_path, data):
    raw = raw_data(tmp_path / "raw", data)
    train = raw / "intra" / "train.txt"
    train.write_text(train.read_text().replace("\tperson-actor", "\tB-person-actor"))
    train.write_text(train.read_text().replace("\tart-music", "\tI-art-music"))
    with pytest.raises(UserError, match=r"intra/train\.txt, line \d+: `.*` is a label of BIO"):
        process.main(["--raw", str(raw), "--output", str(tmp_path / "out")])
    process.main(["--raw", str(raw), "--output", str(tmp_path / "out"), "--bio", "convert"])
    for name in ("labels_train.txt", "train.txt"):
        assert (tmp_path / "out/intra" / name).read_text() == (tmp_path / "out/inter" / name).read_text()
    shutil.copy(raw / "inter" / "train.txt", train)
    episodes = tmp_path / "raw/episode-data/inter/test_5_5.jsonl"
    shutil.unpack_archive(raw / "episode-data.zip", raw)
    (raw / "episode-data.zip").unlink()
    line = json.loads(episodes.read_text().splitlines()[0])
    line["support"]["label"] = [[f"B-{n}" if n != "O" else n for n in labels] for labels in line["query"]["label"]]
    line["support"]["word"] = line["query"]["word"]
    episodes.write_text(json.dumps(line) + "\n")
    with pytest.raises(UserError, match=r"inter/test_5_5\.jsonl, episode 1: `B-.*` is a label of BIO"):
        process.main(["--raw", str(raw), "--output", str(tmp_path / "out")])


def hub(folder, **columns):
    """A copy of a data set of the hub, with both splits, its columns given as (feature of one value, rows)."""
    table = datasets.Dataset.from_dict(
        {name: rows for name, (_, rows) in columns.items()},
        features=datasets.Features({name: datasets.List(feature) for name, (feature, _) in columns.items()}),
    )
    card = "---\nconfigs:\n"
    for split in ("intra", "inter"):
        table.to_parquet(folder / split / "train.parquet")
        card += f"- config_name: {split}\n  data_files:\n  - split: train\n    path: {split}/train.parquet\n"
    (folder / "README.md").write_text(card + "---\n")
    return folder


@pytest.mark.parametrize("kind", ["numbers with names", "strings"])
def test_download_from_a_copy_of_the_hub_data_set(tmp_path, data, kind):
    sentences = list(read_columns(Split(data, "intra").train))
    names = ["O", *cases.TRAIN_TYPES]
    tags = (datasets.Value("string"), [s.labels for s in sentences])
    if kind == "numbers with names":
        tags = (datasets.ClassLabel(names=names), [[names.index(n) for n in s.labels] for s in sentences])
    source = hub(tmp_path / "hub", tokens=(datasets.Value("string"), [s.words for s in sentences]), fine_ner_tags=tags)
    archive = raw_data(tmp_path / "raw", data) / "episode-data.zip"
    out = tmp_path / "downloaded"
    download.main(["--train", str(source), "--episodes", str(archive), "--output", str(out)])
    assert list(read_columns(out / "intra" / "train.txt")) == sentences
    assert (out / "episode-data.zip").read_bytes() == archive.read_bytes()


STRING, NUMBER, NAMED = datasets.Value("string"), datasets.Value("int64"), datasets.ClassLabel(names=["O", "art"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"fine_ner_tags": (NUMBER, [[1]])}, "`fine_ner_tags` holds neither strings nor numbers with names"),
        ({"ner_tags": (NAMED, [[1]])}, "no column `fine_ner_tags` but tokens, ner_tags; .* the fine ones"),
        ({"fine_ner_tags": (NAMED, [[1, 0]])}, "row 1: 1 tokens and 2 tags"),
        ({"fine_ner_tags": (NAMED, [[-1]])}, "row 1: the tag `-1` has no name"),
        ({"fine_ner_tags": (STRING, [[""]])}, "row 1: the tag `` has no name"),
    ],
)
def test_other_data_sets_are_refused_in_one_line(tmp_path, columns, message):
    source = hub(tmp_path / "hub", tokens=(STRING, [["Anne"]]), **columns)
    with pytest.raises(UserError, match=message) as error:
        download.main(["--train", str(source), "--output", str(tmp_path / "out")])
    assert str(source) in str(error.value) and "\n" not in str(error.value)
    assert not list((tmp_path / "out" / "intra").iterdir())


@pytest.mark.parametrize("name", ["hub", "few-nerd"])
def test_a_script_in_place_of_data_is_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "few-nerd.py").write_text("raise SystemExit")
    with pytest.raises(UserError, match=r"holds a script in place of data \(few-nerd\.py\)"):
        download.main(["--train", str(tmp_path / name), "--output", str(tmp_path / "out")])


def test_download_says_where_the_episodes_are_to_be_had(tmp_path, data):
    raw = raw_data(tmp_path / "raw", data)
    (raw / "episode-data.zip").unlink()
    for source, message in ((None, "Few-NERD project page"), (str(data / "intra" / "train.txt"), "is not a zip file")):
        with pytest.raises(UserError, match=message):
            download.main(["--output", str(raw), *(["--episodes", source] if source else [])])
        assert not list(raw.glob("episode-data*"))
