"""The benchmark that wants a graphics card; `make test-gpu` collects it with the marked tests."""

import importlib.util
import sys

import pytest
from conftest import REPOSITORY, write_images


@pytest.mark.gpu
def test_the_benchmark_of_cuda_graphs_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    file = REPOSITORY / "benchmarks" / "training.py"
    spec = importlib.util.spec_from_file_location("benchmark_training", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    lines = module.graphs(None, write_images(tmp_path / "images", 16, (48, 128)), tmp_path)
    with capsys.disabled():
        print("\n".join(lines))
    assert "fit, set3" in "\n".join(lines)
