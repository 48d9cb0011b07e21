"""Saving writes PDF, PNG and alt text whole, with provenance, and the same bytes every time."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import drawings as of
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from reid_lib import plots


@pytest.fixture(autouse=True)
def _nothing_stays_open():
    yield
    plt.close("all")


# Between them these hold every kind of mark; the others would only take longer.
REDRAWN = [
    "split_counts",
    "framework",
    "losses_in_the_plane",
    "training_curves_of_one_row",
    "tsne_panels",
    "viewpoint_grids_wide",
    "score_bars",
]


@pytest.mark.parametrize("name", REDRAWN)
def test_saving_a_figure_and_its_redrawing_gives_the_same_bytes(name, tmp_path):
    figure = of.DRAWINGS[name]()
    FigureCanvasAgg(figure).draw()
    first = plots.save(figure, tmp_path / "1", name, "alt", {"preset": "smoke"})
    anew = plots.save(of.DRAWINGS[name](), tmp_path / "2", name, "alt", {"preset": "smoke"})
    for path, other in zip(first, anew, strict=True):
        assert other.name == path.name and other.read_bytes() == path.read_bytes()
    with Image.open(first[1]) as picture:
        np.testing.assert_allclose(picture.size, figure.get_size_inches() * 200, atol=1)
        pixels = np.asarray(picture.convert("L"))
    assert 0.002 < (pixels < 200).mean() < 0.95


SCRIPT = """
import sys
sys.path[:0] = sys.argv[2:]
import drawings as of
of.plots.save(of.DRAWINGS["losses_in_the_plane"](), sys.argv[1], "f", "alt", {"b": "1", "a": "2"})
"""


def test_another_process_writes_the_same_bytes(tmp_path):
    here = Path(__file__).parent
    command = [sys.executable, "-c", SCRIPT, tmp_path / "there", here, here.parent]
    hashed = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "MPLBACKEND": "agg"}
    subprocess.run(command, check=True, env=hashed, timeout=60)
    figure = of.DRAWINGS["losses_in_the_plane"]()
    for path in plots.save(figure, tmp_path / "here", "f", "alt", {"a": "2", "b": "1"}):
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes()


def test_files_carry_alt_text_and_metadata_but_no_date_or_version(tmp_path):
    figure = plt.figure(figsize=(1, 1))
    alt = "Ein Kreis – größer als π."
    pdf, png, text = plots.save(figure, tmp_path, "fig1", alt, {"preset": "smoke", "hash": "f00"})
    assert [path.name for path in (pdf, png, text)] == ["fig1.pdf", "fig1.png", "fig1.alt.txt"]
    assert text.read_text(encoding="utf-8") == alt + "\n"
    with Image.open(png) as picture:
        assert picture.text == {
            "Title": "fig1",
            "Description": alt,
            "preset": "smoke",
            "hash": "f00",
        }
    held = pdf.read_bytes()
    assert b"hash=f00; preset=smoke" in held
    assert alt.encode("utf-16-be") in held.replace(b"\\", b"")
    assert b"CreationDate" not in held and matplotlib.__version__.encode() not in held
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fig1.alt.txt",
        "fig1.pdf",
        "fig1.png",
    ]
    assert plt.fignum_exists(figure.number)


def test_a_failing_save_leaves_the_former_file_and_nothing_else(tmp_path, monkeypatch):
    figure = plt.figure(figsize=(1, 1))
    paths = plots.save(figure, tmp_path, "f", "alt")
    held = [path.read_bytes() for path in paths]

    def fail(path, **how):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plots.save(figure, tmp_path, "f", "other alt")
    assert [path.read_bytes() for path in paths] == held
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("name", ["", "../f", "a/b", ".f", "a\0b"])
def test_a_name_cannot_leave_the_folder(name, tmp_path):
    with pytest.raises(ValueError, match="file name"):
        plots.save(plt.figure(), tmp_path, name, "alt")
    assert not list(tmp_path.iterdir())


def test_a_figure_without_alt_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match="alt text"):
        plots.save(plt.figure(), tmp_path, "f", " ")
