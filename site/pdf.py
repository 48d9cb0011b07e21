"""Print the article as one PDF: make pdf PRESET=demo.

Chromium prints the page article.html of the built site. A figure there is a picture; before it is
printed, each becomes an empty box with a link of its own, which Chromium writes into the PDF with
its place, and there the vectors that were saved beside the picture are drawn.
"""

import argparse
import hashlib
import os
import shutil
from pathlib import Path

from reid_lib.engine.files import write_file

REPOSITORY = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
MARK = "https://figure.invalid/"  # of no host: the reserved name keeps it from being one
FOOT = (
    '<div style="width: 100%; font: 8px sans-serif; text-align: center">'
    '<span class="pageNumber"></span> / <span class="totalPages"></span></div>'
)
# Links to other pages lead into the article where it has their heading, and else become words.
PREPARE = """mark => {
    document.querySelectorAll("details").forEach(folded => folded.remove());
    for (const link of document.querySelectorAll("article a[href]")) {
        const to = new URL(link.href);
        if (to.protocol == "https:") continue;
        const there = to.hash && document.getElementById(decodeURIComponent(to.hash.slice(1)));
        if (there) link.setAttribute("href", to.hash);
        else link.replaceWith(...link.childNodes);
    }
    return [...document.querySelectorAll("article img")].map((image, number) => {
        const link = document.createElement("a");
        link.href = mark + number;
        link.style.cssText = "display: block; width: fit-content; margin: 0 auto; background: none";
        image.replaceWith(link);
        link.append(image);
        image.style.opacity = 0;
        image.loading = "eager";
        return decodeURIComponent(new URL(image.src).pathname);
    });
}"""


def find_chromium() -> str | None:
    """The path of Chromium: that in the variable CHROMIUM, or one of its usual names."""
    found = os.environ.get("CHROMIUM")
    return found or next((path for path in map(shutil.which, BROWSERS) if path), None)


def print_article(site: Path, figures: list[Path], out: Path) -> None:
    """Print a site's article with its figures as vectors.

    Args:
        site: the folder that make site built.
        figures: folders that hold each figure as PNG and PDF.
        out: the PDF to write.
    Raises:
        ValueError: no site or no Chromium, or a figure whose vectors are in none of the folders.
    """
    if not (site / "article.html").is_file():
        raise ValueError(f"{site} holds no article.html; first: make site")
    printed = out.with_suffix(".printed.pdf")
    pictures = print_page(site / "article.html", printed)
    vectors = {
        hashlib.sha256(path.read_bytes()).digest(): path.with_suffix(".pdf")
        for folder in figures
        for path in folder.rglob("*.png")
    }
    chosen = []
    for picture in pictures:
        path = vectors.get(hashlib.sha256(picture.read_bytes()).digest())
        if path is None or not path.is_file():
            raise ValueError(f"{picture} is no figure in {', '.join(map(str, figures))}")
        chosen.append(path)
    write_file(out, lambda file: draw_figures(printed, chosen).write(file))
    printed.unlink()


def print_page(page: Path, out: Path) -> list[Path]:
    """Print a page without its pictures; returns their files, in the order of their marks."""
    from playwright.sync_api import sync_playwright

    chromium = find_chromium()
    if chromium is None:
        raise ValueError("Chromium was not found; run: apt-get install chromium, or set CHROMIUM")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        opened = browser.new_page(color_scheme="light", viewport={"width": 700, "height": 1000})
        opened.goto(page.resolve().as_uri(), wait_until="networkidle")
        opened.emulate_media(media="print")
        pictures = opened.evaluate(PREPARE, MARK)
        margin = {"top": "18mm", "bottom": "20mm", "left": "20mm", "right": "20mm"}
        opened.pdf(
            path=out,
            format="A4",
            margin=margin,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOT,
            print_background=True,
            outline=True,
            tagged=True,
        )
        browser.close()
    return [Path(picture) for picture in pictures]


def draw_figures(printed: Path, figures: list[Path]):
    """Draw each figure's vectors in the box of its mark, and take the marks away.

    Args:
        printed: a PDF in which a link to MARK + number is the box of a figure.
        figures: one PDF of one page each, by that number.
    Returns:
        The PDF, as a pypdf.PdfWriter.
    Raises:
        ValueError: a figure has no box.
    """
    import pypdf  # the tests that look for Chromium here need none of it
    from pypdf.generic import ArrayObject, NameObject

    writer, seen = pypdf.PdfWriter(clone_from=printed), set()
    for page in writer.pages:
        kept = ArrayObject()
        for link in page.get("/Annots", ()):
            annotation = link.get_object()
            address = str(annotation.get("/A", {}).get("/URI", ""))
            if not address.startswith(MARK):
                kept.append(link)
                continue
            number = int(address.removeprefix(MARK))
            figure = pypdf.PdfReader(figures[number]).pages[0]
            left, bottom, right, top = map(float, annotation["/Rect"])
            wide, high = float(figure.mediabox.width), float(figure.mediabox.height)
            scale = min((right - left) / wide, (top - bottom) / high)
            middle = left + (right - left - scale * wide) / 2
            place = pypdf.Transformation().scale(scale).translate(middle, bottom)
            page.merge_transformed_page(figure, place)
            seen.add(number)
        page[NameObject("/Annots")] = kept
    missing = sorted(set(range(len(figures))) - seen)
    if missing:
        raise ValueError(f"{figures[missing[0]]} has no place on any page of {printed}")
    return writer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("preset")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="holds results/, figures/")
    given = parser.parse_args()
    out = given.root / "results" / "article.pdf"
    figures = [given.root / "figures" / given.preset, REPOSITORY / "figures" / "pku74"]
    try:
        print_article(given.root / "results" / "site", figures, out)
    except ValueError as error:
        raise SystemExit(f"make pdf: {error}") from None
    print(f"the article: {out}")


if __name__ == "__main__":
    main()
