"""The runs of a preset as an RO-Crate, and two crates side by side."""

import json
import sys
import zipfile
from pathlib import Path

import pytest

from reid_lib.cli import main

rocrate = pytest.importorskip("rocrate")


@pytest.fixture
def crate(tmp_path, preset_file, small):
    """The crate of two finished runs, and the folder that they lie in."""
    for row in ("htri", "set3"):
        assert main(["train", str(preset_file), "--row", row, "--root", str(tmp_path)]) == 0
    out = tmp_path / "crate.zip"
    asked = ["crate", str(preset_file), "--root", str(tmp_path), "--out", str(out)]
    assert main(asked) == 0
    return out


def test_each_run_is_an_action_with_its_files_and_nothing_of_the_images(crate, tmp_path):
    from rocrate.rocrate import ROCrate

    read = ROCrate(crate)
    actions = read.root_dataset["mentions"]
    assert [a["name"] for a in actions] == [
        "training of htri on split 0",
        "training of set3 on split 0",
    ]
    manifest = json.loads((tmp_path / "results/tiny/set3/split-0/manifest.json").read_text())
    images, config = actions[1]["object"]
    assert images["sha256"] == manifest["data_sha256"]
    assert json.loads(zipfile.ZipFile(crate).read(config.id))["setting"] == "set3"
    names = zipfile.ZipFile(crate).namelist()
    assert not [n for n in names if Path(n).suffix in (".png", ".npz", ".safetensors", ".ipynb")]


def test_two_crates_agree_or_the_difference_is_named(crate, tmp_path, capsys):
    assert main(["compare", str(crate), str(crate)]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1].startswith("42 of 42 scores agree")
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(crate) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "runs/set3/split-0/metrics.json":
                scores = json.loads(content)
                scores["test"]["A->B"]["mAP"] -= 0.02
                content = json.dumps(scores).encode()
            if "htri" not in name:
                new.writestr(name, content)
    assert main(["compare", str(crate), str(other)]) == 0
    *lines, count = capsys.readouterr().out.splitlines()
    assert lines[0] == f"htri split-0: only in {crate}"
    assert lines[1].startswith("set3 split-0 A->B mAP: ") and len(lines) == 2
    assert count == "20 of 21 scores agree within 0.05 points"
    assert main(["compare", str(crate), str(other), "--tolerance", "3"]) == 0
    assert "21 of 21" in capsys.readouterr().out


def test_what_is_no_crate_is_named(tmp_path, capsys):
    file = tmp_path / "a.zip"
    file.write_bytes(b"PK")
    assert main(["compare", str(file), str(file)]) == 2
    assert f"{file} was not written by `reid crate`" in capsys.readouterr().err


@pytest.mark.slow
def test_the_validator_of_the_profile_accepts_the_crate(crate, tmp_path, monkeypatch):
    """The vocabulary that the validator would download is the copy in rocrate."""
    requests = pytest.importorskip("requests")
    services = pytest.importorskip("rocrate_validator.services")
    from rocrate_validator.models import Severity

    vocabulary = Path(sys.modules["rocrate"].__file__).parent / "data" / "ro-crate.jsonld"

    def answer(self, request, **options):
        if "w3id.org/ro/crate" not in request.url:
            raise requests.ConnectionError(request.url)
        response = requests.Response()
        response.status_code, response._content = 200, vocabulary.read_bytes()
        response.url, response.request = request.url, request
        response.headers["Content-Type"] = "application/ld+json"
        return response

    monkeypatch.setattr(requests.Session, "send", answer)
    zipfile.ZipFile(crate).extractall(tmp_path / "crate")
    settings = services.ValidationSettings(
        rocrate_uri=str(tmp_path / "crate"),
        profile_identifier="process-run-crate-0.5",
        requirement_severity=Severity.REQUIRED,
        no_cache=True,
    )
    found = services.validate(settings)
    assert [issue.message for issue in found.get_issues()] == []
