"""The study of encoders: its design, its tables against hand-counted values, and the whole of it in small."""

import importlib
import io
import json
import shutil
import subprocess
import tarfile
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import few_shot_cases as cases
import pytest

from common.errors import UserError
from common.files import ROOT
from common.flags import parse
from study import __main__ as study
from study import design, report
from study import jobs as graph
from study.design import ARMS, VARIANTS, Study, jobs, read_rates
from training.recipe import read_recipe
from training.schedules import temperature

RESULTS = ROOT / "study" / "results"


def commands(*flags: str) -> dict[str, str]:
    """The jobs of a study by name, each with its command."""
    return {job.name: " ".join(job.command) for job in jobs(parse(Study, ["run", "s", *flags], None))}


def write_pretraining(folder: Path, rates: str, mlm_loss: float) -> None:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"arguments": read_rates(rates)}))
    lines = [{"step": 0, "validation": {"mlm_loss": 0.1}}, {"step": 10, "loss": 0.2}]
    lines.append({"step": 20, "validation": {"mlm_loss": mlm_loss}})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_gentle_arm_differs_from_its_plain_one_in_the_encoders_rate_and_the_steps(tmp_path):
    (tmp_path / "rates").write_text("0.001:0.0005:100\n")
    made = {job.name: " ".join(job.command) for job in jobs(Study(directory=tmp_path, variants=["C_gentle"]))}
    plain, gentle = made["pretrain-C-61820"].split(), made["pretrain-C_gentle-61820"].split()
    changed = {(flag, a, b) for flag, a, b in zip(plain, plain[1:], gentle[1:], strict=False) if a != b}
    assert changed == {
        ("--encoder_learning_rate", "0.0005", "5e-05"),
        ("--max_steps", "2000", "600"),
        ("--temperature_end", "4.7088", "4.9108"),  # the same fall at each step
        ("--name", "C-61820", "C_gentle-61820"),
    }


def test_arms_and_seeds_multiply():
    names = commands("--pretraining_seeds", "1", "2", "--seeds", "0", "1", "--variants", "B_gentle", "C_gentle")
    assert sum(name.startswith("pretrain-") for name in names) == 2 * 4
    assert sum(name.endswith("-intra-5-1") and name.startswith("few-nerd-") for name in names) == 2 * (1 + 2 * 2)
    assert sum(name.endswith("-intra-5-5") for name in names) == 1 + 2 * 2  # of the first few-shot seed alone
    assert "--held_out_by s/pretrain/B-2" in names["perplexity-held_out-2"]  # each seed holds out others
    assert "--seed 2 " in names["pretrain-C_gentle-2"]
    assert "--model s/encoders/C-2 --seed 1" in names["few-nerd-C-2-1-intra-5-1"]


def test_every_arm_is_a_recipe_of_pretraining(tmp_path):
    made = jobs(Study(directory=tmp_path, variants=list(VARIANTS)))
    recipes = {job.name: read_recipe(list(job.command[2:])) for job in made if job.name.startswith("pretrain-")}
    weights = {name: (recipe.alpha, recipe.beta, recipe.gamma) for name, recipe in recipes.items()}
    assert len(recipes) == len(ARMS | VARIANTS) and weights["pretrain-B_gentle-61820"] == (0, 0, 0)
    assert recipes["pretrain-C_kl_plain-61820"].kl_form == "plain"
    for name, steps in {"C": 2000, "C_gentle": 600}.items():  # the paper's temperature, of which they see the beginning
        recipe = recipes[f"pretrain-{name}-61820"]
        curve = temperature(300, steps, recipe.temperature_start, recipe.temperature_end, recipe.temperature_share)
        assert curve == pytest.approx(5 * (1 - 3e-5) ** 300, abs=1e-4)


def test_what_a_job_needs_comes_before_it():
    before: set[str] = set()
    for job in jobs(Study(directory=Path("s"), texts=["a.txt"], pretraining_seeds=[1, 2], variants=list(VARIANTS))):
        assert before.issuperset(job.needs) and job.name not in before, job.name
        before.add(job.name)


