"""What the repository promises: pinned versions, clean notebooks, a README that is up to date."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from reid_lib.report import refresh_readme

BIN = Path(sys.executable).parent
LOCK = (REPOSITORY / "requirements.lock").read_text()
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def committed():
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [REPOSITORY / name for name in listing.stdout.split("\0") if name]


def pinned():
    return re.findall(r"^([a-z0-9-]+)==([^\s;]+)", LOCK, re.MULTILINE)


def test_the_lock_satisfies_every_range_of_the_project():
    ranges = [*PROJECT["dependencies"]]
    for extra in PROJECT["optional-dependencies"].values():
        ranges += extra
    versions = dict(pinned())
    for requirement in map(Requirement, ranges):
        assert requirement.specifier.contains(versions[requirement.name])


def test_every_pin_has_a_hash_and_no_host_is_named():
    pins = len(pinned())
    assert pins > 100
    assert len(re.findall(r"^\S+==.*\\\n    --hash=sha256:", LOCK, re.MULTILINE)) == pins
    assert "://" not in LOCK and "index-url" not in LOCK


def test_conda_users_get_the_same_lock():
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert pip == {"pip": ["-r requirements.lock"]}
    python = next(d.partition("=")[2] for d in conda if d.startswith("python="))
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)


def test_notebooks_are_stored_without_outputs_and_with_stable_ids():
    notebooks = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
    assert [n.stem[:2] for n in notebooks] == [f"0{k}" for k in range(1, len(notebooks) + 1)]
    for notebook in notebooks:
        content = json.loads(notebook.read_text())
        ids = [cell["id"] for cell in content["cells"]]
        assert ids == [f"{notebook.stem[:2]}-{k:02d}" for k in range(1, len(ids) + 1)]
        code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
        assert all(not c["outputs"] and c["execution_count"] is None for c in code)
        tagged = [c for c in code if "parameters" in c["metadata"].get("tags", [])]
        assert len(tagged) == 1


def test_the_lint_refuses_a_notebook_with_an_output(tmp_path):
    source = REPOSITORY / "notebooks" / "01_data.ipynb"
    content = json.loads(source.read_text())
    cell = next(c for c in content["cells"] if c["cell_type"] == "code")
    cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["1\n"]}]
    (tmp_path / "dirty.ipynb").write_text(json.dumps(content))
    shutil.copy(source, tmp_path / "clean.ipynb")
    for name, status in (("clean", 0), ("dirty", 1)):
        command = [BIN / "nbstripout", "--keep-id", "--verify", str(tmp_path / f"{name}.ipynb")]
        assert subprocess.run(command, check=False).returncode == status


def test_the_readmes_generated_parts_are_up_to_date(tmp_path):
    def at_head(name):  # a run of the demo may have drawn the figures anew
        command = ["git", "show", f"HEAD:{name}"]
        shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        if shown.returncode:
            pytest.skip(f"{name} is not in a git checkout")
        return shown.stdout

    copy, readme = tmp_path / "README.md", at_head("README.md")
    copy.write_text(readme)
    for name in re.findall(r"<!-- from (\S+) -->", readme):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(at_head(name))
    refresh_readme(copy)
    assert copy.read_text() == readme  # else: make readme


def test_the_readmes_examples_run_as_they_stand():
    examples = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(example, {})


def test_no_committed_text_names_a_path_of_one_machine():
    wrong = re.compile(r"/(work|root|home|tmp)/[a-z]")
    for path in committed():
        if path.suffix in {".py", ".md", ".ipynb", ".yaml", ".yml", ".toml", ".json", ".csv", ""}:
            for line in path.read_text(errors="ignore").splitlines():
                assert not wrong.search(line), f"{path.name}: {line[:100]}"


def test_make_help_lists_every_target():
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    said = subprocess.run(
        ["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r"^make ([\w-]+)", said, re.MULTILINE)) == set(targets)
    assert {"reproduce", "unlock", "test-gpu", "format"} <= set(targets)
    assert set(re.findall(r"^([a-z-]+):(?!=)", makefile, re.MULTILINE)) == set(targets)


def test_the_lint_says_what_to_do_about_outputs(tmp_path):
    """The recipe of `make lint`, with programs that accept the code and refuse the notebooks."""
    for name, status in (("ruff", 0), ("nbstripout", 1)):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\nexit {status}\n")
        program.chmod(0o755)
    command = ["make", "--silent", "lint", f"VENV={tmp_path}", "--assume-old=setup"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "notebooks hold outputs: run make format" in done.stderr.splitlines()


@pytest.mark.parametrize("marker", ["slow", "browser", "gpu"])
def test_every_marker_has_a_make_target(marker):
    recipe = re.search(
        rf"^test-{marker}: .*\n(\t.*\n)+", (REPOSITORY / "Makefile").read_text(), re.M
    )
    assert f"-m {marker}" in recipe[0]


def test_no_module_is_a_drawer_for_everything():
    for path in (REPOSITORY / "reid_lib").glob("*.py"):
        assert path.name != "utils.py"
        assert "assert " not in re.sub(r'""".*?"""|#.*', "", path.read_text(), flags=re.DOTALL)
