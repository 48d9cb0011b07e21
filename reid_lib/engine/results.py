"""A run's folder while it trains, and what is written into it at the end."""

import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.torch import save_file
from tqdm.auto import tqdm

from reid_lib.config import RunConfig
from reid_lib.dataset import file_names
from reid_lib.engine.checkpoint import (
    CHECKPOINT,
    capture,
    read_checkpoint,
    restore,
    write_checkpoint,
)
from reid_lib.engine.files import delayed, write_file, write_json, write_text
from reid_lib.engine.process import log
from reid_lib.engine.provenance import code_sha256, manifest
from reid_lib.engine.runs import Run, has_ended, read_run
from reid_lib.engine.scores import (
    RAW,
    SCORED,
    last_epochs,
    protocol_of,
    query_lines,
    results_of,
    score,
    score_reranked,
)
from reid_lib.engine.sides import main_direction
from reid_lib.model import encode

CHECKPOINT_SECONDS = 30


class RunFolder:
    """Owns a run's checkpoint, results and manifest.

    Args:
        path: the folder.
        config: complete configuration of the run.
    """

    def __init__(self, path: Path, config: RunConfig):
        self.path, self.config = path, config
        self.began = self.saved = time.monotonic()
        self.seconds_before, self.latest = 0.0, None

    def ended(self) -> Run | None:
        """The run if it completed or failed, else None.

        Raises:
            ValueError: the folder holds a run of another config.
        """
        if not has_ended(self.path):
            return None
        run = read_run(self.path)
        run.check_config(self.config)
        if run.manifest["code_sha256"] != code_sha256():
            tqdm.write(f"{self.path}: trained by another version of the code; kept as it is")
        return run

    def resume(self, state, progress: str) -> bool:
        """Restore the state from the checkpoint, if there is one.

        Returns:
            False if a checkpoint could not be used. It is kept under another name, and the state
            must be built again, since a part of it may have been restored.
        """
        self.began = self.saved = time.monotonic()
        row = f"{self.config.row} split {self.config.split}"
        try:
            content = read_checkpoint(self.path, self._identity())
            if content:
                restore(state, content)
                state.progress["resumes"] += 1
                self.seconds_before = state.progress["seconds"]
                log(progress, f"{row}: resumes after epoch {state.progress['epoch']}")
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            refused = self.path / f"refused-{CHECKPOINT}"
            (self.path / CHECKPOINT).replace(refused)
            log(progress, f"{error}; the checkpoint was renamed to {refused.name}")
            log(progress, f"{row}: training restarts from the first epoch")
            return False
        return True

    def end_epoch(self, state, line: dict) -> None:
        """Add a line to the history, and write a checkpoint if the last one is old enough."""
        state.progress["epoch"] = line["epoch"]
        state.progress["history"] = [*state.progress["history"], line]
        self._count_seconds(state)
        self.latest = capture(state)
        history = pd.DataFrame(state.progress["history"])
        write_text(self.path / "history.csv", history.to_csv(index=False))
        old = time.monotonic() - self.saved > CHECKPOINT_SECONDS
        if old and line["epoch"] < self.config.epochs:
            self.save_latest()

    def save_latest(self) -> None:
        """Write the checkpoint of the last completed epoch, if it is not written yet."""
        if self.latest:
            with delayed(signal.SIGINT, signal.SIGTERM):  # who sends one often sends another
                write_checkpoint(self.path, self._identity(), self.latest)
            self.latest, self.saved = None, time.monotonic()

    def finish(self, state, data) -> None:
        """Score the codes and write all results; the manifest comes last."""
        train_codes, codes = (
            state.net.retrieval_codes(encode(state.net, data.pixels, rows))
            for rows in (data.train_rows, data.test_rows)
        )
        self._count_seconds(state)
        test = data.test
        results = {name: results_of(codes, test, protocol) for name, protocol in SCORED.items()}
        history, main = pd.DataFrame(state.progress["history"]), main_direction(results["test"])
        scores = {
            prefix: {
                "test": {direction: result.scores() for direction, result in found.items()},
                "train": score(train_codes, data.train, SCORED[prefix]),
                "last_epochs": last_epochs(history, prefix, main),
            }
            for prefix, found in results.items()
        }
        metrics = {"protocol": str(protocol_of(test)), **scores["test"], "unit": scores["unit"]}
        if self.config.rerank:
            metrics["reranked"] = score_reranked(codes, test)

        names = np.array(file_names(test))
        weights = {k: v.detach().cpu().contiguous() for k, v in state.net.state_dict().items()}
        arrays = {
            "codes": codes.cpu().numpy(),
            "pids": test.pid.to_numpy(),
            "camids": test.camid.to_numpy(),
            "orientations": test.orientation.to_numpy(),
            "names": names,
        }
        if "split" in test:  # which are queries; without it, pairs of cameras are scored
            arrays["splits"] = test["split"].to_numpy().astype(str)
        write_json(self.path / "config.json", self.config.model_dump(mode="json"))
        write_file(self.path / "weights.safetensors", lambda aside: save_file(weights, aside))
        write_file(self.path / "codes.npz", lambda aside: np.savez_compressed(aside, **arrays))
        queries = query_lines(results, test, names)
        write_text(self.path / "queries.csv", queries.to_csv(index=False))
        write_json(self.path / "metrics.json", metrics)
        self._end(state, data)

    def fail(self, state, data, reason: str) -> None:
        """Write the folder of a run that was stopped: no scores and no codes, but the reason."""
        self._count_seconds(state)
        write_json(self.path / "config.json", self.config.model_dump(mode="json"))
        history = pd.DataFrame(state.progress["history"])
        write_text(self.path / "history.csv", history.to_csv(index=False))
        write_json(self.path / "metrics.json", {"protocol": str(RAW), "failed": reason})
        self._end(state, data, failed=reason)

    def _end(self, state, data, **more) -> None:
        content = manifest(self.config, data, state.progress)
        write_json(self.path / "manifest.json", content | more)
        (self.path / CHECKPOINT).unlink(missing_ok=True)

    def _count_seconds(self, state) -> None:
        state.progress["seconds"] = self.seconds_before + time.monotonic() - self.began

    def _identity(self) -> dict[str, str]:
        """Fields that must match to resume."""
        return {
            "data": self.config.data_sha256,
            "configuration": self.config.model_dump_json(),
            "version of the code": code_sha256(),
        }


