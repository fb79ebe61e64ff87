"""The study of three encoders: its tables against hand-counted values, and the whole of study.sh in small."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import container_cases as cases
import pytest
from container import study

from common.errors import UserError

SCRIPTS = Path(study.__file__).resolve().parents[1]


def write_grid_run(grid: Path, arm: str, rates: tuple, mlm_loss: float) -> None:
    folder = grid / f"{arm}-{'-'.join(map(str, rates))}"
    folder.mkdir(parents=True)
    arguments = {"name": folder.name, **dict(zip(study.RATES, rates, strict=True))}
    (folder / "run.json").write_text(json.dumps({"arguments": arguments}))
    lines = [{"step": 0, "validation": {"mlm_loss": 0.1}}, {"step": 10, "loss": 0.2}]
    lines.append({"step": 20, "validation": {"mlm_loss": mlm_loss}})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_rates_of_the_lowest_loss_of_both_arms_are_chosen(tmp_path):
    for rates, b, c in (((1e-4, 0.1, 20), 5.0, 6.0), ((1e-3, 0.5, 100), 5.2, 5.2), ((1e-3, 1.0, 20), 4.9, 5.8)):
        write_grid_run(tmp_path / "grid", "B", rates, b)
        write_grid_run(tmp_path / "grid", "C", rates, c)
    study.main(["rates", str(tmp_path)])
    assert (tmp_path / "rates").read_text() == "0.001:0.5:100\n"
    assert "| 0.0001 | 0.1 | 20 | 5.000 | 6.000 |" in (tmp_path / "grid.md").read_text()


def test_without_runs_it_says_so(tmp_path):
    for step in ("rates", "report"):
        with pytest.raises(UserError, match="holds no"):
            study.main([step, str(tmp_path)])


def write_few_shot_run(folder: Path, episodes: list[list[int]], recipe: dict) -> None:
    """A finished run whose every episode has these counts (correct, predicted, gold)."""
    folder.mkdir(parents=True)
    training = {"data": {"train": "x"}, "recipe": {"seed": recipe["seed"]}}
    (folder / "run.json").write_text(json.dumps({"data": {"version": "x"}, "recipe": recipe, "training": training}))
    lines = [{"index": i, "full": {"a": row}, "published": {"a": row}} for i, row in enumerate(episodes)]
    (folder / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "summary.json").write_text(json.dumps({"episodes": len(episodes)}))


def test_tables_by_hand(tmp_path):
    """F1 = 2 correct / (predicted + gold): A 40 and 60 with its two seeds, B 60 and 80, in every episode alike."""
    for kind in ("intra", "inter"):
        for arm, correct in (("A", (2, 3)), ("B", (3, 4))):
            for seed in (0, 1):
                episodes = [[5, 5, 5]] * 100 + [[correct[seed], 5, 5]] * 20  # the first 100 of INTRA must not count
                write_few_shot_run(tmp_path / f"few-nerd/{kind}/{arm}-{seed}/5-1", episodes, {"seed": seed})
    write_few_shot_run(tmp_path / "few-nerd/intra/A-2/5-1", [[0, 5, 5]] * 120, {"seed": 2})  # B has no such seed
    write_few_shot_run(tmp_path / "variants/intra/C_new-0/5-1", [[1, 5, 5]] * 100, {"seed": 0})  # looked at, no more
    write_grid_run(tmp_path / "pretrain", "B", (1e-3, 0.5, 20), 4.5)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "perplexity-held_out").write_text(f"bar\r  0%| bar\r| {tmp_path}/B | 90.02 |\n")
    for arm in ("B", "C"):
        (tmp_path / "logs" / f"states-{arm}").write_text(f"| encoder |\n|---|\n| minilm |\n| {tmp_path}/{arm} |\n")
    study.main(["report", str(tmp_path)])
    text = (tmp_path / "tables.md").read_text()
    assert "| intra 5-1 | 20 | A | 33.33 | 33.33 to 33.33 | 40.00, 60.00, 0.00 |" in text
    assert "| intra 5-1 | B - A | 2 | +20.00 | +20.00 to +20.00 | 0.0001 |" in text
    assert f"| inter 5-1 | 120 | A | {100 * (10 * 100 + 5 * 20) / (10 * 120):.2f} |" in text
    assert "| intra 5-1 | 100 | C_new | 20.00 |" in text and text.count("| C_new |") == 1
    assert "| 20 | 4.500 |" in text and "\n| B | 90.02 |\n" in text and "bar" not in text
    assert "## States\n\n| encoder |\n|---|\n| minilm |\n| B |\n| C |\n" in text
    assert "<svg" in (tmp_path / "plot.svg").read_text()


@pytest.mark.slow
def test_a_whole_study_in_small_by_two_at_once_and_again(tmp_path):
    data = cases.write_data(tmp_path / "data", episodes=101)
    shutil.copytree(data / "intra", data / "inter")
    shutil.copytree(data / "episode-data" / "intra", data / "episode-data" / "inter")
    encoder = cases.write_encoder(tmp_path / "encoder")
    text = tmp_path / "news.txt"
    text.write_text("\n".join(f"word{i % 60} word{i % 7} word{i % 11}" for i in range(400)) + "\n")
    place = tmp_path / "study"
    environment = os.environ | {
        "STUDY": str(place), "DATA": str(data), "CORPUS": str(text), "ELSEWHERE": str(text), "HF_HOME": str(tmp_path),
        "ENCODER": str(encoder), "STEPS": "4", "GRID": "1e-3:0.5:2", "GRID_STEPS": "2", "VARIANTS": "C_kl_plain",
        "SEEDS": "0", "SETTINGS": "5-1", "EPISODES": "101", "OMP_NUM_THREADS": "1", "PROCESSES": "1",
    }  # fmt: skip
    command = ["bash", str(SCRIPTS / "study.sh")]
    together = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0] for process in together]
    assert [process.returncode for process in together] == [0, 0], outputs
    jobs = (place / "commands.sh").read_text().splitlines()
    done = {path.name for path in (place / "done").iterdir()}
    assert len(jobs) == len(done) == 25  # none was run twice
    assert {"few-nerd-C-0-inter-5-1", "perplexity-elsewhere", "states-C_kl_plain", "rates"} < done
    tables = (place / "tables.md").read_text()
    for arms in ("B - A", "C - B", "C - A"):
        assert f"| intra 5-1 | {arms} | " in tables and f"| inter 5-1 | {arms} | " in tables
    assert "| C | 4 | " in tables
    assert "| intra 5-1-nnshot | 100 | C |" in tables and "| intra 5-1 | 100 | C_kl_plain |" in tables

    (place / "done" / "few-nerd-C-0-inter-5-1").unlink()  # as if it had been killed at its end
    again = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "few-nerd-C-0-inter-5-1" in again and "few-nerd-B" not in again.split("| setting")[0]
    assert (place / "tables.md").read_text() == tables
