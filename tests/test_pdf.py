"""The printed article: figures as vectors in their places, complete tables, page numbers, links."""

import sys

import chromium
import pytest
from conftest import REPOSITORY
from matplotlib.figure import Figure

from reid_lib import plots

sys.path.insert(0, str(REPOSITORY / "site"))
import pdf

pypdf = pytest.importorskip("pypdf")
annotations = pytest.importorskip("pypdf.annotations")
ARTICLE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>t</title>
<nav>beside the text</nav>
<article><h1>Title</h1><p>Words, <a href="https://example.org/">a link out</a>,
<a href="other.html#part">a link within</a>, <a href="other.html">a link away</a>.</p>
<details><summary>folded</summary></details>
<figure><img src="shown.png" alt="A figure."></figure>
<div class="sideways"><table><tr>{cells}</tr></table></div>
<h2 id="part" style="break-before: page">Part</h2><p>The end.</p></article></html>"""


@pytest.fixture
def figures(tmp_path):
    """A saved figure with a word in it."""
    figure = Figure(figsize=(4, 2))
    figure.text(0.5, 0.5, "VECTORS")
    plots.save(figure, tmp_path / "figures", "one", "A word.")
    return tmp_path / "figures"


def printed(path, addresses):
    """A PDF of one page with a link per address, each with a box of its own."""
    writer = pypdf.PdfWriter()
    writer.add_blank_page(600, 800)
    for k, address in enumerate(addresses):
        box = (100, 100 + 200 * k, 300, 200 + 200 * k)
        link = annotations.Link(rect=box, url=address)
        writer.add_annotation(0, link)
    writer.write(path)
    return path


def addresses(reader):
    found = [link.get_object() for page in reader.pages for link in page.get("/Annots", ())]
    return [str(link["/A"]["/URI"]) for link in found if "/URI" in link.get("/A", {})]


def test_a_figure_is_drawn_where_its_mark_was_and_other_links_stay(figures, tmp_path):
    page = printed(tmp_path / "page.pdf", ["https://example.org/", pdf.MARK + "0"])
    out = tmp_path / "out.pdf"
    pdf.draw_figures(page, [figures / "one.pdf"]).write(out)
    reader = pypdf.PdfReader(out)
    assert addresses(reader) == ["https://example.org/"]
    places = []

    def place(text, cm, tm, font, size):
        if "VECTORS" in text:
            x, y = tm[4:]
            places.append((x * cm[0] + y * cm[2] + cm[4], x * cm[1] + y * cm[3] + cm[5]))

    text = reader.pages[0].extract_text(visitor_text=place)
    assert "VECTORS" in text
    assert all(100 <= x <= 300 and 300 <= y <= 400 for x, y in places) and places


def test_a_figure_without_a_place_is_named(figures, tmp_path):
    page = printed(tmp_path / "page.pdf", ["https://example.org/"])
    with pytest.raises(ValueError, match=r"one.pdf has no place on any page"):
        pdf.draw_figures(page, [figures / "one.pdf"])


def test_without_a_site_the_command_that_builds_it_is_named(tmp_path):
    with pytest.raises(ValueError, match="first: make site"):
        pdf.print_article(tmp_path, [tmp_path], tmp_path / "out.pdf")


def article(folder, figures):
    folder.mkdir()
    (folder / "shown.png").write_bytes((figures / "one.png").read_bytes())
    cells = "".join(f"<td>cell{k}</td>" for k in range(12))
    (folder / "article.html").write_text(ARTICLE.format(cells=cells))
    return folder


@pytest.mark.browser
def test_the_article_is_printed_with_vectors_links_and_page_numbers(figures, tmp_path):
    with chromium.launched():
        pass  # skips where there is none
    out = tmp_path / "article.pdf"
    pdf.print_article(article(tmp_path / "site", figures), [figures], out)
    reader = pypdf.PdfReader(out)
    first, last = (page.extract_text() for page in reader.pages)
    assert "VECTORS" in first and "1 / 2" in first and "2 / 2" in last and "The end." in last
    assert all(f"cell{k}" in first for k in range(12))
    assert "folded" not in first and "a link away" in first
    assert addresses(reader) == ["https://example.org/"]
    assert [entry["/Title"] for entry in reader.outline if isinstance(entry, dict)] == ["Title"]
    assert not reader.pages[0].images
    inner = [link.get_object() for link in reader.pages[0]["/Annots"]]
    assert len(inner) == 2  # the other leads to the heading
    assert not list(tmp_path.glob("*.printed.pdf"))


@pytest.mark.browser
def test_a_picture_without_vectors_is_named(figures, tmp_path):
    with chromium.launched():
        pass
    folder = article(tmp_path / "site", figures)
    with pytest.raises(ValueError, match=r"shown.png is no figure in"):
        pdf.print_article(folder, [tmp_path / "none"], tmp_path / "article.pdf")
