"""The explorer shows each query's galleries as they are, marks twice, escapes, and is quick."""

import base64
import io
import json
import shutil
import time
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from conftest import write_images
from PIL import Image

from reid_lib.config import RunConfig, load_preset
from reid_lib.dataset import fingerprint, read_pku
from reid_lib.engine.runs import run_folder
from reid_lib.explorer import widgets

HOSTILE = "<img src=x onerror=alert(1)>.png"
TAGS = {"div", "p", "b", "ol", "li", "img", "br"}


class Reader(HTMLParser):
    """What a browser would make of HTML: the tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def images(self):
        """Kind and name of each picture or what stands in its place, in order."""
        return [(item["data-kind"], item["data-name"]) for item in self.named("li")]


def write_run(results, preset, row, index, split=0, width=8, failed="", names=None, seed=0):
    """A run folder over all images of an index; AP falls as the query's number in the index."""
    folder = run_folder(results, preset, row, split)
    folder.mkdir(parents=True)
    setting = row if row.startswith("set") else "htri"
    config = RunConfig(row=row, setting=setting, split=split, data_sha256=fingerprint(index))
    (folder / "config.json").write_text(config.model_dump_json())
    (folder / "history.csv").write_text("epoch\n1\n")
    (folder / "metrics.json").write_text("{}")
    (folder / "manifest.json").write_text(json.dumps({"failed": failed} if failed else {}))
    if failed:
        return folder
    rng = np.random.default_rng([seed, len(row), split])
    if names is None:
        names = [path.rpartition("/")[2] for path in index.path]
    np.savez(
        folder / "codes.npz",
        codes=rng.normal(size=(len(index), width)).astype(np.float32),
        pids=index.pid.to_numpy(),
        camids=index.camid.to_numpy(),
        orientations=index.orientation.to_numpy(),
        names=np.array(names),
    )
    queries = index.assign(name=names, direction=np.where(index.camid == 1, "A->B", "B->A"))
    queries = queries.assign(AP=np.linspace(0.9, 0.1, len(index)), first_match=2.0)
    queries[["pid", "camid", "AP", "first_match", "direction", "name"]].to_csv(
        folder / "queries.csv", index=False
    )
    (folder / "weights.safetensors").touch()
    return folder


@pytest.fixture
def root(tmp_path):
    """Two presets with two rows each on the same six persons, and what must be left out."""
    index = read_pku(write_images(tmp_path / "data" / "embedded-6-0", 6))
    for preset in ("smoke", "demo"):
        for row in ("set1", "set3"):
            write_run(tmp_path / "results", load_preset(preset), row, index)
    return tmp_path


def opened(root):
    """The explorer of the smoke preset: (menus by their labels, what is read in the view)."""
    box = widgets.controls(load_preset("smoke"), root)
    menus = {menu.description: menu for line in box.children[:-1] for menu in line.children}
    return menus, lambda: Reader(box.children[-1].value)


def a_gallery():
    return pd.DataFrame(
        {
            "name": ["a.png", "b.png", "c.png"],
            "pid": [7, 7, 9],
            "orientation": [1, 2, 3],
            "sq_distance": [0.25, 17.04, 1234.5],
            "kind": ["junk", "correct", "wrong"],
            "rank": [0, 1, 2],
        }
    )


A_QUERY = {"name": "q.png", "pid": 7, "orientation": 5}


def test_the_nearest_are_those_of_the_other_camera_by_squared_distance(root):
    run = widgets.finished_runs(root / "results")["smoke"][0]
    part = run.codes
    query = 3  # person 1, camera 1
    found = widgets.nearest(run, part["names"][query], k=12)
    sq = ((part["codes"].astype(float) - part["codes"][query]) ** 2).sum(1)
    sq[part["camids"] == 1] = np.inf
    order = np.argsort(sq)[:12]
    assert found.name.tolist() == part["names"][order].tolist()
    np.testing.assert_allclose(found.sq_distance, sq[order], rtol=1e-5)
    same = part["pids"][order] == part["pids"][query]
    assert found.kind.tolist() == np.where(same, "correct", "wrong").tolist()
    assert found["rank"].tolist() == list(range(1, 13))
    with pytest.raises(ValueError, match=r"no test image 'x\.png'"):
        widgets.nearest(run, "x.png")


def test_junk_is_junk_and_has_no_rank(root):
    run = widgets.finished_runs(root / "results")["smoke"][0]
    run.codes["pids"][run.codes["pids"] == 6] = -1  # as in Market-1501
    found = widgets.nearest(run, "001_1_1.png", k=48)
    junk = found.pid == -1
    assert junk.sum() == 8
    assert (found.kind == "junk").tolist() == junk.tolist()
    assert found["rank"][junk].tolist() == [0] * 8
    assert found["rank"][~junk].tolist() == list(range(1, 41))


