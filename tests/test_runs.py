"""runs/: the directory of a run, what it was made with, how it went and whether it came to its end."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from safetensors import SafetensorError

from common.errors import UserError
from runs import MetricsLog, RunDirectory, read_metrics, read_record, read_summary
from runs.directory import disk_errors

ARGUMENTS = {"name": "x", "data": Path("a/b"), "steps": 3, "rates": (0.1, 0.2), "more": None}
INPUTS = {"corpus": "c" * 64, "dev_data": {"a": 1}}
FREE = frozenset(["name", "data"])


@pytest.fixture
def run(tmp_path):
    with RunDirectory(tmp_path / "output" / "run") as run:
        yield run


def begin(run, arguments=ARGUMENTS, inputs=INPUTS, resume=True):
    return run.begin(arguments, inputs, FREE, resume)


# --- lock and leftovers -----------------------------------------------------------------------------------------------


def test_one_process_at_a_time(tmp_path):
    with RunDirectory(tmp_path) as run:
        with pytest.raises(UserError, match=f"another run is writing into {tmp_path}; wait for it"):
            RunDirectory(tmp_path)
        assert RunDirectory(tmp_path / "below").path.is_dir()
        run.close()
        with RunDirectory(tmp_path):
            pass
    RunDirectory(tmp_path).close()


def test_what_was_not_finished_is_removed(tmp_path):
    (tmp_path / ".step-3.tmp").mkdir()
    (tmp_path / ".step-3.tmp/model").write_text("half")
    (tmp_path / ".run.json.123.tmp").write_text("{")
    for kept in ("model.tmp", ".hidden", "step-3"):
        (tmp_path / kept).write_text("mine")
    with RunDirectory(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} - {".lock"} == {"model.tmp", ".hidden", "step-3"}


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"cannot write into {tmp_path}/file/run: Not a directory"):
        RunDirectory(tmp_path / "file/run")
    with pytest.raises(UserError, match="cannot write into /proc/run: "):
        RunDirectory(Path("/proc/run"))


def test_disk_errors_are_one_sentence_that_says_what_is_safe(tmp_path):
    for error in (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), SafetensorError("No space left on device\nmore")):
        with pytest.raises(UserError) as found, disk_errors(tmp_path, "all is safe"):
            raise error
        assert str(found.value).startswith(f"cannot write into {tmp_path}: ") and "\n" not in str(found.value)
        assert str(found.value).endswith("No space left on device; all is safe")
    with pytest.raises(ValueError, match="a fault"), disk_errors(tmp_path):
        raise ValueError("a fault")


# --- the record -------------------------------------------------------------------------------------------------------


def test_a_new_run_is_recorded_and_an_old_one_goes_on(run):
    assert begin(run) is False
    record = read_record(run.path)
    assert record["arguments"] == {"name": "x", "data": "a/b", "steps": 3, "rates": [0.1, 0.2], "more": None}
    assert record["inputs"] == INPUTS and {"python", "torch", "commit", "command"} <= record["environment"].keys()
    content = (run.path / "run.json").read_bytes()
    assert begin(run) is True
    assert begin(run, ARGUMENTS | {"name": "y", "data": "elsewhere"}) is True
    assert (run.path / "run.json").read_bytes() == content
    with pytest.raises(UserError, match=f"{run.path} holds a run already; --resume goes on with it"):
        begin(run, resume=False)


@pytest.mark.parametrize(
    ("arguments", "inputs", "message"),
    [
        ({"steps": 4}, {}, "--steps 3, now it is 4"),
        ({"rates": (0.1, 0.3)}, {}, r"--rates \[0.1, 0.2\], now it is \[0.1, 0.3\]"),
        ({"more": 1}, {}, "--more None, now it is 1"),
        ({"later_flag": "x"}, {}, "--later_flag None, now it is x"),
        ({}, {"corpus": "d" * 64}, f"the corpus {'c' * 64}, now it is {'d' * 64}"),
        ({}, {"dev_data": {"a": 2}}, r"the dev data {'a': 1}, now it is {'a': 2}"),
        ({"steps": 4}, {"corpus": "d"}, "the corpus c"),
    ],
)
def test_what_changed_is_refused_by_both_values(run, arguments, inputs, message):
    begin(run)
    before = {path: path.read_bytes() for path in run.path.iterdir()}
    with pytest.raises(UserError, match=f"{run.path} was made with {message}") as error:
        begin(run, ARGUMENTS | arguments, INPUTS | inputs)
    assert str(error.value).endswith("; go on with the same, or choose another name")
    assert before == {path: path.read_bytes() for path in run.path.iterdir()}


def test_a_run_of_another_version_is_named_as_such(run):
    for record in ({"arguments": ARGUMENTS}, {"layout": 1}, {"layout": 3}, {}):
        (run.path / "run.json").write_text(json.dumps(record, default=str))
        with pytest.raises(UserError, match=f"{run.path} holds a run of another version of this project, which cannot"):
            begin(run)


def test_a_run_is_set_aside_behind_earlier_ones_of_which_some_were_deleted(run):
    for _ in range(3):
        assert run.begin(ARGUMENTS, INPUTS, FREE, resume=True, restart=True) is False
    shutil.rmtree(run.path / "before-1")
    assert run.begin(ARGUMENTS, INPUTS, FREE, resume=True, restart=True) is False
    assert {path.name for path in run.path.iterdir()} == {".lock", "run.json", "before-2", "before-3"}


@pytest.mark.parametrize("file", ["metrics.jsonl", "summary.json"])
def test_a_run_that_lost_its_record_is_not_begun_over(run, file):
    (run.path / file).write_text("{}")
    for resume in (True, False):
        with pytest.raises(UserError, match=r"holds a run without the run\.json that tells what it was made with"):
            begin(run, resume=resume)
    assert not (run.path / "run.json").exists()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", '{"arguments": 3}', '{"inputs": []}', b"\xff", "[" * 100_000],
    ids=lambda c: repr(c)[:20],
)
def test_damaged_records_are_named(run, content):
    for file, read in (("run.json", read_record), ("summary.json", read_summary)):
        with pytest.raises(UserError, match=rf"{run.path} has no {file}: no such run was begun there, or it is not"):
            read(run.path)
        (run.path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(UserError, match=f"{run.path}/{file} is damaged: ") as error:
            read(run.path)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        begin(run)


def test_an_older_record_without_inputs_is_read(run):
    (run.path / "run.json").write_text('{"arguments": {"alpha": 1}}')
    assert read_record(run.path) == {"arguments": {"alpha": 1}, "inputs": {}}


def test_finished_and_reopened(run):
    begin(run)
    assert not run.finished
    run.finish({"steps": 3})
    assert run.finished and read_summary(run.path) == {"steps": 3}
    run.reopen()
    run.reopen()
    assert not run.finished


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_metrics_are_read_as_they_were_written(tmp_path):
    assert read_metrics(tmp_path) == []
    log = MetricsLog(tmp_path, resumed_after=0)
    log.write(0, {"validation": {"bleu": 0.1}})
    log.write(3, {"loss": 0.1 + 0.2})
    assert read_metrics(tmp_path)[1]["loss"] == 0.1 + 0.2, "visible at once, and exact"
    log.close()
    assert read_metrics(tmp_path) == [{"step": 0, "validation": {"bleu": 0.1}}, {"step": 3, "loss": 0.1 + 0.2}]


@pytest.mark.parametrize(
    ("resumed_after", "kept"), [(0, []), (2, [0, 1, 2]), (3, [0, 1, 2, 3, 3]), (9, [0, 1, 2, 3, 3, 5])]
)
def test_a_resumed_run_writes_later_lines_again(tmp_path, resumed_after, kept):
    lines = [f'{{"epoch": {epoch}}}\n' for epoch in (0, 1, 2, 3, 3, 5)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines) + '{"epoch": 6, "lo')  # torn by a crash
    log = MetricsLog(tmp_path, resumed_after, key="epoch")
    log.write(7, {})
    log.close()
    assert [line["epoch"] for line in read_metrics(tmp_path, "epoch")] == [*kept, 7]


def test_lines_that_are_none_are_left_out(tmp_path):
    lines = ['{"step": 1}', "", "x", "[]", "3", '{"loss": 1}', '{"step": "2"}', '{"step": true}', '{"step": 1.0}']
    (tmp_path / "metrics.jsonl").write_bytes(
        "\n".join([*lines, "[" * 100_000, "\xff", '{"step": 2}']).encode("latin-1")
    )
    assert read_metrics(tmp_path) == [{"step": 1}, {"step": 2}]
