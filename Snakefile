# Data -> configs -> one training a row and split -> table and figures.
# `make reproduce` calls it; what is done is not done again, and a changed module reruns only what
# depends on it: each rule lists the modules that decide its result.
import hashlib
from pathlib import Path

from reid_lib.config import Embedded, load_preset
from reid_lib.runs import FILES

HERE = Path(workflow.basedir)
PRESET = config.get("preset", "demo")
OVERRIDES = {key: str(config.get(key, "")) for key in ("data", "weights", "splits", "name")}
preset = load_preset(
    PRESET,
    data=OVERRIDES["data"],
    weights=OVERRIDES["weights"],
    splits=[int(split) for split in OVERRIDES["splits"].split(",") if split],
    name=OVERRIDES["name"],
)
EMBEDDED = isinstance(preset.data, Embedded)
RESULTS = f"results/{preset.name}"
FIGURES = f"figures/{preset.name}"
# Pixels of real people never leave results/.
PIXELS = FIGURES if EMBEDDED else f"{RESULTS}/figures"
RUNS = [f"{RESULTS}/{row.row}/split-{split}" for row in preset.rows for split in preset.splits]


def code(*modules):
    return [str(HERE / "reid_lib" / f"{module}.py") for module in modules]


def notebook(name):
    return str(HERE / "notebooks" / f"{name}.ipynb")


def drawn(folder, *names):
    return [f"{folder}/{name}.{kind}" for name in names for kind in ("pdf", "png", "alt.txt")]


def parameters(**more):
    given = {"preset": PRESET, **OVERRIDES, "root": Path.cwd(), **more}
    return [f"-p {key}={value}" for key, value in given.items() if str(value)]


def execute(name):
    return f"reid notebook {{input.notebook:q}} {{log:q}} {{params.given}}"


def configs_of_rows():
    """Changes when a row, the data folder's listing or the weights named change."""
    parts = [row.model_dump_json() for row in preset.rows] + [str(preset.splits)]
    for path in [] if EMBEDDED else sorted(Path(preset.data or ".").glob("*")):
        stat = path.stat()
        parts.append(f"{path.name} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


READING = ("config", "dataset", "runs", "metrics", "figures", "augment", "model", "losses", "training")
