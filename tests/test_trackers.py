"""Trackers: what a run logs to them, and that a run that was killed goes on in theirs."""

import importlib.util
import json
import os
import sqlite3
from functools import partial

import pytest
from accelerate import tracking
from accelerate.utils import LoggerType

from common.errors import UserError
from training.log import TRACKED, pick_trackers

LOGGED = [0, 3, 6, 7, 9, 12, 14, 15, 18, 21, 21, 24, 24]  # steps, with logging_steps 3 and eval_steps 7


def variables(**values):
    """For `before`: environment variables of the run's process."""
    return partial(set_variables, values)


def set_variables(values):
    os.environ.update(values)


def needs(package):
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"pip install {package}")


def test_what_is_no_tracker_is_said_before_anything_is_written(runs):
    status, text = runs("new", report_to="tensorboard,board")
    assert (
        status == 2
        and "no tracker `board`; choose among tensorboard, wandb, trackio, mlflow, or none by itself" in text
    )
    assert not (runs.output / "new").exists()


def test_a_tracker_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(tracking, "_available_trackers", [LoggerType.TENSORBOARD])
    assert pick_trackers("tensorboard") == ["tensorboard"] and pick_trackers("none") == []
    with pytest.raises(UserError, match="the package wandb is not installed; pip install wandb"):
        pick_trackers("tensorboard,wandb")


def test_how_trackers_are_named():
    assert pick_trackers(" tensorboard ,") == ["tensorboard"] and pick_trackers("") == pick_trackers(" none") == []
    with pytest.raises(UserError, match="no tracker `none`; choose among "):
        pick_trackers("none,tensorboard")


def test_no_tracker(runs):
    runs.complete("none", report_to="none")
    assert runs.logged("none") == LOGGED
    assert not {"tensorboard", TRACKED} & {path.name for path in (runs.output / "none").iterdir()}


# --- stand-ins for the packages -----------------------------------------------------------------------------------


class StandIn:
    """A tracker that writes what it is asked for into the run's directory."""

    id = "the-run"

    def __init__(self, file, tracker, project, **options):
        self.file, self.name, self.info, self.run_id = file, tracker, self, self.id
        self.say("init", {"project": project, **options})

    @property
    def tracker(self):
        return self

    def say(self, what, values):
        with open(self.file, "a") as file:
            file.write(json.dumps([self.name, what, values], default=str) + "\n")

    def start(self):
        pass

    def finish(self):
        self.say("finish", None)

    def store_init_configuration(self, values):
        self.say("config", values)

    def log(self, values, step):
        self.say("log", step)


def use_stand_ins(file):
    names = ("wandb", "trackio", "mlflow")
    tracking._available_trackers = [LoggerType(name) for name in names]
    for name in names:
        stand_in = partial(StandIn, file, name)
        stand_in.requires_logging_directory = False
        tracking.LOGGER_TYPE_TO_CLASS[name] = stand_in


def test_a_killed_run_goes_on_in_the_trackers_run(runs, tmp_path):
    options = {"report_to": "wandb,trackio,mlflow", "before": partial(use_stand_ins, tmp_path / "said")}
    directory = runs.stopped("one", **options)
    runs.complete("one", **options)
    said = [json.loads(line) for line in (tmp_path / "said").read_text().splitlines()]
    began = {name: [values for who, what, values in said if (who, what) == (name, "init")] for name, *_ in said}
    assert began.keys() == {"wandb", "trackio", "mlflow"}
    for first, second in began.values():
        assert first["project"] == second["project"] == "sparse-latent-typing"
    first, second = began["wandb"]
    assert first["id"] is None and second["id"] == "the-run" and first["resume"] == second["resume"] == "allow"
    assert first["name"] == "one" and first["dir"] == str(directory) and first["config"]["max_steps"] == 24
    assert first["name"] != began["trackio"][0]["name"] == began["trackio"][1]["name"]  # trackio finds runs by name
    assert [options["run_id"] for options in began["mlflow"]] == [None, "the-run"]
    assert [who for who, what, _ in said if what == "config"] == ["mlflow"]  # once
    for name in began:
        steps = [values for who, what, values in said if (who, what) == (name, "log")]
        assert steps == [0, 3, 6, 7, 9, 12] + [step for step in LOGGED if step > 10]
        assert [what for who, what, _ in said if who == name].count("finish") == 1


