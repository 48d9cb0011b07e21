"""Croissant metadata: its own library accepts it and reads the same data through it."""

import json
import socket
from pathlib import Path

import pandas as pd
import pytest
from conftest import REPOSITORY

from reid_lib.cli import main
from reid_lib.dataset import decode, fingerprint
from reid_lib.pedestrians import write_dataset
from reid_lib.retrieval.readers import read_images

mlcroissant = pytest.importorskip("mlcroissant")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*address, **options):
        raise OSError("a test asked for the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def described(data, capsys):
    """The data set that `reid croissant` describes, as the library reads it."""
    assert main(["croissant", str(data)]) == 0
    file = capsys.readouterr().out.strip()
    found = mlcroissant.Dataset(jsonld=file)
    assert found.metadata.ctx.issues.errors == set()
    assert all("datePublished" in w for w in found.metadata.ctx.issues.warnings)
    return found, json.loads(Path(file).read_text("utf-8"))


@pytest.mark.parametrize("layout", ["pku", "market"])
def test_the_library_reads_each_drawn_image_and_person_through_the_metadata(
    tmp_path, capsys, layout
):
    folder = tmp_path / "a [b] ü"  # characters that a pattern of file names could mistake
    write_dataset(folder, persons=2, seed=3, layout=layout)
    found, text = described(folder, capsys)
    index = read_images(folder)
    assert fingerprint(index) in text["description"]
    read = list(found.records("images"))
    keys = ["images/pid", "images/camid", "images/orientation"]
    pairs = {tuple(line[key] for key in keys): line["images/image"] for line in read}
    assert len(pairs) == len(read) == len(index) == 32
    for path, pid, camid in zip(index.path, index.pid, index.camid, strict=True):
        view = int(Path(path).stem.split("_")[2])  # Market's names hold it as the frame
        assert (decode(Path(path).read_bytes()) == pairs[pid, camid, view]).all()
    persons = pd.DataFrame(found.records("persons"))
    table = pd.read_csv(tmp_path / f"{folder.name}.persons.csv")
    assert list(persons.columns) == [f"persons/{name}" for name in table.columns]
    assert persons["persons/height"].tolist() == table.height.tolist()
    assert [word.decode() for word in persons["persons/top"]] == table["top"].tolist()


def test_the_library_reads_the_committed_records_through_the_metadata(tmp_path, capsys):
    table = (REPOSITORY / "figures" / "pku74" / "runs.csv").read_bytes()
    (tmp_path / "runs.csv").write_bytes(table)
    found, text = described(tmp_path / "runs.csv", capsys)
    frame = pd.read_csv(tmp_path / "runs.csv")
    rows = pd.DataFrame(found.records("runs"))
    assert len(rows) == len(frame)
    assert rows["runs/rank_1"].tolist() == frame["rank-1"].tolist()
    assert rows["runs/deterministic"].tolist() == frame.deterministic.tolist()
    fields = {field["name"]: field for field in text["recordSet"][0]["field"]}
    assert list(fields) == list(frame.columns)
    assert fields["validation"]["description"].startswith("hold out a third")
    (tmp_path / "runs.csv").write_bytes(table + b"\n")  # the metadata hold the file's SHA-256
    with pytest.raises(mlcroissant.GenerationError, match="Download"):
        list(mlcroissant.Dataset(jsonld=tmp_path / "runs.croissant.json").records("runs"))


@pytest.mark.parametrize(
    "content", [None, "path,pid,camid\n", "record,a b,a-b\n1,2,3\n", "", "\xff"]
)
def test_what_is_no_drawn_folder_and_no_table_of_records_is_refused(tmp_path, capsys, content):
    file = tmp_path / ("images" if content is None else "other.csv")
    file.mkdir() if content is None else file.write_text(content, encoding="latin-1")
    assert main(["croissant", str(file)]) == 2
    assert str(file) in capsys.readouterr().err
    assert not (tmp_path / f"{file.stem}.croissant.json").exists()
    assert main(["croissant", str(tmp_path / "none")]) == 2
