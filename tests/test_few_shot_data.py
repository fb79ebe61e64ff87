"""Reading Few-NERD: both layouts, every way a file can be broken, and the preparation with its manifest."""

import json
import zipfile

import datasets
import few_shot_cases as cases
import pytest

from common.errors import UserError
from evaluations.few_shot import download, process
from evaluations.few_shot.data import Sentence, Split, identity, read_columns, read_episodes, read_labels

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
        ("a\tO\nb\tart-film\n", "line 2: the label `art-film`"),
    ],
)
def test_broken_columns_are_named_by_file_and_line(tmp_path, text, message):
    path = tmp_path / "0.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=f"0.txt, {message}"):
        list(read_columns(path, LABELS))


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


def test_preparation_refuses_training_types_among_the_test_types(tmp_path, data):
    raw = raw_data(tmp_path / "raw", data)
    with open(raw / "intra" / "train.txt", "a") as file:
        file.write("Acme\torganization-company\n")
    with pytest.raises(UserError, match="has types of the test episodes: organization-company"):
        process.main(["--raw", str(raw), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_download_from_a_copy_of_the_hub_data_set(tmp_path, data):
    sentences = list(read_columns(Split(data, "intra").train))
    names = ["O", *cases.TRAIN_TYPES]
    features = {"tokens": datasets.Value("string"), "fine_ner_tags": datasets.ClassLabel(names=names)}
    table = datasets.Dataset.from_dict(
        {
            "tokens": [s.words for s in sentences],
            "fine_ner_tags": [[names.index(n) for n in s.labels] for s in sentences],
        },
        features=datasets.Features({name: datasets.List(feature) for name, feature in features.items()}),
    )
    card = "---\nconfigs:\n"
    for split in ("intra", "inter"):
        table.to_parquet(tmp_path / "hub" / split / "train.parquet")
        card += f"- config_name: {split}\n  data_files:\n  - split: train\n    path: {split}/train.parquet\n"
    (tmp_path / "hub" / "README.md").write_text(card + "---\n")
    archive = raw_data(tmp_path / "raw", data) / "episode-data.zip"
    out = tmp_path / "downloaded"
    download.main(["--train", str(tmp_path / "hub"), "--episodes", str(archive), "--output", str(out)])
    assert list(read_columns(out / "intra" / "train.txt")) == sentences
    assert (out / "episode-data.zip").read_bytes() == archive.read_bytes()


def test_download_says_where_the_episodes_are_to_be_had(tmp_path, data):
    raw = raw_data(tmp_path / "raw", data)
    (raw / "episode-data.zip").unlink()
    for source, message in ((None, "Few-NERD project page"), (str(data / "intra" / "train.txt"), "is not a zip file")):
        with pytest.raises(UserError, match=message):
            download.main(["--output", str(raw), *(["--episodes", source] if source else [])])
        assert not list(raw.glob("episode-data*"))
