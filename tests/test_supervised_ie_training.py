"""Training: the recipe's schedule, early stopping, and runs that are killed and go on."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file
from supervised_ie_cases import flags, one_thread, sentences, write_case  # noqa: F401

from common.errors import UserError
from common.files import write_atomically
from common.flags import parse
from evaluations.supervised_ie import checkpoint, train
from evaluations.supervised_ie.data import write_sentences
from evaluations.supervised_ie.scores import OVERALL


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_case(tmp_path_factory.mktemp("ie"))


def rates(root, name, monkeypatch, **more):
    """The encoder's learning rate at each step, and the rest's, of a run on four sentences a step."""
    make_optimizer, seen = train.make_optimizer, []

    def watched(*args):
        optimizer = make_optimizer(*args)
        optimizer.register_step_pre_hook(lambda *_: seen.append([group["lr"] for group in optimizer.param_groups]))
        return optimizer

    monkeypatch.setattr(train, "make_optimizer", watched)
    peaks = {"encoder_learning_rate": 1.0e-6, "learning_rate": 2.0e-6}
    train.main(flags(root, name, **{"batch_size": 8, "patience": 9, **peaks, **more}))  # 30 sentences: 4 steps an epoch
    return [[1e6 * rate for rate in of_group] for of_group in zip(*seen, strict=True)]


def test_the_rates_rise_and_fall_in_straight_lines(root, monkeypatch):
    encoder, rest = rates(root, "rates", monkeypatch, max_epochs=3, warmup_epochs=1)
    assert encoder == pytest.approx([0.25, 0.5, 0.75, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    assert rest == pytest.approx([2 * rate for rate in encoder])
    assert rates(root, "short", monkeypatch, max_epochs=1, warmup_epochs=5)[0] == pytest.approx([0.25, 0.5, 0.75, 1])
    assert rates(root, "steep", monkeypatch, max_epochs=1, warmup_epochs=0)[0] == pytest.approx([1, 0.75, 0.5, 0.25])


def test_the_defaults_are_the_published_recipe():
    required = ["--model", "x", "--data", "x", "--name", "x"]
    recipe = parse(train.Recipe, required, "")
    model = torch.nn.ModuleDict({"encoder": torch.nn.Linear(2, 2), "rest": torch.nn.Linear(2, 2)})
    encoder, rest = train.make_optimizer(model, recipe).param_groups
    assert [(group["peak_lr"], group["weight_decay"]) for group in (encoder, rest)] == [(1e-5, 1e-5), (1e-4, 1e-3)]
    assert [id(p) for p in encoder["params"]] == [id(p) for p in model.encoder.parameters()]
    assert [id(p) for p in rest["params"]] == [id(p) for p in model.rest.parameters()]
    assert (recipe.batch_size, recipe.max_grad_norm, recipe.warmup_epochs, recipe.max_epochs) == (10, 5.0, 5, 100)
    for name, value in (("seed", "-1"), ("learning_rate", "nan"), ("max_epochs", "0"), ("max_grad_norm", "0.0")):
        with pytest.raises(UserError, match=f"--{name} {value}: must be "):
            parse(train.Recipe, [*required, f"--{name}", value], "")


def without_seconds(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_a_killed_run_goes_on_to_the_same_end(root, monkeypatch, capsys):
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
    assert f"{root / 'broken'}: goes on after epoch 2\nepoch 3: " in capsys.readouterr().out
    train.main(flags(root, "broken", **few))
    assert capsys.readouterr().out == f"{root / 'broken'} is finished; nothing to do\n"

    assert without_seconds(root / "broken") == without_seconds(root / "unbroken")
    assert (root / "broken" / "best.json").read_text() == (root / "unbroken" / "best.json").read_text()
    epoch, _ = checkpoint.read_best(root / "broken")[OVERALL]
    ours, theirs = (load_file(root / run / f"epoch-{epoch}.safetensors") for run in ("broken", "unbroken"))
    for name, tensor in theirs.items():
        assert torch.equal(tensor, ours[name]), name

    write_atomically(root / "broken" / checkpoint.STATE, b"cut")
    (root / "broken" / "summary.json").unlink()
    with pytest.raises(UserError, match=r"training_state\.safetensors is damaged"):
        train.main(flags(root, "broken", **few))
    with pytest.raises(UserError, match=r"was made with --learning_rate 0\.003, now it is 1\.0; go on with the same"):
        train.main(flags(root, "broken", **{**few, "learning_rate": 1}))
    with pytest.raises(UserError, match="holds a run already; --resume goes on with it"):
        train.main([*flags(root, "broken", **few), "--no_resume"])
    (root / "broken" / checkpoint.SETTINGS).touch()
    with pytest.raises(UserError, match="of an older version of this project, which cannot be resumed"):
        train.main(flags(root, "broken", **few))
    capsys.readouterr()
    train.main([*flags(root, "broken", **few), "--restart"])
    assert f"{root / 'broken'} begins anew; what it held is in {root / 'broken/before-1'}\n" in capsys.readouterr().out
    assert (root / "broken/before-1" / checkpoint.STATE).read_bytes() == b"cut"
    assert without_seconds(root / "broken") == without_seconds(root / "unbroken")


def test_a_run_stops_when_its_patience_ends_wherever_it_was_killed(root, monkeypatch):
    """With rates of next to nothing the first epoch is the best, and a patience of 1 ends after the second."""
    lame = {"max_epochs": 4, "patience": 1, "encoder_learning_rate": 1e-12, "learning_rate": 1e-12}
    replace = os.replace
    written = []

    def counted(source, target):
        written.append(target.name)
        if len(written) == die_at:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", counted)
    die_at = None
    train.main(flags(root, "lame", **lame))
    assert len(without_seconds(root / "lame")) == 2
    an_epoch = [checkpoint.STATE, "best.json"]
    assert written == [
        "run.json",
        "labels.json",
        "epoch-1.safetensors",
        *an_epoch,
        *an_epoch,
        "README.md",
        "summary.json",
    ]
    for die_at in range(1, len(written) + 1):
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
    with pytest.raises(UserError, match=r"was made with the dev data \w+, now it is \w+"):
        train.main(flags(root, "data_changes", **few))
