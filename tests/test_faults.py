"""Runs that are killed, stopped, damaged and started twice: nothing may be lost, and nobody misled."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from run_cases import PATIENCE, cut, flip

from training import watch
from training.checkpoints import newest_intact, saved_steps
from training.watch import StopSignal

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def operations(runs):
    """What a run that nothing happens to does to files."""
    runs.complete("followed", before=runs.follow())
    assert runs.logged("followed") == [0, 3, 6, 7, 9, 12, 14, 15, 18, 21, 21, 24, 24]
    return runs.operations()


@pytest.mark.parametrize("recipe", [{}, {"save_steps": 3, "keep_last": 1}], ids=["as saved", "other save_steps"])
def test_killed_three_times_at_random_operations_on_files(runs, untouched, operations, recipe):
    name = f"killed {recipe}".translate({ord(c): "-" for c in " {}:',"})
    for _ in range(3):  # a quarter of the operations each: the third kill comes before the end, too
        status, text = runs(name, before=runs.follow(random.randrange(len(operations) // 4)), **recipe)
        print("killed before", runs.operations()[-1])
        assert status == -signal.SIGKILL, text
    runs.complete(name, **recipe)
    assert runs.result(name) == untouched
    assert not list((runs.output / name).glob(".*.tmp"))


def test_killed_between_its_last_checkpoint_and_the_end(runs, untouched, operations):
    renamed = [i for i, operation in enumerate(operations) if operation.startswith("os.rename")]
    assert operations[renamed[-2]].endswith("manifest.json"), "of the final model"
    assert ".summary.json." in operations[renamed[-1]]
    for fatal in (renamed[-2] - 2, renamed[-2], renamed[-1]):
        shutil.rmtree(runs.output / "late", ignore_errors=True)
        assert runs("late", before=runs.follow(fatal))[0] == -signal.SIGKILL
        assert (runs.output / "late/step-24").exists()
        runs.complete("late")
        assert runs.result("late") == untouched
    assert f"{runs.output / 'late'} is finished; nothing to do" in runs.complete("late")
    status, text = runs("late", "--no_resume")
    assert status == 2 and f"error: {runs.output / 'late'} holds a run already; " in text


def test_killed_before_the_first_checkpoint(runs, untouched):
    runs.stopped("early", hold_at=3, save_steps=100)
    assert f"{runs.output / 'early'} goes on after step 0\n" in runs.complete("early")
    assert runs.result("early") == untouched


def test_a_finished_model_that_is_damaged_is_written_again(runs, untouched):
    assert runs("damaged-end")[0] == 0
    cut(runs.output / "damaged-end/model.safetensors")
    assert "goes on after step 24" in runs.complete("damaged-end")
    assert runs.result("damaged-end") == untouched
    assert "is finished; nothing to do" in runs.complete("damaged-end")


# --- signals ------------------------------------------------------------------------------------------------------

SIGNALS = pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])


def count_signals(record: Path) -> None:
    """Every signal that the run hears adds a byte to the record; all come in the same moment, by the run's clock."""
    ask = StopSignal._ask

    def counted(stop: StopSignal, number: int, frame) -> None:
        ask(stop, number, frame)
        with open(record, "ab") as file:
            file.write(b"1")

    StopSignal._ask = counted
    watch.time = SimpleNamespace(monotonic=lambda: 0.0)


@SIGNALS
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(runs, untouched, tmp_path, number, status):
    name, record = number.name, tmp_path / "signals"
    process = runs.start(name, before=partial(count_signals, record), hold_at=6)
    for heard in range(1, 4):  # as launchers pass it on
        os.kill(process.pid, number)
        runs.until(process, lambda heard=heard: record.exists() and record.stat().st_size == heard)
    runs.let_go()
    exit_status, text = runs.end(process)
    assert exit_status == status, text
    assert max(step for step, _ in saved_steps(runs.output / name)) == 7
    assert "stopped after step 7; the same command goes on from there" in text
    assert f"{runs.output / name} goes on after step 7\n" in runs.complete(name)
    assert runs.result(name) == untouched


HELD = """
import runpy, sys
from pathlib import Path
sys.path[:0] = [".", "tests"]
from run_cases import hold
hold(6, Path(sys.argv.pop(1)))
del sys.argv[0]
runpy.run_path("pretrain.py", run_name="__main__")
"""


@pytest.mark.slow
@SIGNALS
def test_a_signal_to_the_whole_process_group_with_workers(runs, untouched, number, status):
    """As a terminal or a cluster's scheduler sends it; also: `python pretrain.py` itself gives the same bits."""
    name = f"group-{number.name}"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(runs.cache), "HF_HUB_OFFLINE": "1"}
    runs.let_go()
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, runs.holding, "pretrain.py", *runs.argv(name), "--num_workers=2"],
        cwd=ROOT, env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        while not runs.holding.exists():
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.01)
        os.killpg(process.pid, number)
        runs.let_go()
        text, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == status, text
    assert re.search(r"stopped after step [78]; the same command goes on from there", text), text
    assert "Traceback" not in text
    runs.complete(name)
    assert runs.result(name) == untouched


