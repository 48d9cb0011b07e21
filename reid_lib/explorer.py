"""Ranked galleries to look through: the view at the end of notebook 06, as HTML behind menus.

What is drawn is HTML with the pictures in it, not a figure, so that a choice is answered at once.
Whatever comes from a file (names of images, rows and presets) is escaped before it is written.
"""

import base64
import functools
import html
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import ipywidgets
import numpy as np
import pandas as pd
from IPython.display import display
from PIL import Image

from reid_lib.config import Preset
from reid_lib.dataset import fingerprint, load_pixels, read_pku
from reid_lib.engine.runs import Run, read_run
from reid_lib.metrics import rank_gallery

DIRECTION = "A->B"  # as in Table 1
SIZE = 128, 256  # pixels: no picture is sent wider or taller
_INK, _RED, _GREY = "#222222", "#c8102e", "#595959"
_LOOKS = {  # kind: above the picture, in its alt text, frame, colour of the text
    "query": ("&nbsp;", "the query", f"2px solid {_INK}", _INK),
    "correct": ("<b>{rank} ✓</b>", "rank {rank}, correct", f"3px solid {_RED}", _RED),
    "wrong": ("{rank} ✗", "rank {rank}, wrong", "1px solid #999999", _INK),
    "junk": ("junk", "junk, not ranked", f"2px dashed {_GREY}", _GREY),
}
_WORDS = f"margin:0 0 4px;color:{_INK};font:13px/1.35 system-ui,sans-serif"
_GRID = "display:grid;gap:6px;list-style:none;margin:0;padding:0"


def finished_runs(results: str | Path, rows: list[str] = ()) -> dict[str, list[Run]]:
    """All runs under a folder that ended and did not fail.

    Args:
        results: holds `<preset>/<row>/split-<k>/`.
        rows: names of rows in the order to keep; others follow by name.
    Returns:
        Preset -> its runs, by row and split. Folders that hold no whole run are left out.
    """
    found = {}
    for manifest in Path(results).glob("*/*/split-*/manifest.json"):
        try:
            run = read_run(manifest.parent)
            place = [*rows, run.config.row].index(run.config.row), run.config.row, run.config.split
        except ValueError:  # half copied, or written by another version
            continue
        if not run.failed:
            found.setdefault(manifest.parents[2].name, []).append((place, run))
    return {
        name: [run for _, run in sorted(found[name], key=lambda pair: pair[0])]
        for name in sorted(found)
    }


def nearest(run: Run, name: str, k: int = 10) -> pd.DataFrame:
    """The k gallery images nearest to a query, nearest first.

    Args:
        run: a finished run.
        name: the query's file name; the other camera's images are its gallery.
        k: how many.
    Returns:
        A row an image: name, pid, orientation, sq_distance, kind ("correct", "wrong" or "junk"),
        rank (junk not counted and itself 0).
    Raises:
        ValueError: the run has no image of that name.
    """
    codes, pids, camids, orientations, names = (
        run.codes[key] for key in ("codes", "pids", "camids", "orientations", "names")
    )
    query = np.flatnonzero(names == name)
    if len(query) == 0:
        raise ValueError(f"{run.folder} has no test image {name!r}")
    query = query[0]
    gallery = np.flatnonzero(camids != camids[query])
    order = rank_gallery(
        codes[query], codes[gallery], pids[query], pids[gallery], camids[query], camids[gallery]
    ).head(k)
    shown = gallery[order.row]
    return pd.DataFrame(
        {
            "name": names[shown],
            "pid": pids[shown],
            "orientation": orientations[shown],
            "sq_distance": order.distance.to_numpy() ** 2,
            "kind": np.select([order.junk, order.match], ["junk", "correct"], "wrong"),
            "rank": order["rank"].to_numpy(),
        }
    )