def check_history(config: RunConfig, steps: pd.DataFrame, history: list[dict]) -> None:
    """Stop a run whose loss is not finite or whose codes diverge.

    Args:
        config: `code_norm_limit` is used.
        steps: one row per step of the epoch, one column per value.
        history: the lines of the epochs before it.
    Raises:
        FloatingPointError: it names the term, the epoch, the step, and the last good values.
    """
    epoch = len(history) + 1
    good = {k: v for k, v in (history[-1] if history else {}).items() if k != "seconds"}
    last = ", ".join(f"{k} {v:.4g}" for k, v in good.items()) or "none"
    terms = steps.filter(regex="^(l_|code_norm)")
    bad = np.argwhere(~np.isfinite(terms.to_numpy()))
    if len(bad):
        step, name = bad[0][0], terms.columns[bad[0][1]]
        raise FloatingPointError(
            f"{config.row}: {name} is {terms[name][step]} in epoch {epoch}, step {step + 1} of "
            f"{len(steps)}; the last valid epoch: {last}"
        )
    start = history[0]["code_norm"] if history else steps.code_norm[0]
    largest = steps.code_norm.max()
    if largest > config.code_norm_limit * start:
        raise FloatingPointError(
            f"{config.row}: the codes diverge: code_norm is {largest:.4g} in epoch {epoch}, more "
            f"than code_norm_limit = {config.code_norm_limit:g} times its initial value of "
            f"{start:.4g}; the last valid epoch: {last}"
        )


def log_epoch(progress: str, config: RunConfig, line: dict, runs: int) -> None:
    """Print one line per epoch where progress is "lines", and an estimate after the first."""
    if progress == "lines":
        terms = " ".join(f"{k} {v:.4g}" for k, v in line.items() if k.startswith(("loss", "l_")))
        epoch = f"epoch {line['epoch']:>3}/{config.epochs}"
        log(progress, f"{config.row} split {config.split} {epoch} {terms} {line['seconds']:.1f} s")
    if line["epoch"] == 1 and config.epochs > 1:
        one = line["seconds"] * config.epochs
        every = f"; the preset's {runs} runs, if each took as long, {_duration(one * runs)}"
        several = every if runs > 1 else ""
        log(progress, f"{config.row}: this run takes about {_duration(one)}{several}")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
