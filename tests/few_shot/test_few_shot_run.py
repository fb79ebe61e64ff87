"""The commands end to end, on a small Few-NERD and a two-layer random BERT, and on real episodes."""

import json
import shutil
import subprocess
import sys
from itertools import islice, pairwise
from pathlib import Path

import few_shot_cases as cases
import numpy as np
import pytest
import torch
from few_shot_cases import flags, run
from safetensors.torch import load_file, save_file

from common.errors import UserError
from evaluations.bootstrap import micro_prf
from evaluations.few_shot import run as run_episodes
from evaluations.few_shot import train
from evaluations.few_shot.data import Split, read_columns, read_episodes
from evaluations.few_shot.methods import METHODS
from evaluations.few_shot.records import EpisodeLog
from evaluations.few_shot.scores import total
from runs import RunDirectory

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
SOURCE = "out/intra/tiny/source/contrastive"


def test_lines_hold_both_scorings_and_the_predictions_that_they_count(place):
    lines = run(place, "--predictions")
    episodes = list(read_episodes(Split(place / "data", "intra").episodes(5, 1)))
    assert [line["index"] for line in lines] == list(range(6))
    for line, episode in zip(lines, episodes, strict=True):
        assert line["steps"] >= 2 and line["unknown_words"] == line["cut_words"] == line["empty_support"] == 0
        predicted = [label for tags in line["predictions"] for label in ["O", *tags]]
        starts = sum(b != "O" and a != b for a, b in pairwise(predicted))
        assert total(line["full"])[1] == starts
        assert total(line["full"])[2] == 5 and len(line["full"]) == 5
        assert {kind.split("-")[1] for kind in line["full"]} == set(line["published"])
        assert [len(tags) for tags in line["predictions"]] == [len(s.words) for s in episode.query]
    made = json.loads((place / "out/intra/tiny/5-1/run.json").read_text())
    assert made["arguments"]["method"] == "container" and made["inputs"]["version"] is None


def test_source_training_is_kept_and_another_refused(place, capsys):
    source = place / SOURCE
    before = (source / "summary.json").read_text()
    train.main(flags(place, "--way", "10", "--no_viterbi", "--method", "nnshot"))  # methods that train alike share it
    assert f"{source} is finished; nothing to do" in capsys.readouterr().out
    assert (source / "summary.json").read_text() == before
    for change in (["--seed", "1"], ["--learning_rate", "0.001"], ["--distance", "euclidean"]):
        with pytest.raises(UserError, match=f"made with {change[0]} .*, now it is {change[1]}; .*choose another name"):
            train.main(flags(place, *change))
    cases.write_encoder(place / "other", positions=130)
    with pytest.raises(UserError, match="made with the encoder"):
        train.main(flags(place, "--model", f"{place}/other"))
    with open(place / "data/intra/train.txt", "a") as file:
        file.write("word1\tO\n")
    with pytest.raises(UserError, match="made with the train"):
        train.main(flags(place))


def test_a_killed_source_training_is_made_anew(place):
    summary = place / SOURCE / "summary.json"
    weights = json.loads(summary.read_text())["weights"]
    summary.unlink()
    (place / SOURCE / "model.safetensors").write_bytes(b"half")
    train.main(flags(place))
    assert json.loads(summary.read_text())["weights"] == weights


def test_a_source_training_that_lost_its_weights_is_made_anew_only_when_told(place, capsys):
    one = run(place, "--episodes", "1")
    source, heads = place / SOURCE, place / SOURCE / "heads.safetensors"
    weights = json.loads((source / "summary.json").read_text())["weights"]
    content, tensors = heads.read_bytes(), load_file(heads)
    for damage, message in (
        (lambda: heads.write_bytes(content[:100]), "heads.safetensors is damaged"),
        (heads.unlink, "heads.safetensors is missing"),
        (lambda: save_file({"others": torch.ones(2)}, heads), "does not hold the weights"),
        (lambda: save_file({name: tensor + 1 for name, tensor in tensors.items()}, heads), "does not hold the weights"),
        ((source / "model.safetensors").unlink, "has no model.safetensors"),
    ):
        heads.write_bytes(content)
        damage()
        with pytest.raises(UserError, match=f"{message}.*; train again: .* with --restart"):
            run(place)
    train.main(flags(place, "--restart"))
    assert f"{source} begins anew; what it held is in {source / 'before-1'}\n" in capsys.readouterr().out
    assert json.loads((source / "summary.json").read_text())["weights"] == weights
    assert (source / "before-1" / "heads.safetensors").read_bytes() == content
    assert run(place)[:1] == one


