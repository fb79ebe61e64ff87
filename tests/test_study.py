"""The study of encoders: its design, its tables against hand-counted values, and the whole of it in small."""

import importlib
import io
import json
import shutil
import subprocess
import tarfile
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import few_shot_cases as cases
import pytest

from common.errors import UserError
from common.files import ROOT
from study import __main__ as study
from study import jobs as graph
from study import report
from study.design import ARMS, VARIANTS, Study, jobs
from training.recipe import Recipe, read_recipe

RESULTS = ROOT / "study" / "results"


def recipes(directory: Path) -> dict[str, Recipe]:
    """The recipes of pre-training in a study of two seeds, by the names of their jobs."""
    made = jobs(Study(directory=directory, pretraining_seeds=[1, 2], choosing_seed=3))
    return {job.name: read_recipe(list(job.command[2:])) for job in made if job.command[1] == "pretrain.py"}


def write_pretraining(folder: Path, rate: float, **metrics: float) -> None:
    folder.mkdir(parents=True)
    record = {"arguments": {"encoder_learning_rate": rate}, "inputs": {"start": "one", "corpus": "x"}}
    (folder / "run.json").write_text(json.dumps(record))
    lines = [{"step": 0, "validation": {"mlm_loss": 0.1}}, {"step": 10, "loss": 0.2}]
    lines.append({"step": 20, "validation": metrics})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_arms_differ_in_what_they_are_named_after_alone(tmp_path):
    (tmp_path / "rates").write_text("B 3e-05\nU 0.0001\nC 1e-05\n")
    made = recipes(tmp_path)
    plain = asdict(made["pretrain-C-1"])
    different = {
        arm: {name: value for name, value in asdict(made[f"pretrain-{arm}-1"]).items() if value != plain[name]}
        for arm in ARMS | VARIANTS
    }
    assert {arm: {name for name in flags if name != "name"} for arm, flags in different.items()} == {
        "B": {"alpha", "beta", "gamma", "encoder_learning_rate"},
        "U": {"gate", "beta", "gamma", "encoder_learning_rate"},
        "C": set(),
        "C_types": {"detached"},
        "C_reconstruction": {"detached"},
        "C_neither": {"detached"},
    }
    assert (different["B"]["encoder_learning_rate"], different["U"]["encoder_learning_rate"]) == (3e-5, 1e-4)
    assert different["C_types"]["detached"] == ["reconstruction"], "types alone act on the encoder"
    assert made["pretrain-B-1"].mlm_only and different["U"]["gate"] == "open"


def test_each_seed_starts_from_its_own_stage_0_whose_encoder_is_frozen(tmp_path):
    made = recipes(tmp_path)
    for seed in (1, 2):
        stage0, stage1 = made[f"stage0-{seed}"], made[f"pretrain-C-{seed}"]
        assert stage0.frozen_steps == stage0.max_steps and stage0.seed == stage1.seed == seed
        assert stage1.model == str(stage0.directory) and stage1.frozen_steps == 0


