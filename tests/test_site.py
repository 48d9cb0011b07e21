"""The page: what goes into it, and what a reader's browser makes of it."""

import ast
import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import chromium
import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY, write_images
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from study_runs import a_run
from test_page import a_root, ranked

from reid_lib.config import RunConfig, load_preset
from reid_lib.engine.checks import check
from reid_lib.engine.runs import read_run
from reid_lib.study.records import SCORES
from reid_lib.study.table1 import table_texts

sys.path.insert(0, str(REPOSITORY / "site"))
import build

HOSTILE = "<img src=x onerror=alert(1)>.png"
browser_test = pytest.mark.browser

# What reaches beyond the right edge, but for what lies in a box of the article that scrolls.
CUT_OFF = """() => {
    const scrolls = e => e.tagName != "ARTICLE"
        && (/auto|scroll/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
    return [...document.querySelectorAll("article *")]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e))
        .map(e => e.outerHTML.slice(0, 200));
}"""


def written(path: Path, notebook) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def drawn(path: Path, words: str) -> None:
    """A small picture with its alt text beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 60, 3), 200, np.uint8)).save(path, dpi=(200, 200))
    path.with_suffix(".alt.txt").write_text(words + "\n")


def built(preset: str, root: Path, out: Path) -> Path:
    """The page, by the command of `make site`."""
    command = [sys.executable, build.__file__, preset, "--root", root, "--out", out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


# What goes into the page


def test_without_runs_the_page_names_the_command_that_makes_them(tmp_path):
    with pytest.raises(ValueError, match="first: make reproduce PRESET=smoke"):
        build.build("smoke", tmp_path, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_preset_of_real_people_makes_no_page(tmp_path):
    with pytest.raises(ValueError, match="real people"):
        build.build("pku", tmp_path, tmp_path / "site")


def test_a_notebook_is_shown_without_its_call_and_with_its_code_folded(tmp_path):
    drawn(tmp_path / "fig9.png", "What is seen.")
    image = base64.b64encode((tmp_path / "fig9.png").read_bytes()).decode()
    picture = new_output("display_data", {"image/png": image})
    cells = [
        new_markdown_cell("# 9. A title\n\nWords of its own."),
        new_code_cell("root = '..'", metadata={"tags": ["parameters"]}),
        new_code_cell("root = '/a'", metadata={"tags": ["injected-parameters"]}),
        new_code_cell(
            "plots.save(fig, figure_folder, 'fig9', 'words', metadata)", outputs=[picture]
        ),
        new_code_cell("fig", outputs=[picture]),
    ]
    title, saved, unsaved = build.for_the_page(new_notebook(cells=cells), tmp_path).cells
    assert title.source.startswith("# A title\n")
    assert saved.metadata.tags == unsaved.metadata.tags == ["hide-input"]
    shown = build.for_the_page(new_notebook(cells=cells), tmp_path, fold=False).cells
    assert [cell.metadata.get("tags") for cell in shown[1:]] == [["hide-input"], []]
    assert saved.metadata.mystnb.image.alt == "What is seen."
    assert unsaved.metadata.mystnb.image.alt == "Words of its own."


def test_a_widget_leaves_its_still_and_nothing_that_wants_a_kernel(tmp_path):
    view = {"model_id": "1"}
    bare = new_output("display_data", {build.WIDGET: view, "text/plain": "HBox()"})
    still = new_output("display_data", {build.WIDGET: view, "text/html": "<p>as it was</p>"})
    notebook = new_notebook(cells=[new_code_cell("explorer", outputs=[bare, still])])
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    shown = build.for_the_page(notebook, tmp_path)
    assert [o.data for o in shown.cells[0].outputs] == [{"text/html": "<p>as it was</p>"}]
    assert "widgets" not in shown.metadata


def test_each_open_choice_is_an_option_whose_default_stands_first():
    rows = re.findall(
        r"^\| .* \| `(\w+)` \| `([\w.]+)`",
        (REPOSITORY / "presets" / "README.md").read_text(),
        re.M,
    )
    assert len(rows) > 15
    settled = RunConfig(row="set3", setting="set3").model_dump()
    for key, first in rows:
        assert str(settled[key]).lower() == first.replace("null", "none"), key


def included(page):
    """What a page of site/ includes: the file in the repository, and the text cut out of it."""
    text = (build.HERE / page).read_text()
    for name, options in re.findall(r"```{include} repository/(\S+)\n(.*?)```", text, re.S):
        cut = dict(re.findall(r'^:([a-z-]+): "(.*)"$', options, re.M))
        whole = (REPOSITORY / name).read_text()
        assert all(whole.count(mark) == 1 for mark in cut.values()), f"{page}: {cut}"
        after = whole.partition(cut["start-after"])[2] if "start-after" in cut else whole
        yield name, after.partition(cut["end-before"])[0] if "end-before" in cut else after


def test_what_the_readme_and_its_companions_say_is_included_and_not_copied():
    names = {name for page in build.HERE.glob("*.md") for name, _ in included(page.name)}
    assert names == set(build.PAGES)
    for name, page in build.PAGES.items():
        assert name in {name for name, _ in included(page)}


def test_the_pages_examples_are_the_readmes():
    texts = dict.fromkeys(text for _, text in included("own_data.md"))
    examples = re.findall(r"```python\n(.*?)```", "".join(texts), re.S)
    readme = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.S)
    assert examples == readme and len(examples) == 2  # test_repository.py runs them


def test_a_links_target_on_the_page_is_a_page_or_a_file_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "REPOSITORY", tmp_path)
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "README.md").write_text(
        "[a](../README.md#b) [c](../notebooks/01_data.ipynb) [d](../reid_lib/losses.py#L3) "
        "![e](../figures/pku74/splits.png) [f](../LICENSE) [g](https://h.example/i) [j](#k)"
    )
    assert build.with_links_to_pages("presets/README.md") == (
        "[a](/index.md#b) [c](/notebooks/01_data.ipynb) [d](/api/losses.md) "
        "![e](/pku74/splits.png) f [g](https://h.example/i) [j](/presets.md#k)"
    )


def test_every_module_of_the_package_is_in_the_reference(tmp_path):
    build.write_reference(tmp_path / "api")
    listed = (tmp_path / "api" / "index.md").read_text()
    package = REPOSITORY / "reid_lib"
    modules = [path.relative_to(package) for path in package.rglob("[a-z]*.py")]
    assert {Path("losses.py"), Path("engine/checkpoint.py")} <= set(modules)
    for path in modules:
        name = ".".join(path.with_suffix("").parts)
        assert f"| [{name}]({name}.md) | " in listed
        assert f"reid_lib.{name}\n" in (tmp_path / "api" / f"{name}.md").read_text()


def test_the_origin_of_each_figure_is_known_from_its_notebook_or_its_records(tmp_path):
    (tmp_path / "static").mkdir()
    for name in ("figures/viewpoint.csv", "pku74/runs.csv", "pku74/likely/runs.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    for folder, commit in (("pku74", "c2"), ("pku74/likely", "c1")):
        record = {"config_digest": f"d{commit}", "manifest": {"commit": commit}}
        (tmp_path / folder / "runs").mkdir()
        (tmp_path / folder / "runs" / "0.json").write_text(json.dumps(record))
    cell = new_code_cell("plots.save(angles, figure_folder, 'viewpoint_angle', alt_text, metadata)")
    notebook = written(tmp_path / "07.ipynb", new_notebook(cells=[cell, new_markdown_cell("a")]))
    build.write_origins(load_preset("smoke"), {"07_viewpoint": notebook}, tmp_path)
    known = json.loads((tmp_path / "origins.json").read_text())
    of_notebook = {"notebook": "07_viewpoint", "preset": "smoke"}
    assert known["07_viewpoint"] == of_notebook
    assert known["viewpoint_angle"] == of_notebook | {"csv": ["viewpoint.csv"]}
    likely = {"config": "dc1", "commit": "c1", "csv": ["pku74-likely-runs.csv"]}
    assert known["pku74/likely"] == likely
    both = {"config": "dc1 dc2", "commit": "c1 c2"}
    assert known["08_open_choices"].items() >= both.items()
    for name in ("viewpoint.csv", "pku74-runs.csv", "pku74-likely-runs.csv"):
        assert (tmp_path / "static" / "data" / name).is_file()


# What a reader's browser makes of it


@pytest.fixture(scope="module")
def preset():
    """One whose runs and figures are here; where there is none, smoke is run."""
    for name in ("demo", "smoke"):
        study = load_preset(name)
        try:
            build.executed(study, REPOSITORY)
        except ValueError:
            continue
        return study
    plain = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}  # ours hides the figures
    subprocess.run(["make", "reproduce", "PRESET=smoke"], cwd=REPOSITORY, env=plain, check=True)
    return load_preset("smoke")


@pytest.fixture(scope="module")
def site(preset, tmp_path_factory):
    return built(preset.name, REPOSITORY, tmp_path_factory.mktemp("page") / "site")


@pytest.fixture(scope="module")
def address(site):
    with chromium.served(site) as address:
        yield address


@pytest.fixture(scope="module")
def pages(site):
    found = sorted(str(path.relative_to(site)) for path in site.rglob("*.html"))
    assert "index.html" in found and "api/losses.html" in found
    return found


@browser_test
def test_no_page_complains_or_asks_another_host_and_nothing_is_missing(browser, address, pages):
    page = browser.new_page()
    faults = []
    page.on("console", lambda m: m.type in ("error", "warning") and faults.append(m.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("requestfailed", lambda request: faults.append(request.url))
    page.on("response", lambda r: r.status >= 400 and faults.append(f"{r.status} {r.url}"))

    def local(request):
        if not request.url.startswith((address, "data:")):
            faults.append(request.url)

    page.on("request", local)
    for name in pages:
        page.goto(f"{address}/{name}", wait_until="networkidle")
        assert not faults, f"{name}: {faults}"
    page.close()


@browser_test
def test_every_image_is_there_and_says_what_it_shows(browser, address, pages):
    page = browser.new_page()
    seen = 0
    for name in pages:
        page.goto(f"{address}/{name}")
        images = page.evaluate(
            """async () => {
                const images = [...document.querySelectorAll("article img")];
                images.forEach(image => image.loading = "eager");
                await Promise.all(images.map(image => image.decode()));
                return images.map(image => [image.src, image.naturalWidth, image.alt]);
            }"""
        )
        for source, width, alt in images:
            assert width > 0, f"{name}: {source}"
            assert len(alt.split()) > 3 and not alt.endswith(".png"), f"{name}: {source}: {alt!r}"
        seen += len(images)
    assert seen >= 15
    page.close()


@browser_test
def test_every_link_leads_somewhere(browser, address, pages, site):
    page = browser.new_page()
    links, ids = set(), {}
    for name in pages:
        page.goto(f"{address}/{name}")
        ids[name] = set(page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)"))
        hrefs = page.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.href)")
        links |= {(name, href) for href in hrefs}
    for name, href in links:
        if not href.startswith(address):
            assert urlsplit(href).scheme == "https", f"{name}: {href}"
            continue
        target, fragment = urldefrag(href.removeprefix(f"{address}/"))
        target = unquote(target) or "index.html"
        assert (site / target).is_file(), f"{name}: {href}"
        assert not fragment or unquote(fragment) in ids[target], f"{name}: {href}"
    page.close()


@browser_test
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser, address, pages, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(color_scheme=scheme)
    for name in pages:
        page.goto(f"{address}/{name}")
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        grave = [fault for fault in found if fault["impact"] in ("serious", "critical")]
        where = [(fault["id"], fault["nodes"][0]["html"]) for fault in grave]
        assert not grave, f"{name}: {where}"
    page.close()


@browser_test
def test_every_page_fits_a_phone_and_follows_the_dark(browser, address, pages):
    phone = {"viewport": {"width": 375, "height": 812}}
    light, dark = (browser.new_page(color_scheme=s, **phone) for s in ("light", "dark"))
    for name in pages:
        shades = []
        for page in (light, dark):
            page.goto(f"{address}/{name}")
            assert page.evaluate(CUT_OFF) == [], name
            colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
            shades.append(sum(map(int, re.findall(r"\d+", colour)[:3])))
        assert shades[0] > 600 and shades[1] < 150, f"{name}: {shades}"
    light.close()
    dark.close()


@browser_test
def test_the_methods_code_is_shown_and_the_rest_is_folded_and_opens(browser, address):
    page = browser.new_page()
    for name in build.UNFOLDED:
        page.goto(f"{address}/notebooks/{name}.html")
        assert page.locator("div.cell_input").first.is_visible(), name
    page.goto(f"{address}/notebooks/04_table1.html")
    code = page.locator("div.cell_input").first
    assert not code.is_visible()
    page.locator("details.hide > summary").first.click()
    assert code.is_visible() and "import" in code.inner_text()
    page.close()


@browser_test
def test_every_figure_names_its_notebook_preset_configuration_and_commit(browser, address, preset):
    page = browser.new_page()
    folder = REPOSITORY / "figures" / preset.name
    for name in ("index", "real", "notebooks/04_table1", "notebooks/08_open_choices"):
        page.goto(f"{address}/{name}.html")
        pictures = page.locator("article img").count()
        origins = page.locator("details.figure-origin")
        assert origins.count() == pictures > 1, name
        for text in origins.evaluate_all("all => all.map(origin => origin.textContent)"):
            assert all(word in text for word in ("preset", "configuration", "commit", "data"))
    page.goto(f"{address}/notebooks/05_tsne.html")
    origin = page.locator("details.figure-origin")
    assert not origin.locator("dl").is_visible()
    origin.locator("summary").click()
    about = Image.open(folder / "tsne.png").text
    said = origin.inner_text()
    assert {"05_tsne", about["preset"], *about["config"].split(), *about["commit"].split()} <= set(
        said.split()
    )
    with page.expect_download() as download:
        origin.get_by_role("link", name="tsne.csv").click()
    assert Path(download.value.path()).read_bytes() == (folder / "tsne.csv").read_bytes()
    page.close()


@browser_test
def test_the_ranked_galleries_are_those_of_the_presets_runs(browser, address, preset):
    page = browser.new_page()
    last = preset.rows[-1].row
    run = read_run(REPOSITORY / "results" / preset.name / last / f"split-{preset.splits[0]}")
    page.goto(f"{address}/explore.html")
    for _ in range(3):
        name = page.locator(".asked").get_attribute("data-name")
        nearest, _ = ranked(run, run.codes["names"].tolist().index(name), "raw")
        shown = page.locator(f"section[data-row={last}] li")
        names = shown.evaluate_all("all => all.map(li => li.dataset.name)")
        assert names == run.codes["names"][nearest].tolist()
        page.locator("[name=easier]").click()
    page.close()


def test_the_scripts_are_short():
    scripts = list((build.HERE / "static").glob("*.js"))
    assert len(scripts) == 2
    assert sum(script.read_text().count("\n") for script in scripts) <= 400


@browser_test
def test_what_the_controls_need_stays_below_three_megabytes(site):
    static = site / "_static"
    files = [static / "people.webp", *static.glob("explore*"), *static.glob("equations*")]
    files += (static / "data").iterdir()
    assert 100_000 < sum(file.stat().st_size for file in files) < 3_000_000


@browser_test
def test_equations_are_mathml_in_the_pages_own_font(browser, address):
    page = browser.new_page()
    page.goto(f"{address}/index.html", wait_until="networkidle")
    assert page.locator("div.math math").count() == 4
    assert page.locator("merror").count() == 0
    bars = page.locator("div.math mo", has_text="‖").evaluate_all(
        "all => all.map(bar => Math.round(bar.getBoundingClientRect().height))"
    )
    assert len(bars) == 4 and len(set(bars)) == 1
    assert page.evaluate("document.fonts.check('16px \"Page Math\"')")
    shown = page.evaluate("[...document.fonts].map(font => [font.family, font.status])")
    assert ["Page Math", "loaded"] in [[name.strip('"'), status] for name, status in shown]
    page.close()


@browser_test
def test_the_article_follows_the_papers_order(browser, address):
    page = browser.new_page()
    page.goto(f"{address}/index.html")
    headings = [h.removesuffix("¶") for h in page.locator("article h2").all_inner_texts()]
    order = ["Abstract", "The method", "The data", "Table 1", "Viewpoints"]
    order += ["Do the paper’s claims hold?", "What is left open"]
    places = [headings.index(heading) for heading in order]
    assert places == sorted(places)
    page.close()


@browser_test
def test_tables_are_set_as_tables_and_what_a_function_returns_as_one_text(browser, address, pages):
    page = browser.new_page()
    for name in pages:
        page.goto(f"{address}/{name}")
        assert not re.search(r"^\| .* \|", page.locator("article").inner_text(), re.M), name
    for name in ("index", "claims", "article", "notebooks/08_open_choices"):
        page.goto(f"{address}/{name}.html")
        assert page.locator("table", has_text="verdict").count(), name
    page.goto(f"{address}/api/losses.html")
    returns = page.locator("dl", has=page.locator("[id$=total_loss]")).locator("dl.field-list")
    assert (
        "A scalar. For gamma > 0 it has no lower bound, since ever larger" in returns.inner_text()
    )
    assert "return type" not in returns.inner_text().lower()  # shown in capitals
    page.close()


@browser_test
@pytest.mark.parametrize("name", ["index", "notebooks/04_table1"])
def test_the_table_on_the_page_equals_the_runs_metrics(browser, address, preset, name):
    page = browser.new_page()
    page.goto(f"{address}/{name}.html")
    table = page.locator("table.table1").first
    seen = table.locator("tbody td").first.bounding_box()  # scores begin in sight
    assert seen["x"] + seen["width"] < page.viewport_size["width"]
    blocks, head, *lines = [
        [cell.inner_text().replace("\n", " ") for cell in row.locator("th, td").all()]
        for row in table.locator("tr").all()
    ]
    assert blocks[1:] == ["measured", "paper"]
    assert head[1:] == [*SCORES, *SCORES]
    rows = [line[0].removesuffix(" †") for line in lines]  # † marks an underfitted row
    assert rows == [row.row for row in preset.rows]
    measured = {}
    for row, (_, *cells) in zip(rows, lines, strict=True):
        scores = []
        for split in preset.splits:
            folder = REPOSITORY / "results" / preset.name / row / f"split-{split}"
            metrics = json.loads((folder / "metrics.json").read_text())
            scores.append([100 * metrics["test"]["A->B"][score] for score in SCORES])
        measured[row] = np.mean(scores, axis=0)
        shown = [cell.split()[0] for cell in cells[: len(SCORES)]]
        assert shown == [f"{value:.1f}" for value in measured[row]], row
    best = pd.DataFrame(measured, index=SCORES).T
    bold = table.locator("b").count()
    assert bold == (best == best.max()).to_numpy().sum()
    page.close()


@browser_test
def test_names_from_a_data_set_stay_text(browser, tmp_path):
    """A hostile file name through every function that makes words or HTML for the page."""
    folder = write_images(tmp_path / "images", 4)
    (folder / HOSTILE).write_bytes(b"no image")
    scores = pd.DataFrame([[50.0] * len(SCORES)], [HOSTILE], SCORES)
    table = pd.concat({"measured": scores}, axis=1)
    frame = pd.DataFrame({HOSTILE: [HOSTILE]}, index=[HOSTILE])
    root, study = a_root(tmp_path / "root"), load_preset("smoke")
    figures = root / "figures" / "smoke"
    for figure in ("sheet", "fig1", "fig2", "fig3", "tsne", "viewpoint_angle", "related_losses"):
        drawn(figures / f"{figure}.png", f"Shows the image {HOSTILE} and more.")
    texts = table_texts(table, f"Note on {HOSTILE}", [a_run()])
    (figures / "table1.html").write_text(texts["html"])
    image = base64.b64encode((figures / "fig3.png").read_bytes()).decode()
    outputs = [
        new_output("stream", name="stdout", text=f"{check(folder)}\n{HOSTILE}\n"),
        new_output("stream", name="stderr", text=HOSTILE),
        new_output("execute_result", {"text/html": frame._repr_html_(), "text/plain": HOSTILE}),
        new_output("execute_result", {"text/html": texts["html"], "text/plain": HOSTILE}),
        new_output("display_data", {"image/png": image, "text/plain": HOSTILE}),
    ]
    save = ast.unparse(ast.parse("plots.save(fig3, photo_folder, 'fig3', 'words')"))
    for path in (REPOSITORY / "notebooks").glob("*.ipynb"):
        cells = [new_markdown_cell("# 1. Title\n\nSome words of it.")]
        cells += [new_code_cell(save, outputs=outputs)]
        written(root / "results" / "smoke" / "notebooks" / path.name, new_notebook(cells=cells))
    train = root / "results" / "smoke" / "training" / f"{study.rows[-1].row}-split-0.ipynb"
    written(train, new_notebook(cells=cells))
    built("smoke", root, tmp_path / "site")

    page = browser.new_page()
    alarms = []
    page.on("dialog", lambda dialog: (alarms.append(dialog.message), dialog.dismiss()))
    with chromium.served(tmp_path / "site") as address:
        for name in ("index", "notebooks/06_ranking"):
            page.goto(f"{address}/{name}.html", wait_until="networkidle")
            assert page.locator("[onerror]").count() == 0
            shown = page.locator("article").inner_text() + "".join(
                page.evaluate("[...document.querySelectorAll('article img')].map(i => i.alt)")
            )
            assert shown.count(HOSTILE) >= (7 if name == "index" else 8), name
    assert not alarms
    page.close()
