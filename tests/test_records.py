"""Records of runs, and the frame of them: readings, networks, what must not be averaged."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study_runs import a_run, frame_of, kept, likely

from reid_lib.config import load_preset
from reid_lib.engine.runs import FILES, RESULTS, Run, read_run
from reid_lib.study.records import (
    DECIDING,
    LIKELY,
    QUANTISED,
    agreement_by_angle,
    brief,
    collect_records,
    listed,
    read_records,
    record,
    view_angle,
)
from reid_lib.study.summary import write_report

REPOSITORY = Path(__file__).parent.parent


def on_disk(folder: Path, run: Run, failed: str = "") -> None:
    folder.mkdir(parents=True)
    for name in (*FILES, *RESULTS):
        (folder / name).touch()
    manifest = run.manifest | ({"failed": failed} if failed else {})
    (folder / "config.json").write_text(run.config.model_dump_json())
    (folder / "metrics.json").write_text(json.dumps(run.metrics))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    run.history.to_csv(folder / "history.csv", index=False)
    np.savez(folder / "codes.npz", **run.codes)
    line = "1_1_1.png,A->B,0.5,2,0.25,4"
    head = "name,direction,AP,first_match,unit_AP,unit_first_match"
    (folder / "queries.csv").write_text(f"{head}\n{line}\n")


def test_finished_runs_leave_records_and_failed_ones_a_warning(tmp_path):
    on_disk(tmp_path / "results" / "split-0", a_run("set2", 0))
    on_disk(tmp_path / "results" / "split-1", a_run("set2", 1), "codes diverged")
    assert not read_run(tmp_path / "results" / "split-0").failed
    with pytest.warns(UserWarning, match=r"split-1 failed and leaves no record: codes diverged"):
        (written,) = collect_records([tmp_path / "results"], tmp_path / "records")
    content = json.loads(written.read_text())
    assert content["config"]["setting"] == "set2"
    last = content["history"]["last"]
    assert last["code_norm"] == 7.0 and last["test_mAP"] == 0.5 and "seconds" not in last
    assert len(content["viewpoint"]["rank1"]) == 64
    assert written.with_suffix(".csv").read_text().splitlines()[1] == (
        "1_1_1.png,A->B,0.50000,2,0.25000,4"
    )
    with pytest.raises(ValueError, match="no completed run"):
        collect_records([tmp_path / "none"], tmp_path / "records")
    with pytest.raises(ValueError, match="no record"):
        read_records(tmp_path / "none")


def test_a_record_keeps_how_near_a_persons_views_are(tmp_path):
    run = a_run()
    frame = frame_of(tmp_path, [run])
    curve = agreement_by_angle(run).set_index("angle").value
    for angle in (0, 45, 90, 135, 180):
        assert frame[f"near_{angle}"][0] == pytest.approx(curve[angle], rel=1e-5)
    assert frame.gap[0] == pytest.approx(curve[180] - curve[0], rel=1e-4)


def test_the_fall_of_rank_1_is_that_of_equal_less_that_of_opposite_views(tmp_path):
    grid = pd.DataFrame(record(a_run())["viewpoint"])
    angle = view_angle(grid.query_orientation, grid.gallery_orientation)
    wanted = 100 * (grid.rank1[angle == 0].mean() - grid.rank1[angle == 180].mean())
    assert frame_of(tmp_path, [a_run()]).rank1_drop[0] == pytest.approx(wanted)


def test_a_record_names_the_choices_in_which_it_is_not_the_papers(tmp_path):
    runs = [a_run(), a_run("set3", gamma=1e-7), a_run(centres="batch", seed=3, score_last=4)]
    frame = frame_of(tmp_path, runs).set_index("setting")
    assert frame.loc["set3", "changed"] == "gamma=1e-07"
    assert frame.loc["set2", "changed"].tolist() == ["", "centres=batch"]
    assert set(frame.reading) == {""}


def test_every_preset_is_read_as_its_own_reading_with_its_own_changes(tmp_path):
    found, plain = {}, record(a_run(unit=0.4))
    for preset in ("pku_likely", "pku_default", "ingredients", "persons57", "likely_more"):
        (tmp_path / preset).mkdir()
        for row in load_preset(preset).rows:
            content = {**plain, "config": row.model_dump(mode="json")}
            (tmp_path / preset / f"{row.row}.json").write_text(json.dumps(content))
        frame = read_records(tmp_path / preset)
        found |= {(preset, line.row): line for line in frame.itertuples()}
    for (preset, _), line in found.items():
        if preset in ("pku_likely", "pku_default", "persons57"):
            assert line.changed == ""
    assert found["pku_likely", "resnet50_htri"].network == (f"resnet50, ImageNet weights, {LIKELY}")
    assert found["pku_default", "set3"].network == "resnet18, ImageNet weights, 60 epochs"
    changed = {row: line.changed for (preset, row), line in found.items() if preset[0] in "il"}
    assert changed["set3-memory"] == "centres=memory"
    assert changed["set2-no-gradient"] == "centres_gradient=False"
    assert changed["set2-4x8"] == "epochs=133, images_per_person=8"
    assert changed["set1-256x128"] == "image_size=[256, 128]"
    assert changed["htri_cl"] == ""
    assert all(line.reading == LIKELY for (p, _), line in found.items() if p[0] in "il")
    assert found["persons57", "default-set2"].network == (
        "resnet18, ImageNet weights, 60 epochs, 57 training persons"
    )
    assert found["persons57", "likely-set2"].reading == LIKELY


def test_what_decides_are_unit_codes_in_the_likely_reading_and_raw_ones_in_ours(tmp_path):
    runs = [a_run(rank1=0.3, unit=0.6), *likely("set2", [0.7])]
    frame = frame_of(tmp_path, runs).set_index("reading")
    for column in DECIDING:
        assert frame[column].to_dict() == pytest.approx({"": 30, LIKELY: 70})
    near = {}
    for name in ("viewpoint", "unit viewpoint"):
        grid = pd.DataFrame(record(runs[0])[name])
        same = grid.query_orientation == grid.gallery_orientation
        near[name] = grid.same_distance[same].mean() / grid.other_distance.mean()
    assert near["viewpoint"] != pytest.approx(near["unit viewpoint"], rel=1e-3)
    assert frame.near_0[LIKELY] == pytest.approx(near["unit viewpoint"])
    assert frame.near_0[""] == pytest.approx(near["viewpoint"])


@pytest.mark.parametrize("backbone", QUANTISED)
def test_weights_of_known_sha256_go_by_their_own_name(tmp_path, backbone):
    runs = [a_run(backbone=backbone, weights_sha256=QUANTISED[backbone]), a_run(split=1)]
    quantised, plain = sorted(frame_of(tmp_path, runs).network, reverse=True)
    assert quantised == f"{backbone}, product-quantised ImageNet weights, 15 epochs"
    assert plain == "resnet18, ImageNet weights, 15 epochs"


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"data_sha256": "another"}, "several data sets"),
        ({"weights_sha256": "another"}, "several records of one split and seed"),
    ],
)
def test_runs_that_must_not_be_averaged_are_refused_by_name(tmp_path, changes, words):
    folder = kept(tmp_path, [a_run(), a_run(**changes)]) / "runs"
    with pytest.raises(ValueError, match=f"{words}.*000 and 001"):
        read_records(folder)


def test_several_seeds_of_one_split_are_read(tmp_path):
    frame = frame_of(tmp_path, [a_run(seed=1), a_run(seed=0), a_run(split=1)])
    assert list(zip(frame.split, frame.seed, strict=True)) == [(0, 0), (0, 1), (1, 0)]


def test_runs_that_differ_in_the_name_of_their_row_alone_count_once(tmp_path):
    runs = [a_run("set2"), a_run("set2", row="plain"), a_run("set2", 1)]
    assert len(frame_of(tmp_path, runs)) == 2


def test_a_network_has_the_shortest_name_that_no_other_has(tmp_path):
    runs = [a_run(), a_run(backbone="resnet50")]
    assert set(brief(frame_of(tmp_path / "two", runs)).values()) == {"resnet18", "resnet50"}
    runs += (
        likely("set2", [0.5]) + likely("set2", [0.5], train_persons=57) + [a_run(start="random")]
    )
    names = brief(frame_of(tmp_path / "more", runs))
    assert set(names.values()) == {
        "resnet18, ImageNet weights",
        "resnet18, random weights",
        f"resnet18, {LIKELY}",
        "resnet18, 57 training persons",
        "resnet50",
    }
    runs.append(a_run(epochs=20))
    names = brief(frame_of(tmp_path / "epochs", runs))
    assert {"resnet18, ImageNet weights, 15 epochs", "resnet18, random weights"} <= set(
        names.values()
    )
    assert len(set(names.values())) == len(names) == 6


def test_splits_are_counted_once_and_named():
    assert listed(pd.Series([2, 0, 1, 1])) == "3 (0 to 2)"
    assert listed(pd.Series([5, 0])) == "2 (0, 5)"
    assert listed(pd.Series([0, 1, 3])) == "3 (0, 1, 3)"


def test_agreement_by_angle_equals_a_slow_loop():
    rng = np.random.default_rng(0)
    views = [(p, c, o) for p in range(4) for c in (1, 2) for o in range(1, 9)]
    pids, camids, orientations = map(np.array, zip(*views, strict=True))
    codes = rng.normal(size=(64, 3)) + pids[:, None]
    run = Run(None)
    run.__dict__["codes"] = {
        "codes": codes, "pids": pids, "camids": camids, "orientations": orientations
    }  # fmt: skip
    pairs = []
    for a in range(64):
        for b in range(64):
            if camids[a] == 1 and camids[b] == 2:
                turn = abs(orientations[a] - orientations[b])
                angle = 45 * min(turn, 8 - turn)
                pairs.append((pids[a] == pids[b], angle, np.linalg.norm(codes[a] - codes[b])))
    pairs = pd.DataFrame(pairs, columns=["same", "angle", "distance"])
    expected = (
        pairs[pairs.same].groupby("angle").distance.mean() / pairs[~pairs.same].distance.mean()
    )
    found = agreement_by_angle(run)
    assert found.value.to_numpy() == pytest.approx(expected.to_numpy())
    assert ((found.low < found.value) & (found.value < found.high)).all()


STUDIES = sorted(path.parent for path in (REPOSITORY / "figures").rglob("runs"))


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_the_committed_tables_are_those_of_the_committed_records(folder, tmp_path):
    for runs in folder.rglob("runs"):
        copy = tmp_path / runs.relative_to(folder)
        copy.parent.mkdir(exist_ok=True)
        copy.symlink_to(runs)
    for path in write_report(tmp_path):  # else: reid records --out FOLDER
        if path.suffix in (".md", ".csv", ".txt"):
            assert path.read_text() == (folder / path.name).read_text()
