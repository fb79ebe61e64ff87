"""The bash commands, and episodes that several processes share."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from few_shot_cases import flags, run

from common.errors import UserError
from evaluations.few_shot import run as run_episodes

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "evaluations/ner/CONTaiNER"


def bash(place, script, *arguments, **variables):
    """A script called from `place`: relative paths in its variables are seen from there."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **variables}
    command = ["bash", str(SCRIPTS / script), *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_the_scripts_with_two_processes(place):
    """The same lines as one process writes, and one line for a mistake."""
    expected = run(place)
    shutil.rmtree(place / "out/intra/tiny/5-1")
    variables = {"MODEL": "encoder", "DATA": "data", "OUTPUT": "./out", "PROCESSES": "2"}
    arguments = ["intra", "0", "5", "1", "tiny", "--batch_size", "8", "--device", "cpu"]
    done = bash(place, "exec_container.sh", *arguments, **variables)
    assert done.returncode == 0, done.stderr
    assert "6 episodes, full scoring" in done.stdout and "source/contrastive is finished" in done.stdout
    assert run(place) == expected
    assert bash(place, "calc_micro.sh", "tiny", OUTPUT="out").stdout.count("| intra 5-1 |") == 1
    mistaken = bash(place, "exec_container.sh", *arguments, "--temp_trans", "0.5", **variables)
    assert mistaken.returncode == 2 and "temp_trans" in mistaken.stderr and "Traceback" not in mistaken.stderr


@pytest.mark.slow
def test_torchrun_shares_the_episodes_too(place):
    expected = run(place)
    shutil.rmtree(place / "out/intra/tiny/5-1")
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "evaluations.few_shot.run"]
    command = [sys.executable, "-m", *launch, *flags(place)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, timeout=600)
    assert run(place) == expected


def test_a_process_that_dies_loses_only_its_own_episodes(place, monkeypatch):
    """The second of two processes ends at once; what the first counted stays, and the next start goes on."""
    expected = run(place)
    shutil.rmtree(place / "out/intra/tiny/5-1")
    shares = []
    monkeypatch.setattr("evaluations.few_shot.run.start", lambda share: shares.extend(share) or [])
    with pytest.raises(UserError, match="3 episodes are missing"):
        run(place, "--processes", "2")
    assert shares[0][0] == [1, 3, 5] and not (place / "out/intra/tiny/5-1/summary.json").exists()
    monkeypatch.undo()
    assert run(place) == expected


def test_a_process_that_is_killed_ends_the_run(place, monkeypatch):
    """The first of two does not run all of its share before it is noticed; the next start goes on."""
    expected = run(place)
    shutil.rmtree(place / "out/intra/tiny/5-1")
    begin = run_episodes.start

    def start(shares):
        processes = begin(shares)
        processes[0].kill()
        processes[0].join()
        return processes

    monkeypatch.setattr("evaluations.few_shot.run.start", start)
    with pytest.raises(UserError, match=r"another process of this run ended.*with status -9; the finished"):
        run(place, "--processes", "2")
    monkeypatch.undo()
    assert run(place) == expected
