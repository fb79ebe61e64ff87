"""The commands from end to end: over-fitting thirty sentences, resuming, scoring, predicting, comparing."""

import json
import lzma
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from family_cases import PACKED, UNPACKED, write_model
from supervised_ie_cases import flags, one_thread, sentences, write_case, write_encoder  # noqa: F401

from benchmarks import supervised_ie_speed
from common.errors import UserError
from encoders import load_encoder
from evaluations.supervised_ie import checkpoint, compare, evaluate, predict, token_classifier, train
from evaluations.supervised_ie.data import Entity, read_sentences, write_sentences
from evaluations.supervised_ie.model import Extractor
from evaluations.supervised_ie.scores import OVERALL, TASKS, count, f1_of

RUN = Path(__file__).resolve().parents[1] / "evaluations" / "supervised_ie" / "run.sh"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_case(tmp_path_factory.mktemp("ie"))


@pytest.fixture(scope="module")
def trained(root):
    train.main(flags(root, "run"))
    return root / "run"


def test_thirty_sentences_are_learnt_by_heart(root, trained, capsys):
    evaluate.main(["--name", str(trained), "--data", str(root / "data"), "--device", "cpu"])
    printed = capsys.readouterr().out
    scores = json.loads((trained / "scores-dev.json").read_text())["scores"]
    assert set(scores) == set(TASKS)
    for task, line in scores.items():
        assert line["f1"] > 95, task
        assert re.search(rf"{task} .*{line['f1']:.2f}", printed)


def test_reading_predicting_and_scoring_round_trip(root, trained):
    predict.main(
        ["--name", str(trained), "--input", str(root / "data" / "dev.oneie.jsonl"), "--output", str(root / "p.jsonl")]
    )
    gold, predicted = sentences(), read_sentences(root / "p.jsonl")
    assert [s.tokens for s in predicted] == [s.tokens for s in gold]
    assert any(e.mention_type == "PRO" for s in predicted for e in s.entities)
    epoch, best = checkpoint.read_best(trained)[OVERALL]
    assert f1_of(count(gold, predicted, ["PER-SOC"]), TASKS)[OVERALL] == pytest.approx(best)
    history = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert history[epoch - 1]["dev_f1"][OVERALL] == best == max(line["dev_f1"][OVERALL] for line in history)


def test_text_is_predicted_line_by_line(root, trained, capsys):
    predict.main(["--name", str(trained), "--input", str(root / "in.txt"), "--positions", "1"])
    first, second = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert first["tokens"] == ["bob", "met", "anna", "in", "lima"]
    assert {e["text"] for e in first["entity_mentions"]} >= {"bob", "lima"}
    assert second["event_mentions"][0]["event_type"] == "Attack"


def test_the_directory_holds_no_pickle_and_only_the_best_epochs(trained):
    wanted = {f"epoch-{epoch}.safetensors" for epoch, _ in checkpoint.read_best(trained).values()}
    assert {path.name for path in trained.glob("epoch-*")} == wanted
    allowed = {".json", ".jsonl", ".md", ".safetensors", ".txt", ""}
    assert {path.suffix for path in trained.rglob("*") if path.is_file()} <= allowed
    assert not (trained / checkpoint.STATE).exists()


def test_compare_finds_a_run_equal_to_itself_and_better_than_a_worse_one(root, trained, capsys):
    train.main(flags(root, "worse", max_epochs=3, patience=3))
    for run in ("run", "worse"):
        evaluate.main(["--name", str(root / run), "--data", str(root / "data"), "--device", "cpu"])
    capsys.readouterr()
    compare.main([str(trained), str(trained), "--split", "dev"])
    for line in capsys.readouterr().out.splitlines()[1:]:
        assert "+0.00   +0.00 to +0.00" in line and line.endswith("1.0000")
    compare.main([str(root / "worse"), str(trained), "--split", "dev"])
    role = capsys.readouterr().out.splitlines()[-1].split()
    assert role[0] == "role_classification"
    assert float(role[3]) > 20 and float(role[-1]) < 0.05
    # seeds joined by commas are summed: of the two runs together, F1 is 2 correct / (predicted + gold)
    compare.main([str(root / "worse"), f"{root / 'worse'},{trained}", "--split", "dev"])
    both = float(capsys.readouterr().out.splitlines()[-1].split()[2])
    scores = [json.loads((root / run / "scores-dev.json").read_text()) for run in ("run", "worse")]
    counts = sum(np.array([*of_run["documents"]["role_classification"].values()]) for of_run in scores)
    correct, predicted, gold = counts.sum(axis=0)
    assert both == pytest.approx(200 * correct / (predicted + gold), abs=0.005)
    assert float(role[1]) < both < float(role[2])
    with pytest.raises(UserError, match=r"scores-test\.json cannot be read"):
        compare.main([str(trained), str(trained)])
    scores[0]["documents"]["entity"]["doc-0"][2] += 1  # as after the corpus was prepared anew
    (root / "worse" / "scores-dev.json").write_text(json.dumps(scores[0]))
    with pytest.raises(UserError, match="are not of the same tasks, documents and annotation"):
        compare.main([str(trained), str(root / "worse"), "--split", "dev"])


