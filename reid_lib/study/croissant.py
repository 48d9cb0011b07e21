"""Metadata in the Croissant format, for synthetic images and for tables of records.

Catalogues of data sets read it. Version 1.0 (`http://mlcommons.org/croissant/1.0`), written and
validated by `mlcroissant`.
"""

import glob
import re
from pathlib import Path

import pandas as pd

from reid_lib import __version__
from reid_lib.config import RunConfig
from reid_lib.dataset import fingerprint
from reid_lib.engine.files import sha256, write_json
from reid_lib.retrieval.readers import read_images

LICENCE = "https://spdx.org/licenses/MIT"
CITATION = "reid_lib: a reproducible companion to 'What Makes You Look Like You'"
IDS = {  # field of an image -> its number in the file's name, in PKU-ReID's or Market-1501's names
    "pid": r"^(\d+)_",
    "camid": r"^\d+_c?(\d+)",
    "orientation": r"^\d+_(?:\d+_|c\d+s1_0*)(\d)",
}
KINDS = {"b": "BOOL", "i": "INTEGER", "f": "FLOAT"}  # of a column's dtype; any other is text
COLUMNS = {name: field.description for name, field in RunConfig.model_fields.items()}


def write_croissant(data: str | Path) -> Path:
    """Write `<data>.croissant.json`, the metadata of a data set, beside the data set.

    Args:
        data: a folder written by `reid synth`, with its `<data>.persons.csv` beside it; or a
            table of records, such as figures/pku74/runs.csv.
    Returns:
        The file that was written. It names its files relative to itself; keep them together.
    Raises:
        ValueError: `data` is neither.
    """
    import mlcroissant  # in the extra `share`

    data = Path(data).absolute()
    if data.is_dir():
        metadata = _images(mlcroissant, data)
    elif data.suffix == ".csv" and data.is_file():
        metadata = _records(mlcroissant, data)
    else:
        raise ValueError(f"{data} is neither a folder of `reid synth` nor a CSV file")
    out = data.with_name(f"{data.name.removesuffix('.csv')}.croissant.json")
    write_json(out, metadata.to_json())
    return out


def _metadata(mlc, data: Path, about: str, files: list, records: list):
    names = {"name": data.name.removesuffix(".csv"), "description": about}
    common = {"license": [LICENCE], "version": __version__, "cite_as": CITATION}
    try:
        return mlc.Metadata(**names, **common, distribution=files, record_sets=records)
    except mlc.ValidationError as error:
        raise ValueError(f"{data} cannot be described: {error}") from None


def _images(mlc, folder: Path):
    """The images, with what their names say, and the persons that they show."""
    persons = folder.with_name(f"{folder.name}.persons.csv")
    if not persons.is_file():
        raise ValueError(f"{persons} is missing: expected a folder of `reid synth`")
    about = "What each person looks like and wears."
    file, table = _table(mlc, persons, "persons", about)
    here = {"id": "files", "name": "files", "encoding_formats": ["image/png"]}
    images = mlc.FileSet(**here, includes=[f"{glob.escape(folder.name)}/*.png"])
    content = mlc.Source(file_set="files", extract=mlc.Extract(file_property="content"))
    fields = [_field(mlc, "images", "image", "IMAGE_OBJECT", content)]
    for name, pattern in IDS.items():
        source = mlc.Source(
            file_set="files",
            extract=mlc.Extract(file_property="filename"),
            transforms=[mlc.Transform(regex=pattern)],
        )
        fields.append(_field(mlc, "images", name, "INTEGER", source))
    digest = fingerprint(read_images(folder))
    about = f"Synthetic persons; no photograph. data_sha256 of runs on these images: {digest}"
    records = [mlc.RecordSet(id="images", name="images", fields=fields), table]
    return _metadata(mlc, folder, about, [images, file], records)


def _records(mlc, file: Path):
    """One table of `reid records`."""
    head = file.read_text("utf-8", errors="replace").partition("\n")[0]
    if not head.startswith("record,"):
        raise ValueError(f"{file} begins {head[:40]!r}; expected runs.csv of `reid records`")
    part, records = _table(mlc, file, "runs", "One row per training run; scores in percent.")
    about = "Scores of trained networks, and every value that decided each run."
    return _metadata(mlc, file, about, [part], [records])


def _table(mlc, path: Path, name: str, about: str):
    """A CSV file, and its columns as one set of records."""
    kind = {"encoding_formats": ["text/csv"], "content_url": path.name}
    file = mlc.FileObject(id="table", name=path.name, sha256=sha256(path), **kind)
    fields = []
    for column, dtype in pd.read_csv(path).dtypes.items():
        source = mlc.Source(file_object="table", extract=mlc.Extract(column=column))
        kind = KINDS.get(dtype.kind, "TEXT")
        fields.append(_field(mlc, name, column, kind, source, COLUMNS.get(column)))
    return file, mlc.RecordSet(id=name, name=name, description=about, fields=fields)


def _field(mlc, records: str, name: str, kind: str, source, about: str | None = None):
    key = re.sub(r"\W+", "_", name)
    types = [getattr(mlc.DataType, kind)]
    whole = {"data_types": types, "source": source, "description": about}
    return mlc.Field(id=f"{records}/{key}", name=name, **whole)