def test_right_wrong_and_junk_differ_in_colour_and_in_a_second_sign():
    seen = widgets.ranking_html(A_QUERY, {"set3": a_gallery()}, lambda name: f"data:,{name}")
    reader = Reader(seen)
    assert reader.images() == [
        ("query", "q.png"),
        ("junk", "a.png"),
        ("correct", "b.png"),
        ("wrong", "c.png"),
    ]
    for words in ("junkperson 7view 1d² 0.25", "1 ✓person 7view 2d² 17.0", "2 ✗person 9view 3"):
        assert words in reader.text
    styles = [image["style"] for image in reader.named("img")]
    assert ["dashed" in style for style in styles] == [False, True, False, False]
    assert ["#c8102e" in style for style in styles] == [False, False, True, False]
    alts = [image["alt"] for image in reader.named("img")]
    assert alts[1:3] == [
        "junk, not ranked: person 7, view 1, d² 0.25",
        "rank 1, correct: person 7, view 2, d² 17.0",
    ]
    assert [image["src"] for image in reader.named("img")][1] == "data:,a.png"


def test_whatever_comes_from_files_stays_text():
    quoted = "\"'><script>x</script>{rank}"
    gallery = a_gallery().assign(name=HOSTILE, pid=quoted, orientation=HOSTILE)
    query = {"name": quoted, "pid": HOSTILE, "orientation": quoted}
    for picture in (lambda name: "", lambda name: f'data:,"onload="{name}'):
        reader = Reader(widgets.ranking_html(query, {HOSTILE: gallery, quoted: gallery}, picture))
        assert {tag for tag, _ in reader.tags} <= TAGS
        assert not any(key.startswith("on") for _, found in reader.tags for key in found)
        assert reader.text.count(HOSTILE) >= 8 and reader.text.count(quoted) >= 8
        assert ("correct", HOSTILE) in reader.images()


def test_a_file_name_that_is_markup_stays_text_in_menus_and_view(tmp_path):
    index = read_pku(write_images(tmp_path / "data" / "embedded-2-0", 2))
    names = [f"{k}{HOSTILE}" for k in range(len(index))]
    write_run(tmp_path / "results", load_preset("smoke"), "set3", index, names=names)
    menus, seen = opened(tmp_path)
    assert menus["query"].options[0][0].startswith(f"23{HOSTILE}")
    reader = seen()
    assert {tag for tag, _ in reader.tags} <= TAGS - {"img"}  # no such files, so no pictures
    assert reader.images()[0] == ("query", f"23{HOSTILE}") and HOSTILE in reader.text


