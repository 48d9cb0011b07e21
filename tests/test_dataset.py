"""The reader, the check and the splits, on folders with planted faults."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, write_images
from PIL import Image

from reid_lib.cli import main
from reid_lib.config import load_preset
from reid_lib.dataset import fingerprint, load_pixels, read_pku, split_persons, split_pids
from reid_lib.engine.checks import check
from reid_lib.engine.plan import check_plan, open_data
from reid_lib.engine.runs import read_run

PKU74 = REPOSITORY / "splits" / "pku74.json"
SPLITS_OF_114 = "134fae08ced5d1e69dacf2d866b9e8f5d78c9a75a3a05d9182d59d82c6ad687e"


def test_the_index_is_sorted_by_number_whatever_the_padding(tmp_path):
    write_images(tmp_path, 12)
    for path in list(tmp_path.iterdir()):
        if path.name.startswith("002"):
            path.rename(tmp_path / path.name.removeprefix("00"))
    index = read_pku(tmp_path)
    assert list(index.columns) == ["path", "pid", "camid", "orientation"]
    assert index.pid.tolist() == sorted(list(range(1, 13)) * 16)
    assert index.orientation.tolist() == [*range(1, 9)] * 24


def test_images_are_read_by_content_not_by_suffix(folder):
    for path in folder.iterdir():
        Image.open(path).save(path.with_suffix(".jpg"), quality=95)
        path.with_suffix(".jpg").rename(path)  # JPEG data under a .png name
    assert check(folder).errors == []
    assert load_pixels(read_pku(folder)).shape == (96, 3, 48, 24)


def test_pixels_are_those_of_the_files_in_index_order(folder):
    index = read_pku(folder)
    pixels = load_pixels(index)
    assert pixels.dtype == torch.uint8
    for row in (0, 50, 95):
        expected = np.asarray(Image.open(index.path[row])).transpose(2, 0, 1)
        assert np.array_equal(pixels[row], expected)
    assert load_pixels(index, (16, 8)).shape == (96, 3, 16, 8)


def test_a_clean_folder_has_only_notices(folder):
    report = check(folder)
    assert report.errors == []
    assert report.notices == [
        "images are 24 x 48 pixels; PKU-ReID's are 48 x 128",
        "6 persons; the complete PKU-ReID has 114",
    ]
    assert report.summary["images"] == 96


def remove_a_view(folder):
    (folder / "002_1_3.png").unlink()


def double_a_view(folder):
    shutil.copy(folder / "003_2_1.png", folder / "3_2_1.png")


def truncate(folder):
    path = folder / "001_1_1.png"
    path.write_bytes(path.read_bytes()[:300])


def not_an_image(folder):
    (folder / "001_1_1.png").write_bytes(b"hello")


def resize_one(folder):
    Image.new("RGB", (30, 48)).save(folder / "004_1_2.png")


def misname(folder):
    (folder / "001_1_1.png").rename(folder / "001-1-1.png")


def one_image_two_persons(folder):
    shutil.copy(folder / "001_1_1.png", folder / "002_1_1.png")


def one_image_two_cameras(folder):
    shutil.copy(folder / "001_1_1.png", folder / "001_2_1.png")


def a_ninth_orientation(folder):
    Image.new("RGB", (24, 48)).save(folder / "001_1_9.png")


@pytest.mark.parametrize(
    "fault, message",
    [
        (remove_a_view, "2_1_3: missing view"),
        (double_a_view, "003_2_1.png, 3_2_1.png: duplicate view"),
        (truncate, "001_1_1.png: cannot be read"),
        (not_an_image, "001_1_1.png: cannot be read (not an image)"),
        (resize_one, "004_1_2.png: 30 x 48 pixels, most have 24 x 48"),
        (misname, "001-1-1.png: the name does not match"),
        (one_image_two_persons, "001_1_1.png, 002_1_1.png: the same image under two persons"),
        (one_image_two_cameras, "001_1_1.png, 001_2_1.png: the same image under two cameras"),
        (a_ninth_orientation, "001_1_9.png: orientation 9 is not one of 1 to 8"),
    ],
)
def test_a_fault_that_would_falsify_a_score_is_an_error_by_name(folder, capsys, fault, message):
    fault(folder)
    assert any(message in error for error in check(folder, pku=True).errors)
    assert main(["check", str(folder), "--pku"]) == 2
    assert message in capsys.readouterr().out


def test_missing_views_take_one_line_per_person_and_camera(folder):
    Image.new("RGB", (24, 48)).save(folder / "5_3_1.png")
    errors = check(folder, pku=True).errors
    assert "3 cameras; PKU-ReID has 2" in errors
    missing = [line for line in errors if "missing" in line]
    assert len(missing) == 6  # camera 3 has one view of one person and none of the others
    assert "1_3_1, 1_3_2, 1_3_3, 1_3_4, 1_3_5, 1_3_6, 1_3_7, 1_3_8: missing view" in missing


def test_other_sizes_are_only_a_notice_where_images_are_resized(folder):
    resize_one(folder)
    assert "set image_size" in check(folder).errors[0]
    resized = check(folder, one_size=False)
    assert not resized.errors
    assert any("1 images have other sizes: 004_1_2.png" in line for line in resized.notices)


@pytest.mark.parametrize("what, left", [("person 1", "*1_?_?.png"), ("camera 1", "*_1_?.png")])
def test_a_single_person_or_camera_is_an_error(folder, what, left):
    for path in set(folder.iterdir()) - set(folder.glob(left)):
        path.unlink()
    assert f"only {what}; scores need two or more" in check(folder).errors


def test_names_that_do_not_fit_are_shown(tmp_path):
    (tmp_path / "1_A_1.png").touch()
    with pytest.raises(ValueError, match=r"\(three numbers\) in .*it holds 1_A_1\.png"):
        read_pku(tmp_path)


def test_one_image_under_two_orientations_is_only_a_notice(folder, capsys):
    shutil.copy(folder / "005_1_4.png", folder / "005_1_5.png")
    report = check(folder)
    assert report.errors == []
    assert "005_1_4.png, 005_1_5.png: the same image under two orientations" in report.notices
    assert main(["check", str(folder)]) == 0


def test_a_missing_or_empty_folder_names_every_layout_and_where_to_get_pku(tmp_path, capsys):
    other_layouts = "Expected .*Market-1501.*MSMT17.*CSV file.*PKU-Reid-Dataset"
    with pytest.raises(ValueError, match=rf"none is not a folder\. {other_layouts}"):
        read_pku(tmp_path / "none")
    with pytest.raises(ValueError, match=rf"no image named personId_.*{other_layouts}"):
        read_pku(tmp_path)
    assert main(["check", str(tmp_path / "none")]) == 2
    assert "PKU-Reid-Dataset" in capsys.readouterr().err


def test_the_reader_refuses_what_it_would_have_to_guess(folder):
    double_a_view(folder)
    with pytest.raises(ValueError, match=r"duplicate views.*3_2_1\.png"):
        read_pku(folder)
    misname(folder)
    with pytest.raises(ValueError, match=r"1 names .* 001-1-1\.png"):
        read_pku(folder)


def test_an_unreadable_or_odd_image_is_named_when_pixels_are_loaded(folder):
    truncate(folder)
    with pytest.raises(ValueError, match=r"001_1_1\.png: cannot be read.*reid check"):
        load_pixels(read_pku(folder))
    write_images(folder, 6)
    resize_one(folder)
    with pytest.raises(ValueError, match=r"004_1_2\.png: 30 x 48 .*set image_size"):
        load_pixels(read_pku(folder))


def test_the_fingerprint_follows_content_and_identity_but_not_padding(folder, tmp_path):
    before = fingerprint(read_pku(folder))
    (folder / "001_1_1.png").rename(folder / "1_1_1.png")
    assert fingerprint(read_pku(folder)) == before == check(folder).summary["fingerprint"]
    Image.new("RGB", (24, 48)).save(folder / "1_1_1.png")
    assert fingerprint(read_pku(folder)) != before


def test_train_and_test_never_share_a_person(folder):
    index = read_pku(folder)
    for seed in range(20):
        train, test = split_persons(index, seed)
        assert set(train.pid).isdisjoint(test.pid)
        assert len(train) == len(test) == 48
        assert sorted([*train.index, *test.index]) == list(index.index)


def test_validation_takes_a_third_of_the_training_persons_and_none_of_the_test(folder):
    index = read_pku(folder)
    for seed in range(20):
        train, _ = split_persons(index, seed)
        smaller, held_out = split_persons(index, seed, validation=True)
        assert set(smaller.pid).isdisjoint(held_out.pid)
        assert sorted([*smaller.index, *held_out.index]) == list(train.index)
        assert held_out.pid.nunique() == train.pid.nunique() // 3


def test_a_split_depends_on_the_ids_alone_not_on_their_order():
    forward, backward = split_pids(range(1, 115), 3), split_pids(range(114, 0, -1), 3)
    assert forward == backward
    assert split_pids(range(1, 115), 4) != forward


def test_over_many_splits_each_person_trains_about_half_of_the_time():
    times = np.zeros(115)
    for seed in range(400):
        times[split_pids(range(1, 115), seed)[0]] += 1
    assert 150 < times[1:].min() and times[1:].max() < 250  # five standard deviations


def test_the_frozen_splits_are_what_the_function_gives():
    whole = json.dumps([split_pids(range(1, 115), seed) for seed in range(10)])
    assert hashlib.sha256(whole.encode()).hexdigest() == SPLITS_OF_114
    frozen = json.loads(PKU74.read_text())
    assert len(frozen["persons"]) == 74 and len(frozen["splits"]) == 10
    for seed, split in enumerate(frozen["splits"]):
        assert (split["train"], split["test"]) == split_pids(frozen["persons"], seed)
        assert len(split["train"]) == len(split["test"]) == 37
        assert sorted(split["train"] + split["test"]) == frozen["persons"]


def test_the_committed_records_scored_the_test_persons_of_the_frozen_splits():
    splits = json.loads(PKU74.read_text())["splits"]
    records = sorted((REPOSITORY / "figures" / "pku74").rglob("*-split-*.csv"))
    assert len(records) > 10
    for record in records:
        config = json.loads(record.with_suffix(".json").read_text())["config"]
        if config["validation"] or config.get("train_persons"):
            continue
        with record.open() as lines:
            persons = {int(line.partition("_")[0]) for line in list(lines)[1:]}
        assert persons == set(splits[config["split"]]["test"]), record.name


def test_the_measured_persons_can_be_chosen_from_more(small, folder, preset_file, tmp_path, capsys):
    six = fingerprint(read_pku(folder))
    write_images(folder, 9)
    file = tmp_path / "six.json"
    file.write_text('{"persons": [1, 2, 3, 4, 5, 6]}')
    preset = load_preset(preset_file, persons=file)
    assert fingerprint(open_data(preset, tmp_path)) == six
    assert fingerprint(open_data(load_preset(preset_file), tmp_path)) != six
    assert main(["check", str(folder), "--persons", str(file)]) == 0
    assert f"fingerprint   {six}" in capsys.readouterr().out
    train = ["train", str(preset_file), "--root", str(tmp_path), "--row", "set3"]
    assert main([*train, "--persons", str(file), "--out", str(tmp_path / "run")]) == 0
    assert sum(read_run(tmp_path / "run").manifest["persons"].values()) == 6
    (folder / "009_1_1.png").unlink()
    assert open_data(preset, tmp_path).pid.nunique() == 6
    (folder / "006_1_1.png").unlink()  # whoever names the persons claims PKU-ReID's protocol
    with pytest.raises(ValueError, match="6_1_1: missing view"):
        open_data(preset, tmp_path)


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"persons": [1, 2, 99]}', "1 of 3 persons in PERSONS have no image: 99"),
        ('{"pids": [1, 2]}', r"PERSONS is .*six\.json; expected a JSON file"),
        ("[1, 2]", r"PERSONS is .*six\.json; expected a JSON file"),
        (None, r"PERSONS is .*six\.json; expected a JSON file"),
    ],
)
def test_persons_that_cannot_be_chosen_are_named(preset_file, tmp_path, text, message):
    file = tmp_path / "six.json"
    if text:
        file.write_text(text)
    with pytest.raises(ValueError, match=message):
        check_plan(load_preset(preset_file, persons=file), tmp_path)


def test_one_person_cannot_be_split():
    with pytest.raises(ValueError, match="1 persons"):
        split_pids([7], 0)


def test_the_real_portion_is_read_and_its_doubled_image_is_noticed():
    real = REPOSITORY.parent / "shared" / "pku74" / "PKUv1a_128x48"
    if not real.is_dir():
        pytest.skip("the 74-person portion of PKU-ReID is not here")
    report = check(real)
    assert report.errors == []
    assert report.summary["images"] == 1184
    twin = "85_1_4.png, 85_1_5.png: the same image under two orientations"
    assert twin in report.notices
