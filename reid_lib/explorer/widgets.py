"""The explorer's data, its HTML and its menus; the template escapes all text from files."""

import base64
import contextlib
import functools
import html
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import ipywidgets
import jinja2
import numpy as np
import pandas as pd
from IPython.display import display
from PIL import Image

from reid_lib.config import Preset
from reid_lib.dataset import file_names, fingerprint, load_pixels, printable
from reid_lib.engine.plan import read_data
from reid_lib.engine.runs import Run, read_run
from reid_lib.metrics import rank_gallery
from reid_lib.retrieval.readers import read_images

SIZE = 128, 256  # pixels: the largest width and height of a picture
MENUS = ("preset", "split", "row", "beside", "orientation", "query")
_PAGES = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)


def finished_runs(results: str | Path, rows: list[str] = ()) -> dict[str, list[Run]]:
    """All runs under a folder that are complete and did not fail.

    Args:
        results: folder that contains `<preset>/<row>/split-<k>/`.
        rows: names of rows in the order to keep; others follow by name.
    Returns:
        Preset -> its runs, by row and split. Folders without a complete run are left out.
    """
    found = {}
    for manifest in Path(results).glob("*/*/split-*/manifest.json"):
        with contextlib.suppress(ValueError):  # half copied, or written by another version
            run = read_run(manifest.parent)
            place = [*rows, run.config.row].index(run.config.row), run.config.row, run.config.split
            if not run.failed:
                found.setdefault(manifest.parents[2].name, {})[place] = run
    return {preset: [run for _, run in sorted(found[preset].items())] for preset in sorted(found)}


def nearest(run: Run, name: str, k: int = 10) -> pd.DataFrame:
    """The k gallery images nearest to a query, nearest first.

    Args:
        run: a completed run.
        name: the query's file name; its gallery is that of its first direction in `run.queries`.
        k: how many.
    Returns:
        One row per image: name, pid, orientation, sq_distance, kind ("correct", "wrong" or "junk"),
        rank (junk is not counted and has rank 0).
    Raises:
        ValueError: the run has no query of that name.
    """
    asked = run.queries.direction[run.queries.name.astype(str) == name]
    if asked.empty:
        raise ValueError(f"{run.folder} has no test image {name!r} that is a query")
    query, gallery = run.query_gallery(asked.iloc[0])
    place = np.flatnonzero(query["names"] == name)[0]
    each = [
        part for key in ("codes", "pids", "camids") for part in (query[key][place], gallery[key])
    ]
    order = rank_gallery(*each).head(k)
    shown = {key: gallery[key][order.row] for key in ("names", "pids", "orientations")}
    frame = pd.DataFrame(shown).rename(columns=lambda key: key.rstrip("s"))
    return frame.assign(
        sq_distance=order.distance.to_numpy() ** 2,
        kind=np.select([order.junk, order.match], ["junk", "correct"], "wrong"),
        rank=order["rank"].to_numpy(),
    )


def ranking_html(
    query: Mapping, galleries: Mapping[str, pd.DataFrame], picture: Callable[[str], str]
) -> str:
    """A query and its nearest gallery images, once for each row of the table, as HTML.

    Args:
        query: with name, pid and orientation.
        galleries: title -> as `nearest` returns it.
        picture: a file name to an address such as `data:...`; if empty, the name is shown.
    Returns:
        One <div>; all text in it is escaped.
    """
    images = {str(title): gallery.to_dict("records") for title, gallery in galleries.items()}
    page = _PAGES.get_template("ranking.html.j2")
    return page.render(query={**query, "kind": "query"}, galleries=images, picture=picture)


