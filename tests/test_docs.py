"""What the documents name is there: links, files, modules, flags; and every imported package is declared."""

import ast
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions

import pytest

from common.files import ROOT


@cache
def files(pattern):
    """The files of the project, as git knows them or would."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return sorted(path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file())


def anchor(heading):
    """A heading's anchor as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("document", files("*.md"), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("http"):
            continue
        path, _, part = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        if part:
            assert part in [anchor(heading) for heading in re.findall(r"^#+ (.*)", target.read_text(), re.MULTILINE)], (
                link
            )


@pytest.mark.parametrize("document", files("*.md"), ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_scripts_and_packages_exist(document):
    text = document.read_text()
    for module in re.findall(r"python -m ((?:benchmarks|data|evaluations|study)[\w.]*)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
    for script in re.findall(r"python ([\w/]+\.py)", text):
        assert (ROOT / script).is_file(), script
    for package in re.findall(r"^([\w/]+/) {2,}\S", text, re.MULTILINE):  # the README's map
        assert (ROOT / package).is_dir(), package


def imported(paths):
    """The names of the top-level modules that are imported, outside the standard library and the project."""
    own = {path.stem for path in files("*.py")} | {path.name for path in ROOT.iterdir()}
    names = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.split(".")[0])
    return names - own - set(sys.stdlib_module_names)


def declared(name):
    """The names of the packages in a requirements file."""
    lines = (ROOT / name).read_text().splitlines()
    return {normal(match.group()) for line in lines if (match := re.match(r"\w[\w.-]*", line))}


def normal(package):
    return re.sub(r"[-_.]+", "-", package).lower()


@pytest.mark.parametrize("tests", [False, True])
def test_every_package_that_is_imported_is_declared(tests):
    paths = [path for path in files("*.py") if tests or "tests" not in path.parts]
    known = declared("requirements.txt") | (declared("requirements-dev.txt") if tests else set())
    of = packages_distributions()
    for module in imported(paths):
        assert {normal(package) for package in of.get(module, [module])} & known, f"{module} is not in the requirements"
