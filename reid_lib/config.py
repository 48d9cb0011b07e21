"""The settings of Table 1, the configuration of a run, and presets read from YAML."""

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, model_validator

from reid_lib.engine.layouts import gives_split
from reid_lib.engine.preset_files import read_preset, validated

_PACKAGE = Path(__file__).resolve().parent
# In a wheel the presets lie inside the package, in a checkout beside it.
PRESETS = next(
    f / "presets" for f in (_PACKAGE, _PACKAGE.parent) if (f / "presets/pku.yaml").exists()
)

_RIVAL = {"batches": "pk", "beta": 0.0, "gamma": 0.0}
_UNIT, _SQUARED = {"triplet_normalise": True}, {"triplet_distance": "squared"}

# The settings of Table 1, then the losses of section 2 (`reid_lib.related`) with the constants of
# their sources, and what each implies; a row may change a weight, but not which terms act.
SETTINGS = {
    "htri": {"batches": "pk", "beta": 0.0, "gamma": 0.0},
    "xent_htri": {"batches": "pk", "beta": 0.0, "gamma": 0.0},
    "htri_cl": {"batches": "pk", "beta": 5e-5, "gamma": 0.0},
    "set1": {"batches": "random", "beta": 0.0, "gamma": 0.0},
    "set2": {"batches": "random", "beta": 5e-5, "gamma": 0.0},
    "set3": {"batches": "random", "beta": 5e-5, "gamma": 1e-6},
    "contrastive": {**_RIVAL, **_UNIT, "margin": 1.0},
    "triplet_all": {**_RIVAL, **_UNIT, **_SQUARED, "margin": 1.0},
    "triplet_improved": {
        **_RIVAL,
        **_UNIT,
        **_SQUARED,
        "margin": 1.0,
        "second_margin": 0.01,
        "second_weight": 0.002,
    },
    "quadruplet": {**_RIVAL, **_UNIT, **_SQUARED, "margin": 1.0, "second_margin": 0.5},
    "msml": {**_RIVAL, **_UNIT, "margin": 0.6},
    "xent_htri_centre": {
        **_RIVAL,
        "neck": "batchnorm",
        "label_smoothing": 0.1,
        "second_weight": 5e-4,
    },
    "aligned": {**_RIVAL, "stripes": 8},
    "circle": {**_RIVAL, "margin": 0.4, "scale": 80.0},
    "arcface": {**_RIVAL, "margin": 28.6, "scale": 64.0},
}

# The terms of each setting's loss: L_SR (Eq. 1), L_CL (Eq. 2), L_SL (Eq. 3), the triplet loss, and
# the loss of `reid_lib.related`.
TERMS = {
    "htri": ("tri",),
    "xent_htri": ("sr", "tri"),  # softmax and triplet, the default of the code of reference [26]
    "htri_cl": ("tri", "cl"),  # the triplet loss enhanced by the compact loss
    "set1": ("sr",),
    "set2": ("sr", "cl"),
    "set3": ("sr", "cl", "sl"),
    "contrastive": ("rel",),
    "triplet_all": ("rel",),
    "triplet_improved": ("rel",),
    "quadruplet": ("rel",),
    "msml": ("rel",),
    "xent_htri_centre": ("sr", "tri", "rel"),
    "aligned": ("sr", "rel"),  # softmax besides, the default of the code of reference [26]
    "circle": ("rel",),
    "arcface": ("rel",),
}

# Table 1 of the paper, in percent: 57 persons to train, 57 to test.
PAPER_TABLE = {
    row: dict(zip(("rank-1", "rank-5", "rank-10", "rank-20", "mAP"), scores, strict=True))
    for row, *scores in (
        ("resnet50_htri", 55.3, 78.3, 86.0, 93.2, 47.7),
        ("resnet18_htri", 66.9, 85.5, 93.6, 97.8, 55.6),
        ("set1", 67.3, 87.1, 94.1, 97.4, 51.5),
        ("set2", 70.2, 88.2, 92.8, 96.7, 53.5),
        ("set3", 71.5, 90.8, 95.6, 98.9, 56.8),
    )
}
PAPER_PERSONS = 114

