"""What machines do to runs: processes are killed, files cannot be read, terminals and outputs are lost."""

import ctypes
import errno
import fcntl
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import termios
from functools import partial
from pathlib import Path

import psutil
import pytest
from run_cases import PATIENCE

from common.errors import UserError
from common.files import ROOT, write_atomically
from evaluations.supervised_ie.checkpoint import load_state
from runs import RunDirectory, check_alive
from training.checkpoints import damage, saved_steps

# --- processes that are killed ----------------------------------------------------------------------------------------


def test_a_killed_worker_ends_the_run_in_one_line(runs):
    process = runs.start("worker", "--num_workers=2", hold_at=9)
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    workers[0].kill()
    runs.let_go()
    status, text = runs.end(process)
    assert status == 2 and "Traceback" not in text, text
    last = text.splitlines()[-1]
    assert last.startswith("error: another process of this run ended, perhaps for want of memory: DataLoader worker")
    assert last.endswith("; the checkpoint step-5 is untouched")
    assert not psutil.wait_procs(workers, PATIENCE)[1]


def test_an_error_leaves_no_worker_behind(runs):
    """Nor does the run wait for those that ignore its signals."""
    process = runs.start("left", "--num_workers=2", hold_at=9)
    workers = psutil.Process(process.pid).children()
    (runs.output / "left" / ".step-10.tmp").touch()  # the next save stumbles over it
    runs.let_go()
    status, text = runs.end(process)
    assert status == 2 and "error: cannot write into" in text.splitlines()[-1], text
    assert not psutil.wait_procs(workers, PATIENCE)[1]


TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc_per_node=2"]
ACCELERATE = ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0"]


@pytest.mark.slow
@pytest.mark.parametrize(("launch", "rank"), [(TORCHRUN, "1"), (ACCELERATE, "0")], ids=["torchrun", "accelerate"])
def test_a_killed_process_of_two_ends_the_launcher_and_the_other(runs, launch, rank):
    """The one line stands behind all that the processes print; the launcher adds its own report."""
    name = f"without-{rank}"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(runs.cache), "HF_HUB_OFFLINE": "1"}
    launcher = subprocess.Popen(
        [sys.executable, "-m", *launch, "pretrain.py", *runs.argv(name, max_steps=10**6)], cwd=ROOT, env=environment,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    metrics = runs.output / name / "metrics.jsonl"
    try:
        while not (metrics.exists() and saved_steps(metrics.parent)):
            assert launcher.poll() is None, launcher.stdout.read()
        processes = psutil.Process(launcher.pid).children()
        next(process for process in processes if process.environ()["RANK"] == rank).kill()
        text, _ = launcher.communicate(timeout=PATIENCE)
    finally:
        launcher.kill()
    assert launcher.returncode not in (0, None)
    assert not psutil.wait_procs(processes, PATIENCE)[1]
    (line,) = re.findall("^error: .*$", text, re.MULTILINE)
    assert line.startswith("error: another process of this run ended") and "step-" in line
    assert "Traceback" not in text.split(line)[0]


def test_a_killed_process_of_few_shot_is_named():
    class Killed:
        pid, exitcode = 7, -9

    with pytest.raises(UserError, match=r"another process .*: process 7 with status -9; all is kept"):
        check_alive([Killed], "all is kept")
    Killed.exitcode = None
    check_alive([Killed], "all is kept")


# --- what cannot be read just now -------------------------------------------------------------------------------------


def without_privileges():
    """This process, although it is root's, may read only what its permissions say."""
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, nothing) == 0


@pytest.mark.parametrize(
    "place", ["step-10", "step-10/manifest.json", "step-10/optimizer.safetensors", "run.json", "."]
)
def test_a_checkpoint_that_cannot_be_read_is_not_called_damaged(runs, untouched, place):
    name = "unreadable-" + place.replace("/", "-").replace(".", "-")
    directory = runs.stopped(name)
    before = {file: file.read_bytes() for file in directory.rglob("*") if file.is_file() and file.name != ".lock"}
    mode = (directory / place).stat().st_mode
    (directory / place).chmod(0o300 if place == "." else 0)
    try:
        status, text = runs(name, before=without_privileges)
    finally:
        (directory / place).chmod(mode)
    assert status == 2 and "Traceback" not in text, text
    assert re.search(r"^error: \S+ cannot be read: Permission denied", text.splitlines()[-1]), text
    assert all(file.read_bytes() == content for file, content in before.items())
    assert f"{directory} goes on after step 10\n" in runs.complete(name)
    assert runs.result(name) == untouched


