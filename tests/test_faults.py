"""Runs that are killed, stopped, damaged and started twice: nothing may be lost, and nobody misled."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import Runs

from training.checkpoints import newest_intact, saved_steps

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_encoder, sentences):
    return Runs(tmp_path_factory.mktemp("runs"), tiny_encoder, sentences)


@pytest.fixture(scope="module")
def untouched(runs):
    """The result of a run that nothing happened to, and what it did to files."""
    status, text = runs("untouched", before=runs.follow())
    assert status == 0, text
    assert runs.logged("untouched") == [0, 3, 6, 7, 9, 12, 14, 15, 18, 21, 21, 24, 24]
    return runs.result("untouched"), runs.operations()


def stopped(runs: Runs, name: str, **recipe) -> Path:
    """The directory of a run that was killed with the checkpoints of steps 5 and 10."""
    process = runs.start(name, **recipe)
    runs.until(process, (runs.output / name / "step-10").exists)
    process.kill()
    assert runs.end(process)[0] == -signal.SIGKILL
    return runs.output / name


@pytest.mark.parametrize("recipe", [{}, {"save_steps": 3, "keep_last": 1}], ids=["as saved", "other save_steps"])
def test_killed_three_times_at_random_operations_on_files(runs, untouched, recipe):
    result, operations = untouched
    name = f"killed {recipe}".translate({ord(c): "-" for c in " {}:',"})
    for _ in range(3):  # a quarter of the operations each: the third kill comes before the end, too
        status, text = runs(name, "--resume", before=runs.follow(random.randrange(len(operations) // 4)), **recipe)
        print("killed before", runs.operations()[-1])
        assert status == -signal.SIGKILL, text
    runs.complete(name, **recipe)
    assert runs.result(name) == result
    assert not list((runs.output / name).glob(".*.tmp"))


def test_killed_between_its_last_checkpoint_and_the_end(runs, untouched):
    result, operations = untouched
    last = max(i for i, operation in enumerate(operations) if operation.startswith("os.rename"))
    assert operations[last].endswith("manifest.json"), "of the final model"
    for fatal in (last - 2, last):
        shutil.rmtree(runs.output / "late", ignore_errors=True)
        assert runs("late", before=runs.follow(fatal))[0] == -signal.SIGKILL
        assert (runs.output / "late/step-24").exists()
        runs.complete("late")
        assert runs.result("late") == result
    assert "is finished; nothing to do" in runs.complete("late")
    assert "holds a run already; --resume continues it" in runs("late")[1]


def test_killed_before_the_first_checkpoint(runs, untouched):
    process = runs.start("early", save_steps=100)
    runs.until(process, lambda: 3 in runs.logged("early"))
    process.kill()
    runs.end(process)
    assert "resuming after step 0" in runs.complete("early")
    assert runs.result("early") == untouched[0]


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(runs, untouched, number, status):
    name = number.name
    process = runs.start(name)
    runs.until(process, lambda: 7 in runs.logged(name))
    for _ in range(3):  # as launchers pass it on
        os.kill(process.pid, number)
        time.sleep(0.02)
    exit_status, text = runs.end(process)
    assert exit_status == status, text
    step = max(step for step, _ in saved_steps(runs.output / name))
    assert 7 < step < 24
    assert f"stopped after step {step}; the same command with --resume goes on from there" in text
    assert f"resuming after step {step}" in runs.complete(name)
    assert runs.result(name) == untouched[0]


@pytest.mark.slow
@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_whole_process_group_with_workers(runs, untouched, number, status):
    """As a terminal or a cluster's scheduler sends it; also: `python pretrain.py` itself gives the same bits."""
    name = f"group-{number.name}"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(runs.cache), "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, "pretrain.py", *runs.argv(name), "--num_workers=2"],
        cwd=ROOT, env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        while not (runs.output / name / "step-5").exists():
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.01)
        os.killpg(process.pid, number)
        text, _ = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == status, text
    assert "--resume goes on from there" in text and "Traceback" not in text
    runs.complete(name)
    assert runs.result(name) == untouched[0]


