"""The page's controls: each does what it says, and what they show is what the package computes."""

import json
import re
import shutil
import sys
from urllib.parse import urlencode

import chromium
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY, write_images
from PIL import Image
from test_explorer import write_run

from reid_lib import losses
from reid_lib.config import load_preset
from reid_lib.dataset import load_pixels, read_pku
from reid_lib.engine.runs import read_run
from reid_lib.metrics import Protocol, evaluate, rank_gallery

sys.path.insert(0, str(REPOSITORY / "site"))
import explore

browser_test = pytest.mark.browser
ROWS = ("resnet50_htri", "resnet18_htri", "set1", "set3")  # set2 fails
PERSONS = 3


def coordinates(index, rows, seed=0):
    """A tsne.csv of random points."""
    rng = np.random.default_rng(seed)
    parts = [
        index[["pid", "camid", "orientation"]].assign(
            row=row, **dict(zip("xy", rng.normal(size=(2, len(index))), strict=True))
        )
        for row in rows
    ]
    return pd.concat(parts)


def a_root(folder):
    """Runs of the smoke preset on a few images in place of its own, with coordinates."""
    images = data_folder_of(folder)
    index = read_pku(write_images(images, PERSONS))
    for row in ROWS:
        write_run(folder / "results", load_preset("smoke"), row, index)
    write_run(folder / "results", load_preset("smoke"), "set2", index, failed="diverged")
    (folder / "figures" / "smoke").mkdir(parents=True)
    coordinates(index, ROWS).to_csv(folder / "figures" / "smoke" / "tsne.csv", index=False)
    return folder


def data_folder_of(root):
    """Where the smoke preset's images lie below a root; none are drawn."""
    from reid_lib import pedestrians

    data = load_preset("smoke").data
    name = f"embedded-{data.persons}-{data.seed}-v{pedestrians.DRAWING_VERSION}"
    return root / "data" / name


def read_data(folder, name):
    text = (folder / f"{name}.js").read_text()
    return json.loads(text.removeprefix(f"window.{name} = ").removesuffix(";\n"))


