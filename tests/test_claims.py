"""The claims in words say what the records say; two settings side by side."""

import re

import numpy as np
import pandas as pd
import pytest
from study_runs import a_run, frame_of, kept, likely, several

from reid_lib.cli import main
from reid_lib.metrics import paired_test
from reid_lib.study.claims import CLAIMS, claim_verdicts, claims_text, compare, sentences, told
from reid_lib.study.records import COMMITTED, DECIDING, brief, read_records
from reid_lib.study.statistics import contrasts, judged, primary_family
from reid_lib.study.summary import unchanged


def ladder(make, scores, splits=10, seed=0, **config):
    rng = np.random.default_rng(seed)
    runs = []
    for setting, mean in scores.items():
        runs += make(setting, mean + 0.005 * rng.standard_normal(splits), **config)
    return runs


UP = {"htri": 0.4, "set1": 0.5, "set2": 0.6, "set3": 0.7}
DOWN = {"htri": 0.7, "set1": 0.6, "set2": 0.5, "set3": 0.4}


def check(texts, frame):
    """Numbers and verdicts of every contrast in the sentences are those of the records."""
    table, family = contrasts(frame), primary_family(frame)
    names = {short: name for name, short in brief(frame).items()}
    for text in texts:
        claim, name, kind, rest = re.match(
            r"Claim (\d), (.+?) \((.+?), .+?\)\): (.+)", text
        ).groups()
        network = names.get(name, f"resnet18, resnet50, {name}")
        own = table[(table.claim == claim) & (table.network == network)]
        own = own[own.score.isin([*DECIDING, "gap"])]
        own = own[(claim != "2") | own.contrast.str.endswith(", htri")]
        assert kind == ("planned tests" if claim == "1" and "likely" in network else "exploratory")
        parts = rest.partition(". ")[0].removesuffix(".").split("; ")
        for part in parts:
            numbers, ends = part.split(": ")
            rows = own[own.contrast == _contrast(part)]
            said = judged(rows)
            if "likely" in network and rows.splits.iloc[0] < 10:
                said = dict.fromkeys(said, f"not yet measured ({rows.splits.iloc[0]} of 10 splits)")
            if kind == "planned tests":
                rows = family[(family.contrast == _contrast(part)) & (family.over == "all splits")]
                said = {estimand: rows[estimand].iloc[0] for estimand in said}
            words = (
                f"{said['these persons']} for these persons, {said['new persons']} for new persons"
            )
            assert ends == (words if len(set(said.values())) == 2 else said["new persons"])
            found = [float(number) for number in re.findall(r"[+-]\d+\.\d+", numbers)]
            assert found == pytest.approx(rows.difference.dropna().tolist(), abs=0.051)
        assert set(own.contrast) <= set(map(_contrast, parts))
        assert ("Underfitted" in text) == (own.unfitted != "").any()


def _contrast(part):
    subject = re.match(r"(.+?)(?: = .+)?: ", part)[1]
    return subject.replace("set ", "set").replace("ResNet-", "resnet")


@pytest.mark.parametrize("scores, words", [(UP, "holds"), (DOWN, "does not hold")])
@pytest.mark.parametrize("make", [several, likely])
def test_sentences_agree_with_the_records(tmp_path, make, scores, words):
    frame = frame_of(tmp_path, ladder(make, scores))
    texts = sentences(frame)
    assert [text[:7] for text in texts] == ["Claim 1", "Claim 3"]
    check(texts, frame)
    assert texts[0].count(f": {words}") == 4


def test_the_committed_sentences_agree_with_the_committed_records():
    frame = unchanged(COMMITTED)
    check(sentences(frame), frame)


def test_a_sentence_of_other_records_is_found_out(tmp_path):
    up, down = (
        frame_of(tmp_path / name, ladder(several, scores))
        for name, scores in (("up", UP), ("down", DOWN))
    )
    with pytest.raises(AssertionError):
        check(sentences(up), down)


def test_the_same_records_in_another_order_give_the_same_words(tmp_path):
    frame = frame_of(tmp_path, ladder(several, UP) + ladder(likely, DOWN))
    again = frame.sample(frac=1, random_state=0).sort_values("network", kind="stable")
    assert claims_text(frame) == claims_text(again.sort_values("setting", kind="stable"))


def test_a_claim_holds_only_where_all_its_contrasts_do(tmp_path):
    scores = {**UP, "set3": 0.5}  # below set 2, level with set 1
    frame = frame_of(tmp_path, ladder(several, scores))
    said = told(frame).drop_duplicates("contrast").set_index("contrast")["new persons"]
    assert said["set2 - set1"] == "holds"
    assert claim_verdicts(frame).loc["1", "new persons"] == "does not hold"
    up = frame_of(tmp_path / "up", ladder(several, UP))
    assert claim_verdicts(up).loc["1", "new persons"] == "holds"
    assert set(told(up).kind) == {"exploratory"}


def test_the_planned_tests_stand_in_place_of_exploratory_verdicts(tmp_path):
    # Uncorrected p-values of the smallest contrast are below 0.05, Holm's are above.
    steps = np.array([0.0, 1.0, 2.0, 0.5, 1.5, -0.6]) / 100
    frame = frame_of(tmp_path, likely("set1", [0.5] * 6) + likely("set2", 0.5 + steps))
    rows = told(frame).query("claim == '1'")
    family = primary_family(frame).query("over == 'all splits'")
    assert set(rows.kind) == {"planned tests"} and rows.contrast.nunique() == 4
    assert rows["these persons"].tolist() == family["these persons"].tolist()
    assert rows["these_holm"].tolist() == pytest.approx(family.these_holm.tolist(), nan_ok=True)
    assert claim_verdicts(frame).loc["1", "new persons"] == "not yet measured (0 of 10 splits)"