def test_an_encoder_without_its_weights_is_refused(place):
    """Weights of other names would leave the encoder random, and print an F1."""
    encoder = place / "encoder" / "model.safetensors"
    save_file({f"module.{name}": tensor for name, tensor in load_file(encoder).items()}, encoder, {"format": "pt"})
    command = ["-m", "evaluations.few_shot.train", *flags(place, "--name", "foreign")]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: the weights of the encoder") and done.stderr.count("\n") == 1
    assert not (place / "out/intra/foreign").exists()


def test_a_killed_run_goes_on_at_the_first_missing_episode(place, monkeypatch, capsys):
    log = place / "out/intra/tiny/5-1/episodes.jsonl"
    whole = run(place)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:3]) + lines[3][:40])  # killed in the middle of a write
    (log.parent / "summary.json").unlink()
    assert run(place) == whole
    assert log.read_bytes().splitlines()[:3] == [line.strip() for line in lines[:3]]  # the same, times included

    assert f"{log.parent}: goes on after 3 episodes\n" in capsys.readouterr().out
    monkeypatch.setattr("evaluations.few_shot.run.run_share", None)  # a finished run loads no model
    assert run(place) == whole
    assert f"{log.parent} is finished; nothing to do\n" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds a run already"):
        run(place, "--no_resume")


def test_a_finished_run_that_lost_its_episodes_is_begun_anew_only_when_told(place, capsys):
    whole = run(place)
    folder = place / "out/intra/tiny/5-1"
    for content in (b'{"index": 0, "fu\n', b""):
        (folder / "episodes.jsonl").write_bytes(content)
        with pytest.raises(UserError, match=r"episodes\.jsonl holds no episode any more, .*; --restart begins anew"):
            run(place)
        assert (folder / "episodes.jsonl").read_bytes() == content and (folder / "summary.json").exists()
    assert run(place, "--restart") == whole
    assert f"{folder} begins anew; what it held is in {folder / 'before-1'}\n" in capsys.readouterr().out
    run(place, "--restart", "--temp_trans", "0.5", "--episodes", "1")  # with another recipe too
    kept = (folder / "before-2" / "episodes.jsonl").read_text().splitlines()
    assert len(kept) == len(whole) and (folder / "before-2" / "summary.json").exists()


def test_more_episodes_are_added_to_those_there(place):
    two = run(place, "--episodes", "2")
    assert len(two) == 2
    assert run(place)[:2] == two


def test_another_recipe_data_or_training_is_refused(place):
    run(place, "--episodes", "1")
    with pytest.raises(UserError, match=r"made with --temp_trans 0.01, now it is 0.5"):
        run(place, "--temp_trans", "0.5")
    with pytest.raises(UserError, match="train first"):
        run_episodes.main(flags(place, "--name", "untrained"))
    episodes = Split(place / "data", "intra").episodes(5, 1)
    episodes.write_text(episodes.read_text().replace("word1", "word2", 1))
    with pytest.raises(UserError, match="made with the episodes"):
        run(place)


def test_a_broken_episode_is_named_and_what_was_computed_stays(place):
    done = run(place, "--episodes", "2")
    episodes = Split(place / "data", "intra").episodes(5, 1)
    lines = episodes.read_text().splitlines()
    episodes.write_text("\n".join([*lines[:3], lines[3].replace("organization-other", "organization-new"), *lines[4:]]))
    with pytest.raises(UserError, match=r"test_5_1.jsonl, line 4: the label `organization-new`"):
        run(place)
    episodes.write_text("\n".join([*lines, ""]))
    assert run(place)[:2] == done


def test_two_runs_do_not_write_one_directory(place):
    with RunDirectory(place / "out/intra/tiny/5-1"), pytest.raises(UserError, match="another run is writing into"):
        run(place)


def test_max_length_beyond_the_encoder_is_refused(place):
    with pytest.raises(UserError, match="--max_length 129 exceeds the encoder's 128 positions"):
        train.main(flags(place, "--name", "long", "--max_length", "129"))


def test_words_beyond_what_is_read_are_said(place, capsys):
    for limit, said in (("128", False), ("6", True)):
        short = flags(place, "--name", f"limit{limit}", "--max_length", limit, "--epochs", "0")
        train.main(short)
        run_episodes.main(short)
        assert ("words beyond what is read of a sentence" in capsys.readouterr().out) == said


