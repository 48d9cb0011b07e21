"""Presets and run configs: the paper's values, and a name for everything that is wrong."""

import pytest
from pydantic import ValidationError

from reid_lib.config import PAPER_TABLE, PRESETS, RunConfig, load_preset


def test_defaults_are_the_papers_values():
    config = RunConfig(row="set3", setting="set3")
    assert (config.beta, config.gamma, config.lr, config.epochs) == (5e-5, 1e-6, 2e-4, 300)
    assert (config.batch_size, config.margin, config.backbone) == (32, 0.3, "resnet18")
    assert config.start == "imagenet"


@pytest.mark.parametrize(
    "setting, batches, beta, gamma",
    [("htri", "pk", 0, 0), ("set1", "random", 0, 0), ("set2", "random", 5e-5, 0)],
)
def test_a_setting_implies_its_batches_and_terms(setting, batches, beta, gamma):
    config = RunConfig(row="r", setting=setting)
    assert (config.batches, config.beta, config.gamma) == (batches, beta, gamma)


@pytest.mark.parametrize("preset", sorted(p.stem for p in PRESETS.glob("*.yaml")))
def test_every_preset_loads(preset):
    assert load_preset(preset).rows


@pytest.mark.parametrize("preset", ["smoke", "demo", "pku", "pku_scratch"])
def test_the_presets_of_table_1_have_the_papers_five_rows(preset):
    assert [row.row for row in load_preset(preset).rows] == list(PAPER_TABLE)


def test_the_papers_preset_departs_from_the_paper_in_nothing():
    for row in load_preset("pku").rows:
        values = row.model_dump(exclude={"row", "setting", "backbone", "score_last"})
        paper = RunConfig(row="x", setting=row.setting).model_dump()
        assert values == {key: paper[key] for key in values}


def test_equal_values_have_equal_digests_and_any_other_value_another():
    config = RunConfig(row="a", setting="set2")
    assert config.digest() == RunConfig(row="a", setting="set2").digest()
    changed = [{"seed": 1}, {"beta": 1e-4}, {"data_sha256": "0"}, {"crop": "none"}]
    digests = {config.model_copy(update=change).digest() for change in changed}
    assert len(digests | {config.digest()}) == 5


def test_parameters_go_over_the_preset(tmp_path):
    preset = load_preset("demo", data=tmp_path, weights=tmp_path / "w", splits="0,3", name="mine")
    assert (preset.data, preset.weights) == (tmp_path, tmp_path / "w")
    assert (preset.splits, preset.name) == ((0, 3), "mine")
    assert load_preset("demo", splits="", data="", name="").name == "demo"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"setting": "set4"}, "'set4'"),
        ({"beta": -1}, "beta.*greater than or equal to 0.*-1"),
        ({"setting": "set1", "beta": 1e-5}, "set1 has no compact loss"),
        ({"setting": "set2", "gamma": 1e-6}, "set2 has no scatter loss"),
        ({"setting": "htri", "batches": "random"}, "batches must be 'pk'"),
        ({"setting": "msml", "batches": "random"}, "batches must be 'pk'"),
        ({"setting": "msml", "scale": 2.0}, "setting msml does not use scale: 2.0; remove scale"),
        (
            {"setting": "htri", "adaptive_margin": True},
            "adaptive_margin requires setting quadruplet",
        ),
        (
            {"setting": "aligned", "stripes": 1},
            "setting aligned requires stripes 2, 4 or 8, found 1",
        ),
        ({"setting": "set1", "stripes": 3}, "stripes: .*found 3"),
        ({"setting": "htri", "batch_size": 30}, "not a multiple of images_per_person"),
        ({"centres": "batch", "persons_in_sums": "all"}, "only the persons in the batch"),
        ({"centres_gradient": True}, "requires centres: batch, found centres: memory"),
        ({"epoch_count": 3}, "unknown key 'epoch_count'"),
        ({"row": "../up"}, "row.*'../up'"),
        ({"epochs": 2, "score_last": 3}, "score_last is 3"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, change, message):
    values = {"row": "r", "setting": "set3", **change}
    file = tmp_path / "wrong.yaml"
    file.write_text(f"title: t\ndata: null\nrows: [{values}]\n")
    with pytest.raises(ValueError, match=f"wrong.yaml: .*{message}"):
        load_preset(str(file))