def test_mistakes_are_named(capsys):
    with pytest.raises(UserError, match=r"1e-3:0\.5: rates look like 1e-3:5e-4:100"):
        commands("--grid", "1e-3:0.5")
    for argv, message in (
        (["run", "s", "--variants", "D"], "--variants: invalid choice: 'D' (choose from 'B_gentle', "),
        (["walk"], "COMMAND: invalid choice: 'walk' (choose from 'run', 'report', 'rates')"),
    ):
        with pytest.raises(SystemExit, match="2"):
            study.main(argv)
        assert message in capsys.readouterr().err


def test_the_rates_of_the_lowest_loss_of_both_arms_are_chosen(tmp_path):
    rows = {"1e-4:1e-5:20": (5.0, 6.0), "1e-3:5e-4:100": (5.2, 5.2), "1e-3:1e-3:20": (4.9, 5.8)}
    for rates, losses in rows.items():
        for arm, loss in zip("BC", losses, strict=True):
            write_pretraining(tmp_path / "grid" / f"{arm}-{rates.replace(':', '-')}", rates, loss)
    study.main(["rates", str(tmp_path)])
    assert (tmp_path / "rates").read_text() == "0.001:0.0005:100\n"
    assert "| 0.0001 | 1e-05 | 20 | 5.000 | 6.000 |" in (tmp_path / "grid.md").read_text()


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
    """F1 = 2 correct / (predicted + gold): A 40 and 60 with its two seeds, B 60 and 80, in every episode alike."""
    for kind in ("intra", "inter"):
        for arm, correct in (("A", (2, 3)), ("B", (3, 4))):
            for seed in (0, 1):
                episodes = [[5, 5, 5]] * 100 + [[correct[seed], 5, 5]] * 20  # the first 100 of INTRA must not count
                write_few_shot_run(tmp_path / f"few-nerd/{kind}/{arm}-{seed}/5-1", episodes, seed)
    write_few_shot_run(tmp_path / "few-nerd/intra/A-2/5-1", [[0, 5, 5]] * 120, 2)  # B has no such seed
    write_few_shot_run(tmp_path / "variants/intra/C_new-0/5-1", [[1, 5, 5]] * 100, 0)  # looked at, no more
    write_pretraining(tmp_path / "pretrain" / "B", "1e-3:5e-4:20", 4.5)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "perplexity-held_out-7").write_text(f"bar\r  0%| bar\r| {tmp_path}/B | 90.02 |\n")
    for arm in ("B", "C"):
        (tmp_path / "logs" / f"states-{arm}").write_text(f"| encoder |\n|---|\n| minilm |\n| {tmp_path}/{arm} |\n")
    study.main(["report", str(tmp_path)])
    text = (tmp_path / "tables.md").read_text()
    assert "| intra 5-1 | 20 | A | 33.33 | 33.33 to 33.33 | 40.00, 60.00, 0.00 |" in text
    assert "| intra 5-1 | B - A | 2 | +20.00 | +20.00 to +20.00 | 0.0001 |" in text
    assert f"| inter 5-1 | 120 | A | {100 * (10 * 100 + 5 * 20) / (10 * 120):.2f} |" in text
    assert "| intra 5-1 | 100 | C_new | 20.00 |" in text and text.count("| C_new |") == 1
    assert "| 20 | 4.500 |" in text and "held out, seed 7\n\n| B | 90.02 |\n" in text and "bar" not in text
    assert "## States\n\n| encoder |\n|---|\n| minilm |\n| B |\n| C |\n" in text
    assert "one an arm" in text and "<svg" in (tmp_path / "plot.svg").read_text()


def test_runs_pair_by_pretraining_seed_and_few_shot_seed(tmp_path):
    """B and C pair within a pre-training seed; A, which has none, pairs with both of B's."""
    for name, correct in {"A-0": 1, "B-5-0": 2, "B-6-0": 3, "B-6-1": 5, "C-6-0": 4, "C-7-0": 5}.items():
        write_few_shot_run(tmp_path / f"few-nerd/inter/{name}/5-1", [[correct, 5, 5]] * 3, int(name[-1]))
    rows = report.gains(report.read_settings([tmp_path / "few-nerd"])["inter 5-1"])
    assert {name: (row["seeds"], round(row["value"], 6)) for name, row in rows.items()} == {
        "B - A": (2, 30),  # 2 and 3 of 5 against 1 and 1
        "C - A": (2, 70),
        "C - B": (1, 20),
    }


