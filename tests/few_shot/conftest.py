"""A small Few-NERD, its encoder, and runs whose source training is done."""

import shutil

import few_shot_cases as cases
import pytest
import torch

from evaluations.few_shot import train
from evaluations.few_shot.methods import METHODS


@pytest.fixture(autouse=True)
def threads():
    """The runs set torch's threads; give the next test the same as this one had."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Data, encoder and an output directory with the source training of every method, NAME `tiny`; read only."""
    folder = tmp_path_factory.mktemp("trained")
    cases.write_data(folder / "data")
    cases.write_encoder(folder / "encoder")
    for name in METHODS:
        train.main(cases.flags(folder, "--method", name))
    return folder


@pytest.fixture
def place(trained, tmp_path):
    """A copy of it to write into."""
    return shutil.copytree(trained, tmp_path / "place")
