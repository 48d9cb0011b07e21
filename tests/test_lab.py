"""JupyterLab as a person uses it: open a notebook, Run All, look."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from conftest import REPOSITORY

pytestmark = pytest.mark.browser
BIN = Path(sys.executable).parent
NOTEBOOKS = sorted(path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb"))
TOKEN = "only-for-this-test"
PATIENCE = 300  # seconds; a busy machine


@pytest.fixture(scope="module")
def lab(tmp_path_factory, browser):
    """The address of a fresh JupyterLab on a copy of the notebooks, without any results."""
    folder, own = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("jupyter")
    shutil.copytree(REPOSITORY / "notebooks", folder / "notebooks", ignore=_no_leavings)
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(own / "config"),
        "JUPYTER_RUNTIME_DIR": str(own / "runtime"),
        "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
        "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    command = [BIN / "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
    command += ["--expose-app-in-browser"]  # for the notebook as the browser holds it
    command += ["--port=0", f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={TOKEN}"]
    environment.pop("MPLBACKEND", None)  # the tests' own would hide the notebooks' figures
    with (own / "log").open("w") as log:
        server = subprocess.Popen(
            list(map(str, command)), env=environment, stdout=log, stderr=log, cwd=folder
        )
        try:
            yield _address(own, server)
        finally:
            server.terminate()  # it ends its kernels
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _no_leavings(_, names):
    return [name for name in names if not name.endswith(".ipynb")]


def _address(own, server):
    """The address that the server says of itself once it answers."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        for file in (own / "runtime").glob("jpserver-*.json"):
            address = json.loads(file.read_text())["url"]
            with urllib.request.urlopen(f"{address}api/status?token={TOKEN}") as answer:
                if answer.status == 200:
                    return address
        time.sleep(0.5)
    raise RuntimeError(f"JupyterLab did not start:\n{(own / 'log').read_text()}")


def run_all(browser, lab, name):
    """Open a notebook, choose Run All Cells, wait for the last cell: (page, notebook)."""
    address = lab
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(1000 * PATIENCE)
    where = f"lab/workspaces/{name}/tree/notebooks/{name}.ipynb"  # no other notebook beside it
    page.goto(f"{address}{where}?token={TOKEN}")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    page.get_by_text("(ipykernel) | Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        page.wait_for_timeout(1000)
        held = page.evaluate("jupyterapp.shell.currentWidget.content.model.toJSON()")
        notebook = nbformat.from_dict(held)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        errors = [o for cell in code for o in cell.outputs if o.output_type == "error"]
        if errors or code[-1].execution_count:
            break
    assert not errors, "\n".join(errors[0].traceback)
    page.get_by_text("(ipykernel) | Idle").wait_for()
    assert all(cell.execution_count for cell in code), f"{name}: not done in {PATIENCE} s"
    return page, notebook


# The first to run trains the smoke preset: its results are missing.
@pytest.mark.parametrize("name", sorted(NOTEBOOKS, key=lambda name: name != "06_ranking"))
def test_run_all_in_a_fresh_lab_ends_without_an_error_and_shows_its_figures(browser, lab, name):
    page, notebook = run_all(browser, lab, name)
    try:
        pictures = [
            cell.id
            for cell in notebook.cells
            for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})
        ]
        assert pictures
        page.locator(".jp-Notebook .jp-WindowedPanel-outer").last.evaluate("e => e.scrollTop = 0")
        shown = 0
        for _ in range(60):  # cells outside the window are not in the document
            images = page.locator(".jp-OutputArea-output img")
            shown += sum(images.evaluate_all("all => all.map(i => i.naturalWidth > 100)"))
            if shown:
                break
            page.mouse.move(800, 600)
            page.mouse.wheel(0, 500)
            page.wait_for_timeout(200)
        assert shown, f"{name}: no figure in sight"
        assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    finally:
        page.evaluate("jupyterapp.serviceManager.sessions.shutdownAll()")
        page.close()


def test_another_query_shows_another_ranking(browser, lab):
    page, _ = run_all(browser, lab, "06_ranking")
    try:
        menu = page.locator(".widget-dropdown", has_text="query").locator("select")
        for _ in range(120):  # cells outside the window are not in the document
            if menu.count() and menu.is_visible():
                break
            page.mouse.move(800, 600)
            page.mouse.wheel(0, 500)
            page.wait_for_timeout(200)
        ranked = page.locator(".ranked-galleries").last.locator("li")

        def shown():
            return ranked.evaluate_all("all => all.map(li => [li.dataset.kind, li.dataset.name])")

        before = shown()
        assert {kind for kind, _ in before} >= {"query", "match"} or len(before) > 5
        menu.select_option(index=5)
        page.wait_for_timeout(1000)
        after = shown()
        assert len(after) == len(before) and after != before
        menu.select_option(index=0)  # and back
        page.wait_for_timeout(1000)
        assert shown() == before
    finally:
        page.evaluate("jupyterapp.serviceManager.sessions.shutdownAll()")
        page.close()