def test_an_input_output_error_is_not_damage(tmp_path, monkeypatch):
    (tmp_path / "manifest.json").write_text(json.dumps({"a": {"size": 1, "sha256": "0"}}))
    (tmp_path / "a").write_text("b")
    assert damage(tmp_path) == "a is truncated or changed"

    def fail(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("training.checkpoints.sha256_of", fail)
    with pytest.raises(UserError, match=r"a cannot be read: Input/output error; nothing was changed"):
        damage(tmp_path)


def spoil(directory):
    for step in directory.glob("step-*"):
        os.truncate(step / "model.safetensors", 100)


@pytest.mark.parametrize("spoil", [spoil, lambda directory: [shutil.rmtree(step) for step in directory.glob("step-*")]])
def test_a_run_without_its_checkpoints_begins_anew_only_when_told(runs, untouched, spoil):
    name = f"gone-{spoil.__name__.strip('<>')}"
    directory = runs.stopped(name)
    metrics = (directory / "metrics.jsonl").read_bytes()
    spoil(directory)
    for _ in range(2):
        status, text = runs(name)
        assert status == 2 and "Traceback" not in text
        last = text.splitlines()[-1]
        assert re.match(rf"error: {directory} had come to step 1[02] but holds no intact checkpoint", last), text
        assert "--restart begins anew" in last and (directory / "metrics.jsonl").read_bytes() == metrics
    status, text = runs(name, "--restart")
    assert status == 0, text
    assert f"{directory} begins anew; what it held is in {directory / 'before-1'}" in text
    assert runs.result(name) == untouched
    assert (directory / "before-1" / "metrics.jsonl").read_bytes() == metrics


def test_restart_of_a_directory_that_holds_nothing_says_nothing(tmp_path, capsys):
    for _ in range(3):
        with RunDirectory(tmp_path / "run") as run:
            assert not run.begin({"a": 1}, {}, frozenset(), resume=True, restart=True)
    printed = capsys.readouterr().out.splitlines()
    assert [line.rsplit("/", 1)[1] for line in printed] == ["before-1", "before-2"]


def test_extraction_without_its_state_is_not_begun_anew(tmp_path):
    assert load_state(tmp_path, None, None) == (0, {})
    (tmp_path / "best.json").write_text("{}")
    with pytest.raises(UserError, match=r"no training_state\.safetensors any more, .* --restart begins anew"):
        load_state(tmp_path, None, None)
    (tmp_path / "training_state.safetensors").write_bytes(b"{}")
    with pytest.raises(UserError, match=r"training_state\.safetensors is damaged: .*--restart"):
        load_state(tmp_path, None, None)


def test_a_finished_run_is_not_made_longer(runs, untouched):
    status, text = runs("untouched", max_steps=30)
    directory = runs.output / "untouched"
    assert status == 2 and f"{directory} was made with --max_steps 24, now it is 30; the schedule is part" in text
    assert text.splitlines()[-1].endswith(f"start another, with --model {directory}")


def test_a_tokenizer_that_changed_is_refused(runs, tmp_path):
    """The same weights read another way."""
    encoder = shutil.copytree(runs.recipe["model"], tmp_path / "encoder")
    directory = runs.stopped("tokenizer", model=encoder)
    file = encoder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"do_lower_case": False}))
    status, text = runs("tokenizer", model=encoder)
    assert status == 2 and f"error: {directory} was made with the tokenizer " in text, text


# --- what becomes of the output ---------------------------------------------------------------------------------------


def full():
    for descriptor in (1, 2):
        os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor)


def closed():
    """As Python is after `>&- 2>&-`."""
    for descriptor in (1, 2):
        os.close(descriptor)
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = None


def no_reader():
    reader, writer = os.pipe()
    os.close(reader)
    for descriptor in (1, 2):
        os.dup2(writer, descriptor)


@pytest.mark.parametrize("loss", [full, closed, no_reader])
def test_a_run_goes_on_without_its_output(runs, untouched, loss):
    status, text = runs(loss.__name__, before=loss)
    assert (status, text) == (0, "")
    assert runs.result(loss.__name__) == untouched


def terminal(path):
    """This process is started from a terminal."""
    os.setsid()
    descriptor = os.open(path, os.O_RDWR)
    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)
    for standard in (0, 1, 2):
        os.dup2(descriptor, standard)


def test_a_run_goes_on_without_its_terminal(runs, untouched):
    ours, theirs = pty.openpty()
    process = runs.start("terminal", before=partial(terminal, os.ttyname(theirs)), hold_at=9)
    os.close(theirs)
    os.close(ours)  # SIGHUP, and EIO for whoever writes
    runs.let_go()
    assert runs.end(process)[0] == 0
    assert runs.result("terminal") == untouched


def test_a_name_that_no_file_can_have_is_a_mistake_of_the_users():
    script = f"from common.errors import run; run(lambda argv: open({'x' * 300!r}))"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2 and ended.stderr == f"error: no file can have so long a name: {'x' * 60}...\n"


def command(**options):
    """A command that does not train, and prints much."""
    script = "from common.errors import run; run(lambda argv: print('x' * 10**5))"
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, text=True, **options)


def test_other_commands_end_in_one_line(tmp_path):
    with open("/dev/full", "w") as full:
        result = command(stdout=full)
    line = "error: cannot write to the standard output: No space left on device\n"
    assert (result.returncode, result.stderr) == (2, line)
    result = command(preexec_fn=lambda: os.close(1))
    assert (result.returncode, result.stderr) == (0, "")


def test_names_that_are_not_utf8(runs, tmp_path):
    """They are printed and recorded escaped."""
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.txt"))
    shutil.copy(runs.corpus, odd)
    status, text = runs("odd", data=odd)
    assert status == 0 and "/caf\\udce9.txt: 5" in text, text
    assert json.loads((runs.output / "odd/run.json").read_text())["arguments"]["data"] == str(odd)
    assert "caf\\udce9.txt" in (runs.output / "odd/README.md").read_text()
    for recipe in ({"output_dir": odd.with_suffix("")}, {"model": shutil.copytree(runs.recipe["model"], f"{odd}.d")}):
        status, text = runs("odd-too", **recipe)
        assert status == 2 and re.search(r"^error: \S+caf\\udce9\S*: its name is not UTF-8", text, re.MULTILINE), text
    write_atomically(tmp_path / "a", "\udce9")
    assert (tmp_path / "a").read_text() == "\\udce9"
