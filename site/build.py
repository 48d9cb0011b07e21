"""Build the static article from a preset's executed notebooks: make site PRESET=demo.

The notebooks that `make reproduce` left are copied without what belongs to one machine, each image
gets the alt text that was saved with its figure, and code is folded except for the method's. The
README and its companions become pages as they are, with links that lead to other pages.
"""

import argparse
import ast
import base64
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import explore
import nbformat
from sphinx.cmd.build import build_main

from reid_lib.config import Embedded, Preset, load_preset

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
UNFOLDED = ("02_method", "03_train")  # their code is the method
PAGES = {  # Markdown of the repository -> its page
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "REPRODUCIBILITY.md": "reproducibility.md",
    "benchmarks/README.md": "benchmarks.md",
    "presets/README.md": "presets.md",
    "reid_lib/weights/README.md": "weights.md",
    "figures/pku74/README.md": "real.md",
    "figures/pku74/PLAN.md": "plan.md",
    "figures/pku74/claims.md": "claims.md",
}
WIDGET = "application/vnd.jupyter.widget-view+json"  # needs a kernel, which a page lacks


def build(preset: str, root: Path, out: Path) -> None:
    """Build the page of a preset.

    Args:
        preset: a name in presets/, of synthetic persons.
        root: holds results/ and figures/.
        out: the folder of the page; whatever it held is removed.
    Raises:
        ValueError: the preset shows real people, or its runs or notebooks are missing.
        RuntimeError: Sphinx found an error.
    """
    study = load_preset(preset)
    if not isinstance(study.data, Embedded):
        raise ValueError(
            f"preset {preset} shows real people, whose images stay off the page; "
            "expected one of synthetic persons: make site PRESET=demo"
        )
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        print(f"laying out the notebooks and figures of {study.name}", flush=True)
        stage(study, root.resolve(), source)
        print("building the page with Sphinx", flush=True)
        page = Path(folder) / "build" / "page"  # myst-nb writes beside it
        status = build_main(
            ["-q", "-W", "--keep-going", "-d", f"{folder}/doctrees", str(source), str(page)]
        )
        if status:
            raise RuntimeError(f"Sphinx ended with status {status}; its messages are above")
        if out.exists():
            shutil.rmtree(out)
        shutil.copytree(page, out)


def stage(study: Preset, root: Path, source: Path) -> None:
    """Lay out what Sphinx reads: the pages, the executed notebooks, the figures."""
    notebooks = executed(study, root)
    shutil.copytree(HERE, source, ignore=shutil.ignore_patterns("__pycache__"))
    figures = root / "figures" / study.name
    shutil.copytree(figures, source / "figures")
    shutil.copytree(REPOSITORY / "figures" / "pku74", source / "pku74")
    for name in PAGES:
        copy = source / "repository" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(with_links_to_pages(name), "utf-8")
    (source / "notebooks").mkdir()
    index = source / "index.md"
    order = sorted(notebooks, key=lambda name: (not name.startswith("02"), name))
    listed = "\n".join(f"notebooks/{name}" for name in order)  # the method first, as in the paper
    index.write_text(index.read_text("utf-8").replace("<notebooks>", listed), "utf-8")
    write_reference(source / "api")
    explore.write(study, root, source / "static")
    write_origins(study, notebooks, source)
    for name, path in notebooks.items():
        text = path.read_text("utf-8").replace(f"{root}/", "").replace(str(root), ".")
        read = nbformat.reads(text, as_version=4)
        notebook = for_the_page(read, figures, fold=name not in UNFOLDED)
        origin = f"executed with the preset *{study.name}*"
        if "COMMITTED" in text:
            origin = "drawn from the committed records"
        title = notebook.cells[0]
        title.source += f"\n\n{{.origin}}\n{{download}}`{name}.ipynb <{name}.ipynb>`, {origin}"
        nbformat.write(notebook, source / "notebooks" / f"{name}.ipynb")


def with_links_to_pages(name: str) -> str:
    """A Markdown file of the repository whose links lead to pages and files of the article.

    Args:
        name: of the file, from the repository's root.
    Returns:
        Its text. A link to what the article does not hold becomes its words.
    """

    def link(found: re.Match) -> str:
        image, words, target = found.groups()
        if "://" in target:
            return found[0]
        path, _, anchor = target.partition("#")
        path = os.path.normpath(Path(name).parent / path) if path else name
        if path in PAGES:
            return f"[{words}](/{PAGES[path]}{'#' if anchor else ''}{anchor})"
        if path.startswith("notebooks/"):
            return f"[{words}](/{path})"
        if path.startswith("figures/pku74/"):
            return f"{image}[{words}](/{path.removeprefix('figures/')})"
        if module := re.fullmatch(r"reid_lib/(\w+)\.py", path):
            return f"[{words}](/api/{module[1]}.md)"
        return words

    text = (REPOSITORY / name).read_text("utf-8")
    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", link, text)


def write_reference(folder: Path) -> None:
    """One page per module of the package, and a list of them with the first line of each."""
    folder.mkdir()
    lines, pages = [], []
    package = REPOSITORY / "reid_lib"
    for path in sorted(package.rglob("[a-z]*.py"), key=lambda path: (len(path.parts), path)):
        name = ".".join(path.relative_to(package).with_suffix("").parts)
        about = ast.get_docstring(ast.parse(path.read_text("utf-8"))).partition("\n")[0]
        lines.append(f"| [{name}]({name}.md) | {about} |")
        pages.append(name)
        directive = f".. automodule:: reid_lib.{name}\n   :members:"
        (folder / f"{name}.md").write_text(f"# {name}\n\n```{{eval-rst}}\n{directive}\n```\n")
    toctree = "\n".join(["```{toctree}", ":hidden:", ":titlesonly:", "", *pages, "```"])
    listing = "\n".join(["| module | holds |", "| --- | --- |", *lines])
    text = "One module per subject, described by its own docstrings."
    (folder / "index.md").write_text(f"# API reference\n\n{text}\n\n{listing}\n\n{toctree}\n")