def runs_of(root):
    return {row: read_run(root / "results" / "smoke" / row / "split-0") for row in ROWS}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return a_root(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def written(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("static")
    explore.write(load_preset("smoke"), root, folder)
    return folder


@pytest.fixture(scope="module")
def data(written):
    return read_data(written, "explore_data")


def ranked(run, number, codes):
    """The ten nearest by `rank_gallery`, as numbers of images, and their distances."""
    part = run.codes
    gallery = np.flatnonzero(part["camids"] != part["camids"][number])
    keys = ("codes", "pids", "camids")
    each = (part[key][where] for key in keys for where in (number, gallery))
    order = rank_gallery(*each, Protocol(codes=codes)).head(10)
    return gallery[order.row].tolist(), order.distance.to_numpy()


# What is computed before


@pytest.mark.parametrize("codes", ["raw", "unit"])
@pytest.mark.parametrize("row", ROWS)
def test_the_ten_nearest_equal_those_of_rank_gallery(root, data, row, codes):
    run, said = runs_of(root)[row], data["rows"][row][codes]
    for number in range(0, 16 * PERSONS, 7):
        nearest, distances = ranked(run, number, codes)
        assert said["nearest"][number] == nearest
        assert np.allclose(said["distances"][number], distances, rtol=1e-3)


@pytest.mark.parametrize("codes", ["raw", "unit"])
def test_average_precisions_equal_those_of_evaluate(root, data, codes):
    run, said = runs_of(root)["set1"], data["rows"]["set1"][codes]
    for direction in ("A->B", "B->A"):
        rows = run.query_gallery(direction)[0]["rows"]
        found = evaluate(*run.scored_arrays(direction), Protocol(codes=codes)).per_query
        assert np.allclose([said["AP"][row] for row in rows], found.AP, atol=1e-4)
        assert [said["first"][row] for row in rows] == found.first_match.tolist()


def test_rows_and_images_keep_their_order_and_their_coordinates(root, data):
    run = runs_of(root)["set1"]
    assert list(data["rows"]) == list(ROWS)
    for key, values in data["images"].items():
        assert values == run.codes[key].tolist()
    planes = pd.read_csv(root / "figures" / "smoke" / "tsne.csv")
    wanted = planes[planes.row == "set1"][["x", "y"]].round(2).to_numpy()
    assert np.array_equal(data["rows"]["set1"]["xy"], wanted)


def test_each_thumbnail_is_its_images(root, written, data):
    index = read_pku(data_folder_of(root))
    sheet = np.asarray(Image.open(written / "people.webp").convert("RGB"), float)
    width, height = explore.THUMBNAIL
    for number in (0, 15, 16, 16 * PERSONS - 1):
        x, y = number % data["across"] * width, number // data["across"] * height
        pixels = load_pixels(index.iloc[[number]])[0].numpy().astype(float)
        shown = sheet[y : y + height, x : x + width].mean((0, 1))
        assert np.abs(shown - pixels.mean((1, 2))).max() < 8, number


def test_real_people_missing_runs_and_other_images_are_refused_by_name(root, tmp_path):
    with pytest.raises(ValueError, match="pku shows real people"):
        explore.write(load_preset("pku"), root, tmp_path)
    other = a_root(tmp_path / "other")
    (other / "figures" / "smoke" / "tsne.csv").rename(other / "kept.csv")
    with pytest.raises(ValueError, match=r"tsne.csv is missing; first: make reproduce"):
        explore.write(load_preset("smoke"), other, tmp_path)
    (other / "kept.csv").rename(other / "figures" / "smoke" / "tsne.csv")
    write_images(data_folder_of(other), PERSONS, seed=1)
    with pytest.raises(ValueError, match="are not those that"):
        explore.write(load_preset("smoke"), other, tmp_path)
    (other / "results" / "smoke" / "set1" / "split-0" / "codes.npz").unlink()
    with pytest.raises(ValueError, match="set1/split-0 contains no completed run"):
        explore.write(load_preset("smoke"), other, tmp_path)
    assert not list(tmp_path.glob("*.js"))


def test_coordinates_of_other_images_are_refused(root):
    planes = pd.read_csv(root / "figures" / "smoke" / "tsne.csv")
    with pytest.raises(ValueError, match="of set1 is of other images"):
        explore.shown(runs_of(root), planes[(planes.row != "set1") | (planes.pid > 1)])


def test_the_points_of_the_equations_are_those_of_notebook_2():
    cells = json.loads((REPOSITORY / "notebooks" / "02_method.ipynb").read_text())["cells"]
    code = next("".join(c["source"]) for c in cells if "points = around" in "".join(c["source"]))
    names = {"torch": torch}
    exec(code, names)
    said = explore.points()
    assert said["labels"] == names["labels"].tolist()
    assert np.allclose(said["codes"], names["points"], atol=1e-4)


# In the browser


@pytest.fixture(scope="module")
def address(written, tmp_path_factory):
    """The HTML of both pages with the scripts and data that they name, without Sphinx's frame."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(REPOSITORY / "site" / "static", folder / "_static")
    shutil.copytree(written, folder / "_static", dirs_exist_ok=True)
    for name in ("explore", "equations"):
        text = (REPOSITORY / "site" / f"{name}.md").read_text()
        parts = re.findall(r"```{raw} html\n(.*?)```", text, re.S)
        style = '<link rel="icon" href="data:,"><link rel="stylesheet" href="_static/explore.css">'
        head = f'<!doctype html><html lang="en"><meta charset="utf-8">{style}<title>{name}</title>'
        (folder / f"{name}.html").write_text(head + "<main>".join(parts))
    with chromium.served(folder) as address:
        yield address


@pytest.fixture
def opened(browser, address):
    """Opens a page; at the end, none may have complained or asked another host."""
    faults, pages = [], []

    def open_page(name="explore", **state):
        page = browser.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda m: m.type in ("error", "warning") and faults.append(m.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("requestfailed", lambda request: faults.append(request.url))
        page.on("request", lambda r: r.url.startswith((address, "data:")) or faults.append(r.url))
        page.goto(f"{address}/{name}.html" + (f"#{urlencode(state)}" if state else ""))
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not faults


def gallery(page, place=0):
    """What a gallery shows: (row, names, kinds, distances)."""
    section = page.locator("#galleries section").nth(place)
    items = section.locator("li").evaluate_all(
        "all => all.map(li => [li.dataset.name, li.className, li.querySelector('b').textContent,"
        " li.querySelector('.distance').textContent])"
    )
    names, kinds, marks, distances = zip(*items, strict=True)
    assert all(
        (mark == "✓") == (kind == "correct") for mark, kind in zip(marks, kinds, strict=True)
    )
    return section.get_attribute("data-row"), list(names), list(kinds), list(map(float, distances))


def asked(page):
    return page.locator(".asked").get_attribute("data-name")


def options(page, name="query"):
    return page.locator(f"[name={name}] option").evaluate_all("all => all.map(o => o.value)")


def choose(page, **values):
    for name, value in values.items():
        page.locator(f"[name={name}]").select_option(value)


@browser_test
@pytest.mark.parametrize("codes", ["raw", "unit"])
@pytest.mark.parametrize("direction", ["A->B", "B->A"])
def test_the_page_shows_the_ten_nearest_of_rank_gallery(opened, root, codes, direction):
    runs = runs_of(root)
    part = runs["set1"].codes
    query = runs["set1"].query_gallery(direction)[0]["rows"][11]
    name = str(part["names"][query])
    page = opened(row="set1", beside="set3", direction=direction, codes=codes, query=name)
    assert asked(page) == name
    for place, row in enumerate(("set1", "set3")):
        nearest, distances = ranked(runs[row], query, codes)
        shown, names, kinds, said = gallery(page, place)
        assert shown == row and names == part["names"][nearest].tolist()
        same = part["pids"][nearest] == part["pids"][query]
        assert kinds == np.where(same, "correct", "wrong").tolist()
        assert np.allclose(said, distances, rtol=6e-3)


@browser_test
def test_queries_are_listed_hardest_first_and_the_hardest_is_shown(opened, data):
    page = opened()
    row = page.locator("[name=row]").input_value()
    assert row == ROWS[-1]
    AP = dict(zip(data["images"]["names"], data["rows"][row]["raw"]["AP"], strict=True))
    names = options(page)
    assert len(names) == 8 * PERSONS
    assert [AP[name] for name in names] == sorted(AP[name] for name in names)
    assert asked(page) == names[0]
    page.locator("[name=easier]").click()
    page.locator("[name=easier]").click()
    assert asked(page) == names[2]
    page.locator("[name=harder]").click()
    assert asked(page) == names[1]


@browser_test
def test_each_menu_changes_what_it_should_and_nothing_else(opened, data):
    page = opened()
    names, turns = data["images"]["names"], data["images"]["orientations"]
    before = [gallery(page, place) for place in (0, 1)]
    choose(page, query=options(page)[5])
    query = asked(page)
    assert query == options(page)[5] and gallery(page) != before[0]
    old = [gallery(page, place) for place in (0, 1)]
    choose(page, beside="set1")
    assert gallery(page, 1)[0] == "set1" and gallery(page) == old[0] and asked(page) == query
    choose(page, beside="none")
    assert page.locator("#galleries section").count() == page.locator("#planes svg").count() == 1
    choose(page, row="set1", beside="set3")
    assert [gallery(page, k)[0] for k in (0, 1)] == ["set1", "set3"] and asked(page) == query
    raw = gallery(page)
    choose(page, codes="unit")
    assert gallery(page)[3] != raw[3] and asked(page) == query
    choose(page, orientation="4")
    assert {turns[names.index(name)] for name in options(page)} == {4}
    assert turns[names.index(asked(page))] == 4
    choose(page, orientation="0", direction="B->A")
    cameras = {data["images"]["camids"][names.index(name)] for name in options(page)}
    assert cameras == {2} and len(options(page)) == 8 * PERSONS


@browser_test
def test_a_link_reproduces_the_view(opened, browser):
    page = opened()
    choose(page, row="set1", beside="resnet18_htri", direction="B->A", codes="unit")
    choose(page, orientation="3", colour="camera")
    choose(page, query=options(page)[1])
    state = "['galleries', 'planes'].map(id => document.getElementById(id).innerHTML).join()"
    fragment = page.evaluate("location.hash.slice(1)")
    other = opened(**dict(pair.split("=") for pair in fragment.replace("%3E", ">").split("&")))
    assert other.evaluate(state) == page.evaluate(state)
    shown = other.evaluate(state)
    other.evaluate("location.hash = 'row=nobody&query=none&codes=unit'")
    other.wait_for_function("document.querySelector('[name=orientation]').value")
    assert asked(other) == options(other)[0] and other.evaluate(state) != shown
    other.go_back()
    assert other.evaluate(state) == shown


@browser_test
def test_the_link_is_copied_where_the_browser_allows_it(opened):
    page = opened()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("[name=copy]").click()
    page.get_by_text("Copied.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    assert "query=" in page.url


def hues(page):
    return (
        page.locator("#planes svg")
        .first.locator("path")
        .evaluate_all(
            "all => all.map(p => [+p.dataset.image, +p.style.getPropertyValue('--hue')]).sort("
            "(a, b) => a[0] - b[0]).map(pair => pair[1])"
        )
    )


@browser_test
@pytest.mark.parametrize(
    "colour, key", [("person", "pids"), ("camera", "camids"), ("orientation", "orientations")]
)
def test_colours_tell_persons_cameras_or_orientations_apart(opened, data, colour, key):
    page = opened(colour=colour)
    kinds = data["images"][key]
    pairs = set(zip(kinds, hues(page), strict=True))
    assert len(pairs) == len({hue for _, hue in pairs}) == len(set(kinds))
    assert page.locator("#legend li").count() == (0 if colour == "person" else len(set(kinds)))


@browser_test
def test_the_plane_marks_the_query_and_its_nearest_and_a_click_makes_another_the_query(
    opened, data
):
    page = opened(row="set1")
    names, camids = data["images"]["names"], data["images"]["camids"]
    plane = page.locator("#planes svg[data-row=set1]")
    near = plane.locator("path.near").evaluate_all("all => all.map(p => +p.dataset.image)")
    assert {names[i] for i in near} == set(gallery(page)[1])
    assert plane.locator("path.chosen").get_attribute("data-image") == str(names.index(asked(page)))
    other = next(i for i, camid in enumerate(camids) if camid == 2)
    mark = plane.locator(f"path[data-image='{other}']")
    mark.dispatch_event("pointerover")
    assert names[other] in page.locator("#pointed").inner_text()
    assert f"person {data['images']['pids'][other]}" in page.locator("#pointed").inner_text()
    same = plane.locator("path.same").evaluate_all("all => all.map(p => +p.dataset.image)")
    assert {data["images"]["pids"][i] for i in same} == {data["images"]["pids"][other]}
    mark.dispatch_event("click")
    assert asked(page) == names[other]
    assert page.locator("[name=direction]").input_value() == "B->A"


@browser_test
def test_the_plane_is_worked_by_keyboard(opened, data):
    page = opened(row="set1")
    plane = page.locator("#planes svg[data-row=set1]")
    before, xy = asked(page), data["rows"]["set1"]["xy"]
    page.locator("[name=colour]").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.row") == "set1"
    start = data["images"]["names"].index(before)
    points, new = np.array(xy), start
    ways = {"ArrowLeft": (-1, 0), "ArrowUp": (0, 1), "ArrowRight": (1, 0), "ArrowDown": (0, -1)}
    for key in (*ways, "ArrowLeft", "ArrowLeft", "ArrowDown"):
        away, way = points - points[new], np.array(ways[key])
        ahead, aside = away @ way, np.abs(away @ way[::-1])
        allowed = (ahead > 0) & (ahead >= aside)
        if allowed.any():
            new = int(np.where(allowed, np.linalg.norm(away, axis=1), np.inf).argmin())
        page.keyboard.press(key)
        assert plane.locator("path.pointed").get_attribute("data-image") == str(new)
    assert new != start
    page.keyboard.press("Enter")
    assert asked(page) == data["images"]["names"][new]
    assert page.evaluate("document.activeElement.dataset.row") == "set1"  # and on from there


# Eqs. 2 to 4


def random_case(seed):
    rng = np.random.default_rng(seed)
    persons = int(rng.integers(2, 12))
    codes, centres = rng.normal(size=(24, 2)) * 3, rng.normal(size=(persons, 2)) * 2
    labels = rng.integers(0, persons, 24)
    return codes, labels, centres, *(float(10 ** rng.uniform(-6, 0)) for _ in range(2))


def gradient(codes, labels, centres, beta, gamma):
    codes = codes.clone().requires_grad_()
    terms = (loss(codes, labels, centres) for loss in (losses.compact_loss, losses.scatter_loss))
    total = losses.total_loss(codes.new_zeros(()), *terms, beta, gamma)
    return torch.autograd.grad(total, codes)[0]


@browser_test
def test_the_scripts_losses_and_gradients_equal_the_packages(opened):
    page = opened("equations")
    for seed in range(20):
        codes, labels, centres, beta, gamma = random_case(seed)
        given = [codes.tolist(), labels.tolist(), centres.tolist(), beta, gamma]
        found = page.evaluate(
            """given => [equations.compactLoss(...given), equations.scatterLoss(...given),
                equations.gradient(...given), equations.sqRadii(given[2])]""",
            given,
        )
        x, p, c = torch.tensor(codes), torch.tensor(labels), torch.tensor(centres)
        wanted = [losses.compact_loss(x, p, c), losses.scatter_loss(x, p, c)]
        wanted += [gradient(x, p, c, beta, gamma), losses.sq_radii(c)]
        for value, right in zip(found, wanted, strict=True):
            assert np.allclose(
                value, right.numpy(), rtol=1e-6, atol=1e-6 * float(right.abs().max())
            )


def slide(page, **values):
    for name, value in values.items():
        page.locator(f"[name={name}]").fill(str(value))


def drawn(page):
    """The codes as they are drawn, by person."""
    return np.array(
        page.locator("#plane .code").evaluate_all(
            "all => all.map(c => [+c.getAttribute('cx'), -c.getAttribute('cy')])"
        )
    )


@browser_test
def test_steps_on_the_page_equal_steps_by_the_packages_gradient(opened):
    page = opened("equations")
    slide(page, beta="0.0001", gamma="0.000002", persons=57)
    said = explore.points()
    codes = torch.tensor(said["codes"], dtype=torch.float64)
    labels = torch.tensor(said["labels"])
    assert np.allclose(drawn(page), codes)
    angles = torch.arange(54, dtype=torch.float64) * 2 * torch.pi / 54
    ring = 5 * torch.stack([angles.cos(), angles.sin()], 1)
    for _ in range(4):
        centres = torch.cat([losses.person_centres(codes, labels, persons=3), ring])
        codes = codes - 2000 * gradient(codes, labels, centres, 1e-4, 2e-6)
        page.locator("[name=step]").click()
    assert page.locator("#steps").inner_text() == "4"
    assert np.allclose(drawn(page), codes, rtol=1e-6, atol=1e-6)
    page.locator("[name=restart]").click()
    assert page.locator("#steps").inner_text() == "0" and np.allclose(drawn(page), said["codes"])


@browser_test
def test_each_slider_changes_its_losses_and_the_sign_flips_where_it_says(opened):
    page = opened("equations")
    said = {
        name: lambda name=name: page.locator(f"#{name}").inner_text()
        for name in ("l_cl", "l_sl", "sum", "net", "flip", "beta-value", "persons-value")
    }
    assert said["flip"]() == "The sign changes at P = 1 + β / γ = 51."
    for persons, sign, words in (
        (50, "1", "pulled"),
        (51, "0", "left alone"),
        (52, "-1", "pushed"),
    ):
        slide(page, persons=persons)
        assert page.locator("#net").get_attribute("data-sign") == sign
        assert words in said["net"]() and said["persons-value"]() == str(persons)
    before = said["l_sl"]()
    slide(page, persons=100)
    assert said["l_sl"]() != before
    before = said["sum"]()
    slide(page, beta="0.0002")
    assert said["sum"]() != before and said["flip"]().endswith("= 201.")
    page.locator("[name=gamma]").focus()
    page.keyboard.press("ArrowRight")
    assert said["flip"]().endswith("= 182.8.")
    slide(page, gamma=0)
    assert said["flip"]() == "Without γ it never changes."
    page.locator("[name=paper]").click()
    assert said["flip"]().endswith("= 51.") and said["beta-value"]() == "5.0e-5"


@browser_test
def test_playing_runs_until_it_is_paused_or_the_codes_have_left(opened):
    page = opened("equations")
    page.locator("[name=play]").click()
    page.wait_for_function("+document.querySelector('#steps').textContent >= 3")
    page.get_by_role("button", name="Pause").click()
    steps = page.locator("#steps").inner_text()
    page.wait_for_timeout(300)
    assert page.locator("#steps").inner_text() == steps
    slide(page, persons=120, gamma="0.000005")
    page.locator("[name=play]").click()
    page.get_by_text("The animation stopped").wait_for(timeout=20_000)
    page.get_by_role("button", name="Play").wait_for()