RECIPES = {
    "accumulation": {"gradient_accumulation_steps": 2, "batch_size": 4},
    "masked language modelling": {"alpha": 0, "beta": 0, "gamma": 0},
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_other_recipes_resume_exactly_too(runs, recipe):
    name = "-".join(recipe)
    stopped(runs, name, **recipe)
    runs.complete(name, **recipe)
    assert runs(f"{name}-untouched", **recipe)[0] == 0
    assert runs.result(name) == runs.result(f"{name}-untouched")


# --- damage -------------------------------------------------------------------------------------------------------


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    file.write_bytes(content)


@pytest.fixture(scope="module")
def two_checkpoints(runs):
    return stopped(runs, "damaged")


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
    assert "step-10 is passed over" in text and "resuming after step 5" in text
    shutil.rmtree(runs.output / "missing/step-10")
    assert "resuming after step 5" in runs.complete("missing")
    assert runs.result("damaged") == runs.result("missing") == untouched[0]


def test_pruning_never_takes_the_only_intact_checkpoint(runs, untouched):
    """A damaged step 10 must not count as the newest when step 6 was just saved."""
    directory = stopped(runs, "pruned")
    cut(directory / "step-10/model.safetensors")
    process = runs.start("pruned", "--resume", save_steps=3, keep_last=1)
    runs.until(process, lambda: not (directory / "step-5").exists())
    process.kill()
    runs.end(process)
    assert newest_intact(directory, print) is not None
    runs.complete("pruned")
    assert runs.result("pruned") == untouched[0]


# --- clocks, data, flags, twins -----------------------------------------------------------------------------------


def jumping_clock() -> None:
    """The wall clock shows a time up to a year off, another one at every look."""
    now, draw = time.time, random.Random(1)
    time.time = lambda: now() + draw.uniform(-3e7, 3e7)


def test_clocks_do_not_matter(runs, untouched):
    directory = stopped(runs, "clock", before=jumping_clock)
    for i, file in enumerate(sorted(directory.rglob("*"))):
        os.utime(file, (i % 3 * 2e9, i % 3 * 2e9))  # 1970, 2033, 2096
    text = runs.complete("clock", before=jumping_clock)
    assert "resuming after step 10" in text
    assert runs.result("clock") == untouched[0]


def test_a_changed_corpus_is_refused_with_both_hashes(runs, untouched, tmp_path):
    directory = stopped(runs, "corpus")
    changed = tmp_path / "corpus.txt"
    changed.write_text(runs.corpus.read_text() + "\nnew")
    original = runs.corpus.rename(tmp_path / "original.txt")
    shutil.copy(changed, runs.corpus)
    try:
        before = {file: file.read_bytes() for file in directory.rglob("*") if file.is_file()}
        status, text = runs("corpus", "--resume")
        hashes = [subprocess.check_output(["sha256sum", file], text=True).split()[0] for file in (original, changed)]
        assert status == 2 and all(sha256 in text for sha256 in hashes) and "Traceback" not in text
        assert before == {file: file.read_bytes() for file in directory.rglob("*") if file.is_file()}
    finally:
        original.rename(runs.corpus)
    runs.complete("corpus")
    assert runs.result("corpus") == untouched[0]


def test_changed_flags_are_refused(runs):
    stopped(runs, "flags")
    status, text = runs("flags", "--resume", learning_rate=0.02, seed=7)
    assert status == 2 and "--learning_rate 0.01 (now 0.02)" in text and "--seed 61820 (now 7)" in text


def test_without_its_record_a_run_is_neither_resumed_nor_overwritten(runs):
    directory = stopped(runs, "record")
    before = {file: file.read_bytes() for file in directory.rglob("*") if file.name != "run.json" and file.is_file()}
    record = directory / "run.json"
    for damage in (cut, flip, Path.unlink):
        damage(record)
        status, text = runs("record", "--resume")
        assert status == 2 and "Traceback" not in text
        if damage is not flip:  # a flipped bit may also look like another flag
            assert f"{record} is missing or damaged; the run cannot be resumed" in text
        assert "holds a run already" in runs("record")[1]
    assert before == {file: file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def test_killed_while_the_corpus_is_prepared(runs, untouched):
    for _ in range(3):
        shutil.rmtree(runs.cache, ignore_errors=True)
        status, text = runs("prepared", "--resume", before=runs.follow(random.randrange(24), runs.cache))
        assert status == -signal.SIGKILL, text
    runs.complete("prepared")
    assert runs.result("prepared") == untouched[0]


def test_two_runs_of_one_name(runs, untouched):
    """The second is refused while the first lives, also when the first is stopped; the dead hold nothing."""
    first = runs.start("twins")
    runs.until(first, (runs.output / "twins/run.json").exists)
    os.kill(first.pid, signal.SIGSTOP)
    log, runs.log = runs.log, runs.log.with_name("second")
    try:
        for flags in ([], ["--resume"]):
            status, text = runs("twins", *flags)
            assert status == 2 and "another run is writing to" in text
    finally:
        runs.log = log
        first.kill()
    runs.end(first)
    runs.complete("twins")
    assert runs.result("twins") == untouched[0]


@pytest.mark.parametrize(
    "name", ["../../x", "/tmp/x", "a/b", "..", ".", "", ".hidden", "-x", "a\nb", "a b", "é", "a\0"]
)
def test_names_that_are_paths_are_refused(runs, name):
    status, text = runs(name)
    assert status == 2 and "--name" in text and "Traceback" not in text


def test_what_is_kept(runs, untouched):
    """The two newest checkpoints, without a pickle among their files."""
    directory = runs.output / "untouched"
    assert sorted(step for step, _ in saved_steps(directory)) == [20, 24]
    assert {file.suffix for file in directory.glob("step-*/*")} == {".json", ".safetensors"}