def test_what_a_job_needs_comes_before_it(tmp_path):
    before: set[str] = set()
    flags = {"directory": tmp_path, "texts": ["a.txt"], "extraction": [Path("e")], "extraction_epochs": [9]}
    for job in jobs(Study(**flags, pretraining_seeds=[1, 2], choosing_seed=3)):
        assert before.issuperset(job.needs) and job.name not in before, job.name
        if job.name == "stage0-2":  # all that the first seed is for has come
            assert {"few-nerd-container-C_neither-1-0-inter", "extraction-e-C-1-scores"} < before
        before.add(job.name)
    assert {"gate-2", "rates", "few-nerd-container-C_types-2-0-inter", "few-nerd-readout-A-0-intra"} < before
    assert {"extraction-e-B-1-scores", "few-nerd-proml-C-2-0-intra"} < before
    assert not any("-3-0" in name for name in before if name.startswith("few-nerd"))  # the choosing seed never counts

    (tmp_path / "rates").write_text("B 3e-05\nU 0.0001\nC 1e-05\n")
    before.clear()
    for job in jobs(Study(command="dose", **flags, dose_seed=4)):
        assert before.issuperset(job.needs) and job.name not in before, job.name
        before.add(job.name)
    assert {"corpus", "gate-4", "pretrain-C_600-4", "dose-container-B_10000-4-0-inter"} < before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"pretraining_seeds": [1, 2], "choosing_seed": 2}, "--choosing_seed 2 must not be among --pretraining_seeds"),
        ({"extraction": [Path("e")]}, "--extraction_epochs must have a number for each directory"),
        ({"command": "dose"}, "s/rates does not exist; the dose is trained at the rates that `run` chooses"),
    ],
)
def test_what_cannot_be_is_refused(flags, message):
    with pytest.raises(UserError, match=message):
        list(jobs(Study(directory=Path("s"), **flags)))


def test_arms_of_a_seed_that_did_not_start_alike_are_no_pair(tmp_path):
    for name, weights in (("B-1", "one"), ("C-1", "one"), ("B-2", "two"), ("C-2", "three")):
        write_pretraining(tmp_path / "pretrain" / name, 1e-5)
        record = {"arguments": {}, "inputs": {"start": weights, "corpus": "x"}}
        (tmp_path / "pretrain" / name / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"B-2 and .*C-2 did not have the same stage 0 of 2"):
        study.main(["report", str(tmp_path)])


def test_mistakes_are_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        study.main(["walk"])
    assert (
        "COMMAND: invalid choice: 'walk' (choose from 'run', 'dose', 'report', 'gate', 'rates')"
        in capsys.readouterr().err
    )


def test_a_stage_0_outside_the_regime_ends_the_study(tmp_path, capsys):
    write_pretraining(tmp_path / "stage0" / "1", 0, reconstruction_accuracy=0.41, share_typed=0.5)
    write_pretraining(tmp_path / "stage0" / "2", 0, reconstruction_accuracy=0.41, share_typed=0.39)
    study.main(["gate", str(tmp_path), "--pretraining_seeds", "1"])
    with pytest.raises(UserError, match=r"stage 0 of seed 2 ended with share_typed 0\.390 < 0\.4"):
        study.main(["gate", str(tmp_path), "--pretraining_seeds", "1", "2"])


def test_the_rate_of_the_highest_f1_is_chosen_for_each_arm(tmp_path):
    """Of 5 entities in each episode so many are right; what comes after the first 100 episodes must not count."""
    choices = {"B": (2, 1), "U": (1, 2), "C": (3, 4)}
    for arm, rate, correct in (
        (arm, rate, n) for arm, ns in choices.items() for rate, n in zip((1e-5, 3e-5), ns, strict=True)
    ):
        name = f"{arm}-{rate:g}".replace("e-", "e")
        write_pretraining(tmp_path / "pretrain" / name, rate)
        episodes = [[correct, 5, 5]] * 100 + [[5 - correct, 5, 5]] * 300
        write_few_shot_run(tmp_path / f"choosing/intra/{name}-0/5-1", episodes, 0)
    study.main(["rates", str(tmp_path), "--rates", "1e-5", "3e-5"])
    assert (tmp_path / "rates").read_text() == "B 1e-05\nC 3e-05\nU 3e-05\n"
    assert "| C | 3e-05 | 80.00 |" in (tmp_path / "choosing.md").read_text()
    with pytest.raises(UserError, match=r"holds no finished run of B at the rate 0\.0001"):
        study.main(["rates", str(tmp_path), "--rates", "1e-5", "1e-4"])


def test_without_runs_it_says_so(tmp_path):
    for step in ("rates", "report"):
        with pytest.raises(UserError, match="holds no"):
            study.main([step, str(tmp_path)])