@functools.lru_cache(maxsize=8192)
def picture_address(path: str) -> str:
    """An image file as a `data:` address of a PNG; empty if the file cannot be read."""
    try:
        pixels = load_pixels(pd.DataFrame({"path": [path]}))[0].permute(1, 2, 0).numpy()
    except (OSError, ValueError):
        return ""
    image, file = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail(SIZE)
    image.save(file, "png", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def controls(study: Preset, root: str | Path = "..") -> ipywidgets.VBox:
    """Menus for preset, split, row, the row beside it, orientation and query, and their galleries.

    The presets are `study` and all others with completed runs under `root`/results; the queries are
    those of camera A to B, or the data's own, in ascending order of their average precision under
    the row. Pictures are shown if a folder under `root`/data, or the study's own data, has the
    fingerprint of the run's data.

    Args:
        study: the preset to begin with; its last row and first split.
        root: project folder that contains data/ and results/.
    Returns:
        A box whose last child, an HTML widget, shows the chosen query's galleries.
    Raises:
        ValueError: `study` has no completed run.
    """
    runs = finished_runs(Path(root) / "results", [row.row for row in study.rows])
    if study.name not in runs:
        raise ValueError(f"preset {study.name} has no completed run in {Path(root) / 'results'}")
    runs = {study.name: runs[study.name], **runs}
    files, queries_of, busy = _files(study, Path(root)), functools.cache(_queries), []
    menus = {name: ipywidgets.Dropdown(description=name) for name in MENUS}
    menus["query"].layout.width, view = "36em", ipywidgets.HTML()

    def changed(change=None) -> None:
        if busy:  # a menu that `_choose` filled, not a choice of the reader's
            return
        busy.append(True)
        try:
            if change and change.owner is menus["preset"]:  # the same name is another image there
                menus["query"].value = None
            name, shown = _choose(menus, runs, queries_of)
            galleries = {}
            for run in shown:
                query = queries_of(run)[queries_of(run).name == name].iloc[0].to_dict()
                title = f"{run.config.row}: AP {100 * query['AP']:.1f} %, "
                title += f"first match at rank {query['first_match']:.0f}"
                galleries[title] = nearest(run, name)
            paths = files.get(shown[0].config.data_sha256, {})
            view.value = ranking_html(query, galleries, lambda n: picture_address(paths.get(n, "")))
        except Exception as error:  # otherwise only the kernel's log would show it
            view.value = f"<p>{html.escape(f'{type(error).__name__}: {error}')}</p>"
        finally:
            busy.clear()

    changed()
    for menu in menus.values():
        menu.observe(changed, "value")
    wrap, lines = ipywidgets.Layout(flex_flow="row wrap"), (MENUS[:4], MENUS[4:])
    boxes = [ipywidgets.HBox([menus[name] for name in line], layout=wrap) for line in lines]
    return ipywidgets.VBox([*boxes, view])


def _choose(menus: Mapping, runs: Mapping, queries_of: Callable) -> tuple[str, list[Run]]:
    """Offer in each menu what those before it leave; returns the query and the runs to show."""
    of_preset = runs[_offer(menus["preset"], list(runs))]
    rows = list(dict.fromkeys(run.config.row for run in of_preset))
    row = _offer(menus["row"], rows, rows[-1])
    of_row = {run.config.split: run for run in of_preset if run.config.row == row}
    run = of_row[_offer(menus["split"], list(of_row))]
    others = {
        other.config.row: other
        for other in of_preset
        if other.config.split == run.config.split
        and other.config.data_sha256 == run.config.data_sha256
        and other is not run
    }
    beside = others.get(_offer(menus["beside"], [*others, "none"]))
    queries = queries_of(run)
    known = sorted(set(queries.orientation) - {0})
    turns = [("all", 0), *((str(turn), turn) for turn in known)]
    turn = _offer(menus["orientation"], turns)
    offered = [q for q in queries.itertuples() if turn in (0, q.orientation)]
    name = _offer(menus["query"], [(_query_words(q), q.name) for q in offered])
    return name, [run] if beside is None else [run, beside]


def _query_words(query) -> str:
    turn = f", orientation {query.orientation}" if query.orientation else ""
    words = f"{printable(query.name)}   AP {100 * query.AP:.1f} %"
    return f"{words}   (person {query.pid}{turn})"


def _offer(menu: ipywidgets.Dropdown, options: list, default=None):
    """Let a menu offer these; keep its choice if it is among them, else `default` or the first."""
    values = [option[1] if isinstance(option, tuple) else option for option in options]
    fallback = values[0] if default is None else default
    chosen = menu.value if menu.value in values else fallback
    if menu.options != tuple(options):
        menu.options = options
    menu.value = chosen
    return chosen


def show(box: ipywidgets.VBox) -> None:
    """Display what `controls` made; where no kernel runs, its first view remains as plain HTML."""
    display({**box._repr_mimebundle_(), "text/html": box.children[-1].value}, raw=True)


def _queries(run: Run) -> pd.DataFrame:
    """One row per query of the first direction, hardest first: name, pid, orientation, AP, ..."""
    queries = run.queries[run.queries.direction == run.queries.direction.iloc[0]]
    queries = queries.dropna(subset="AP").astype({"name": str})
    turns = dict(zip(run.codes["names"].tolist(), run.codes["orientations"].tolist(), strict=True))
    queries = queries.assign(orientation=queries.name.map(turns))
    return queries.sort_values("AP", kind="stable", ignore_index=True)


def _files(study: Preset, root: Path) -> dict[str, dict[str, str]]:
    """Fingerprint of a data set -> file name -> path, for each known folder of images."""
    folders = [*(root / "data").glob("embedded-*"), *[study.data] * isinstance(study.data, Path)]
    found = {}
    for folder in filter(Path.exists, folders):
        with contextlib.suppress(OSError, ValueError):  # no complete data set, so no run used it
            index = read_data(study, folder) if folder is study.data else read_images(folder)
            found[fingerprint(index)] = dict(zip(file_names(index), index.path, strict=True))
    return found