def use_failing(file, method, error):
    """Stand-ins of which a method raises an error, `log` not before step 12."""

    def fail(tracker, *values, step=12):
        if step == 12:
            raise error

    use_stand_ins(file)
    setattr(StandIn, method, fail)


GONE = "the server is gone"


@pytest.mark.parametrize("error", [RuntimeError(f"{GONE}\nand so on"), ConnectionError(GONE)])
def test_a_tracker_that_fails_is_one_line_and_the_run_goes_on_without_it(runs, tmp_path, error):
    name = type(error).__name__
    status, text = runs(name, report_to="mlflow", before=partial(use_failing, tmp_path / "said", "log", error))
    assert status == 2 and "error: --report_to mlflow: the server is gone; the same command goes on" in text
    assert "Traceback" not in text
    runs.complete(name, report_to="none")
    runs.complete("whole")
    assert runs.result(name) == runs.result("whole")


def test_a_tracker_that_refuses_the_recipe_is_one_line_and_its_run_is_known(runs, tmp_path):
    failing = partial(use_failing, tmp_path / "said", "store_init_configuration", ValueError("changed parameters"))
    status, text = runs("refuses", report_to="mlflow", before=failing)
    assert status == 2 and "error: --report_to mlflow: changed parameters; the same" in text and "Traceback" not in text
    assert json.loads((runs.output / "refuses" / TRACKED).read_text()) == {"mlflow": "the-run"}


def test_a_tracker_that_fails_at_the_end_costs_nothing(runs, tmp_path):
    runs.complete("ends", report_to="mlflow", before=partial(use_failing, tmp_path / "said", "finish", OSError(GONE)))
    runs.complete("whole")
    assert runs.result("ends") == runs.result("whole")


def test_a_damaged_list_of_tracker_runs_is_named(runs, tmp_path):
    directory = runs.stopped("torn", report_to="none")
    (directory / TRACKED).write_text('["a"')
    status, text = runs("torn", report_to="mlflow", before=partial(use_stand_ins, tmp_path / "said"))
    assert status == 2 and f"{TRACKED} is damaged; without it the run begins anew in its trackers" in text


# --- the packages, offline ----------------------------------------------------------------------------------------


@needs("wandb")
def test_wandb_offline(runs):
    before = variables(WANDB_MODE="offline", WANDB_SILENT="true")
    directory = runs.stopped("wandb", report_to="wandb", before=before)
    runs.complete("wandb", report_to="wandb", before=before)
    files = sorted(directory.glob("wandb/offline-run-*/*.wandb"))
    identity = json.loads((directory / TRACKED).read_text())["wandb"]
    assert [file.name for file in files] == [f"run-{identity}.wandb"] * 2
    assert b"train/mlm_loss" in files[1].read_bytes()  # what the first had not yet written died with it


@needs("trackio")
def test_trackio_on_this_machine(runs, tmp_path):
    before = variables(TRACKIO_DIR=str(tmp_path))
    directory = runs.stopped("trackio", report_to="trackio", before=before)
    runs.complete("trackio", report_to="trackio", before=before)
    (file,) = tmp_path.glob("*.db")
    with sqlite3.connect(file) as database:
        logged = database.execute("SELECT run_id, run_name, step FROM metrics").fetchall()
    assert {name for _, name, _ in logged} == {json.loads((directory / TRACKED).read_text())["trackio"]}
    assert len({identity for identity, *_ in logged}) == 1
    assert {step for step in LOGGED if step > 10} <= {step for *_, step in logged} <= set(LOGGED)


def test_mlflow_in_files(runs, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database would need more than mlflow-skinny
    place = (tmp_path / "mlflow").as_uri()
    before = variables(MLFLOW_TRACKING_URI=place, MLFLOW_ALLOW_FILE_STORE="true")
    directory = runs.stopped("mlflow", report_to="mlflow", before=before)
    runs.complete("mlflow", report_to="mlflow", before=before)
    client = mlflow.MlflowClient(place)
    (run,) = client.search_runs([client.get_experiment_by_name("sparse-latent-typing").experiment_id])
    assert run.info.run_id == json.loads((directory / TRACKED).read_text())["mlflow"]
    assert run.info.status == "FINISHED" and run.data.params["max_steps"] == "24"
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert {point.step for point in history} == set(range(3, 25, 3))
