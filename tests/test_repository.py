"""What the repository promises: pinned versions, clean notebooks, Markdown that is up to date."""

import ast
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from reid_lib.engine.provenance import PACKAGE, imported_modules, module_files

sys.path.insert(0, str(REPOSITORY / "site"))
import readme

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


# Markdown


def prose(path):
    """The Markdown of a file or of a notebook's cells, without generated parts."""
    if path.suffix == ".md":
        return re.sub(readme.BLOCK, "", path.read_text(), flags=re.DOTALL)
    cells = json.loads(path.read_text())["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def runs_of_text(path, length=200):
    """Every run of so many characters that begins at a word, without marks and line ends."""
    text = " ".join(re.sub(r"\]\([^)]*\)|[*`[]", "", prose(path)).split())
    starts = (found.start() for found in re.finditer(r"\S+", text))
    return {text[start : start + length] for start in starts if start + length <= len(text)}


def slug(heading):
    """The anchor that GitHub and MyST give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_readme_fits_its_150_lines():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 150


def test_no_paragraph_stands_in_two_places():
    sources = [*readme.PAGES, *(REPOSITORY / "site").glob("*.md")]
    sources += (REPOSITORY / "notebooks").glob("*.ipynb")
    assert len(sources) > 12
    found = {str(path.relative_to(REPOSITORY)): runs_of_text(path) for path in sources}
    for (one, here), (other, there) in itertools.combinations(found.items(), 2):
        assert not here & there, f"{one} and {other}: {min(here & there)}"


def test_a_repeated_paragraph_is_found_however_it_is_wrapped_and_marked(tmp_path):
    words = [f"word{k}" for k in range(60)]
    one, other, short = (tmp_path / f"{name}.md" for name in ("one", "other", "short"))
    one.write_text("# A\n\n" + " ".join(words))
    other.write_text("# B\n\n" + "\n".join(f"**{word}**" for word in words))
    short.write_text(" ".join(words[:20]))
    assert runs_of_text(one) & runs_of_text(other)
    assert not runs_of_text(one) & runs_of_text(short)


def test_every_link_of_the_markdown_files_leads_to_a_file_and_a_heading():
    seen = 0
    for page in readme.PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        targets = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text)
        for target in (target for target in targets if "://" not in target):
            name, _, anchor = target.partition("#")
            path = page.parent / name if name else page
            assert path.exists(), f"{page.relative_to(REPOSITORY)}: {target}"
            if path.suffix == ".md" and anchor:
                headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
                assert anchor in map(slug, headings), f"{page.name}: {target}"
            seen += 1
    assert seen > 40


def test_every_link_to_a_function_leads_to_its_line():
    links = re.findall(r"\[`(\w+)`\]\((\S+)#L(\d+)\)", (REPOSITORY / "README.md").read_text())
    assert len(links) == 4  # Eqs. 1 to 4
    for name, file, line in links:
        lines = (REPOSITORY / file).read_text().splitlines()
        assert lines[int(line) - 1].startswith(f"def {name}("), name  # else: make readme


def test_generated_parts_are_copied_from_their_sources(tmp_path):
    page = tmp_path / "README.md"
    (tmp_path / "t.md").write_text(
        "Words.\n\n| a | b | c |\n| --- | --- | --- |\n| 1 | 2 | 3 |\n| 4 |  |  |\n"
    )
    (tmp_path / "out.txt").write_text("done\n")
    (tmp_path / "x.py").write_text("import re\n\n\ndef f(x):\n    pass\n")
    page.write_text(
        "a\n<!-- from t.md -->\nold\n<!-- end -->\nb\n<!-- from out.txt -->\n<!-- end -->\n"
        "<!-- from t.md: c, a -->\n<!-- end -->\nc [`f`](x.py#L1)\n"
    )
    text = readme.refreshed(page)
    assert text == (
        "a\n<!-- from t.md -->\nWords.\n\n| a | b | c |\n| --- | --- | --- |\n| 1 | 2 | 3 |\n"
        "| 4 |  |  |\n"
        "<!-- end -->\nb\n<!-- from out.txt -->\n```text\ndone\n```\n<!-- end -->\n"
        "<!-- from t.md: c, a -->\n| c | a |\n| --- | --- |\n| 3 | 1 |\n|  | 4 |\n<!-- end -->\n"
        "c [`f`](x.py#L4)\n"
    )
    page.write_text(text)
    assert readme.refreshed(page) == text


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("\n<!-- from none.md -->\n<!-- end -->", "none.md"),
        ("\n<!-- from t.md: b -->\n<!-- end -->", "'b'"),
        ("\n<!-- from t.md -->\n", "without an <!-- end -->"),
        ("\n<!-- from t.md -->\n\n<!-- from t.md -->\n<!-- end -->", "without an <!-- end -->"),
    ],
)
def test_a_marker_that_cannot_be_filled_is_refused_by_name(tmp_path, text, complaint):
    (tmp_path / "t.md").write_text("| a |\n| --- |\n| 1 |\n")
    (tmp_path / "README.md").write_text(text)
    with pytest.raises((ValueError, OSError), match=re.escape(complaint)):
        readme.refreshed(tmp_path / "README.md")


def test_the_generated_parts_of_all_markdown_files_are_up_to_date(tmp_path):
    def copied(name):  # at HEAD: a run of the demo may have drawn the figures anew
        command = ["git", "show", f"HEAD:{name}"]
        shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        if shown.returncode:
            pytest.skip(f"{name} is not in a git checkout")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(shown.stdout)
        return tmp_path / name

    sources = []
    for page in (path.relative_to(REPOSITORY) for path in readme.PAGES):
        copy = copied(page)
        text = copy.read_text()
        found = re.findall(readme.BLOCK, text, re.DOTALL)
        sources += [(page.parent / name, columns) for _, name, columns, _ in found]
        for name in {name for _, name, *_ in found} | set(re.findall(r"\]\((\S+)#L\d+\)", text)):
            copied((page.parent / name).as_posix())
        assert readme.refreshed(copy) == text, page  # else: make readme
    assert len(sources) == len(set(sources)) > 12  # each stands in one place


def test_the_readmes_examples_run_as_they_stand_and_are_short():
    examples = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        assert len(example.splitlines()) <= 15
        exec(example, {})


def test_every_preset_and_notebook_is_described():
    table = (REPOSITORY / "presets" / "README.md").read_text()
    first = "\n".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))
    named = set(re.findall(r"`(\w+)`", first))
    assert {path.stem for path in (REPOSITORY / "presets").glob("*.yaml")} <= named
    text = (REPOSITORY / "README.md").read_text()
    for path in (REPOSITORY / "notebooks").glob("*.ipynb"):
        assert f"- [{path.stem}](notebooks/{path.name}): " in text


def test_every_test_file_is_described_and_each_promise_names_a_test():
    folder = REPOSITORY / "tests"
    said = (folder / "README.md").read_text()
    files = {path.name for path in folder.glob("*.py")} - {"conftest.py"}
    assert set(re.findall(r"`(\w+\.py)`", said)) - {"conftest.py"} == files
    code = "".join(path.read_text() for path in folder.glob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", said)
    assert len(named) > 20 and [name for name in named if f"def {name}(" not in code] == []


# Code and data


def test_no_committed_text_names_a_path_of_one_machine():
    wrong = re.compile(r"/(work|root|home|tmp)/[a-z]")
    for path in committed():
        if path.suffix in {".py", ".md", ".ipynb", ".yaml", ".yml", ".toml", ".json", ".csv", ""}:
            for line in path.read_text(errors="ignore").splitlines():
                assert not wrong.search(line), f"{path.name}: {line[:100]}"


def test_what_decides_a_run_is_derived_from_imports_and_not_typed():
    files = {path.relative_to(PACKAGE).as_posix() for path in module_files("reid_lib.training")}
    method = ("augment", "batches", "centres", "config", "dataset", "losses", "metrics", "model")
    assert {f"{name}.py" for name in method} <= files
    assert not any(file.startswith(("plots/", "study/", "explorer/")) for file in files)
    assert not re.search(r"\w\.py\b", (REPOSITORY / "Snakefile").read_text())


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
    assert "notebooks contain outputs: run make format" in done.stderr.splitlines()


PROGRAM = """#!/bin/sh
case "$*" in "-m venv .venv")
  mkdir -p .venv/bin; cp "$0" .venv/bin/python; cp "$0" .venv/bin/uv;;
