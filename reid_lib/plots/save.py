"""Write a figure as PDF, PNG and alt text."""

import functools
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from reid_lib.engine.files import write_file, write_text
from reid_lib.plots.style import in_style


@in_style()
def save(
    figure: Figure,
    folder: str | Path,
    name: str,
    alt: str,
    metadata: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write a figure as `name.pdf` and `name.png` (200 dpi), with its alt text in `name.alt.txt`.

    Each file is written under a temporary name and then renamed. Nothing in the files depends on
    the time, so the same figure gives the same bytes.

    Args:
        figure: what to save; it stays open.
        folder: where to save it; created if it does not exist.
        name: the files' name without a suffix.
        alt: a description for readers who cannot see the figure; also in both files' metadata.
        metadata: such as preset, config hash and commit: the PDF's keywords, the PNG's text chunks.
    Returns:
        The three paths: PDF, PNG, alt text.
    Raises:
        ValueError: `alt` is empty, or `name` is not a plain file name.
    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     [path.name for path in save(Figure(), folder, "empty", "An empty figure.")]
        ['empty.pdf', 'empty.png', 'empty.alt.txt']
    """
    if not alt.strip():
        raise ValueError(f"the alt text of {name!r} is empty; say what the figure shows")
    if not name or name.startswith(".") or set(name) & set("/\\\0"):
        raise ValueError(f"{name!r} is not a plain file name; give one without folders")
    pairs = {str(key): str(value) for key, value in sorted((metadata or {}).items())}
    keywords = "; ".join(f"{key}={value}" for key, value in pairs.items())
    pdf = {"Title": name, "Subject": alt, "Keywords": keywords, "Creator": "reid_lib"}
    about = {  # without the time and matplotlib's version
        "pdf": {**pdf, "Producer": None, "CreationDate": None},
        "png": {"Title": name, "Description": alt, **pairs, "Software": None},
    }
    paths = [Path(folder) / f"{name}.{suffix}" for suffix in ("pdf", "png", "alt.txt")]
    for path, dpi in zip(paths[:2], (300, 200), strict=True):  # in a PDF: the dpi of its images
        kind = path.suffix[1:]
        draw = functools.partial(figure.savefig, format=kind, dpi=dpi, metadata=about[kind])
        write_file(path, draw)
    write_text(paths[2], alt.strip() + "\n")
    return paths
