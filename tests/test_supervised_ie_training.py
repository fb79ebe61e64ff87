"""Training: the recipe's schedule, early stopping, and runs that are killed and go on."""

import json

import pytest
import torch
from safetensors.torch import load_file
from supervised_ie_cases import flags, one_thread, sentences, write_case  # noqa: F401

from common.errors import UserError
from evaluations.supervised_ie import checkpoint, train
from evaluations.supervised_ie.data import write_sentences
from evaluations.supervised_ie.scores import OVERALL


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_case(tmp_path_factory.mktemp("ie"))


def test_the_rate_rises_and_falls_in_straight_lines():
    shares = [train.rate(step, warmup=4, total=12) for step in range(12)]
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    assert [train.rate(step, warmup=0, total=2) for step in range(2)] == [1, 0.5]


def test_the_defaults_are_the_published_recipe():
    args = train.parse_args(["--encoder", "x", "--data", "x", "--name", "x"])
    model = torch.nn.ModuleDict({"encoder": torch.nn.Linear(2, 2), "rest": torch.nn.Linear(2, 2)})
    encoder, rest = train.make_optimizer(model, args).param_groups
    assert (encoder["peak"], encoder["weight_decay"], rest["peak"], rest["weight_decay"]) == (1e-5, 1e-5, 1e-4, 1e-3)
    assert [id(p) for p in encoder["params"]] == [id(p) for p in model.encoder.parameters()]
    assert [id(p) for p in rest["params"]] == [id(p) for p in model.rest.parameters()]
    assert (args.batch_size, args.clip, args.warmup_epochs, args.max_epochs) == (10, 5.0, 5, 100)
    short = train.parse_args(["--encoder", "x", "--data", "x", "--name", "x", "--max_epochs", "3"])
    assert short.warmup_epochs == 3
    with pytest.raises(SystemExit, match="2"):
        train.parse_args(["--encoder", "x", "--data", "x", "--name", "x", "--seed", "-1"])


def without_seconds(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_a_killed_run_goes_on_to_the_same_end(root, monkeypatch):
    few = {"max_epochs": 4, "patience": 4, "mixed_precision": "bf16"}
    train.main(flags(root, "unbroken", **few))

    calls = []

    def killed(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train_epoch(*args)

    train_epoch = train.train_epoch
    monkeypatch.setattr(train, "train_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        train.main(flags(root, "broken", **few))
    assert (root / "broken" / checkpoint.STATE).exists()
    train.main(flags(root, "broken", **few))
    assert len(calls) == 3 + 2  # epochs 3 and 4 alone

    assert without_seconds(root / "broken") == without_seconds(root / "unbroken")
    assert (root / "broken" / "best.json").read_text() == (root / "unbroken" / "best.json").read_text()
    epoch, _ = checkpoint.read_best(root / "broken")[OVERALL]
    ours, theirs = (load_file(root / run / f"epoch-{epoch}.safetensors") for run in ("broken", "unbroken"))
    for name, tensor in theirs.items():
        assert torch.equal(tensor, ours[name]), name

    checkpoint.write_atomically(root / "broken" / checkpoint.STATE, b"cut")
    (root / "broken" / "finished.json").unlink()
    with pytest.raises(UserError, match=r"training_state\.safetensors cannot be read"):
        train.main(flags(root, "broken", **few))
    with pytest.raises(UserError, match="a run with another --learning_rate, --mixed_precision; choose another --name"):
        train.main(flags(root, "broken", **{**few, "learning_rate": 1, "mixed_precision": "no"}))


def test_a_run_stops_when_its_patience_ends_wherever_it_was_killed(root, monkeypatch):
    """With rates of next to nothing the first epoch is the best, and a patience of 1 ends after the second."""
    lame = {"max_epochs": 4, "patience": 1, "encoder_learning_rate": 1e-12, "learning_rate": 1e-12}
    write = checkpoint.write_atomically
    written = []

    def counted(path, content):
        written.append(path.name)
        if len(written) == die_at:
            raise KeyboardInterrupt
        write(path, content)

    for module in (checkpoint, train):
        monkeypatch.setattr(module, "write_atomically", counted)
    die_at = None
    train.main(flags(root, "lame", **lame))
    assert len(without_seconds(root / "lame")) == 2
    first_epoch = ["epoch-1.safetensors", checkpoint.STATE, "metrics.jsonl", "best.json"]
    assert written == ["config.json", *first_epoch, *first_epoch[1:], "finished.json"]
    for die_at in range(len(written) - 6, len(written) + 1):  # from the first epoch's state on
        written.clear()
        with pytest.raises(KeyboardInterrupt):
            train.main(flags(root, f"lame-{die_at}", **lame))
        (root / f"lame-{die_at}" / ".best.json.7.tmp").write_text("half")
        train.main(flags(root, f"lame-{die_at}", **lame))
        assert without_seconds(root / f"lame-{die_at}") == without_seconds(root / "lame")
        names = {path.name for path in (root / f"lame-{die_at}").iterdir()} - {".lock"}
        assert names == {path.name for path in (root / "lame").iterdir()} - {".lock"}
        assert checkpoint.read_best(root / f"lame-{die_at}") == checkpoint.read_best(root / "lame")


def test_a_run_goes_on_with_the_data_it_began_with_alone(root, tmp_path):
    for split in ("train", "dev"):
        write_sentences(tmp_path / f"{split}.oneie.jsonl", sentences())
    few = {"data": tmp_path, "max_epochs": 1, "patience": 1, "warmup_epochs": 0}
    train.main(flags(root, "data_changes", **few))
    write_sentences(tmp_path / "dev.oneie.jsonl", sentences()[:5])
    with pytest.raises(UserError, match="was begun with other content of"):
        train.main(flags(root, "data_changes", **few))