def test_pictures_are_those_of_the_files_and_what_cannot_be_read_has_none(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    head, _, data = widgets.picture_address(str(tmp_path / "a.png")).partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
    (tmp_path / "b.png").write_text("<svg onload=alert(1)>")
    assert widgets.picture_address(str(tmp_path / "b.png")) == ""
    assert widgets.picture_address(str(tmp_path / "c.png")) == ""
    Image.fromarray(np.tile(pixels, (30, 30, 1))).save(tmp_path / "large.png")
    data = widgets.picture_address(str(tmp_path / "large.png")).partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.width <= widgets.SIZE[0] and image.height <= widgets.SIZE[1]


def test_failed_unfinished_and_unreadable_runs_are_not_offered(root):
    results, smoke = root / "results", load_preset("smoke")
    index = read_pku(root / "data" / "embedded-6-0")
    write_run(results, smoke, "set2", index, failed="the loss became NaN")
    (write_run(results, smoke, "resnet18_htri", index) / "codes.npz").unlink()
    (write_run(results, smoke, "mine", index) / "config.json").write_text('{"row": 1}')
    (write_run(results, smoke, "yours", index) / "manifest.json").write_text('{"fai')
    write_run(results, smoke, "set1", index, split=10)
    write_run(results, smoke, "set1", index, split=9)
    found = widgets.finished_runs(results, ["set3", "set1"])
    assert list(found) == ["demo", "smoke"]
    places = [(run.config.row, run.config.split) for run in found["smoke"]]
    assert places == [("set3", 0), ("set1", 0), ("set1", 9), ("set1", 10)]


def test_the_hardest_query_comes_first_under_two_rows_of_the_chosen_preset(root):
    menus, seen = opened(root)
    assert menus["preset"].options == ("smoke", "demo")
    assert menus["row"].options == ("set1", "set3") and menus["row"].value == "set3"
    assert menus["beside"].options == ("set1", "none")
    names = [name for _, name in menus["query"].options]
    assert names[0] == menus["query"].value == "006_1_8.png" and names[-1] == "001_1_1.png"
    assert len(names) == 48
    reader = seen()
    assert reader.images()[0] == ("query", "006_1_8.png")
    assert [kind for kind, _ in reader.images()].count("query") == 1
    assert len(reader.named("ol")) == 3 and len(reader.images()) == 1 + 2 * 10
    assert len(reader.named("img")) == 21  # found by their fingerprint
    assert reader.text.index("set3: AP") < reader.text.index("set1: AP")


def test_another_query_row_or_orientation_changes_what_is_seen(root):
    menus, seen = opened(root)
    runs = {run.config.row: run for run in widgets.finished_runs(root / "results")["smoke"]}
    menus["query"].value = "002_1_3.png"
    left, right = (widgets.nearest(runs[row], "002_1_3.png").name for row in ("set3", "set1"))
    shown = [name for _, name in seen().images()]
    assert shown == ["002_1_3.png", *left, *right]
    menus["row"].value = "set1"  # the query stays; no row stands beside itself
    assert menus["beside"].options == ("set3", "none") and menus["beside"].value == "set3"
    assert [name for _, name in seen().images()] == ["002_1_3.png", *right, *left]
    menus["beside"].value = "none"
    assert [name for _, name in seen().images()] == ["002_1_3.png", *right]
    menus["orientation"].value = 5
    assert [name for _, name in menus["query"].options] == [
        f"00{pid}_1_5.png" for pid in range(6, 0, -1)
    ]
    assert seen().images()[0] == ("query", "006_1_5.png")
    menus["query"].value = "001_1_5.png"
    menus["preset"].value = "demo"
    assert menus["query"].value == "006_1_5.png"


def test_names_stand_for_pictures_of_other_data_and_rows_on_other_data_are_not_beside(root):
    other = read_pku(write_images(root / "elsewhere", 6, seed=1))
    write_run(root / "results", load_preset("smoke"), "set2", other)
    menus, seen = opened(root)
    assert menus["beside"].options == ("set1", "none")
    menus["row"].value = "set2"
    assert menus["beside"].options == ("none",)
    reader = seen()
    assert not reader.named("img") and "006_1_8.png" in reader.text
    shutil.move(root / "elsewhere", root / "data" / "embedded-6-1")
    menus, seen = opened(root)
    menus["row"].value = "set2"
    assert len(seen().named("img")) == 11


def test_a_fault_is_shown_in_the_view_and_the_next_choice_works(root):
    index = read_pku(root / "data" / "embedded-6-0")
    folder = write_run(root / "results", load_preset("smoke"), "set2", index)
    (folder / "codes.npz").write_bytes(b"<b>no archive</b>")
    menus, seen = opened(root)
    menus["beside"].value = "set2"
    assert "Error: " in seen().text and not seen().images()
    menus["beside"].value = "none"
    assert len(seen().images()) == 11


def test_what_is_displayed_holds_the_first_view_as_plain_html_too(root, monkeypatch):
    shown = []
    monkeypatch.setattr(widgets, "display", lambda data, raw: shown.append((data, raw)))
    box = widgets.controls(load_preset("smoke"), root)
    widgets.show(box)
    ((data, raw),) = shown
    assert raw and data["application/vnd.jupyter.widget-view+json"]["model_id"] == box.model_id
    assert len(Reader(data["text/html"]).named("img")) == 21


def test_a_preset_without_finished_runs_is_refused(root):
    with pytest.raises(ValueError, match="preset pku has no completed run"):
        widgets.controls(load_preset("pku"), root)


def test_a_choice_is_answered_within_200_ms_at_pku_reids_size(tmp_path):
    """912 test images of 57 persons, 48 x 128 pixels, codes as wide as ResNet-50's."""
    folder = write_images(tmp_path / "data" / "embedded-57-0", 1, size=(48, 128))
    views = sorted(folder.iterdir())
    for pid in range(2, 58):
        for view in views:
            shutil.copy(view, folder / f"{pid:03d}{view.name[3:]}")
    index = read_pku(folder)
    assert len(index) == 912
    for row in ("resnet50_htri", "set3"):
        write_run(tmp_path / "results", load_preset("smoke"), row, index, width=2048)
    menus, seen = opened(tmp_path)
    seconds = []  # of this process alone, however busy the machine
    for name in [name for _, name in menus["query"].options][100:120]:
        start = time.process_time()
        menus["query"].value = name
        seconds.append(time.process_time() - start)
        assert seen().images()[0] == ("query", name)
    assert np.median(seconds) < 0.2
