"""What an installed package holds, and that the method needs no plotting library."""

import os
import subprocess
import sys
import tomllib
import zipfile

import pytest
from conftest import REPOSITORY
from packaging.requirements import Requirement

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
BASE = (
    "torch torchvision numpy pandas scipy pillow pydantic pyyaml safetensors tqdm filelock".split()
)


def run(program, path):
    environment = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env=environment, cwd=path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_base_dependencies_are_few_and_the_extras_are_named():
    assert {Requirement(text).name for text in PROJECT["dependencies"]} == set(BASE)
    extras = PROJECT["optional-dependencies"]
    assert " ".join(extras) == "plots notebooks onnx faiss timm share dev site browser"
    names = {Requirement(text).name for text in extras["plots"]}
    assert names == {"matplotlib", "seaborn", "scikit-learn"}


OPTIONAL = ("seaborn", "matplotlib", "sklearn", "pytorch_metric_learning")


@pytest.mark.parametrize("module", ["losses", "metrics", "dataset", "model", "training"])
def test_the_method_needs_no_library_of_an_extra(module):
    blocked = f"import sys; sys.modules |= dict.fromkeys({OPTIONAL})\n"
    run(f"{blocked}import reid_lib.{module}", REPOSITORY)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built without a network, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_a_wheel_holds_every_module_preset_and_expected_score(wheel):
    listing = subprocess.run(
        ["git", "ls-files", "reid_lib", "presets"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    wanted = {
        name if name.startswith("reid_lib/") else f"reid_lib/{name}"
        for name in listing.stdout.split()
        if (REPOSITORY / name).is_file()
    }
    found = {path.relative_to(wheel).as_posix() for path in wheel.rglob("*") if path.is_file()}
    assert wanted <= found
    assert not [name for name in found if ".ipynb" in name or "__pycache__" in name]


def test_an_installed_package_finds_its_presets_and_expected_scores(wheel):
    program = (
        "import reid_lib.config as c; print(c.PRESETS); print(c.load_preset('demo').name)\n"
        "print((c.PRESETS / 'expected' / 'demo.json').is_file())"
    )
    folder, name, expected = run(program, wheel).split()
    assert folder == str(wheel / "reid_lib" / "presets")
    assert (name, expected) == ("demo", "True")


def test_an_installed_package_finds_its_weights(wheel):
    program = (
        "from reid_lib.retrieval.encoders import DRAWN_FILE, open_encoder\n"
        "print(DRAWN_FILE); print(open_encoder().size)"
    )
    file, size = run(program, wheel).splitlines()
    assert file == str(wheel / "reid_lib" / "weights" / "mobilenet_v2_drawn.safetensors")
    assert size == "(128, 48)"