def test_the_committed_tables_come_of_the_committed_runs(tmp_path):
    with tarfile.open(RESULTS / "episodes.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    settings = report.read_settings([tmp_path / "study" / "few-nerd"])
    committed = (RESULTS / "tables.md").read_text().splitlines()
    tables = report.f1_tables(settings)
    rows = [row for table in [*tables, report.training_table(RESULTS / "pretrain")] for row in table.splitlines()]
    assert len(rows) > 60 and set(rows) <= set(committed)
    assert set(report.printed_table(tmp_path / "study" / "logs" / "states-C")) <= set(committed)


def run_here(command, stdout, **options):
    """Run a job in this process, which spares it python's start; the study's own is run as ever."""
    script, *argv = command[2:] if command[1] == "-m" else command[1:]
    if script == "study":
        return subprocess.run(command, stdout=stdout, cwd=ROOT, **options)
    output = io.TextIOWrapper(stdout, write_through=True)
    with redirect_stdout(output):
        importlib.import_module(script.removesuffix(".py")).main(argv)
    output.detach()
    return subprocess.CompletedProcess(command, 0)


def test_a_whole_study_in_small_and_again(tmp_path, monkeypatch, capsys):
    subprocesses = SimpleNamespace(run=run_here, DEVNULL=subprocess.DEVNULL, STDOUT=subprocess.STDOUT)
    monkeypatch.setattr(graph, "subprocess", subprocesses)
    for module in (design, report):
        monkeypatch.setattr(module, "CHOSEN_ON", 2)
    data = cases.write_data(tmp_path / "data", episodes=3)
    shutil.copytree(data / "intra", data / "inter")
    shutil.copytree(data / "episode-data" / "intra", data / "episode-data" / "inter")
    encoder = cases.write_encoder(tmp_path / "encoder")
    text = tmp_path / "news.txt"
    text.write_text("\n".join(f"word{i % 60} word{i % 7} word{i % 11}" for i in range(80)) + "\n")
    place = tmp_path / "study"
    flags = {
        "model": encoder, "data": text, "elsewhere": text, "few_nerd": data, "max_steps": 4, "grid": "1e-3:5e-4:2",
        "grid_steps": 2, "variants": "C_kl_plain", "seeds": 0, "settings": "5-1", "episodes": 3,
    }  # fmt: skip
    argv = ["run", str(place), *(str(part) for name, value in flags.items() for part in (f"--{name}", value))]
    study.main(argv)
    ran = (place / "commands.sh").read_text().splitlines()
    done = {path.name for path in (place / "done").iterdir()}
    assert len(ran) == len(done) == 36
    assert {"few-nerd-C-61820-0-inter-5-1", "perplexity-elsewhere-61820", "states-C_kl_plain-61820", "rates"} < done
    tables = (place / "tables.md").read_text()
    for arms in ("B - A", "C - B", "C - A"):
        assert f"| intra 5-1 | {arms} | " in tables and f"| inter 5-1 | {arms} | " in tables
    assert "| C-61820 | 4 | " in tables and "| intra 5-1 | 1 | A |" in tables and "| inter 5-1 | 3 | A |" in tables
    assert "| intra 5-1-nnshot | 2 | C |" in tables and "| intra 5-1 | 2 | C_kl_plain |" in tables

    (place / "done" / "few-nerd-C-61820-0-inter-5-1").unlink()  # as if it had been killed at its end
    capsys.readouterr()
    study.main(argv)
    again = capsys.readouterr().out
    assert "few-nerd-C-61820-0-inter-5-1 is done; 0 of 36 jobs are left" in again and again.count(" is done") == 1
    assert (place / "tables.md").read_text() == tables
