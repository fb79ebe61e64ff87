"""The commands end to end, on a small Few-NERD and a two-layer random BERT, and on real episodes."""

import json
import os
import shutil
import subprocess
import sys
from itertools import islice, pairwise
from pathlib import Path

import few_shot_cases as cases
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from common.errors import UserError
from evaluations.bootstrap import micro_prf
from evaluations.few_shot import compare, tables, train
from evaluations.few_shot import run as run_episodes
from evaluations.few_shot.data import Split, read_columns, read_episodes
from evaluations.few_shot.methods import METHODS
from evaluations.few_shot.records import EpisodeLog, read_run
from evaluations.few_shot.scores import total
from runs import RunDirectory

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "evaluations/ner/CONTaiNER"
SHARED = ROOT.parent / "shared"
SOURCE = "out/intra/tiny/source/contrastive"


@pytest.fixture(autouse=True)
def threads():
    """The runs set torch's threads; give the next test the same as this one had."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Data, encoder and an output directory with the source training of NAME `tiny`; read only."""
    folder = tmp_path_factory.mktemp("trained")
    cases.write_data(folder / "data")
    cases.write_encoder(folder / "encoder")
    train.main(flags(folder))
    return folder


@pytest.fixture(scope="module")
def trained_methods(trained):
    """The same with the source training of every method; read only."""
    for name in METHODS:
        train.main(flags(trained, "--method", name))
    return trained


@pytest.fixture
def place(trained, tmp_path):
    """A copy of it to write into."""
    shutil.copytree(trained, tmp_path / "place")
    return tmp_path / "place"


def flags(folder, *more):
    common = ["--type", "intra", "--way", "5", "--shot", "1", "--device", "cpu", "--batch_size", "8"]
    paths = ["--data", f"{folder}/data", "--model", f"{folder}/encoder", "--output", f"{folder}/out"]
    return [*common, *paths, "--name", "tiny", *more]