def test_the_claims_table_has_four_rows_with_verdicts_and_what_could_overturn_them(tmp_path):
    runs = ladder(several, UP, 3, train=0.99)
    runs += several("htri", [0.1, 0.1, 0.1], backbone="resnet50", train=0.2)
    frame = frame_of(tmp_path, runs)
    text = claims_text(frame)
    lines = text.splitlines()
    assert lines[0] == "| claim | verdict | what could overturn it |"
    rows = [line for line in lines if re.match(r"\| \d: ", line)]
    assert [row[2] for row in rows] == list(CLAIMS)
    assert "| ImageNet weights, 15 epochs: **holds** † |" in rows[1]
    assert "Underfitted runs: resnet50 htri" in text
    assert "| not measured |  |" in rows[3]
    assert "points of rank-1 with 80 % power" in text
    assert all(len(row) < 300 for row in rows)
    assert claims_text(pd.DataFrame()) == ""
    assert claims_text(frame_of(tmp_path / "one", [a_run()])) == ""


def test_sentences_on_planned_tests_take_their_numbers_from_seed_0(tmp_path):
    runs = likely("set1", [0.5, 0.5]) + likely("set2", [0.6, 0.62])
    frame = frame_of(tmp_path, runs + likely("set2", [0.1, 0.1], seed=1))
    first = sentences(frame)[0]
    assert "(planned tests, 2 splits (0, 1)): set 2 - set 1 = +11.0 points of rank-1" in first


# --- two settings ---------------------------------------------------------------------------------


def with_queries(folder, rng):
    """A CSV file of queries beside each record: four persons, two images each."""
    for path in sorted(folder.glob("*.json")):
        names = [f"{pid}_1_{view}.png" for pid in range(4) for view in (1, 2)]
        frame = pd.DataFrame({"name": names, "direction": "A->B"})
        for kind in ("", "unit_"):
            frame[f"{kind}AP"] = rng.uniform(size=8).round(5)
            frame[f"{kind}first_match"] = rng.integers(1, 3, 8)
        back = frame.assign(direction="B->A", AP=0.0)
        pd.concat([frame, back]).to_csv(path.with_suffix(".csv"), index=False)


def test_two_settings_are_compared_over_splits_and_over_persons(tmp_path):
    runs = several("set2", [0.5, 0.7]) + several("set1", [0.4, 0.4, 0.1])
    folder = kept(tmp_path, runs) / "runs"
    text = compare(folder, "set2", "set1")
    assert "resnet18, ImageNet weights, 15 epochs: set2 - set1, raw codes, 2 splits (0, 1)" in text
    these, new = (12.7062 * 200**0.5 * (1 / 2 + ratio) ** 0.5 for ratio in (0, 1))
    shown = f"+20.0 [{20 - these:+.1f}, {20 + these:+.1f}] [{20 - new:+.1f}, {20 + new:+.1f}]"
    assert f"  rank-1  {shown}, 2 of 2" in text
    assert "over persons" not in text
    with_queries(folder, np.random.default_rng(0))
    sides = []
    for numbers in ((0, 1), (2, 3)):
        part = pd.concat([pd.read_csv(folder / f"{n:03d}.csv") for n in numbers])
        part = part[part.direction == "A->B"].assign(score=lambda f: 100 * f.AP)
        mean = part.groupby("name").score.mean().reset_index()
        sides.append(mean.assign(pid=mean["name"].str[0]))
    row = paired_test(sides[1], sides[0], ["score"]).iloc[0]
    wanted = f"  mAP     {row.difference:+.1f} [{row.low:+.1f}, {row.high:+.1f}] over persons"
    assert wanted in compare(folder, "set2", "set1")


def test_rows_and_networks_can_be_compared_by_name(tmp_path, capsys):
    runs = several("htri", [0.5, 0.6], row="small") + several(
        "htri", [0.2, 0.3], row="large", backbone="resnet50"
    )
    runs += likely("set2", [0.6, 0.7]) + likely("set3", [0.5, 0.5])
    folder = kept(tmp_path, runs) / "runs"
    text = compare(folder, "small", "large")
    assert "resnet18, ImageNet weights, 15 epochs against resnet50" in text
    assert "rank-1  +30.0" in text
    assert main(["compare", str(folder), "set2", "set3", "--codes", "unit"]) == 0
    assert "mAP     +15.0" in capsys.readouterr().out
    assert main(["compare", str(folder), "set2", "nobody"]) == 2
    assert "no record of 'nobody'; its settings and rows: htri" in capsys.readouterr().err


def test_what_cannot_be_compared_is_refused(tmp_path):
    folder = kept(tmp_path, [a_run("set1", 0), a_run("set2", 1)]) / "runs"
    with pytest.raises(ValueError, match="share no split"):
        compare(folder, "set1", "set2")
    with pytest.raises(ValueError, match="no scores of unit codes"):
        compare(folder, "set1", "set1", "unit")
    assert len(read_records(folder)) == 2
