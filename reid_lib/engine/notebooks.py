"""Run one notebook headless through papermill, its parameters checked first."""

import ast
import logging
import sys
from pathlib import Path
from uuid import uuid4

import papermill
from jupyter_client import AsyncKernelManager
from jupyter_core.paths import jupyter_runtime_dir
from traitlets import default


class SocketKernelManager(AsyncKernelManager):
    """Talks to its kernel over socket files: kernels that start at once race for TCP ports."""

    def format_kernel_cmd(self, extra_arguments=None):
        # A kernel that is interrupted logs that its sockets are closed.
        return super().format_kernel_cmd([*(extra_arguments or ()), "--log-level=50"])

    @default("shutdown_wait_time")
    def _shutdown_wait_time(self) -> float:
        return 60.0  # seconds: an interrupted training first saves its checkpoint

    @default("transport")
    def _transport(self) -> str:
        return "ipc"

    @default("ip")
    def _ip(self) -> str:  # jupyter's own default is one path for all kernels
        folder = Path(jupyter_runtime_dir())
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder / f"kernel-{uuid4().hex}-ipc")


def run_notebook(notebook: str | Path, executed: str | Path, parameters: dict[str, str]) -> None:
    """Execute a notebook and leave the executed copy, with the traceback if a cell fails.

    Args:
        notebook: with one cell tagged `parameters`; its folder is the working directory.
        executed: where the executed copy goes.
        parameters: name -> value as text, each a name of the parameters cell; a value is read as
            a Python literal unless the notebook's own is a text.
    Raises:
        ValueError: the notebook has no such parameter, or a value is no literal; nothing was run.
        papermill.PapermillExecutionError: a cell failed.
    """
    notebook, executed = Path(notebook), Path(executed)
    if not notebook.is_file():
        raise ValueError(f"{notebook} is not a file; expected a notebook (.ipynb)")
    try:
        known = papermill.inspect_notebook(str(notebook))
    except (ValueError, KeyError) as error:  # no JSON, or of something else
        raise ValueError(f"{notebook} is no notebook (.ipynb): {error}") from None
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise ValueError(
            f"{notebook.name} has no parameter {unknown[0]!r}; its parameters: {', '.join(known)}"
        )
    given = {}
    for name, text in parameters.items():
        default = known[name]["default"]
        try:
            given[name] = text if default[:1] in ("'", '"') else ast.literal_eval(text)
        except (SyntaxError, ValueError):
            raise ValueError(
                f"{notebook.name}: {name} is {text!r}; expected a literal such as {default}"
            ) from None
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # Ctrl-C leaves tasks that it would log
    executed.parent.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(
        str(notebook),
        str(executed),
        parameters=given,
        cwd=str(notebook.parent),
        progress_bar=False,
        start_timeout=300,  # a busy machine may need more than papermill's one minute
        stdout_file=sys.stdout,
        kernel_manager_class=SocketKernelManager,
    )