def run(folder, *more, name="5-1"):
    """Run the episodes; returns the lines without their times."""
    run_episodes.main(flags(folder, *more))
    lines = (folder / "out" / "intra" / "tiny" / name / "episodes.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


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


def test_a_killed_run_goes_on_at_the_first_missing_episode(trained, place, monkeypatch, capsys):
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


@pytest.mark.parametrize("name", [name for name in METHODS if name != "container"])
def test_every_method_goes_on_where_it_was_killed_and_shares_its_episodes(trained_methods, tmp_path, name):
    """The same lines whole, after a kill in the middle, and from two shares, of which the first process died."""
    place = tmp_path / "place"
    shutil.copytree(trained_methods, place)
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


def test_label_names_decide_what_a_method_reads(trained_methods, tmp_path):
    """Other names of the test types are another run; the same ones from a file are the same."""
    place = tmp_path / "place"
    shutil.copytree(trained_methods, place)
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


def test_calc_micro_shows_finished_settings_beside_the_published_rows(place, capsys):
    lines = run(place)
    run(place, "--method", "nnshot", name="5-1-nnshot")
    shutil.copytree(place / "out/intra/tiny/5-1", place / "out/intra/tiny/5-1-no_viterbi")
    (place / "out/intra/tiny/5-1-no_viterbi/summary.json").unlink()
    capsys.readouterr()
    tables.main(["tiny", "intra", "--output", f"{place}/out", "--scoring", "published", "--skip_episodes", "2"])
    out = capsys.readouterr().out
    precision, recall, f1 = micro_prf(sum(total(line["published"]) for line in lines[2:]))
    assert f"| intra 5-1 | 4 | {precision:.2f} | {recall:.2f} | {f1:.2f} |" in out
    assert "| 40.43 | 47.20 |" in out and "60.78" not in out and "| intra 5-1-nnshot | 4 |" in out
    assert "intra 5-1-no_viterbi is not finished" in out and "religion " in out
    with pytest.raises(UserError, match="no run of the name nobody"):
        tables.main(["nobody", "--output", f"{place}/out"])


OLD_RUN = {  # as runs were recorded before they had a layout
    "recipe": {"type": "intra", "way": 5, "shot": 1, "method": "container", "seed": 3, "temp_trans": 0.01},
    "data": {"episodes": "e", "labels": "l", "version": "v"},
    "source": {"weights": "w"},
    "training": {"recipe": {"epochs": 1, "seed": 3}, "data": {"train": "t", "version": "v"}, "weights": "w"},
}


def test_finished_runs_of_before_can_be_read_but_not_resumed(place, capsys):
    run(place)
    setting, output = place / "out/intra/tiny/5-1", ["--output", f"{place}/comparison"]
    shutil.copytree(setting, place / "new")
    (setting / "run.json").write_text(json.dumps(OLD_RUN))
    tables.main(["tiny", "intra", "--output", f"{place}/out"])
    assert "| intra 5-1 | 6 |" in capsys.readouterr().out
    compare.main([str(setting), str(setting), *output])
    with pytest.raises(UserError, match="differ in data episodes"):
        compare.main([str(setting), f"{place}/new", *output])
    with pytest.raises(UserError, match="of another version of this project, which cannot be resumed"):
        run(place)


def test_compare(place, capsys):
    """A run against itself is no different; against one that finds less it is, and the plot is drawn."""
    run(place)
    good = place / "out/intra/tiny/5-1"
    worse = place / "out/intra/worse/5-1"
    shutil.copytree(good, worse)
    records = [json.loads(line) for line in (good / "episodes.jsonl").read_text().splitlines()]
    for record in records:
        record["full"] = {kind: [0, found, gold] for kind, (_, found, gold) in record["full"].items()}
    (worse / "episodes.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    output = ["--output", f"{place}/comparison"]
    compare.main([f"{good},{good}", str(good), *output])
    result = json.loads((place / "comparison.json").read_text())
    assert result["all"]["difference"] == 0 and result["all"]["p_value"] == 1
    compare.main([str(worse), str(good), *output, "--plot_format", "png"])
    result = json.loads((place / "comparison.json").read_text())
    f1 = micro_prf(read_run(good).counts("full").sum(0))[2]
    assert (result["all"]["f1_a"], result["all"]["f1_b"]) == (0, pytest.approx(f1))
    assert (
        result["all"]["low"] > 0 and result["all"]["p_value"] < 0.05 and set(result["types"]) == set(cases.TEST_TYPES)
    )
    assert (place / "comparison.svg").stat().st_size > 1000 and (place / "comparison.png").stat().st_size > 1000


def test_tables_and_compare_keep_methods_that_read_label_names_apart(trained_methods, tmp_path, capsys):
    place = tmp_path / "place"
    shutil.copytree(trained_methods, place)
    for name in ("container", "structshot", "proml", "readout"):
        run_episodes.main(flags(place, "--method", name))
    capsys.readouterr()
    tables.main(["tiny", "intra", "--output", f"{place}/out"])
    plain, reading = capsys.readouterr().out.split("Methods that read label names, another setting")
    assert "Methods that do not read label names" in plain and "| 60.78 | 62.48 |" in reading
    reading = reading.split("F1 per type")[0]
    assert all(f"| intra 5-1{name} | 6 |" in plain for name in ("", "-structshot", "-readout"))
    assert "| intra 5-1-proml | 6 |" in reading and "5-1-readout |" not in reading
    folder, output = place / "out/intra/tiny", ["--output", f"{place}/comparison"]
    records = [read_run(folder / name).counts("full") for name in ("5-1", "5-1-proml")]
    first, second = (micro_prf(counts.sum(0))[2] for counts in records)
    assert f"| {second - first:+.2f} (" in reading

    compare.main([f"{folder}/5-1", f"{folder}/5-1-structshot", *output])
    assert "Only one of them" not in capsys.readouterr().out
    compare.main([f"{folder}/5-1", f"{folder}/5-1-proml", *output])
    assert "Only one of them reads label names" in capsys.readouterr().out
    result = json.loads((place / "comparison.json").read_text())
    assert result["methods"] == ["container", "proml"] and result["label_names"] == [False, True]
    assert result["all"]["difference"] == pytest.approx(second - first)
    with pytest.raises(UserError, match="different methods cannot be summed"):
        compare.main([f"{folder}/5-1,{folder}/5-1-proml", f"{folder}/5-1", *output])
    made = json.loads((folder / "5-1-proml" / "run.json").read_text())
    made["inputs"]["training"]["inputs"]["encoder"] = "another"
    (folder / "5-1-proml" / "run.json").write_text(json.dumps(made))
    with pytest.raises(UserError, match=r"differ in encoder .*; only runs that differ in the method can be compared"):
        compare.main([f"{folder}/5-1", f"{folder}/5-1-proml", *output])


def test_inductive_and_transductive_tadner_are_neither_compared_nor_summed(trained_methods, tmp_path, capsys):
    place = tmp_path / "place"
    shutil.copytree(trained_methods, place)
    for chosen in (["container"], ["tadner"], ["tadner", "--transductive"]):
        run_episodes.main(flags(place, "--method", *chosen))
    plain, inductive, transductive = (
        str(place / "out/intra/tiny" / name) for name in ("5-1", "5-1-tadner", "5-1-tadner-transductive")
    )
    for sides in ((inductive, transductive), (plain, f"{inductive},{transductive}")):
        with pytest.raises(UserError, match=r"differ in --transductive \(False, True\)"):
            compare.main([*sides, "--output", f"{place}/comparison"])
    for one in (inductive, transductive):  # each beside another method
        compare.main([plain, one, "--output", f"{place}/comparison"])
        assert f"B: {one} (tadner, reads label names)" in capsys.readouterr().out


def test_compare_refuses_runs_that_differ_in_more_than_the_encoder(place):
    run(place)
    folder = place / "out/intra/tiny"
    shutil.copytree(folder / "5-1", folder / "other")
    log = folder / "other" / "episodes.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(UserError, match=r"different episodes \(6, 5\)"):
        compare.main([f"{folder}/5-1", f"{folder}/other"])
    made = json.loads((folder / "other" / "run.json").read_text())
    made["inputs"]["version"] = "another release"
    (folder / "other" / "run.json").write_text(json.dumps(made))
    with pytest.raises(UserError, match="differ in data version"):
        compare.main([f"{folder}/5-1", f"{folder}/other"])
    with pytest.raises(UserError, match=r"has no run.json"):
        compare.main([f"{folder}/5-1", f"{folder}/nothing"])


def bash(place, script, *arguments, **variables):
    """A script called from `place`: relative paths in its variables are seen from there."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **variables}
    command = ["bash", str(SCRIPTS / script), *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_the_scripts_with_two_processes(place):
    """The same lines as one process writes, and one line for a mistake."""
    expected = run(place)
    shutil.rmtree(place / "out/intra/tiny/5-1")
    variables = {"MODEL": "encoder", "DATA": "data", "OUTPUT": "./out", "PROCESSES": "2"}
    arguments = ["intra", "0", "5", "1", "tiny", "--batch_size", "8", "--device", "cpu"]
    done = bash(place, "exec_container.sh", *arguments, **variables)
    assert done.returncode == 0, done.stderr
    assert "6 episodes, full scoring" in done.stdout and "source/contrastive is finished" in done.stdout
    assert run(place) == expected
    assert bash(place, "calc_micro.sh", "tiny", OUTPUT="out").stdout.count("| intra 5-1 |") == 1
    mistaken = bash(place, "exec_container.sh", *arguments, "--temp_trans", "0.5", **variables)
    assert mistaken.returncode == 2 and "temp_trans" in mistaken.stderr and "Traceback" not in mistaken.stderr


@pytest.mark.slow
def test_torchrun_shares_the_episodes_too(place):
    expected = run(place)
    shutil.rmtree(place / "out/intra/tiny/5-1")
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "evaluations.few_shot.run"]
    command = [sys.executable, "-m", *launch, *flags(place)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, timeout=600)
    assert run(place) == expected


def test_a_process_that_dies_loses_only_its_own_episodes(place, monkeypatch):
    """The second of two processes ends at once; what the first counted stays, and the next start goes on."""
    expected = run(place)
    shutil.rmtree(place / "out/intra/tiny/5-1")
    shares = []
    monkeypatch.setattr("evaluations.few_shot.run.start", lambda share: shares.extend(share) or [])
    with pytest.raises(UserError, match="3 episodes are missing"):
        run(place, "--processes", "2")
    assert shares[0][0] == [1, 3, 5] and not (place / "out/intra/tiny/5-1/summary.json").exists()
    monkeypatch.undo()
    assert run(place) == expected


def test_a_process_that_is_killed_ends_the_run(place, monkeypatch):
    """The first of two does not run all of its share before it is noticed; the next start goes on."""
    expected = run(place)
    shutil.rmtree(place / "out/intra/tiny/5-1")
    begin = run_episodes.start

    def start(shares):
        processes = begin(shares)
        processes[0].kill()
        processes[0].join()
        return processes

    monkeypatch.setattr("evaluations.few_shot.run.start", start)
    with pytest.raises(UserError, match=r"another process of this run ended.*with status -9; the finished"):
        run(place, "--processes", "2")
    monkeypatch.undo()
    assert run(place) == expected


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
