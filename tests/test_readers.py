"""Every layout is read as what it is; bad input ends in a sentence that names the file."""

import numpy as np
import pandas as pd
import pytest
from conftest import write_images
from PIL import Image

from reid_lib.cli import main
from reid_lib.config import load_preset
from reid_lib.dataset import (
    MAX_PIXELS,
    decode,
    file_names,
    fingerprint,
    load_pixels,
    split_persons,
    usual_size,
)
from reid_lib.engine.checks import check
from reid_lib.engine.layouts import gives_split, layout
from reid_lib.engine.plan import check_plan
from reid_lib.retrieval.readers import read_csv, read_images, read_market

BASE = ["path", "pid", "camid", "orientation", "name"]


def picture(path, colour=0, size=(16, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([colour, *path.name.encode()])
    Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(path, "png")
    return path


MARKET = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c2s1_000301_01.jpg.jpg"],
    "query": ["0001_c1s1_001051_00.jpg", "0003_c5s3_000000_00.png", "0004_c2s1_000002_00.jpg"],
    "bounding_box_test": [
        "-1_c1s1_000401_03.jpg",
        "0000_c6s1_000151_01.jpg",
        "0001_c2s1_000301_00.jpg",
        "0003_c1s1_000451_03.jpg",
        "0003_c5s1_000451_03.jpg",
        "0004_c2s1_000003_00.jpg",
    ],
}


@pytest.fixture
def market(tmp_path):
    """Two persons to train, three queries, of which the last has no match in another camera."""
    names = {**MARKET, "bounding_box_train": [*MARKET["bounding_box_train"]]}
    names["bounding_box_train"] += ["0007_c1s1_000001_00.jpg", "0007_c3s1_000002_00.jpg"]
    for part, files in names.items():
        for name in files:
            picture(tmp_path / "market" / part / name)
    (tmp_path / "market/query/Thumbs.db").touch()
    return tmp_path / "market"


def table(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "images.csv").write_text(text, encoding="utf-8")
    return folder / "images.csv"


# --- Layouts --------------------------------------------------------------------------------------


def test_market_names_give_person_camera_and_part(market):
    index = read_market(market)
    assert index.columns.tolist() == [*BASE, "split"]
    found = {(row.name, row.pid, row.camid, row.split) for row in index.itertuples(index=False)}
    assert ("bounding_box_test/-1_c1s1_000401_03.jpg", -1, 1, "gallery") in found
    assert ("bounding_box_train/0002_c2s1_000301_01.jpg.jpg", 2, 2, "train") in found
    assert ("query/0003_c5s3_000000_00.png", 3, 5, "query") in found
    assert len(index) == 13 and (index.orientation == 0).all()
    assert index.attrs["layout"].startswith("Market-1501's pattern")


def test_msmt17_is_read_from_its_lists_and_its_two_counts_of_persons_are_kept_apart(tmp_path):
    root = tmp_path / "MSMT17"
    names = {
        "list_train.txt": ("train", "0000/0000_000_01_0303morning_0015_0.jpg 0"),
        "list_val.txt": ("train", "0001/0001_000_15_0303noon_0015_0.jpg 1"),
        "list_query.txt": ("test", "0000/0000_003_02_0303noon_0015_0.jpg 0"),
        "list_gallery.txt": ("test", "0000/0000_004_07_0303noon_0015_0.jpg 0"),
    }
    for file, (part, line) in names.items():
        picture(root / part / line.split()[0])
        (root / file).write_text(line + "\n")
    index = read_market(root)
    assert index[["pid", "camid", "split"]].to_numpy().tolist() == [
        [0, 1, "train"],
        [1, 15, "train"],
        [2, 2, "query"],
        [2, 7, "gallery"],
    ]
    (root / "train/0000/0000_000_01_0303morning_0015_0.jpg").unlink()
    with pytest.raises(ValueError, match=r"0000_000_01_0303morning_0015_0\.jpg: no such file"):
        read_images(root)


def test_msmt17_with_market_names_in_one_folder_has_no_split(tmp_path):
    for name in ("0000_c14_0030.jpg", "0000_c2_0031.jpg", "0001_c2_0032.jpg"):
        picture(tmp_path / name)
    index = read_images(tmp_path)
    assert index.columns.tolist() == BASE
    assert index.camid.tolist() == [2, 14, 2]
    picture(tmp_path / "0001_c2_f0046182.jpg")  # DukeMTMC-reID, withdrawn, is not supported
    with pytest.raises(ValueError, match=r"0001_c2_f0046182\.jpg: the name does not match"):
        read_images(tmp_path)


def test_a_table_needs_three_columns_and_takes_two_more(tmp_path):
    for name in ("b/1.png", "a/1.png", "c.png"):
        picture(tmp_path / name)
    file = table(tmp_path, "pid,path,camid\n5,b/1.png,2\n5,a/1.png,1\n3,c.png,1\n")
    index = read_csv(file)
    assert index.columns.tolist() == BASE
    assert index.pid.tolist() == [3, 5, 5] and index.orientation.tolist() == [0, 0, 0]
    assert file_names(index) == ["c.png", "a/1.png", "b/1.png"]  # two of one name, told apart
    text = "path,pid,camid,orientation,split\nb/1.png,5,2,7,query\na/1.png,5,1,,gallery\n"
    index = read_csv(table(tmp_path, f"{text}c.png,-1,1,,gallery\n"))
    assert index[["pid", "orientation", "split"]].to_numpy().tolist() == [
        [-1, 0, "gallery"],
        [5, 0, "gallery"],
        [5, 7, "query"],
    ]


@pytest.mark.parametrize(
    "kind", ["pku", "market", "csv"], ids=["PKU-ReID", "Market-1501", "a CSV file"]
)
def test_a_layout_is_recognised_and_the_check_says_which(folder, market, capsys, kind):
    rows = [f"images/{path.name},{path.name[:3]},{path.name[4]}\n" for path in folder.iterdir()]
    file = table(folder.parent, "path,pid,camid\n" + "".join(rows))
    data = {"pku": folder, "market": market, "csv": file}[kind]
    assert layout(data) == kind
    main(["check", str(data)])
    words = {"pku": "PKU-ReID's pattern", "market": "Market-1501's pattern", "csv": "a CSV file"}
    assert f"layout        {words[kind]}" in capsys.readouterr().out
    assert read_images(data).attrs["layout"].startswith(words[kind])


def test_the_fingerprint_knows_the_split_and_not_the_layout(folder):
    names = [path.name for path in sorted(folder.iterdir())]
    rows = [f"images/{n},{n[:3]},{n[4]},{n[6]}" for n in names]
    file = table(folder.parent, "path,pid,camid,orientation\n" + "\n".join(rows))
    assert fingerprint(read_csv(file)) == fingerprint(read_images(folder))
    parts = ["train" if n[:3] < "004" else "query" if n[4] == "1" else "gallery" for n in names]
    rows = [f"{row},{part}" for row, part in zip(rows, parts, strict=True)]
    file = table(folder.parent, "path,pid,camid,orientation,split\n" + "\n".join(rows))
    assert fingerprint(read_csv(file)) != fingerprint(read_images(folder))


# --- The split ------------------------------------------------------------------------------------


def test_a_split_that_the_data_give_is_used_as_it_is(market):
    index = read_images(market)
    train, test = split_persons(index)
    assert set(train["split"]) == {"train"} and set(train.pid) == {2, 7}
    assert set(test["split"]) == {"query", "gallery"} and len(test) == 9
    smaller, held_out = split_persons(index, validation=True)
    assert len(smaller) + len(held_out) == len(train)
    for more in ({"seed": 1}, {"train_persons": 2}):
        with pytest.raises(ValueError, match="the data set defines its own split"):
            split_persons(index, **more)


def test_a_preset_of_ten_splits_has_one_where_the_data_give_it(market, folder):
    assert gives_split(market) and not gives_split(folder)
    assert load_preset("pku_likely", data=market).splits == (0,)
    assert len(load_preset("pku_likely", data=folder).splits) == 10
    with pytest.raises(ValueError, match=r"SPLITS is '0,1', but .*market defines its own split"):
        load_preset("pku_likely", data=market, splits="0,1")


def test_synth_writes_the_same_drawings_in_either_layout(tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    for kind in ("pku", "market"):
        command = ["synth", str(tmp_path / kind), "--persons", "4", "--layout", kind]
        assert main(command) == 0
    index = read_images(tmp_path / "market")
    assert index["split"].value_counts().to_dict() == {"train": 32, "gallery": 28, "query": 4}
    one, other = (
        sorted(path.read_bytes() for path in (tmp_path / kind).rglob("*.png"))
        for kind in ("pku", "market")
    )
    assert one == other
    assert check(tmp_path / "market").errors == []


# --- The check ------------------------------------------------------------------------------------


def test_junk_and_distractors_are_no_persons_and_lost_queries_are_named(market):
    junk = market / "bounding_box_test/-1_c1s1_000401_03.jpg"
    junk.write_bytes((market / "bounding_box_test/0001_c2s1_000301_00.jpg").read_bytes())
    report = check(market)  # junk that repeats a person's image falsifies nothing
    assert report.errors == []
    assert report.summary["persons"] == 5
    assert report.summary["split"] == "train 4, query 3, gallery 6"
    lost = "1 queries without a match in another camera: query/0004_c2s1_000002_00.jpg"
    assert lost in report.notices


def test_a_person_in_both_parts_and_junk_outside_the_gallery_are_errors(market):
    picture(market / "bounding_box_train/0001_c4s1_000001_00.jpg")
    picture(market / "query/-1_c4s1_000001_00.jpg")
    errors = "\n".join(check(market).errors)
    assert "persons 1 are in both the training and the test set" in errors
    assert "query/-1_c4s1_000001_00.jpg: junk (pid -1) outside a gallery" in errors


def test_a_missing_view_is_an_error_only_where_the_data_claim_to_be_pku_reid(folder, capsys):
    (folder / "002_1_3.png").unlink()
    report = check(folder)
    assert not report.errors
    line = "1 of 96 views are missing, the first 2_1_3: missing view; an error in PKU-ReID"
    assert line in report.notices
    assert check(folder, pku=True).errors == ["2_1_3: missing view"]
    assert main(["check", str(folder)]) == 0 and main(["check", str(folder), "--pku"]) == 2


def test_a_person_in_one_camera_or_on_one_image_is_named(folder):
    for path in folder.glob("002_2_*.png"):
        path.unlink()
    for path in list(folder.glob("003_*.png"))[1:]:
        path.unlink()
    notices = check(folder).notices
    assert "persons 2, 3: in one camera only" in notices
    assert "persons 3: in one image only" in notices
    for path in folder.glob("*_2_*.png"):
        if path.name[2] != "2":
            path.unlink()
    assert check(folder).errors  # one camera, or nobody seen by two


def test_what_cannot_be_scored_is_refused(folder, tmp_path):
    write_images(tmp_path / "three", 3)
    (error,) = check(tmp_path / "three").errors
    assert error.startswith("3 persons; expected at least four: two for training and two for")
    rows = []
    for i, path in enumerate(sorted(folder.iterdir())):
        rows.append(f"images/{path.name},{path.name[:3]},{i % 27}")
    many = table(tmp_path, "path,pid,camid\n" + "\n".join(rows))
    assert any("27 cameras; at most 26 can be scored" in error for error in check(many).errors)
    apart = [f"images/{p.name},{p.name[:3]},{int(p.name[:3]) % 2}" for p in folder.iterdir()]
    errors = check(table(tmp_path, "path,pid,camid\n" + "\n".join(apart))).errors
    assert "no query has a match: nobody is seen by two cameras" in errors


def test_a_split_whose_test_persons_are_never_seen_twice_is_refused(folder, preset_file, tmp_path):
    index = read_images(folder)
    _, test = split_persons(index, 0)
    for name in [n for n in file_names(test) if n[4] == "2"]:
        (folder / name).unlink()
    assert check(folder).errors == []
    with pytest.raises(ValueError, match=r"split 0: no test person is seen by two cameras"):
        check_plan(load_preset(preset_file), tmp_path)


# --- Bad input ------------------------------------------------------------------------------------

BAD = {
    "no column": ("path,pid\na.png,1\n", r"images\.csv has no column camid; it has path, pid"),
    "empty": ("", r"images\.csv has no column path, pid, camid"),
    "no row": ("path,pid,camid\n", r"no images found in .*images\.csv"),
    "a word": (
        "path,pid,camid\na.png,one,1\n",
        r"row 2, a\.png: pid is 'one', camid '1', orientation ''; expec",
    ),
    "orientation": (
        "path,pid,camid,orientation\na.png,1,1,9\n",
        r"row 2, a\.png: .*, orientation '9'",
    ),
    "no file": ("path,pid,camid\nb.png,1,1\n", r"row 2, b\.png: no such file"),
    "twice": ("path,pid,camid\na.png,1,1\na.png,2,1\n", r"a\.png: .* listed more than once"),
    "split": ("path,pid,camid,split\na.png,1,1,val\n", r"row 2, a\.png: split is 'val'; expected"),
    "junk": ("path,pid,camid\na.png,-1,1\n", r"a\.png: junk \(pid -1\) outside a gallery"),
    "break": ('path,pid,camid\n"b\nc.png",1,1\n', r"row 2, b\\nc\.png: no such file"),
}


@pytest.mark.parametrize("text, message", BAD.values(), ids=BAD)
def test_a_bad_table_is_refused_by_row_and_name(tmp_path, text, message):
    picture(tmp_path / "a.png")
    with pytest.raises(ValueError, match=message):
        read_images(table(tmp_path, text))
    assert main(["check", str(tmp_path / "images.csv")]) == 2


def test_bytes_that_are_no_text_and_a_missing_table_are_refused_by_name(tmp_path):
    (tmp_path / "images.csv").write_bytes(b"path,pid,camid\n\xff\xfe,1,1\n")
    with pytest.raises(ValueError, match=r"images\.csv is not a CSV file in UTF-8"):
        read_csv(tmp_path / "images.csv")
    with pytest.raises(ValueError, match=r"none\.csv is not a file"):
        read_images(tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"only the folders train, test; expected both query and"):
        for part in ("train", "test"):
            (tmp_path / "half" / part).mkdir(parents=True)
        read_images(tmp_path / "half")


def test_a_name_with_html_or_a_line_break_stays_on_its_line(tmp_path, capsys):
    names = ['<img src=x onerror="alert(1)">.png', "line\nbreak.png"]
    rows = []
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(b"no image")
        quoted = name.replace('"', '""')
        rows.append(f'"{quoted}",{i},{i}')
    file = table(tmp_path, "path,pid,camid\n" + "\n".join(rows))
    assert file_names(read_csv(file)) == names
    assert main(["check", str(file)]) == 2
    said = capsys.readouterr().out.splitlines()
    assert "error: line\\nbreak.png: cannot be read (not an image)" in said
    assert f"error: {names[0]}: cannot be read (not an image)" in said
    with pytest.raises(ValueError, match=r"alert\(1\).*cannot be read"):
        load_pixels(read_csv(file))


def saved(path, image, **how):
    image.save(path, **how)
    return path.read_bytes()


def test_other_kinds_of_pixels_become_rgb_with_eight_bits(tmp_path):
    red = Image.new("RGB", (8, 16), (200, 40, 40))
    cmyk = decode(saved(tmp_path / "cmyk.jpg", red.convert("CMYK"), quality=100))
    assert np.abs(cmyk.astype(int) - [200, 40, 40]).max() < 12
    deep = np.full((16, 8), 200 * 257, dtype=np.uint16)
    grey = decode(saved(tmp_path / "deep.png", Image.fromarray(deep)))
    assert grey.shape == (16, 8, 3) and (grey == 200).all()
    for mode in ("L", "P", "LA", "RGBA", "1"):
        assert decode(saved(tmp_path / "m.png", red.convert(mode))).shape == (16, 8, 3)
    with pytest.raises(ValueError, match=r"mode 'F'; expected 8 or 16 bits"):
        decode(saved(tmp_path / "f.tif", Image.new("F", (8, 16))))


def test_an_image_is_turned_upright_as_its_exif_data_say(tmp_path):
    upright = np.zeros((16, 8, 3), np.uint8)
    upright[:8] = 255  # the head is bright
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side, to be turned clockwise
    lying = Image.fromarray(np.rot90(upright))
    data = saved(tmp_path / "1_1_1.jpg", lying, exif=exif, quality=100)
    assert decode(data).shape == (16, 8, 3)
    assert decode(data)[:7].mean() > 240 and decode(data)[9:].mean() < 15
    assert usual_size(pd.DataFrame({"path": [str(tmp_path / "1_1_1.jpg")]})) == (16, 8)


def one_pixel(path):
    Image.new("RGB", (1, 1)).save(path)


def huge(path):
    Image.new("1", (10_000, 10_000)).save(path)


def truncated(path):
    noise = np.random.default_rng(0).integers(0, 256, (48, 24, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, "jpeg")
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    "spoil, message",
    [
        (one_pixel, "001_1_1.png: 1 x 1 pixels are too few"),
        (huge, f"001_1_1.png: 10000 x 10000 pixels; at most {MAX_PIXELS:,} can be read"),
        (truncated, "001_1_1.png: cannot be read (image file is truncated"),
    ],
)
def test_an_image_that_shows_nobody_is_refused_by_name(folder, spoil, message, recwarn):
    spoil(folder / "001_1_1.png")
    assert any(message in error for error in check(folder, one_size=False).errors)
    assert not recwarn.list