RECIPES = {
    "accumulation": {"gradient_accumulation_steps": 2, "batch_size": 4},
    "masked language modelling": {"alpha": 0, "beta": 0, "gamma": 0},
    "a frozen start": {"frozen_steps": 8, "lr_schedule": "wsd", "sparsity_ramp": 0.5, "sampled_words": 20},
    "frozen to the end": {"frozen_steps": 24},
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_other_recipes_resume_exactly_too(runs, recipe):
    name = "-".join([*recipe, *map(str, recipe.values())])
    for hold_at in (6, 12):
        runs.stopped(name, hold_at, **recipe)
    runs.complete(name, **recipe)
    assert runs(f"{name}-untouched", **recipe)[0] == 0
    assert runs.result(name) == runs.result(f"{name}-untouched")


# --- damage -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_checkpoints(runs):
    return runs.stopped("damaged")


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_damage_to_any_file_of_a_checkpoint_is_seen(two_checkpoints, tmp_path, damage):
    files = [file.name for file in (two_checkpoints / "step-10").iterdir()]
    assert len(files) > 5
    for file in files:
        directory = tmp_path / file
        shutil.copytree(two_checkpoints, directory)
        damage(directory / "step-10" / file)
        warnings = []
        assert newest_intact(directory, warnings.append) == directory / "step-5", file
        assert len(warnings) == 1 and f"{directory / 'step-10'} is passed over" in warnings[0]
        assert file in warnings[0] or file == "manifest.json"  # a flipped bit there may accuse another file
        assert newest_intact(directory, warnings.append) == directory / "step-5" and len(warnings) == 1


def test_a_run_with_a_damaged_and_one_with_a_missing_checkpoint_end_the_same(runs, untouched, two_checkpoints):
    shutil.copytree(two_checkpoints, runs.output / "missing")
    flip(two_checkpoints / "step-10/optimizer.safetensors")
    text = runs.complete("damaged")
    assert "step-10 is passed over" in text and "goes on after step 5\n" in text
    shutil.rmtree(runs.output / "missing/step-10")
    assert "goes on after step 5\n" in runs.complete("missing")
    assert runs.result("damaged") == runs.result("missing") == untouched


def test_pruning_never_takes_the_only_intact_checkpoint(runs, untouched):
    """A damaged step 10 must not count as the newest when step 6 was just saved."""
    directory = runs.stopped("pruned")
    cut(directory / "step-10/model.safetensors")
    runs.stopped("pruned", hold_at=9, save_steps=3, keep_last=1)
    assert not (directory / "step-5").exists()
    assert newest_intact(directory, print) is not None
    runs.complete("pruned")
    assert runs.result("pruned") == untouched


# --- clocks, data, flags, twins -----------------------------------------------------------------------------------


def jumping_clock() -> None:
    """The wall clock shows a time up to a year off, another one at every look."""
    now, draw = time.time, random.Random(1)
    time.time = lambda: now() + draw.uniform(-3e7, 3e7)


def test_clocks_do_not_matter(runs, untouched):
    directory = runs.stopped("clock", before=jumping_clock)
    for i, file in enumerate(sorted(directory.rglob("*"))):
        os.utime(file, (i % 3 * 2e9, i % 3 * 2e9))  # 1970, 2033, 2096
    text = runs.complete("clock", before=jumping_clock)
    assert "goes on after step 10\n" in text
    assert runs.result("clock") == untouched


def test_killed_while_the_corpus_is_prepared(runs, untouched):
    for _ in range(3):
        shutil.rmtree(runs.cache, ignore_errors=True)
        status, text = runs("prepared", before=runs.follow(random.randrange(24), runs.cache))
        assert status == -signal.SIGKILL, text
    runs.complete("prepared")
    assert runs.result("prepared") == untouched


def test_two_runs_of_one_name(runs, untouched):
    """The second is refused while the first lives, also when the first is stopped; the dead hold nothing."""
    first = runs.start("twins", hold_at=3)
    os.kill(first.pid, signal.SIGSTOP)
    log, runs.log = runs.log, runs.log.with_name("second")
    try:
        for flags in ([], ["--no_resume"]):
            status, text = runs("twins", *flags)
            assert status == 2 and f"error: another run is writing into {runs.output / 'twins'}; wait for it" in text
    finally:
        runs.log = log
        first.kill()
    runs.end(first)
    runs.complete("twins")
    assert runs.result("twins") == untouched


def test_what_is_kept(runs, untouched):
    """The two newest checkpoints, without a pickle among their files."""
    directory = runs.output / "untouched"
    assert sorted(step for step, _ in saved_steps(directory)) == [20, 24]
    assert {file.suffix for file in directory.glob("step-*/*")} == {".json", ".safetensors"}


def say_otherwise():
    os.environ["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] = "4"


def test_the_recipe_counts_whatever_accelerates_variables_say(runs, untouched):
    runs.complete("variable", before=say_otherwise)
    assert runs.result("variable") == untouched
