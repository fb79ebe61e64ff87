"""The graph of shell jobs: order, several starts, kills, failures, what changed meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.errors import UserError
from common.files import ROOT
from study import jobs
from study.jobs import Job, run_all


@pytest.fixture(autouse=True)
def short_pause(monkeypatch):
    monkeypatch.setattr(jobs, "PAUSE", 0.05)


def shell(name: str, script: str, *needs: str) -> Job:
    return Job(name, ("bash", "-c", script), needs)


def start(folder: Path, graph: list[Job]) -> subprocess.Popen:
    """A start in a process of its own."""
    script = (
        "import json, sys; from pathlib import Path; from study import jobs; jobs.PAUSE = 0.05\n"
        "graph = [jobs.Job(*job) for job in json.loads(sys.argv[2])]\n"
        "jobs.run_all(Path(sys.argv[1]), lambda: graph)"
    )
    return subprocess.Popen([sys.executable, "-c", script, str(folder), json.dumps(graph)], cwd=ROOT)


def until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_job_waits_for_what_it_needs_and_a_second_run_does_nothing(tmp_path, capsys):
    order = tmp_path / "order"
    graph = [
        shell("a", f"echo a >> {order}; echo printed"),
        shell("c", f"echo c >> {order}", "a"),
        shell("b", f"echo b >> {order}"),
    ]
    run_all(tmp_path, lambda: graph)
    assert order.read_text().split() == ["a", "c", "b"]
    assert (tmp_path / "logs" / "a").read_text() == "printed\n"
    lines = (tmp_path / "commands.sh").read_text().splitlines()
    assert len(lines) == 3 and lines[0].startswith(f"bash -c 'echo a >> {order}; echo printed' # 20")
    assert lines[0].endswith(", 0 s") and "c is done; 1 of 3 jobs are left" in capsys.readouterr().out
    run_all(tmp_path, lambda: graph)
    assert len(order.read_text().split()) == 3
    assert subprocess.run(["bash", tmp_path / "commands.sh"], check=True, capture_output=True).stdout == b"printed\n"


def test_two_starts_share_the_jobs(tmp_path):
    graph = [shell(f"job{i}", f"sleep 0.1; echo {i} >> {tmp_path}/ran", *[f"job{i - 3}"] * (i > 2)) for i in range(9)]
    starts = [start(tmp_path, graph) for _ in range(2)]
    assert [process.wait(60) for process in starts] == [0, 0]
    assert sorted((tmp_path / "ran").read_text().split()) == list("012345678")


def test_a_job_that_outlives_its_start_keeps_the_next_one_off(tmp_path):
    graph = [shell("a", f"echo begun >> {tmp_path}/ran; until [ -e {tmp_path}/go ]; do sleep 0.02; done")]
    first = start(tmp_path, graph)
    until((tmp_path / "ran").exists)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    second = start(tmp_path, graph)
    time.sleep(0.5)
    assert second.poll() is None and (tmp_path / "ran").read_text() == "begun\n"
    (tmp_path / "go").touch()
    assert second.wait(60) == 0
    assert (tmp_path / "ran").read_text() == "begun\n" * 2  # nobody saw how the first ended


def test_a_failing_job_shows_its_last_lines_and_is_tried_again(tmp_path, capfd):
    with pytest.raises(UserError, match=r"job b ended with status 3; what it printed is in .*/logs/b"):
        run_all(tmp_path, lambda: [shell("a", "true"), shell("b", "seq 9; exit 3", "a"), shell("c", "true", "b")])
    assert capfd.readouterr().err == "5\n6\n7\n8\n9\n"
    run_all(tmp_path, lambda: [shell("a", "true"), shell("b", "true", "a"), shell("c", "true", "b")])
    assert {path.name for path in (tmp_path / "done").iterdir()} == {"a", "b", "c"}


def test_a_changed_command_of_a_finished_job_is_refused_naming_both(tmp_path):
    run_all(tmp_path, lambda: [shell("a", "true 2000")])
    with pytest.raises(UserError, match="a was `bash -c 'true 2000'`, now it is `bash -c 'true 4000'`"):
        run_all(tmp_path, lambda: [shell("a", "true 4000")])


def test_a_moved_study_is_the_same(tmp_path):
    run_all(tmp_path / "here", lambda: [shell("a", f"touch {tmp_path}/here/file")])
    (tmp_path / "here").rename(tmp_path / "there")
    run_all(tmp_path / "there", lambda: [shell("a", f"touch {tmp_path}/there/file")])


def test_a_command_may_depend_on_what_an_earlier_job_found(tmp_path):
    def graph() -> list[Job]:
        found = tmp_path / "found"
        number = found.read_text().strip() if found.exists() else "?"
        return [shell("find", f"echo 42 > {found}"), shell("use", f"echo {number} > {tmp_path}/used", "find")]

    run_all(tmp_path, graph)
    assert (tmp_path / "used").read_text() == "42\n"


def test_what_was_made_and_is_gone_is_said_if_a_job_needs_it(tmp_path):
    made = tmp_path / "made"
    graph = [Job("a", ("touch", str(made)), (), made), shell("b", "true", "a")]
    run_all(tmp_path, lambda: graph)
    made.unlink()
    run_all(tmp_path, lambda: graph)  # nothing needs it any more
    with pytest.raises(UserError, match=r"a is done, but .*made is gone, which c needs; without done/a"):
        run_all(tmp_path, lambda: [*graph, shell("c", "true", "a")])
