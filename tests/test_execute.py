"""One notebook: parameters are checked first, a failure leaves the traceback and no silence."""

import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from papermill import PapermillExecutionError

from reid_lib.cli import INTERRUPTED, main
from reid_lib.engine.notebooks import run_notebook


@pytest.fixture
def notebook(tmp_path):
    """Divides 10 by `number`; `name` is a text even if it looks like a number."""
    cells = [
        nbformat.v4.new_code_cell("number = 5\nname = ''", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("print(10 / number, repr(name))"),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = tmp_path / "divide.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


def test_parameters_reach_the_notebook_as_what_they_are(notebook, tmp_path, capfd):
    run_notebook(notebook, tmp_path / "out" / "done.ipynb", {"number": "4", "name": "0"})
    assert "2.5 '0'" in capfd.readouterr().out
    executed = nbformat.read(tmp_path / "out" / "done.ipynb", 4)
    assert any("injected-parameters" in cell.metadata.get("tags", []) for cell in executed.cells)


def test_a_misspelt_parameter_is_refused_before_anything_runs(notebook, tmp_path, capsys):
    with pytest.raises(ValueError, match="no parameter 'nmuber'; its parameters: number, name"):
        run_notebook(notebook, tmp_path / "done.ipynb", {"nmuber": "4"})
    assert main(["notebook", str(notebook), str(tmp_path / "done.ipynb"), "-p", "nmuber=4"]) == 2
    assert "nmuber" in capsys.readouterr().err
    with pytest.raises(
        ValueError, match=r"divide\.ipynb: number is 'four'; expected a literal such as 5"
    ):
        run_notebook(notebook, tmp_path / "done.ipynb", {"number": "four"})
    assert not (tmp_path / "done.ipynb").exists()


def test_a_failed_cell_leaves_the_executed_copy_with_its_traceback(notebook, tmp_path):
    with pytest.raises(PapermillExecutionError, match="ZeroDivisionError"):
        run_notebook(notebook, tmp_path / "failed.ipynb", {"number": "0"})
    executed = nbformat.read(tmp_path / "failed.ipynb", 4)
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert any(output.get("ename") == "ZeroDivisionError" for output in outputs)


@pytest.mark.slow
def test_ctrl_c_ends_a_notebook_in_one_line_after_what_it_saves(notebook, tmp_path):
    """A stand-in for a training that takes some seconds to save its checkpoint."""
    source = nbformat.read(notebook, 4)
    busy = "import pathlib, signal, time\npathlib.Path('busy').touch()\n"
    busy += "try:\n    time.sleep(60)\nfinally:\n"
    busy += "    for number in (2, 15):\n        signal.signal(number, signal.SIG_IGN)\n"
    busy += "    time.sleep(7)\n    pathlib.Path('kept').touch()"
    source.cells[1].source = busy
    nbformat.write(source, notebook)
    process = subprocess.Popen(
        [sys.executable, "-m", "reid_lib", "notebook", notebook, tmp_path / "done.ipynb"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (tmp_path / "busy").is_file():
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130
    assert "Traceback" not in said and said.strip() == f"reid notebook: {INTERRUPTED}"
    assert (tmp_path / "kept").is_file()


def test_kernels_that_start_at_once_do_not_disturb_each_other(notebook, tmp_path):
    command = [sys.executable, "-m", "reid_lib", "notebook", notebook]
    started = [
        subprocess.Popen(
            [*command, tmp_path / f"{n}.ipynb", "-p", f"number={n}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in (1, 2, 4)
    ]
    assert ["".join(run.communicate()[0]).split()[0] for run in started] == ["10.0", "5.0", "2.5"]
    assert [run.returncode for run in started] == [0, 0, 0]