def write_few_shot_run(folder: Path, episodes: list[list[int]], seed: int) -> None:
    """A finished run whose every episode has these counts (correct, predicted, gold)."""
    folder.mkdir(parents=True)
    inputs = {"version": "x", "training": {"arguments": {"seed": seed}, "inputs": {"train": "x"}}}
    (folder / "run.json").write_text(json.dumps({"arguments": {"seed": seed}, "inputs": inputs}))
    lines = [{"index": i, "full": {"a": row}, "published": {"a": row}} for i, row in enumerate(episodes)]
    (folder / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "summary.json").write_text(json.dumps({"episodes": len(episodes)}))


def test_tables_by_hand(tmp_path):
    """F1 = 2 correct / (predicted + gold): 20 points a correct entity, in every episode alike."""
    correct = {"A-0": 1, "B-1-0": 2, "B-2-0": 2, "C-1-0": 3, "C-2-0": 4}
    for name, right in correct.items():
        for kind in ("intra", "inter"):
            episodes = [[5, 5, 5]] * 100 + [[right, 5, 5]] * 20  # the first 100 of INTRA must not count
            write_few_shot_run(tmp_path / f"few-nerd/{kind}/{name}/5-1", episodes, 0)
    write_few_shot_run(tmp_path / "few-nerd/intra/C_types-1-0/5-1", [[1, 5, 5]] * 100, 0)  # not beyond the first 100
    for name in ("stage0/1", "pretrain/B-1"):
        write_pretraining(tmp_path / name, 1e-5, mlm_loss=4.5)
    scores = tmp_path / "extraction" / "conll04" / "A"
    scores.mkdir(parents=True)
    (scores / "scores-test.json").write_text(json.dumps({"scores": {"entity": {"f1": 61.234}}}))
    study.main(["report", str(tmp_path)])
    text = (tmp_path / "tables.md").read_text()
    assert "| intra 5-1 | 20 | A | 20.00 | 20.00 to 20.00 | 20.00 |" in text
    assert "| intra 5-1 | 20 | C | 70.00 | 70.00 to 70.00 | 60.00, 80.00 |" in text and "C_types" not in text
    # Seeds differ by 20 and 40, in one direction: a quarter of the signs' draws is as large, on either side. C - B is
    # a family of two, INTRA and INTER.
    assert "| intra 5-1 | C - B | 2 | +30.00 | +20.00 to +40.00 | 0.5000 | 1.0000 |  |" in text
    assert "| intra 5-1 | B - A | 2 | +20.00 | +20.00 to +20.00 | 0.5000 | 1.0000 |  |" in text
    assert f"| inter 5-1 | 120 | A | {100 * (5 * 100 + 1 * 20) / (5 * 120):.2f} |" in text
    assert "| entity |" in text and "| A | 61.23 |" in text
    assert text.count("| 20 | 4.500 |") == 2 and "<svg" in (tmp_path / "plot.svg").read_text()


def test_runs_without_their_pair_make_no_contrast(tmp_path):
    """B and C pair within a pre-training seed; A, which has none, pairs with every one."""
    for name, correct in {"A-0": 1, "B-5-0": 2, "B-6-0": 3, "C-6-0": 4, "C-7-0": 5, "U-8-0": 5}.items():
        write_few_shot_run(tmp_path / f"few-nerd/inter/{name}/5-1", [[correct, 5, 5]] * 3, int(name[-1]))
    rows = report.contrasts(report.read_settings(tmp_path / "few-nerd"))["inter 5-1"]
    assert {name: (row["seeds"], round(row["value"], 6)) for name, row in rows.items()} == {
        "C - B": (1, 20),  # seed 6 alone
        "B - A": (2, 30),
    }


