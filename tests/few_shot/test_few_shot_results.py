"""The table of methods in the README of evaluations/few_shot is what its archive of episodes says."""

import re
import tarfile

import pytest

from common.files import ROOT
from evaluations.bootstrap import micro_prf
from evaluations.few_shot.methods import METHODS
from evaluations.few_shot.records import read_run

FEW_SHOT = ROOT / "evaluations/few_shot"
SETTINGS = ("intra 5-1", "intra 5-5", "inter 5-1", "inter 5-5")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    with tarfile.open(FEW_SHOT / "results/methods.tar.xz") as content:
        content.extractall(folder, filter="data")
    return folder / "methods"


@pytest.mark.parametrize("method", METHODS)
def test_f1_of_all_seeds_together(archive, method):
    readme = (FEW_SHOT / "README.md").read_text()
    (row,) = re.findall(
        rf"^\| `{method}`(?:, reads label names)? \|(.* to .*)\|$", readme.split("The paired difference")[0], re.M
    )
    for setting, cell in zip(SETTINGS, row.split("|"), strict=True):
        split, shots = setting.split()
        name = shots + ("" if method == "container" else f"-{method}")
        runs = [read_run(path.parent) for path in sorted(archive.glob(f"{split}/s*/{name}/summary.json"))]
        if not runs:
            assert not cell.strip()
            continue
        assert all(len(one.records) == 500 and one.method == method for one in runs)
        f1 = micro_prf(sum(one.counts("full").sum(0) for one in runs))[2]
        assert cell.strip().startswith(f"{f1:.2f} (")