def ranking_html(
    query: Mapping, galleries: Mapping[str, pd.DataFrame], picture: Callable[[str], str]
) -> str:
    """A query and its nearest gallery images, once for each row of the table, as HTML.

    A correct image has a red frame and a tick, a wrong one a thin grey frame and a cross, junk a
    dashed frame and the word.

    Args:
        query: with name, pid and orientation.
        galleries: title -> as `nearest` returns it.
        picture: a file name to an address such as `data:image/png;base64,...`; empty where there is
            none, and the name is shown in its place.
    Returns:
        One <div>; every text in it is escaped.
    """
    panels = []
    for title, gallery in galleries.items():
        cells = "".join(_cell(image, picture) for image in gallery.to_dict("records"))
        panels.append(
            f'<div style="flex:0 1 auto"><p style="{_WORDS};font-weight:600">'
            f'{html.escape(str(title))}</p><ol style="{_GRID};'
            f'grid-template-columns:repeat(5,minmax(56px,66px))">{cells}</ol></div>'
        )
    head = (
        f'<div style="flex:0 1 auto"><p style="{_WORDS};font-weight:600">query</p>'
        f'<ol style="{_GRID};grid-template-columns:minmax(56px,70px)">'
        f"{_cell({**query, 'kind': 'query'}, picture)}</ol></div>"
    )
    key = (
        f'<b style="color:{_RED}">✓ red frame</b>: the query\'s person; ✗: another; dashed: junk, '
        "not ranked. d²: squared distance of the codes. view: the orientation, 1 to 8."
    )
    return (
        '<div class="ranked-galleries" style="background:#ffffff;padding:8px;border-radius:4px">'
        '<div style="display:flex;flex-wrap:wrap;gap:12px 24px;align-items:flex-start">'
        f'{head}{"".join(panels)}</div><p style="{_WORDS};margin-top:8px">{key}</p></div>'
    )


def _cell(image: Mapping, picture: Callable[[str], str]) -> str:
    head, place, frame, colour = _LOOKS[image["kind"]]
    name = html.escape(str(image["name"]))
    lines = [html.escape(f"person {image['pid']}"), html.escape(f"view {image['orientation']}")]
    if "sq_distance" in image:
        distance = image["sq_distance"]
        lines.append(f"d² {distance:.1f}" if distance >= 10 else f"d² {distance:.3g}")
    alt = f"{place.format(**image)}: {', '.join(lines)}"
    source = picture(str(image["name"]))
    box = f"box-sizing:border-box;height:140px;max-width:100%;border:{frame};margin:0 auto"
    if source:
        pixels = (
            f'<img src="{html.escape(source)}" alt="{alt}" title="{name}" style="{box};'
            'display:block;width:auto;padding:0;border-radius:0;box-shadow:none">'
        )
    else:
        pixels = f'<div style="{box};width:56px;overflow:hidden;font-size:10px">{name}</div>'
    return (
        f'<li data-kind="{image["kind"]}" data-name="{name}" style="margin:0;padding:0;'
        f"text-align:center;color:{colour};font:11px/1.35 system-ui,sans-serif;"
        f'overflow-wrap:anywhere">{head.format(**image)}{pixels}{"<br>".join(lines)}</li>'
    )


