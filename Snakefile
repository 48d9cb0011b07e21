# Configurations -> one training per row and split -> notebooks, table and figures.
# `make reproduce` first runs `reid resolve`, which writes one configuration per run, then this.
# A run folder belongs to the training alone: Snakemake watches a stamp, a copy of its manifest.
import shutil
from pathlib import Path

from snakemake.exceptions import WorkflowError

from reid_lib.config import Embedded, load_preset
from reid_lib.engine.locks import lock_folder
from reid_lib.engine.provenance import notebook_files
from reid_lib.engine.runs import config_file, run_folder, stamp_file

HERE = Path(workflow.basedir)
PARAMETERS = ("preset", "data", "weights", "splits", "name", "persons")
GIVEN = {key: str(config.get(key, "")) for key in PARAMETERS}
GIVEN["preset"] = GIVEN["preset"] or "demo"
try:
    preset = load_preset(**GIVEN)
except ValueError as error:
    raise WorkflowError(str(error))
for key in ("data", "weights", "persons"):  # absolute, since a notebook runs in its own folder
    GIVEN[key] = GIVEN[key] and str(getattr(preset, key))
if GIVEN["preset"].endswith((".yaml", ".yml")):
    GIVEN["preset"] = str(Path(GIVEN["preset"]).resolve())
RESULTS = f"results/{preset.name}"
FIGURES = f"figures/{preset.name}"
# Pictures of real people stay under results/.
PIXELS = FIGURES if isinstance(preset.data, Embedded) else f"{RESULTS}/figures"
CONFIG, STAMP = (str(file("results", preset, "{row}", "{split}")) for file in (config_file, stamp_file))
MANIFEST = run_folder("results", preset, "{wildcards.row}", "{wildcards.split}") / "manifest.json"
DRAWING = {  # notebook: the figures it draws without pixels, and those with
    "01_data": (["split"], ["sheet"]),
    "02_method": (["fig2", "centres", "net_force"], []),
    "04_table1": (["curves", "table1"], []),
    "05_tsne": (["tsne"], []),
    "06_ranking": ([], ["fig1", "fig3", "similarity"]),
    "07_viewpoint": (["viewpoint", "viewpoint_distance", "viewpoint_angle"], []),
    "09_related_losses": (["related_losses", "related_ratio"], []),
}
RECORDS = sorted((HERE / "figures" / "pku74").rglob("*.json"))  # of runs on real people
TABLES = {"04_table1": ["table1.csv", "table1.md", "table1.tex", "table1.html"],
          "05_tsne": ["tsne.csv"],
          "07_viewpoint": ["viewpoint.csv", "viewpoint.md"]}


def of_runs(pattern):
    return [pattern.format(row=row, split=split) for row, split in preset.runs]


def notebook(name):
    return str(HERE / "notebooks" / f"{name}.ipynb")


def code(name):
    """Every file of the package that the imports of a notebook lead to."""
    return [str(file) for file in notebook_files(Path(notebook(name)))]


def outputs(name):
    """A stamp, and those of a notebook's files that do not exist: a file that does is not declared,
    since Snakemake would delete it first; so it stays until the notebook replaces it."""
    plain, pixels = DRAWING[name]
    kinds = ("pdf", "png", "alt.txt")
    files = [f"{FIGURES}/{figure}.{kind}" for figure in plain for kind in kinds]
    files += [f"{PIXELS}/{figure}.{kind}" for figure in pixels for kind in kinds]
    files += [f"{FIGURES}/{table}" for table in TABLES.get(name, [])]
    return [f"{RESULTS}/drawn/{name}", *(file for file in files if not Path(file).is_file())]


def execute(notebook="{input.notebook:q}", **more):
    """A notebook with the parameters of this call."""
    given = {**GIVEN, "root": str(Path.cwd()), "publish": "True", **more}
    words = " ".join(f"-p {key}='{value}'" for key, value in given.items() if value)
    return f"reid notebook {notebook} {{log:q}} {words}"


if workflow.is_main_process and not workflow.dryrun:
    missing = [file for file in of_runs(CONFIG) if not Path(file).is_file()]
    if missing:
        raise WorkflowError(f"{missing[0]} is missing: `make reproduce` or `reid resolve` writes it")
    try:  # until this process ends; a job's own process reads this file too
        HELD = lock_folder(Path(RESULTS))
        HELD.__enter__()
    except BlockingIOError as error:
        raise WorkflowError(str(error))


wildcard_constraints:
    split=r"\d+",


localrules: all


rule all:
    input:
        of_runs(STAMP),
        [outputs(name) for name in DRAWING],
        f"{RESULTS}/notebooks/08_open_choices.ipynb",


# A completed run with an equal configuration is returned as it is, whatever led here.
rule train:
    input:
        CONFIG,
    output:
        STAMP,
    log:
        f"{RESULTS}/training/{{row}}-split-{{split}}.ipynb",
    benchmark:
        f"{RESULTS}/seconds/train-{{row}}-split-{{split}}.tsv"
    # Two trainings of one thread each are done sooner than one after the other with two threads.
    threads: max(1, (workflow.cores or 1) // len(preset.runs))
    resources:
        card=1 if shutil.which("nvidia-smi") else 0,
    shell:
        execute(repr(notebook("03_train")), row="{wildcards.row}", split="{wildcards.split}", progress="lines",
                config=f"{Path.cwd()}/{{input}}") + f" && cp '{MANIFEST}' {{output:q}}"


for name in DRAWING:

    rule:
        name:
            name
        input:
            of_runs(CONFIG),
            of_runs(STAMP) if name not in ("01_data", "02_method") else [],  # these need no run
            RECORDS if name.startswith("09") else [],  # else this preset's own runs
            code(name),
            notebook=notebook(name),
        output:
            outputs(name),
        log:
            f"{RESULTS}/notebooks/{name}.ipynb",
        benchmark:
            f"{RESULTS}/seconds/{name}.tsv"
        shell:
            execute() + " && touch {output[0]:q}"


# Draws what earlier runs on real people left; this preset's own runs play no part in it.
rule:
    name:
        "08_open_choices"
    input:
        RECORDS,
        code("08_open_choices"),
        notebook=notebook("08_open_choices"),
    output:
        f"{RESULTS}/notebooks/08_open_choices.ipynb",
    benchmark:
        f"{RESULTS}/seconds/08_open_choices.tsv"
    shell:
        "reid notebook {input.notebook:q} {output:q}"