def test_a_loss_of_section_2_needs_its_constants_and_takes_no_others():
    assert RunConfig(row="a", setting="circle").scale == 80
    with pytest.raises(ValueError, match="setting circle requires a value for scale"):
        RunConfig(row="a", setting="circle", scale=None)
    plain = RunConfig(row="a", setting="set2")
    assert plain.digest() == plain.model_copy(update={"stripes": 1, "scale": None}).digest()
    assert plain.digest() != plain.model_copy(update={"stripes": 2}).digest()


@pytest.mark.parametrize(
    "text, message",
    [
        ("rows: [", "not YAML"),
        ("- 1", "no mapping"),
        ("title: t\ndata: null\nrows: []\n", "rows"),
        ("title: t\ndata: null\nrowz: 1\nrows: [{row: a, setting: set1}]\n", "unknown key 'rowz'"),
        (
            "title: t\ndata: null\nrows: [{row: a, setting: set1}, {row: a, setting: set2}]",
            "duplicate row",
        ),
        ("title: t\ndata: {person: 3}\nrows: [{row: a, setting: set1}]\n", "person"),
        ("title: t\ndata: null\nrows: [5]\n", "rows a list of mappings"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, text, message):
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_preset(str(file))


@pytest.mark.parametrize(
    "recipe, rows, message",
    [
        ("{}", "[{row: a, setting: set1}, {row: b, setting: set3, beta: -1}]", "row 'b': beta: "),
        ("{}", "[{row: a, setting: set1}, {setting: set1}]", "row 2: row: Field required"),
        ("{}", "[{row: a, setting: set1, beta: 1}]", "row 'a': setting set1 has no compact loss"),
        ("{}", "[{row: a, setting: set1, lrr: 1}]", "row 'a': unknown key 'lrr'"),
        ("{lrr: 1}", "[{row: a, setting: set1}]", "recipe: unknown key 'lrr'"),
        ("{lr: 0}", "[{row: a, setting: set1}]", "recipe: lr: Input should be greater than 0"),
        ("{lr: 1}", "[{row: a, setting: set1, lr: 0}]", "row 'a': lr: Input should be greater"),
        ("{}\n  x: 1", "[]", "is not YAML: line 4: expected <block end>, but found"),
        ("{", "[]", "is not YAML: line 5: expected ',' or '}', but got '<stream end>', while"),
    ],
)
def test_what_is_wrong_in_a_preset_is_found_by_its_row_or_its_line(tmp_path, recipe, rows, message):
    file = tmp_path / "wrong.yaml"
    file.write_text(f"title: t\ndata: null\nrecipe: {recipe}\nrows: {rows}\n")
    with pytest.raises(ValueError) as error:
        load_preset(str(file))
    assert str(error.value).startswith(f"wrong.yaml{' ' if 'YAML' in message else ': '}{message}")
    assert "\n" not in str(error.value)


def test_an_unknown_preset_row_or_split_is_named():
    with pytest.raises(ValueError, match="no preset 'dmo'; known: best, demo"):
        load_preset("dmo")
    with pytest.raises(ValueError, match="no row 'set9'; its rows: resnet50_htri"):
        load_preset("demo").row("set9")
    with pytest.raises(ValueError, match="SPLITS is '0;1'"):
        load_preset("demo", splits="0;1")


def test_a_config_cannot_be_changed():
    with pytest.raises(ValidationError):
        RunConfig(row="a", setting="set1").epochs = 1