def write_origins(study: Preset, notebooks: dict[str, Path], source: Path) -> None:
    """Copy the data of figures as CSV, and write origins.json, from which conf.py describes them.

    Its keys are the names of saved figures, of notebooks (for figures that they do not save) and of
    folders of committed records; its values name notebook, preset, commits and CSV files, of which
    a figure's own PNG may say more.
    """
    data = source / "static" / "data"
    data.mkdir()
    known = {name: {"notebook": name, "preset": study.name} for name in notebooks}
    for name, path in notebooks.items():
        for cell in nbformat.read(path, 4).cells:
            saved = cell.cell_type == "code" and _saved_figure(cell.source)
            known |= {saved: known[name] | {"csv": []}} if saved else {}
    for path in sorted((source / "figures").glob("*.csv")):
        shutil.copy(path, data)
        for figure in known.keys() - notebooks.keys():
            if figure.partition("_")[0] == path.stem:  # viewpoint_angle: of viewpoint.csv
                known[figure]["csv"].append(path.name)
    every = {"config": set(), "commit": set(), "csv": []}
    for path in sorted((source / "pku74").rglob("runs.csv")):
        folder = path.parent.relative_to(source)
        name = "-".join([*folder.parts, path.name])
        shutil.copy(path, data / name)
        records = [json.loads(file.read_text("utf-8")) for file in path.parent.glob("runs/*.json")]
        own = {
            "config": {record["config_digest"] for record in records},
            "commit": {record["manifest"]["commit"] for record in records},
            "csv": [name],
        }
        known[folder.as_posix()] = own
        for key, values in own.items():
            every[key] = every[key] + values if key == "csv" else every[key] | values
    known["08_open_choices"] = {"notebook": "08_open_choices", **every}
    (source / "origins.json").write_text(json.dumps(known, default=_in_words), "utf-8")


def _in_words(values: set) -> str:
    return " ".join(sorted(values))


def executed(study: Preset, root: Path) -> dict[str, Path]:
    """Find the executed notebooks by name; 03_train is that of the last row.

    Raises:
        ValueError: a notebook has not been run.
    """
    results = root / "results"
    found = {path.stem: path for path in sorted((results / study.name / "notebooks").glob("*"))}
    last = f"{study.rows[-1].row}-split-{study.splits[0]}"
    train = results / study.name / "training" / f"{last}.ipynb"
    needed = {path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb")}
    found |= {"03_train": train} if train.is_file() else {}
    missing = sorted(needed - set(found))
    if missing:
        raise ValueError(
            f"{missing[0]} of preset {study.name} has not been run; "
            f"first: make reproduce PRESET={study.name}"
        )
    return found


def for_the_page(
    notebook: nbformat.NotebookNode, figures: Path, fold: bool = True
) -> nbformat.NotebookNode:
    """A copy to show: no parameters of one call, each image with its alt text, code folded.

    Args:
        notebook: as executed.
        figures: the folder of what it saved; an image is shown as it was saved there, which is
            sharper than the notebook's own.
        fold: fold every code cell, or only those that save a figure.
    """
    notebook = nbformat.from_dict(json.loads(json.dumps(notebook)))
    notebook.metadata = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    cells, words = [], ""
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "parameters" in tags or "injected-parameters" in tags:
            continue
        cell.metadata = {}
        if cell.cell_type == "markdown":
            words = cell.source
            if not cells:  # numbered as they run, shown as the paper has it
                cell.source = re.sub(r"^# \d+\. ", "# ", cell.source)
        else:
            cell.outputs = [shown for shown in map(_still, cell.outputs) if shown]
            images = [o.data for o in cell.outputs if "image/png" in o.get("data", {})]
            alt, saved = _plain(words), _saved_figure(cell.source)
            if saved and (figures / f"{saved}.png").is_file() and len(images) == 1:
                alt = (figures / f"{saved}.alt.txt").read_text("utf-8").strip()
                drawn = (figures / f"{saved}.png").read_bytes()
                images[0]["image/png"] = base64.b64encode(drawn).decode()
            folded = ["hide-input"] if fold or saved else []
            cell.metadata = {"tags": folded, "mystnb": {"image": {"alt": alt}}}
        cells.append(cell)
    notebook.cells = cells
    return notebook


def _saved_figure(source: str) -> str | None:
    """The name in a cell's plots.save(figure, folder, "name", ...), if it has one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("plots.save", "figures.save"):
            return ast.literal_eval(node.args[2])
    return None


def _plain(words: str) -> str:
    """The paragraphs of a Markdown cell without headings and marks."""
    paragraphs = [part for part in words.split("\n\n") if not part.startswith("#")]
    return re.sub(r"[*`$]", "", " ".join(paragraphs)).replace("\n", " ").strip()


def _still(output):
    """An output without what needs a kernel; None where nothing remains."""
    data = output.get("data", {})
    if WIDGET not in data:
        return output
    output["data"] = {kind: d for kind, d in data.items() if kind not in (WIDGET, "text/plain")}
    return output if output["data"] else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("preset")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="holds results/, figures/")
    parser.add_argument("--out", type=Path, help="default: results/site under the root")
    given = parser.parse_args()
    out = given.out or given.root / "results" / "site"
    try:
        build(given.preset, given.root, out)
    except (ValueError, RuntimeError) as error:
        raise SystemExit(f"make site: {error}") from None
    print(f"the page: {out / 'index.html'}")


if __name__ == "__main__":
    main()