def test_f1_of_the_earlier_study_is_as_committed(tmp_path):
    with tarfile.open(RESULTS / "episodes.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    rows = report.table(report.F1, report.scores(report.read_settings(tmp_path / "study" / "few-nerd"))).splitlines()
    assert len(rows) > 10 and set(rows) <= set((RESULTS / "tables.md").read_text().splitlines())


def run_here(command, stdout, **options):
    """Run a job in this process, which spares it python's start."""
    script, *argv = command[2:] if command[1] == "-m" else command[1:]
    output = io.TextIOWrapper(stdout, write_through=True)
    with redirect_stdout(output):
        module = "study.__main__" if script == "study" else script.removesuffix(".py")
        importlib.import_module(module).main(argv)
    output.detach()
    return subprocess.CompletedProcess(command, 0)


def test_a_whole_study_in_small_and_again(tmp_path, monkeypatch, capsys):
    subprocesses = SimpleNamespace(run=run_here, DEVNULL=subprocess.DEVNULL, STDOUT=subprocess.STDOUT)
    monkeypatch.setattr(graph, "subprocess", subprocesses)
    monkeypatch.setattr(report, "CHOSEN_ON", 2)
    monkeypatch.setattr(report, "GATE", {"share_typed": 0.0})
    data = cases.write_data(tmp_path / "data", episodes=3)
    shutil.copytree(data / "intra", data / "inter")
    shutil.copytree(data / "episode-data" / "intra", data / "episode-data" / "inter")
    encoder = cases.write_encoder(tmp_path / "encoder")
    text = tmp_path / "news.txt"
    text.write_text("\n".join(f"word{i % 60} word{i % 7} word{i % 11}" for i in range(80)) + "\n")
    place = tmp_path / "study"
    flags = {
        "model": encoder, "data": text, "few_nerd": data, "stage0_steps": 2, "max_steps": 2, "rates": 1e-5, "dose": 4,
        "pretraining_seeds": 5, "choosing_seed": 6, "dose_seed": 8, "episodes": 3, "batch_size": 4,
    }  # fmt: skip
    argv = ["run", str(place), *(str(part) for name, value in flags.items() for part in (f"--{name}", value))]
    study.main(argv)
    done = {path.name for path in (place / "done").iterdir()}
    assert len((place / "commands.sh").read_text().splitlines()) == len(done) == 79
    tables = (place / "tables.md").read_text()
    for setting in ("intra 5-1", "inter 5-1", "intra 5-1-readout", "inter 5-1-readout"):
        for pair in ("C - B", "C - U", "U - B", "B - A"):
            assert f"| {setting} | {pair} | 1 | " in tables
    for pair in ("C - C_types", "C - C_reconstruction", "C - C_neither", "C_neither - B"):
        assert f"| intra 5-1 | {pair} | 1 | " in tables
    assert "| intra 5-1 | 1 | A |" in tables

    (place / "done" / "few-nerd-container-C-5-0-inter").unlink()  # as if it had been killed at its end
    capsys.readouterr()
    study.main(argv)
    again = capsys.readouterr().out
    assert "few-nerd-container-C-5-0-inter is done; 0 of 79 jobs are left" in again and again.count(" is done") == 1
    assert (place / "tables.md").read_text() == tables

    kept = tmp_path / "kept"  # what git takes of it: another seed goes on in a copy, without the weights of this one
    for command in (["git", "init", "-q"], ["git", "add", "."], ["git", "checkout-index", "-a", f"--prefix={kept}/"]):
        subprocess.run(command, cwd=place, check=True)
    assert not [*kept.rglob("*.safetensors"), *kept.glob("log*")]
    argv[argv.index("5")], argv[1] = "7", str(kept)
    study.main(argv)
    assert "| intra 5-1 | C - B | 2 | " in (kept / "tables.md").read_text()

    argv[0] = "dose"
    study.main(argv)
    tables = (kept / "tables.md").read_text()
    assert all(f"| inter 5-1 | 3 | {run} |" in tables for run in ("B_2", "B_4", "C_2", "C_4"))