def test_what_a_run_cannot_score_is_counted(root, capsys):
    (root / "no_events").mkdir()
    for split in ("train", "dev"):
        bare = [replace(sentence, events=[]) for sentence in sentences()]
        write_sentences(root / "no_events" / f"{split}.oneie.jsonl", bare)
    train.main(flags(root, "no_events_run", data=root / "no_events", max_epochs=1, patience=1, warmup_epochs=0))
    evaluate.main(["--name", str(root / "no_events_run"), "--data", str(root / "data"), "--device", "cpu"])
    shown = capsys.readouterr()
    assert "trigger" not in shown.out and "relation" in shown.out
    events = sum(len(sentence.events) for sentence in sentences())
    assert f"note: {events} of trigger_identification are not scored" in shown.err
    assert "of relation" not in shown.err


def test_run_sh_does_it_all_from_anywhere(root):
    hyperparameters = flags(root, "x", max_epochs=1, patience=1, warmup_epochs=1)[6:]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    shown = subprocess.run(
        [RUN, "data", "./by_script", "encoder", *hyperparameters],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "epoch 1: loss" in shown and "role_classification" in shown
    assert (root / "by_script" / "scores-dev.json").is_file()
    assert subprocess.run([RUN, "data"], capture_output=True).returncode == 2
    # without an encoder the flags follow at once, and it is BERT's: here none that a run can begin with
    flags_only = [RUN, "data", "./default", "--encoder_learning_rate", "1e-3", "--mixed_precision", "fp64"]
    refused = subprocess.run(flags_only, cwd=root, env=environment, capture_output=True, text=True)
    assert refused.returncode == 2 and "invalid choice: 'fp64'" in refused.stderr


def test_benchmark_measures_both_ways(root, trained, capsys):
    data = str(root / "data" / "dev.oneie.jsonl")
    supervised_ie_speed.main(["--name", str(trained), "--input", data, "--rounds", "1", "--device", "cpu"])
    *_, one, many, ratios, same = (line.split() for line in capsys.readouterr().out.splitlines())
    assert float(ratios[-1]) == pytest.approx(float(one[-2]) / float(many[-2]), rel=0.05)  # milliseconds in all
    assert same[0] == "0" and same[same.index("F1") + 1] == same[-2]


def test_token_classifier_learns_the_entities_by_heart_and_nothing_else(root, capsys):
    train.main(flags(root, "tokens", method="token_classifier", max_epochs=20, patience=20))
    evaluate.main(["--name", str(root / "tokens"), "--data", str(root / "data"), "--device", "cpu"])
    record = json.loads((root / "tokens" / "scores-dev.json").read_text())
    assert record["split"] == "dev" and list(record["scores"]) == ["entity"] and record["scores"]["entity"]["f1"] > 95
    shown = capsys.readouterr()
    assert f"{record['scores']['entity']['f1']:.2f}" in shown.out and "of relation are not scored" in shown.err
    predict.main(["--name", str(root / "tokens"), "--input", str(root / "in.txt"), "--device", "cpu"])
    first, _ = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {e["text"] for e in first["entity_mentions"]} >= {"bob", "lima"} and first["event_mentions"] == []


def test_chunks_of_ill_formed_tags():
    names = ["I-A", "I-A", "B-A", "I-B", "O", "B-B", "I-B", "I-A"]
    spans = [(0, 2, "A"), (2, 3, "A"), (3, 4, "B"), (5, 7, "B"), (7, 8, "A")]
    assert token_classifier.chunks(names) == [Entity(*span) for span in spans]


def test_mistakes_are_named(root, trained, tmp_path):
    with pytest.raises(UserError, match=r"train\.oneie\.jsonl cannot be read"):
        train.main(flags(root, "x", data=tmp_path))
    with pytest.raises(UserError, match="holds no trained model"):
        predict.main(["--name", str(tmp_path), "--input", str(root / "in.txt")])
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(UserError, match="holds no text"):
        predict.main(["--name", str(trained), "--input", str(tmp_path / "empty.txt")])
    with pytest.raises(UserError, match="no directory"):
        train.main(flags(root, "x", model="./nowhere"))
    write_encoder(tmp_path / "flat", layers=1)
    with pytest.raises(UserError, match=r"flat` has one layer; word vectors need the third state from the end"):
        train.main(flags(root, "x", model=tmp_path / "flat"))
    assert not (root / "x").exists()
    for output in (root / "x" / "y", tmp_path):
        with pytest.raises(UserError, match=r"no file .* can be written"):
            predict.main(["--name", str(trained), "--input", str(root / "in.txt"), "--output", str(output)])
    with pytest.raises(UserError, match=r"cannot write into .*in\.txt"):
        train.main(flags(root, "in.txt"))
    with pytest.raises(UserError, match=r"in\.txt holds no trained model"):
        evaluate.main(["--name", str(root / "in.txt"), "--data", str(root / "data")])


def test_mistakes_end_with_one_line_and_status_2(root, tmp_path):
    commands = [
        ["train", *flags(root, "x", model="./nowhere")],
        ["evaluate", "--name", str(tmp_path), "--data", str(root / "data")],
        ["predict", "--name", str(tmp_path), "--input", str(root / "nothing.txt")],
        ["compare", str(tmp_path), str(tmp_path)],
        ["prepare", "ace", "--input", str(root / "nowhere"), "--output", str(tmp_path / "out")],
        ["train", *flags(root, "x", method="token_classifier", data=tmp_path)],
    ]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", f"evaluations.supervised_ie.{command}", *arguments],
            cwd=RUN.parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for command, *arguments in commands
    ]
    for process in started:
        error = process.communicate()[1]
        assert process.returncode == 2 and error.startswith("error: ") and error.count("\n") == 1, error