@pytest.mark.parametrize("name", [name for name in METHODS if name != "container"])
def test_every_method_goes_on_where_it_was_killed_and_shares_its_episodes(place, name):
    """The same lines whole, after a kill in the middle, and from two shares, of which the first process died."""
    flags_of, setting = ("--method", name, "--predictions"), f"5-1-{name}"
    whole = run(place, *flags_of, name=setting)
    log = place / "out/intra/tiny" / setting / "episodes.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:2]) + lines[2][:40])
    (log.parent / "summary.json").unlink()
    assert run(place, *flags_of, name=setting) == whole
    shutil.rmtree(log.parent)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match="3 episodes are missing"):
        patch.setattr("evaluations.few_shot.run.start", lambda shares: [])
        run(place, *flags_of, "--processes", "2", name=setting)
    assert run(place, *flags_of, name=setting) == whole


def test_label_names_decide_what_a_method_reads(place):
    """Other names of the test types are another run; the same ones from a file are the same."""
    names = place / "names.tsv"
    names.write_text("location-GPE\tgeographical social political\n")
    run(place, "--method", "proml", name="5-1-proml")
    run(place, "--method", "proml", "--label_names", str(names), name="5-1-proml")
    names.write_text("location-GPE\tword1 word2\n")
    with pytest.raises(UserError, match="made with the label names"):
        run(place, "--method", "proml", "--label_names", str(names), name="5-1-proml")
    names.write_text("location-GPE\tcountry\n\nlocation-GPE\tcountry\n")
    with pytest.raises(UserError, match=r"names.tsv, line 3: the label `location-GPE` comes twice"):
        run(place, "--method", "proml", "--label_names", str(names), name="5-1-proml")


@pytest.mark.parametrize("flag", ["nnshot", "structshot", "protobert", "no_viterbi"])
def test_baselines_run_beside_each_other(place, flag):
    lines = run(place, *(["--no_viterbi"] if flag == "no_viterbi" else ["--method", flag]), name=f"5-1-{flag}")
    assert all((line["steps"] == 0) == (flag != "no_viterbi") for line in lines)
    f1 = micro_prf(sum(total(line["full"]) for line in lines))[2]
    assert f1 > 10  # the labels are learnt from names of their types alone: chance is near zero


def test_the_log_reads_on_and_leaves_half_lines(tmp_path):
    log, other = EpisodeLog(tmp_path / "episodes.jsonl"), EpisodeLog(tmp_path / "episodes.jsonl")
    log.repair()
    for index in (4, 1):
        other.append({"index": index})
    assert sorted(log.read()) == [1, 4]
    with open(log.path, "a") as file:
        file.write('{"index": 7')
    assert sorted(log.read()) == [1, 4]
    other.repair()
    assert [json.loads(line)["index"] for line in log.path.read_text().splitlines()] == [1, 4]


@pytest.mark.skipif(not (SHARED / "few-nerd").exists(), reason="the real episodes are not here")
def test_real_episodes(tmp_path):
    """Five real 5-way 1-shot episodes; gold entities counted anew from the file, words split into pieces."""
    data = tmp_path / "data"
    (data / "intra").mkdir(parents=True)
    for part in ("train", "test"):
        shutil.copy(SHARED / f"few-nerd/intra/labels_{part}.txt", data / "intra")
    sentences = list(islice(read_columns(SHARED / "few-nerd/intra/train.txt"), 64))
    for sentence in sentences:
        pairs = zip(sentence.words, sentence.labels, strict=True)
        with open(data / "intra/train.txt", "a") as file:
            file.write("".join(f"{word}\t{label}\n" for word, label in pairs) + "\n")
    (data / "episode-data").mkdir()
    (data / "episode-data/intra").symlink_to(SHARED / "few-nerd/episode-data/intra")
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    frequent = sorted({word for sentence in sentences for word in sentence.words if word.isalpha()})
    cases.write_encoder(tmp_path / "encoder", dict.fromkeys([*letters, *(f"##{c}" for c in letters), *frequent]))
    train.main(flags(tmp_path, "--batch_size", "16"))
    lines = run(tmp_path, "--episodes", "5")
    for scoring in ("full", "published"):
        gold = 0
        for episode in islice(read_episodes(Split(data, "intra").episodes(5, 1)), 5):
            for sentence in episode.query:
                names = ["O", *(n if scoring == "full" else n.split("-", 1)[-1] for n in sentence.labels)]
                gold += sum(b != "O" and a != b for a, b in pairwise(names))
        table = np.array([total(line[scoring]) for line in lines])
        assert len(lines) == 5 and table[:, 2].sum() == gold and table[:, 1].sum() > 0
