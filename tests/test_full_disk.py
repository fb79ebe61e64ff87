"""Saving: a full or read-only disk, a death at every operation, and the order in which data reaches the disk."""

import os
import resource
import shutil
import signal
import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from run_cases import follow_files

from common.errors import UserError
from runs import MetricsLog, RunDirectory
from training.checkpoints import damage, newest_intact, save_final, save_step
from training.log import RunLog
from training.optimisation import make_optimizer


@pytest.fixture
def disk(tmp_path):
    """A disk of 4 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a disk can be mounted by root only: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path, left: int) -> Path:
    """Leave so many bytes free."""
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - left))
    return filler


# What fails when so much is left: a metrics line, the weights, the tokenizer, the optimiser.
@pytest.mark.parametrize("left", [0, 100_000, 180_000, 400_000])
def test_a_disk_that_fills_up(runs, untouched, disk, left):
    process = runs.start("full", output_dir=disk, hold_at=6)
    filler = fill(disk, left)
    runs.let_go()
    status, text = runs.end(process)
    assert status == 2 and "Traceback" not in text, text
    newest = newest_intact(disk / "full", pytest.fail)
    assert f"cannot write into {disk / 'full'}: " in text and f"the checkpoint {newest.name} is untouched" in text
    assert "No space left on device" in text

    status, text = runs("full", output_dir=disk)
    assert status == 2 and "Traceback" not in text, text

    filler.unlink()
    text = runs.complete("full", output_dir=disk)
    assert f"{disk / 'full'} goes on after {newest.name.replace('-', ' ')}\n" in text
    assert tuple((disk / "full" / file).read_bytes() for file in ("metrics.jsonl", "model.safetensors")) == untouched


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_metrics_on_a_full_disk(disk):
    """TensorBoard's own thread fails too, sooner or later; only one sentence may come of it."""
    hook = threading.excepthook
    (disk / "run.json").write_text("{}")
    log = RunLog(disk, Accelerator(cpu=True, log_with="tensorboard", project_dir=disk), resumed_after=0)
    board = log.accelerator.get_tracker("tensorboard", unwrap=True)
    fill(disk, 0)
    with pytest.raises(UserError, match=r"cannot write into .*: .* No space left on device; nothing was saved before"):
        for step in range(10_000):
            board.add_scalar("x", step, step)
            board.flush()
            log.write(step, {"loss": 1.0})
    with pytest.raises(OSError, match="No space left"):
        for step in range(10_000):
            board.add_scalar("x", step, step)
            board.flush()
    for thread in threading.enumerate():
        if type(thread).__module__.startswith("tensorboard"):
            thread.join()
    threading.excepthook = hook


def test_too_small_a_disk_is_known_before_the_first_step(runs, disk):
    fill(disk, 1_500_000)
    status, text = runs("small", output_dir=disk)
    assert status == 2 and "but 2 checkpoints, one more while it is written and the final model take" in text
    assert not (disk / "small/run.json").exists()
    assert runs("small", output_dir=disk, keep_last=1, max_steps=1)[0] == 0


def test_a_resumed_run_has_its_own_checkpoints_as_room(runs, disk):
    """Else a run that filled its disk as it was told could never be resumed."""
    runs.stopped("tight", output_dir=disk)
    fill(disk, 900_000)  # 1.6 MB are taken in all; two of three checkpoints and nothing else is there
    runs.complete("tight", output_dir=disk)


def test_a_read_only_disk(runs, disk):
    assert runs("fixed", output_dir=disk, max_steps=1)[0] == 0
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for name in ("fixed", "new"):
        status, text = runs(name, output_dir=disk)
        assert status == 2 and f"cannot write into {disk / name}: Read-only file system" in text
        assert "Traceback" not in text


def test_files_that_may_not_grow(runs, untouched):
    """As a full disk, where nobody is root: the optimiser's file hits the limit."""
    runs.stopped("limited", hold_at=6)
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (250_000, resource.RLIM_INFINITY))
    status, text = runs("limited", before=limit)
    newest = newest_intact(runs.output / "limited", pytest.fail)
    assert status == 2 and "File too large" in text and f"the checkpoint {newest.name} is untouched" in text
    assert "Traceback" not in text
    runs.complete("limited")
    assert runs.result("limited") == untouched


# --- one save, looked at closely ----------------------------------------------------------------------------------


