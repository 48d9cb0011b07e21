"""A training step captured as one CUDA graph (`cuda_graph: true`); without CUDA an ordinary step.

At 128 x 48 and batches of 32 a step is hundreds of small kernels, and a GPU waits for each to be
launched. A captured graph launches them together.
"""

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from tqdm.auto import tqdm

WARMUP_STEPS = 3  # before capturing, so that libraries have chosen their kernels
CHECKED_STEPS = 2  # replayed steps that are compared with ordinary ones
TOLERANCE = 1e-3  # relative, between the values of a replayed and of an ordinary step


def graphed(step: Callable) -> Callable:
    """Capture `step` at its first call on CUDA, and replay it from then on.

    The first replayed steps are compared with ordinary steps from the same state. Where they
    differ, or where capturing fails, ordinary steps are used and a line says so.

    Args:
        step: `training.train_step`.
    Returns:
        A function with the same arguments; its next call overwrites the values it returned.
    """
    replay = None

    def run(config, state, *given: Tensor) -> dict[str, Tensor]:
        nonlocal replay
        if replay is None:
            can = _can_record(config, given[0].device)
            replay = (_recorded(step, config, state, given) if can else None) or step
        return replay(config, state, *given)

    return run


def _can_record(config, device: torch.device) -> bool:
    return device.type == "cuda" and config.centres != "all"  # that one encodes within a step


def _recorded(step: Callable, config, state, given: tuple[Tensor, ...]) -> Callable | None:
    """The captured step, or None where it cannot be used; `state` is left as it was."""
    places = [value.clone() for value in given]
    before = [value.clone() for value in _tensors(state)]
    try:
        with torch.random.fork_rng():  # dropout in the backbone draws
            replay, values = _record(lambda: step(config, state, *places))

        def replayed(config, state, *given: Tensor) -> dict[str, Tensor]:
            for place, value in zip(places, given, strict=True):
                place.copy_(value)
            replay()
            return values

        courses = []
        for run in (step, replayed):
            _reset(state, before)
            with torch.random.fork_rng():
                for _ in range(CHECKED_STEPS):
                    found = run(config, state, *given).values()
                    courses.append(torch.stack([value.detach().float() for value in found]))
        plain, again = torch.stack(courses).split(CHECKED_STEPS)
        if torch.allclose(plain, again, rtol=TOLERANCE, equal_nan=True):
            return replayed
        tqdm.write(
            "the CUDA graph gives other values than ordinary steps; training continues without it"
        )
    except RuntimeError as error:
        tqdm.write(
            f"the step cannot be captured as a CUDA graph ({error}); training continues without it"
        )
    finally:
        _reset(state, before)
    return None


def _record(run: Callable) -> tuple[Callable, dict[str, Tensor]]:
    """A function that replays `run`, and the tensors in which each replay leaves its values."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARMUP_STEPS):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        values = run()
    return graph.replay, values


def _reset(state, before: list[Tensor]) -> None:
    """Undo steps in place, where the graph looks for the tensors.

    Tensors that were not there before are Adam's moments and counters, which start at zero.
    """
    with torch.no_grad():
        for value, kept in itertools.zip_longest(list(_tensors(state)), before):
            value.copy_(kept) if kept is not None else value.zero_()


def _tensors(state) -> Iterator[Tensor]:
    """The tensors that a step changes, Adam's last, since its first step creates them."""
    yield from state.net.state_dict().values()
    if state.memory is not None:
        yield state.memory
    for values in state.optimiser.state.values():
        yield from values.values()