def test_each_task_is_scored_with_its_own_best_epoch(root, trained):
    run = root / "two_epochs"
    shutil.copytree(trained, run)
    model, _ = checkpoint.load_model(run, checkpoint.read_best(run)[OVERALL][0])
    torch.manual_seed(0)
    untrained = Extractor(load_encoder(str(root / "encoder"))[0], model.labels)
    checkpoint.save_epoch(run, 99, untrained)
    (run / "best.json").write_text(json.dumps({**checkpoint.read_best(run), "entity": [99, 0.0]}))
    evaluate.main(["--name", str(run), "--data", str(root / "data"), "--device", "cpu"])
    scores = json.loads((run / "scores-dev.json").read_text())["scores"]
    assert scores["entity"]["epoch"] == 99 and scores["entity"]["f1"] < 50
    for task in set(scores) - {"entity"}:
        assert scores[task]["epoch"] != 99 and scores[task]["f1"] > 95


@pytest.mark.parametrize("family", [*PACKED, *UNPACKED])
def test_encoders_of_other_families(root, tmp_path, family, capsys):
    """Pieces of bytes and positions that begin behind the padding id; relative positions."""
    encoder = write_model(family, [" ".join(sentence.tokens) for sentence in sentences()], tmp_path / "encoder")
    train.main(flags(tmp_path, "run", model=encoder, data=root / "data", max_epochs=2, patience=2))
    evaluate.main(["--name", str(tmp_path / "run"), "--data", str(root / "data"), "--device", "cpu"])
    scores = json.loads((tmp_path / "run" / "scores-dev.json").read_text())["scores"]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert scores["entity"]["f1"] == max(json.loads(line)["dev_f1"]["entity"] for line in lines)
    (tmp_path / "long.txt").write_text("bob met anna in lima " * 40)  # more pieces than positions
    capsys.readouterr()
    predict.main(["--name", str(tmp_path / "run"), "--input", str(tmp_path / "long.txt"), "--device", "cpu"])
    assert len(json.loads(capsys.readouterr().out)["tokens"]) == 200


def test_odd_text_is_predicted(root, trained, capsys):
    """A word of more pieces than the encoder has positions (64), and lines that a tokenizer drops or splits oddly."""
    lines = ["\u6211" * 100 + " met bob", "\u200b", "\U0001f600 \U0001f468\u200d\U0001f469", "=" * 300, "anna " * 80]
    (root / "odd.txt").write_text("\n".join(lines) + "\n")
    predict.main(["--name", str(trained), "--input", str(root / "odd.txt"), "--device", "cpu"])
    predicted = capsys.readouterr().out
    tokens = [json.loads(line)["tokens"] for line in predicted.splitlines()]
    assert ["".join(words) for words in tokens] == ["".join(line.split()) for line in lines]
    (root / "odd.oneie.json").write_text(predicted)  # OneIE's own files end so
    predict.main(["--name", str(trained), "--input", str(root / "odd.oneie.json"), "--device", "cpu"])
    assert [json.loads(line)["tokens"] for line in capsys.readouterr().out.splitlines()] == tokens


def test_compressed_json_lines_are_no_text(root, trained, capsys):
    with lzma.open(root / "in.jsonl.xz", "wt") as file:
        file.write('{"tokens": ["bob", "met", "anna"]}\n')
    predict.main(["--name", str(trained), "--input", str(root / "in.jsonl.xz"), "--device", "cpu"])
    assert json.loads(capsys.readouterr().out)["tokens"] == ["bob", "met", "anna"]


def test_a_run_of_before_there_was_a_run_json_is_read_but_not_resumed(root, trained, capsys):
    run = root / "older"
    shutil.copytree(trained, run)
    settings = json.loads((run / "run.json").read_text())["arguments"]
    del settings["method"], settings["max_grad_norm"]
    (run / "config.json").write_text(json.dumps(settings | {"clip": 5.0}))
    (run / "run.json").unlink()
    for name in (trained, run):
        evaluate.main(["--name", str(name), "--data", str(root / "data"), "--device", "cpu"])
    as_now, as_before = capsys.readouterr().out.split("dev, 30 sentences")[1:]
    assert as_now == as_before
    with pytest.raises(UserError, match="holds a run of an older version of this project, which cannot be resumed"):
        train.main(flags(root, "older"))