@pytest.fixture
def save(tiny_model, tiny_tokenizer, tmp_path):
    """Saves a step, with optimiser state; steps 1 and 2 are there."""
    optimizer = make_optimizer(tiny_model, 1e-3, 1e-3, 0)
    bias = tiny_model.plain.cls.predictions.bias
    bias.grad = torch.ones_like(bias)
    optimizer.step()
    (tmp_path / "run").mkdir()

    def save(step: int, keep_last: int, folder: Path) -> None:
        save_step(folder, step, tiny_model, tiny_tokenizer, optimizer, {"window": [0.1]}, keep_last)

    save(1, 2, tmp_path / "run")
    save(2, 2, tmp_path / "run")
    return save


def test_a_run_directory_that_is_gone_is_not_made_anew(save, tmp_path):
    (tmp_path / "run").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"cannot write into .*run"):
        save(3, 2, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def deaths(operation, folder: Path, tmp_path: Path):
    """Copies of the folder, in each of which the operation (folder -> None) was killed at another place."""
    for fatal in range(1000):
        copy = tmp_path / f"death-{fatal}"
        shutil.copytree(folder, copy)
        process = os.fork()
        if process == 0:
            try:
                follow_files(copy, tmp_path / "operations", fatal)
                operation(copy)
                os._exit(0)
            finally:
                os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert status in (0, -signal.SIGKILL)
        if status == 0:
            assert fatal > 3
            return
        yield copy


def test_death_at_any_moment_of_a_save_leaves_a_checkpoint(save, tmp_path):
    last = None
    for folder in deaths(lambda folder: save(3, 1, folder), tmp_path / "run", tmp_path):
        newest = newest_intact(folder, print)
        assert newest is not None and newest.name in ("step-2", "step-3")
        assert not (last == "step-3" and newest.name == "step-2")
        assert (folder / "step-1").exists() or newest.name == "step-3", "pruned before the new one was safe"
        last = newest.name
        with RunDirectory(folder):  # which removes what was not finished
            save(4, 1, folder)
        (folder / ".lock").unlink(missing_ok=True)
        assert sorted(path.name for path in folder.iterdir() if "damaged" not in path.name) == ["step-4"]
    assert last == "step-3"


def test_death_at_any_moment_of_the_end_is_not_taken_for_the_end(tiny_model, tiny_tokenizer, tmp_path):
    (tmp_path / "run").mkdir()
    for folder in deaths(lambda folder: save_final(folder, tiny_model, tiny_tokenizer), tmp_path / "run", tmp_path):
        assert (damage(folder) is None) == (folder / "manifest.json").exists()
        with RunDirectory(folder) as run:
            save_final(folder, tiny_model, tiny_tokenizer)
            assert damage(folder) is None and not run.finished


def test_death_at_any_moment_of_a_resumption_loses_no_line(tmp_path):
    (tmp_path / "run").mkdir()
    lines = [f'{{"step": {step}}}\n' for step in range(7)]
    (tmp_path / "run/metrics.jsonl").write_text("".join(lines) + '{"step": 7, "lo')
    for folder in deaths(lambda folder: MetricsLog(folder, resumed_after=4).close(), tmp_path / "run", tmp_path):
        assert (folder / "metrics.jsonl").read_text().startswith("".join(lines[:5]))
        MetricsLog(folder, resumed_after=4).close()
        assert (folder / "metrics.jsonl").read_text() == "".join(lines[:5])


def test_data_is_on_the_disk_before_its_name_and_its_name_before_the_old_one_goes(save, tmp_path, monkeypatch):
    """What a power cut may undo is in the order: files, manifest, directory, rename, parent, pruning."""
    done = []

    def recorded(function, what):
        def call(*arguments, **options):
            done.append(what(*arguments))
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(os, "fsync", recorded(os.fsync, lambda file: f"sync {os.readlink(f'/proc/self/fd/{file}')}"))
    monkeypatch.setattr(os, "replace", recorded(os.replace, lambda source, target: f"rename {source}"))
    monkeypatch.setattr(shutil, "rmtree", recorded(shutil.rmtree, lambda path, **_: f"remove {path}"))
    folder = tmp_path / "run"
    save(3, 1, folder)
    beside = folder / ".step-3.tmp"
    renamed = done.index(f"rename {beside}")
    before, after = done[:renamed], done[renamed + 1 :]
    files = {file.name for file in (folder / "step-3").iterdir()} - {"manifest.json"}
    assert {f"sync {beside / file}" for file in files} == set(before[: len(files)])
    manifest = f"{beside}/.manifest.json.{os.getpid()}.tmp"
    assert before[len(files) :] == [f"sync {manifest}", f"rename {manifest}", f"sync {beside}"]
    assert after[0] == f"sync {folder}"
    assert {f"remove {folder / 'step-1'}", f"remove {folder / 'step-2'}"} <= set(after[1:])
