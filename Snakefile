# Data -> configs -> one training a row and split -> table and figures.
# `make reproduce` calls it; what is done is not done again, and a changed module reruns only what
# depends on it: each rule lists the modules that decide its result.
import hashlib
import shutil
from pathlib import Path

from reid_lib.config import Embedded, load_preset
from reid_lib.engine.provenance import module_files
from reid_lib.engine.runs import FILES

HERE = Path(workflow.basedir)
GIVEN = {key: str(config.get(key, "")) for key in ("preset", "data", "weights", "splits", "name")}
GIVEN["preset"] = GIVEN["preset"] or "demo"
preset = load_preset(
    GIVEN["preset"],
    data=GIVEN["data"],
    weights=GIVEN["weights"],
    splits=GIVEN["splits"],
    name=GIVEN["name"],
)
for key in ("data", "weights"):  # absolute, since a notebook runs in its own folder
    GIVEN[key] = GIVEN[key] and str(getattr(preset, key))
if GIVEN["preset"].endswith((".yaml", ".yml")):
    GIVEN["preset"] = str(Path(GIVEN["preset"]).resolve())
EMBEDDED = isinstance(preset.data, Embedded)
RESULTS = f"results/{preset.name}"
FIGURES = f"figures/{preset.name}"
PIXELS = FIGURES if EMBEDDED else f"{RESULTS}/figures"  # real people stay under results/
RUNS = [f"{row.row}/split-{split}" for row in preset.rows for split in preset.splits]
DRAWING = {  # notebook: the figures it draws without pixels, and those with
    "01_data": (["split"], ["sheet"]),
    "02_method": (["fig2"], ["fig1"]),
    "04_table1": (["curves", "table1"], []),
    "05_tsne": (["tsne"], []),
    "06_ranking": ([], ["fig3", "activation"]),
    "07_viewpoint": (["viewpoint", "viewpoint_distance", "viewpoint_angle"], []),
}
TABLES = {"04_table1": ["table1.csv", "table1.md", "table1.tex", "table1.html"],
          "07_viewpoint": ["viewpoint.csv", "viewpoint.md"]}


def code(*modules):
    """The files of these modules and of all that they import from the package."""
    return list(map(str, module_files(*(f"reid_lib.{module}" for module in modules))))


def outputs(name):
    plain, pixels = DRAWING[name]
    kinds = ("pdf", "png", "alt.txt")
    files = [f"{FIGURES}/{figure}.{kind}" for figure in plain for kind in kinds]
    files += [f"{PIXELS}/{figure}.{kind}" for figure in pixels for kind in kinds]
    return files + [f"{FIGURES}/{table}" for table in TABLES.get(name, [])]


def execute(**more):
    """A notebook with the parameters of this call."""
    given = {**GIVEN, "root": str(Path.cwd()), **more}
    words = " ".join(f"-p {key}='{value}'" for key, value in given.items() if value)
    return f"reid notebook {{input.notebook:q}} {{log:q}} {words}"


def signature():
    """Changes when a row, the listing of the data folder or the weights change."""
    parts = [preset.model_dump_json()]
    for path in sorted(preset.data.glob("*")) if isinstance(preset.data, Path) else []:
        parts.append(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


localrules: all


rule all:
    input:
        expand(f"{RESULTS}/{{run}}/metrics.json", run=RUNS),
        [outputs(name) for name in DRAWING],
        f"{RESULTS}/notebooks/08_open_choices.ipynb",


# Whatever can fail before training fails here: data, weights, batch sizes, precision.
rule resolve:
    input:
        code("engine.prepare"),
    output:
        f"{RESULTS}/configs.json",
    params:
        signature=signature(),
        given=" ".join(f"--{k} '{v}'" for k, v in GIVEN.items() if v and k != "preset"),
    benchmark:
        f"{RESULTS}/seconds/data.tsv"
    shell:
        f"reid resolve '{GIVEN['preset']}' {{params.given}} --out {{output:q}}"


rule train:
    input:
        code("training"),
        configs=f"{RESULTS}/configs.json",
        notebook=HERE / "notebooks" / "03_train.ipynb",
    output:
        [f"{RESULTS}/{{row}}/split-{{split}}/{file}" for file in FILES],
    params:
        digest=lambda wildcards: preset.row(wildcards.row).digest(),
    log:
        f"{RESULTS}/{{row}}/split-{{split}}/train.ipynb",
    benchmark:
        f"{RESULTS}/seconds/train-{{row}}-split-{{split}}.tsv"
    # Two trainings of one thread each are done sooner than one after the other with two threads.
    threads: max(1, (workflow.cores or 1) // len(RUNS))
    resources:
        card=1 if shutil.which("nvidia-smi") else 0,
    shell:
        execute(row="{wildcards.row}", split="{wildcards.split}", progress="lines")


for name in DRAWING:

    rule:
        name:
            name
        input:
            f"{RESULTS}/configs.json",
            expand(f"{RESULTS}/{{run}}/{{file}}", run=RUNS if name != "01_data" else [], file=FILES),
            code("plots", "report", *(["explorer"] if name == "06_ranking" else [])),
            notebook=HERE / "notebooks" / f"{name}.ipynb",
        output:
            outputs(name),
        log:
            f"{RESULTS}/notebooks/{name}.ipynb",
        benchmark:
            f"{RESULTS}/seconds/{name}.tsv"
        shell:
            execute()


# Draws what earlier runs on real people left; this preset's own runs play no part in it.
rule:
    name:
        "08_open_choices"
    input:
        sorted((HERE / "figures" / "pku74").rglob("*.json")),
        code("evidence"),
        notebook=HERE / "notebooks" / "08_open_choices.ipynb",
    output:
        f"{RESULTS}/notebooks/08_open_choices.ipynb",
    benchmark:
        f"{RESULTS}/seconds/08_open_choices.tsv"
    shell:
        "reid notebook {input.notebook:q} {output:q}"