@functools.lru_cache(maxsize=8192)
def picture_address(path: str) -> str:
    """An image file as a `data:` address of a PNG; empty where the file cannot be read."""
    try:
        pixels = load_pixels(pd.DataFrame({"path": [path]}))[0].permute(1, 2, 0).numpy()
    except (OSError, ValueError):
        return ""
    image, file = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail(SIZE)
    image.save(file, "png", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def controls(study: Preset, root: str | Path = "..") -> ipywidgets.VBox:
    """Menus for preset, row, the row beside it, split, orientation and query, and what they choose.

    The presets are `study` and whatever else has finished runs under `root`/results; the queries of
    camera A, hardest first: by their average precision under the row. Pictures are shown where the
    images of a run are found again, by their fingerprint, in the study's folder or under
    `root`/data.

    Args:
        study: the preset to begin with; its last row and first split.
        root: holds data/ and results/.
    Returns:
        A box whose last child, an HTML widget, shows the chosen query's galleries.
    Raises:
        ValueError: `study` has no finished run.
    """
    root = Path(root)
    runs = finished_runs(root / "results", [row.row for row in study.rows])
    if study.name not in runs:
        raise ValueError(f"preset {study.name} has no finished run in {root / 'results'}")
    files, queries_of = _files(study, root), functools.cache(_queries)
    names = [study.name, *(name for name in runs if name != study.name)]
    menus = {
        name: ipywidgets.Dropdown(description=name)
        for name in ("preset", "row", "beside", "split", "orientation", "query")
    }
    menus["query"].layout.width = "36em"
    view = ipywidgets.HTML()

    def draw() -> None:
        """Offer what the menus above leave to choose from, and show what is chosen."""
        of_preset = runs[_offer(menus["preset"], names)]
        rows = list(dict.fromkeys(run.config.row for run in of_preset))
        row = _offer(menus["row"], rows, rows[-1])
        of_row = {run.config.split: run for run in of_preset if run.config.row == row}
        split = _offer(menus["split"], list(of_row))
        run = of_row[split]
        others = {
            other.config.row: other
            for other in of_preset
            if (other.config.split, other.config.data_sha256) == (split, run.config.data_sha256)
            and other is not run
        }
        beside = _offer(menus["beside"], [*others, "none"])
        queries = queries_of(run)
        turns = [("all", 0), *((str(turn), turn) for turn in sorted(set(queries.orientation)))]
        turn = _offer(menus["orientation"], turns)
        shown = queries[queries.orientation == turn] if turn else queries
        words = [
            f"{q.name}   AP {100 * q.AP:.1f} %   (person {q.pid}, orientation {q.orientation})"
            for q in shown.itertuples()
        ]
        name = _offer(menus["query"], list(zip(words, shown.name, strict=True)))
        galleries = {}
        for one in [run, others[beside]] if beside in others else [run]:
            query = queries_of(one)[queries_of(one).name == name].iloc[0].to_dict()
            title = f"{one.config.row}: AP {100 * query['AP']:.1f} %, "
            title += f"first match at rank {query['first_match']:.0f}"
            galleries[title] = nearest(one, name)
        paths = files.get(run.config.data_sha256, {})
        view.value = ranking_html(
            query, galleries, lambda name: picture_address(paths[name]) if name in paths else ""
        )

    drawing = False

    def changed(change) -> None:
        nonlocal drawing
        if drawing:  # a menu that `draw` filled anew, not a person's choice
            return
        drawing = True
        try:
            if change.owner is menus["preset"]:  # the same name is another image there
                menus["query"].value = None
            draw()
        except Exception as error:  # it would end in a log that nobody sees
            view.value = f"<p>{html.escape(f'{type(error).__name__}: {error}')}</p>"
        finally:
            drawing = False

    draw()
    for menu in menus.values():
        menu.observe(changed, "value")
    wrap = ipywidgets.Layout(flex_flow="row wrap")
    first = [menus[name] for name in ("preset", "split", "row", "beside")]
    second = [menus[name] for name in ("orientation", "query")]
    return ipywidgets.VBox(
        [ipywidgets.HBox(first, layout=wrap), ipywidgets.HBox(second, layout=wrap), view]
    )


def show(box: ipywidgets.VBox) -> None:
    """Display what `controls` made; where no kernel runs, its first view stays as plain HTML."""
    display({**box._repr_mimebundle_(), "text/html": box.children[-1].value}, raw=True)


def _offer(menu: ipywidgets.Dropdown, options: list, default=None):
    """Let a menu offer these; a choice that is among them stays, else `default` or the first."""
    values = [option[1] if isinstance(option, tuple) else option for option in options]
    chosen = menu.value
    if chosen not in values:
        chosen = values[0] if default is None else default
    if menu.options != tuple(options):
        menu.options = options
    menu.value = chosen
    return chosen


def _queries(run: Run) -> pd.DataFrame:
    """A row a query of camera A, the hardest first: name, pid, orientation, AP, first_match."""
    queries = run.queries[run.queries.direction == DIRECTION].astype({"name": str})
    turns = dict(zip(run.codes["names"].tolist(), run.codes["orientations"].tolist(), strict=True))
    queries = queries.assign(orientation=queries.name.map(turns))
    return queries.sort_values("AP", kind="stable", ignore_index=True)


def _files(study: Preset, root: Path) -> dict[str, dict[str, str]]:
    """Fingerprint of a data set -> file name -> path, for each folder of images that is known."""
    folders = [folder for folder in (root / "data").glob("embedded-*") if folder.is_dir()]
    found = {}
    for folder in [*folders, study.data] if isinstance(study.data, Path) else folders:
        try:
            index = read_pku(folder)
            found[fingerprint(index)] = {Path(path).name: path for path in index.path}
        except (OSError, ValueError):  # no whole data set, so not of any run
            continue
    return found
