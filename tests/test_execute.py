"""One notebook: parameters are checked first, a failure leaves the traceback and no silence."""

import subprocess
import sys

import nbformat
import pytest
from papermill import PapermillExecutionError

from reid_lib.cli import main
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