esac
"""


@pytest.fixture
def bare(tmp_path):
    """A folder in which `make setup` finds programs that install nothing; its second run too."""
    for name in ("Makefile", "requirements.lock", ".gitattributes"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "python").write_text(PROGRAM)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def set_up(folder, **environment):
    """The lines that `make setup` prints; it must succeed."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "GIT_"))}
    ours |= {"GIT_CONFIG_GLOBAL": os.devnull, **environment}
    command = [shutil.which("make"), "setup", f"PYTHON={folder / 'python'}"]
    done = subprocess.run(
        command, cwd=folder, env=ours, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def git(folder, *words):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_setup_names_its_stages_once(bare):
    environment, packages = set_up(bare)
    assert environment == "environment: creating .venv"
    count = len(re.findall(r"^[\w.-]+==", LOCK, re.MULTILINE))
    assert packages == f"packages: installing {count} from requirements.lock"
    assert set_up(bare) == []


@pytest.mark.slow  # each start of nbstripout takes a second
def test_outputs_that_jupyterlab_saves_are_no_change_for_git_after_setup(bare):
    git(bare, "init", "--quiet")
    notebook = bare / "a.ipynb"
    shutil.copy(REPOSITORY / "notebooks" / "01_data.ipynb", notebook)
    said = [line for line in set_up(bare) if line.startswith("git ")]
    assert len(said) == 1 and "git config filter.nbstripout.clean cat" in said[0]
    (bare / ".venv/bin/nbstripout").symlink_to(BIN / "nbstripout")
    git(bare, "add", "a.ipynb")
    git(bare, "commit", "--quiet", "--message", "a")
    content = json.loads(notebook.read_text())
    code = next(cell for cell in content["cells"] if cell["cell_type"] == "code")
    code["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["1\n"]}]
    notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    git(bare, "add", "a.ipynb")
    assert git(bare, "diff", "--cached") == ""
    code["source"] = "changed"
    notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    assert "changed" in git(bare, "diff")
    git(bare, "config", "filter.nbstripout.clean", "cat")  # as the line says; it stays so
    assert not [line for line in set_up(bare) if line.startswith("git ")]
    assert git(bare, "config", "filter.nbstripout.clean") == "cat\n"


def test_setup_needs_neither_a_checkout_nor_git(bare):
    git(bare, "init", "--quiet")
    (bare / "sub").mkdir()  # a copy without .git inside somebody's checkout leaves that alone
    for name in ("Makefile", "requirements.lock", "python"):
        shutil.copy(bare / name, bare / "sub")
    assert not [line for line in set_up(bare / "sub") if line.startswith("git ")]
    assert "filter.nbstripout" not in git(bare, "config", "--list", "--local")
    programs = bare / "programs"
    programs.mkdir()
    for name in ("sh", "cmp", "rm", "cp", "mkdir", "awk", "grep"):
        (programs / name).symlink_to(shutil.which(name))
    assert set_up(bare, PATH=str(programs))[0] == "environment: creating .venv"


@pytest.mark.parametrize("marker", ["slow", "browser", "gpu"])
def test_every_marker_has_a_make_target(marker):
    recipe = re.search(
        rf"^test-{marker}: .*\n(\t.*\n)+", (REPOSITORY / "Makefile").read_text(), re.M
    )
    assert f"-m {marker}" in recipe[0]


def modules():
    """Every module of the package, by its path in it, parsed."""
    package = REPOSITORY / "reid_lib"
    return {p.relative_to(package): ast.parse(p.read_text()) for p in package.rglob("*.py")}


def test_a_module_is_read_in_one_sitting_and_a_function_fits_on_a_screen():
    for path, tree in modules().items():
        lines = (REPOSITORY / "reid_lib" / path).read_text().count("\n")
        assert lines <= 400, f"{path} has {lines} lines"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                length = node.end_lineno - node.lineno + 1
                assert length <= 60, f"{path}: {node.name} has {length} lines"


def test_imports_between_modules_go_round_in_no_circle():
    graph = {}
    for path in modules():
        name = ".".join(["reid_lib", *path.with_suffix("").parts]).removesuffix(".__init__")
        source = (REPOSITORY / "reid_lib" / path).read_text()
        graph[name] = set(imported_modules(source)) - {name}
    known = {name: others & set(graph) for name, others in graph.items()}
    for name, others in known.items():  # a package's __init__ gathers its own modules
        known[name] = {o for o in others if not o.startswith(f"{name}.")}
        if any(o.startswith(f"{name}.") for o in others):
            known[name] -= {name}
    list(TopologicalSorter(known).static_order())  # raises CycleError


def test_no_module_is_a_drawer_for_everything():
    for path in (REPOSITORY / "reid_lib").rglob("*.py"):
        assert path.name != "utils.py"
        assert "assert " not in re.sub(r'""".*?"""|#.*', "", path.read_text(), flags=re.DOTALL)


def test_one_version_stands_in_the_package_the_citation_and_the_changelog():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())["version"]
    changelog = re.search(r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    import reid_lib

    assert project == citation == changelog.group(1) == reid_lib.__version__


def test_a_notebook_links_only_to_what_the_article_has_too():
    for path in (REPOSITORY / "notebooks").glob("*.ipynb"):
        for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
            local = target.startswith("http") or (path.parent / target).suffix == ".ipynb"
            assert local, f"{path.name}: the site has no page {target}"
