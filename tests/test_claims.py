"""The claims in words say what the records say; two settings side by side."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from study_runs import a_run, frame_of, kept, likely, several

from reid_lib.cli import main
from reid_lib.metrics import paired_test
from reid_lib.study.claims import (
    CLAIMS,
    claim_contrasts,
    claim_verdicts,
    claims_text,
    compare,
    sentences,
)
from reid_lib.study.exploratory import beside_planned
from reid_lib.study.noise import one_split_differences
from reid_lib.study.records import COMMITTED, DECIDING, read_records
from reid_lib.study.statistics import contrasts, judged, planned, primary_family
from reid_lib.study.summary import default_choice_records


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
    single = one_split_differences(frame).set_index(["network", "contrast", "score"])
    single = single.sort_index(level=[0, 1], sort_remaining=False)
    for text in texts:
        claim, name, kind, rest = re.match(
            r"Claim (\d), (.+?) \((planned tests|exploratory, uncorrected), .+?\): (.+)", text
        ).groups()
        network = name.replace(" compared with resnet50", ", resnet50")
        own = table[(table.claim == claim) & (table.network == network)]
        own = own[own.score.isin([*DECIDING, "gap"])]
        own = own[(claim != "2") | own.contrast.str.endswith(", htri")]
        assert (kind == "planned tests") == (claim == "1" and "likely" in network)
        parts = rest.partition(". ")[0].removesuffix(".").split("; ")
        for part in parts:
            numbers, ends = re.match(r"(.+?)(?::) (?!\+|-)(.+)", part).groups()
            rows = own[own.contrast == _contrast(part)]
            said = judged(rows)
            if "likely" in network and rows.splits.iloc[0] < 10:
                said = dict.fromkeys(said, f"not yet measured ({rows.splits.iloc[0]} of 10 splits)")
            if kind == "planned tests":
                rows = family[(family.contrast == _contrast(part)) & (family.over == "all splits")]
                said = {estimand: rows[estimand].iloc[0] for estimand in said}
            if (rows.unfitted != "").any():
                said = dict.fromkeys(said, "no verdict †")
            words = f"{said['these persons']} (new persons: {said['new persons']})"
            assert ends == (words if len(set(said.values())) == 2 else said["new persons"])
            found = [float(n) for n in re.findall(r"[+-]\d+\.\d+", numbers)]
            wanted = rows[["difference", "these_low", "these_high"]].dropna(how="all")
            if kind == "planned tests" and len(wanted):
                paper = [PAPER[score][_contrast(part)] for score in ("rank-1", "mAP")]
                wanted = wanted.assign(paper=paper)
            wanted = wanted.to_numpy(float).ravel()
            assert found == pytest.approx(wanted[~np.isnan(wanted)].tolist(), abs=0.051)
            power = re.search(rf"([\d.]+) / ([\d.]+) for {part.partition(' = ')[0]}\b", rest)
            if claim in "14" and len(rows) and rows.splits.iloc[0] > 1:
                least = single.loc[(network, _contrast(part)), "detectable"].tolist()
                assert list(map(float, power.groups())) == pytest.approx(least, abs=0.051)
        assert set(own.contrast) <= set(map(_contrast, parts))
        assert ("Underfitted" in text) == (own.unfitted != "").any()


PAPER = {  # Table 1 of the paper
    "rank-1": {"set2 - set1": 2.9, "set3 - set2": 1.3, "set3 - set1": 4.2, "set3 - htri": 4.6},
    "mAP": {"set2 - set1": 2.0, "set3 - set2": 3.3, "set3 - set1": 5.3, "set3 - htri": 1.2},
}


def _contrast(part):
    subject = re.match(r"(.+?)(?: = .+)?: ", part)[1]
    subject = subject.replace("set ", "set").replace("ResNet-", "resnet")
    return subject.replace("triplet loss", "htri")


@pytest.mark.parametrize("scores, words", [(UP, "holds"), (DOWN, "does not hold")])
@pytest.mark.parametrize("make", [several, likely])
def test_sentences_agree_with_the_records(tmp_path, make, scores, words):
    frame = frame_of(tmp_path, ladder(make, scores))
    texts = sentences(frame)
    assert [text[:7] for text in texts] == ["Claim 1", "Claim 3"]
    check(texts, frame)
    assert texts[0].count(f": {words}") == 4


def test_the_committed_sentences_agree_with_the_committed_records():
    frame = default_choice_records(COMMITTED)
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
    said = claim_contrasts(frame).drop_duplicates("contrast").set_index("contrast")["new persons"]
    assert said["set2 - set1"] == "holds"
    assert claim_verdicts(frame).loc["1", "new persons"] == "does not hold"
    up = frame_of(tmp_path / "up", ladder(several, UP))
    assert claim_verdicts(up).loc["1", "new persons"] == "holds"
    assert set(claim_contrasts(up).kind) == {"exploratory, uncorrected"}


def test_the_planned_tests_stand_in_place_of_exploratory_verdicts(tmp_path):
    # Uncorrected p-values of the smallest contrast are below 0.05, Holm's are above.
    steps = np.array([0.0, 1.0, 2.0, 0.5, 1.5, -0.6]) / 100
    frame = frame_of(tmp_path, likely("set1", [0.5] * 6) + likely("set2", 0.5 + steps))
    rows = claim_contrasts(frame).query("claim == '1'")
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
    assert lines[0] == "| claim | verdict | what could overturn it | comparisons |"
    rows = [line for line in lines if re.match(r"\| \d: ", line)]
    assert [row[2] for row in rows] == list(CLAIMS)
    label = "resnet18 compared with resnet50, ImageNet weights, 15 epochs "
    ended = "resnet50 htri, splits 0 to 2, training rank-1 20.0 %"
    assert f"| {label}(splits 0 to 2): **no verdict †** |" in rows[1]
    assert f"| {label}(exploratory, uncorrected): no verdict †. Underfitted: {ended} |" in rows[1]
    assert f"Underfitted runs: {ended}." in text and "holds †" not in text
    assert "| not measured |  |  |" in rows[3]
    assert all(len(row) < 450 for row in rows)
    assert claims_text(pd.DataFrame()) == ""
    assert claims_text(frame_of(tmp_path / "one", [a_run()])) == ""


def test_sentences_on_planned_tests_take_their_numbers_from_seed_0(tmp_path):
    runs = likely("set1", [0.5, 0.5]) + likely("set2", [0.6, 0.62])
    frame = frame_of(tmp_path, runs + likely("set2", [0.1, 0.1], seed=1))
    first = sentences(frame)[0]
    assert "(planned tests, splits 0, 1): set 2 - set 1 = +11.0 [-1.7, +23.7] points of" in first


@pytest.mark.parametrize(
    "gain, words",
    [
        (0.1, "set 2 > set 1 (larger than the paper's)"),
        (0.001, "set 2 > set 1 (smaller than the paper's)"),
        (0.025, "set 2 > set 1 (rank-1 smaller, mAP larger than the paper's)"),  # 2.9 and 2.0
        (0.029, "set 2 > set 1 (mAP larger than the paper's)"),
        (0.0288, "set 2 > set 1 (mAP larger than the paper's)"),  # 2.9 lies inside the interval
    ],
)
def test_the_claims_table_says_where_the_papers_difference_lies_outside(tmp_path, gain, words):
    noise = np.array([0.0, 1.0, -1.0, 0.5, -0.5, 0.2, -0.2, 0.7, -0.7, 0.1]) / 1000
    runs = likely("set1", [0.5] * 10) + likely("set2", 0.5 + gain + noise)
    runs += likely("set3", 0.6 + noise) + likely("htri", [0.4] * 10)
    frame = frame_of(tmp_path, runs)
    row = claim_verdicts(frame).loc["1"]
    assert words in row.parts
    ours = frame_of(tmp_path / "ours", ladder(several, UP))
    assert "paper" not in claim_verdicts(ours).loc["1", "parts"]  # not the paper's reading


def test_the_parts_of_a_claim_are_its_contrasts_by_verdict(tmp_path):
    frame = frame_of(tmp_path, ladder(several, {**UP, "set3": 0.55}))
    said = claim_verdicts(frame).loc["1"]
    assert said["new persons"] == "does not hold"
    words = (
        ". Holds: set 2 > set 1, set 3 > set 1, set 3 > triplet loss. Does not hold: set 3 > set 2"
    )
    assert sorted(said.parts.split(". ")) == sorted(words.split(". "))
    assert claims_text(frame).count(words.removeprefix(". ")) == 1


def test_a_claim_with_an_underfitted_contrast_has_no_verdict_and_keeps_the_other_parts(tmp_path):
    runs = ladder(several, {"set1": 0.5, "set2": 0.6}, train=0.99)
    runs += ladder(several, {"set3": 0.3}, train=0.5)
    row = claim_verdicts(frame_of(tmp_path, runs)).loc["1"]
    assert row["these persons"] == row["new persons"] == "no verdict †"
    assert row.parts == ". Holds: set 2 > set 1. No verdict †: set 3 > set 2, set 3 > set 1"
    assert row.unfitted == "resnet18 set3, splits 0 to 9, training rank-1 50.0 %"


# --- what stands beside the verdicts --------------------------------------------------------------


def shown(values):
    """A difference with its interval for these persons, as the sentences give it."""
    ends = stats.ttest_1samp(values, 0).confidence_interval()
    low, high = (f"{x:+.1f}" if abs(x) >= 0.05 else f"{x:+.2f}" for x in ends)
    return f"{np.mean(values):+.1f} [{low}, {high}]"


def beside(frame):
    """Numbers of `beside_planned`, from the records by hand."""
    table = frame[frame.changed == ""].pivot_table(
        index="split", columns="setting", values=["unit last epochs mAP", "last epochs mAP"]
    )
    unit, raw = table["unit last epochs mAP"], table["last epochs mAP"]
    return [
        f"/ {shown(unit.set1 - unit.htri)}; ",
        f"/ {shown((unit.set3 - unit.xent_htri).dropna())}",
        f"/ {shown(raw.set3 - raw.htri)}; ",
        f"/ {shown(raw.set3 - raw.set1)}; ",
    ]


def test_the_sentence_beside_the_planned_tests_agrees_with_the_committed_records():
    frame = default_choice_records(COMMITTED)
    text = beside_planned(frame)
    assert all(words in text for words in beside(planned(frame))), beside(planned(frame))


def test_the_sentence_beside_the_planned_tests_adapts_to_the_records(tmp_path):
    scores = {"htri": 0.4, "set1": 0.5, "set2": 0.6, "set3": 0.7, "xent_htri": 0.6}
    runs = ladder(likely, scores)
    for run in runs:  # raw codes: the other way round
        run.metrics["last_epochs"]["A->B"] = {
            name: 1 - value for name, value in run.metrics["unit"]["last_epochs"]["A->B"].items()
        }
    frame = frame_of(tmp_path / "up", runs)
    text = beside_planned(frame)
    assert all(words in text for words in beside(frame))
    assert "is already above the triplet loss" in text
    assert "set 3 - set 2: does not hold instead of holds (these persons)" in text
    down = beside_planned(frame_of(tmp_path / "down", ladder(likely, scores | {"set1": 0.3})))
    assert "already above" not in down
    assert beside_planned(frame_of(tmp_path / "ours", several("set1", [0.5]))) == ""
    few = ladder(likely, scores, splits=9)
    assert beside_planned(frame_of(tmp_path / "few", few)) == ""


def test_other_measures_of_claim_3_agree_with_the_committed_records():
    frame = default_choice_records(COMMITTED)
    texts = {text.partition(" (")[0]: text for text in sentences(frame) if text[6] == "3"}
    claims_table = contrasts(frame)
    assert len(texts) > 3
    for network, part in frame[frame.train_persons.isna()].groupby("network"):
        if f"Claim 3, {network}" not in texts:
            continue
        text = texts[f"Claim 3, {network}"].partition("By other measures")[2]
        table = part.pivot_table(
            index="split",
            columns="setting",
            values=["near_0", "near_180", "rank1_drop", "found_180"],
        )
        gains = {
            name: (table[name].set2 - table[name].set1).dropna() for name in table.columns.levels[0]
        }
        found = [float(number) for number in re.findall(r"[+-]\d+\.\d+", text)]
        wanted = []
        for name in ("near_0", "near_180", "rank1_drop", "found_180"):
            low, high = stats.ttest_1samp(gains[name], 0).confidence_interval()
            wanted += [gains[name].mean(), low, high]
        assert found[:12] == pytest.approx(wanted, abs=0.051), network
        assert found[:6] == pytest.approx(wanted[:6], abs=0.00051)
        rows = claims_table.query("network == @network and contrast == 'set2 - set1'")
        near, fall = (rows[rows.score == name].iloc[0] for name in ("near_0", "rank1_drop"))
        assert f"(nearer at every angle: {near['these persons']}" in text
        assert f"(a smaller drop: {fall['these persons']}" in text


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
    assert "resnet18, ImageNet weights, 15 epochs: set2 - set1, raw codes, splits 0, 1" in text
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