# Keys that came after the first records; see `RunConfig.digest`.
CONSTANTS = ("second_margin", "second_weight", "scale")  # of some losses of section 2 alone
ADDED_KEYS = ("train_persons", "epoch", "score_every", "cuda_graph", "stripes", "adaptive_margin")
ADDED_KEYS += CONSTANTS


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunConfig(_Frozen):
    """Configuration of one training run.

    Defaults are the paper's values, or else those of our default reading. A row of a preset can set
    any key. `data_sha256`, `weights_sha256` and the resolved `precision` are filled in before
    training, so that equal configurations mean the same run.

    Keys without a description below: `row` names the row of the table, `setting` its loss terms
    (`SETTINGS`), `backbone` the network; `neck` puts a batch normalisation before the classifier;
    `start` selects the initial weights. `seed` is that of the random generators. `batches` selects
    random or P x K batches, and `images_per_person` is K. `beta` and `gamma` are the weights of Eq.
    4, `sr_reduction` and `label_smoothing` belong to Eq. 1, and `scatter` selects the form of Eq.
    3. The keys from `centres` to `memory_update` select how centres are computed
    (presets/README.md); `margin`, `triplet_distance` and `triplet_normalise` belong to the triplet
    loss and the related losses. `flip` mirrors half of the training images.
    """

    row: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    setting: Literal[tuple(SETTINGS)]
    backbone: str = "resnet18"
    neck: Literal["none", "batchnorm"] = "none"
    stripes: Literal[1, 2, 4, 8] = Field(
        1,
        description="how many horizontal stripes are pooled; the code is their means, concatenated",
    )
    start: Literal["imagenet", "random", "file"] = "imagenet"
    split: int = Field(0, ge=0)
    validation: bool = Field(
        False, description="hold out a third of the training persons and score these instead"
    )
    train_persons: int | None = Field(
        None,
        ge=2,
        description="number of training persons, all others are scored; null: half of them",
    )
    seed: int = Field(0, ge=0)

    epochs: int = Field(300, ge=1)
    epoch: Literal["images", "persons"] = Field(
        "images",
        description="images: each image once; persons: images_per_person images of each person",
    )
    batch_size: int = Field(32, ge=2)
    lr: float = Field(2e-4, gt=0)
    schedule: Literal["constant", "cosine", "step"] = Field(
        "constant",
        description="step: multiply the learning rate by 0.1 after half of the epochs",
    )
    weight_decay: float = Field(5e-4, ge=0)

    beta: float = Field(ge=0)
    gamma: float = Field(ge=0)
    sr_reduction: Literal["mean", "sum"] = "mean"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    scatter: Literal["sum", "log", "unit"] = "sum"
    centres: Literal["memory", "batch", "all"] = "memory"
    centres_gradient: bool = False
    persons_in_sums: Literal["all", "batch"]
    memory_start: Literal["encoded", "empty"] = "encoded"
    memory_update: Literal["before", "after", "epoch"] = "before"

    margin: float = Field(0.3, ge=0)
    triplet_distance: Literal["euclidean", "squared"] = "euclidean"
    triplet_normalise: bool = False
    second_margin: float | None = Field(
        None,
        ge=0,
        description="quadruplet: second margin; triplet_improved: bound within a person",
    )
    second_weight: float | None = Field(
        None,
        ge=0,
        description="weight of the second term of triplet_improved, or of the centre loss",
    )
    adaptive_margin: bool = Field(False, description="quadruplet: margins follow the distances")
    scale: float | None = Field(
        None, gt=0, description="circle, arcface: factor of the similarities"
    )
    batches: Literal["random", "pk"]
    images_per_person: int = Field(4, ge=2)

    flip: bool = True
    crop: Literal["pad", "enlarge", "translate", "none"] = Field(
        "pad", description="translate: enlarge and crop with probability one half"
    )
    crop_pad: int = Field(5, ge=0, description="pixels on each side, for crop: pad")
    crop_enlarge: float = Field(1.125, ge=1, description="factor, for crop: enlarge or translate")
    image_size: tuple[int, int] | None = Field(None, description="height, width; null: as stored")

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    rerank: bool = Field(False, description="also score k-reciprocal re-ranked galleries")
    score_every: int = Field(
        1, ge=1, description="number of epochs from one evaluation to the next"
    )
    score_last: int = Field(
        1, ge=1, description="number of evaluated epochs, counted from the last"
    )
    deterministic: bool = Field(
        False, description="on CUDA: use only kernels with bitwise reproducible results"
    )
    cuda_graph: bool = Field(
        False, description="on CUDA: capture the training step once and replay it"
    )
    code_norm_limit: float = Field(
        1000,
        gt=1,
        description="stop if the mean norm of the codes exceeds this multiple of its first value",
    )

    data_sha256: str = ""
    weights_sha256: str = ""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_setting(cls, values: dict) -> dict:
        implied = SETTINGS.get(str(values.get("setting")), SETTINGS["set1"])  # no second complaint
        sums = {"persons_in_sums": "batch" if values.get("centres") == "batch" else "all"}
        return {**sums, **implied, **values}

    @model_validator(mode="after")
    def _agree(self):
        terms = TERMS[self.setting]
        if self.beta and "cl" not in terms:
            raise ValueError(f"setting {self.setting} has no compact loss, but beta is {self.beta}")
        if self.gamma and "sl" not in terms:
            raise ValueError(
                f"setting {self.setting} has no scatter loss, but gamma is {self.gamma}"
            )
        if {"tri", "rel"} & set(terms) and self.batches != "pk":
            raise ValueError(
                f"setting {self.setting} needs several images per person: batches must be 'pk'"
            )
        for name in CONSTANTS:
            if (getattr(self, name) is None) == (name in SETTINGS[self.setting]):
                raise ValueError(
                    f"setting {self.setting} requires a value for {name}"
                    if name in SETTINGS[self.setting]
                    else f"setting {self.setting} does not use {name}: {getattr(self, name)}; "
                    f"remove {name}"
                )
        if self.adaptive_margin and self.setting != "quadruplet":
            raise ValueError(f"adaptive_margin requires setting quadruplet, found {self.setting}")
        if self.setting == "aligned" and self.stripes == 1:
            raise ValueError("setting aligned requires stripes 2, 4 or 8, found 1")
        if self.batches == "pk" and self.batch_size % self.images_per_person:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of images_per_person "
                f"{self.images_per_person}"
            )
        if self.centres == "batch" and self.persons_in_sums == "all":
            raise ValueError(
                "with centres: batch, only the persons in the batch have a centre; set "
                "persons_in_sums: batch"
            )
        if self.centres_gradient and self.centres != "batch":
            raise ValueError(
                f"centres_gradient: true requires centres: batch, found centres: {self.centres}"
            )
        if self.memory_update == "epoch" and self.memory_start == "empty":
            raise ValueError(
                "memory_update: epoch encodes all images before the first step, so memory_start "
                "cannot be empty"
            )
        if (self.score_last - 1) * self.score_every >= self.epochs:
            raise ValueError(
                f"score_last is {self.score_last} and score_every {self.score_every}, but there "
                f"are only {self.epochs} epochs"
            )
        return self

    def is_scored(self, epoch: int) -> bool:
        """Whether the test persons are scored after this epoch (from 1)."""
        steps, rest = divmod(self.epochs - epoch, self.score_every)
        return rest == 0 and steps < self.score_last

    def digest(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the values.

        A key of `ADDED_KEYS` counts only where it differs from its default, so that a
        configuration keeps the digest that it had before the key existed.
        """
        values = self.model_dump(mode="json")
        for name in ADDED_KEYS:
            if values[name] == type(self).model_fields[name].default:
                del values[name]
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class Embedded(_Frozen):
    """The built-in synthetic persons: their number, and the seed that determines them."""

    persons: int = Field(ge=4)
    seed: int = Field(0, ge=0)


class Preset(_Frozen):
    """One study: the data, the splits, and the rows of its table.

    `name` is the name of the folders of its results and figures; `data` is a folder, a CSV file, or
    the built-in synthetic persons; `persons` is a file with the ids of the persons to use.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    title: str
    data: Embedded | Path | None
    weights: Path | None = None
    persons: Path | None = None
    splits: tuple[NonNegativeInt, ...] = Field((0,), min_length=1)
    rows: tuple[RunConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self):
        for what, values in (("row", [r.row for r in self.rows]), ("split", self.splits)):
            for value in values:
                if values.count(value) > 1:
                    raise ValueError(f"duplicate {what} {value!r}")
        return self

    @property
    def runs(self) -> list[tuple[str, int]]:
        """The name of the row and the split of each run, in the order of the rows."""
        return [(row.row, split) for row in self.rows for split in self.splits]

    def row(self, name: str) -> RunConfig:
        """The row called `name`; ValueError with the known names otherwise."""
        rows = {row.row: row for row in self.rows}
        if name not in rows:
            known = ", ".join(rows)
            raise ValueError(f"preset {self.name} has no row {name!r}; its rows: {known}")
        return rows[name]


def load_preset(
    preset: str,
    *,
    data: str | Path | None = None,
    weights: str | Path | None = None,
    splits: str | int | None = None,
    name: str | None = None,
    persons: str | Path | None = None,
) -> Preset:
    """Read a preset, with its values replaced by the user's parameters.

    Args:
        preset: a name in `presets/`, or the path of a YAML file.
        data: a folder of images or a CSV file, instead of the preset's own data.
        weights: a weights file, or a folder of weights files named as in torchvision.
        splits: the numbers of the splits, such as "0,1,2", instead of the preset's own.
        name: name of the folders of results and figures, instead of the preset's name.
        persons: a JSON file whose key `persons` lists the ids to use, such as splits/pku74.json.
    Returns:
        The preset; each row contains the recipe shared by all rows, with its own values taking
        precedence. Data sets that define their split have only split 0.
    Raises:
        ValueError: no such preset, an unknown key, or a value that is not allowed, each by name.
    """
    path = Path(preset) if str(preset).endswith((".yaml", ".yml")) else PRESETS / f"{preset}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml")))
        wrong = f"{path} does not exist" if path == Path(preset) else f"no preset {str(preset)!r}"
        raise ValueError(f"{wrong}; known: {known}, or the path of a .yaml file")
    content, recipe, rows = read_preset(path)
    content = {"name": name or path.stem, **content}
    for key, file in (("data", data), ("weights", weights), ("persons", persons)):
        if file:
            content[key] = Path(file).expanduser().resolve()
    if splits not in (None, ""):
        try:
            numbers = tuple(int(split) for split in str(splits).split(","))
        except ValueError:
            numbers = ()
        if min(numbers, default=-1) < 0:
            raise ValueError(f"SPLITS is {splits!r}; expected numbers from 0 such as 0,1,2")
        content["splits"] = numbers
    content["rows"] = tuple(
        validated(RunConfig, {**recipe, **row}, path.name, row, number)
        for number, row in enumerate(rows, 1)
    )
    study = validated(Preset, content, path.name)
    try:
        given = isinstance(study.data, Path) and gives_split(study.data)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name}: data: {error}") from None
    if given:
        if splits not in (None, "") and study.splits != (0,):
            raise ValueError(
                f"SPLITS is {splits!r}, but {study.data} defines its own split; only split 0 exists"
            )
        study = study.model_copy(update={"splits": (0,)})
    return study
