"""The checkpoint of a run folder."""

import copy
from pathlib import Path

import torch

from reid_lib.engine.files import write_file

CHECKPOINT, CHECKPOINT_FORMAT = "checkpoint.pt", 2


def capture(state) -> dict:
    """Copy everything that the next epoch depends on, from a `reid_lib.training.State`.

    Returns:
        Tensors, numbers and texts in dicts and lists, the `content` of `write_checkpoint`.
    """
    return copy.deepcopy(
        {
            "progress": state.progress,
            "net": state.net.state_dict(),
            "optimiser": state.optimiser.state_dict(),
            "schedule": state.schedule.state_dict(),
            "memory": state.memory,
            "generator": state.generator.get_state(),
            "global": torch.get_rng_state(),  # of dropout and stochastic depth in the backbone
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
    )


def restore(state, content: dict) -> None:
    """Put what `capture` returned back into a state; the inverse of `capture`."""
    state.progress = content["progress"]
    for name in ("net", "optimiser", "schedule"):
        getattr(state, name).load_state_dict(content[name])
    if state.memory is not None:
        state.memory.copy_(content["memory"])
    state.generator.set_state(content["generator"])
    torch.set_rng_state(content["global"])
    if content["cuda"]:
        torch.cuda.set_rng_state_all(content["cuda"])


def write_checkpoint(folder: Path, identity: dict[str, str], content: dict) -> None:
    """Write what a run needs to resume; the previous checkpoint is kept until this one reads back.

    Args:
        folder: the run folder.
        identity: fields that must match to resume, such as config, data and code.
        content: tensors, numbers and texts in dicts and lists.
    """
    whole = {"format": CHECKPOINT_FORMAT, "identity": identity, "content": content}
    write_file(folder / CHECKPOINT, lambda aside: torch.save(whole, aside), _load)


def read_checkpoint(folder: Path, identity: dict[str, str]) -> dict | None:
    """Read the content that `write_checkpoint` kept, or None where there is no checkpoint.

    Nothing in the file is executed: it may hold tensors, numbers, texts, dicts and lists only.

    Raises:
        ValueError: the file is damaged, or its format or a field of its identity does not match;
            the message names the file and what differs.
    """
    file = folder / CHECKPOINT
    if not file.is_file():
        return None
    try:
        whole = _load(file)
        found = {"format": whole["format"], **whole["identity"]}
        content = dict(whole["content"])
    except Exception as error:  # torch, pickle and zipfile each raise their own
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{file} is not a complete checkpoint ({reason})") from None
    wanted = {"format": CHECKPOINT_FORMAT, **identity}
    differ = [name for name in wanted if found.get(name) != wanted[name]]
    if differ:
        raise ValueError(f"{file} belongs to another run; what differs: {', '.join(differ)}")
    return content


def _load(file: Path) -> dict:
    return torch.load(file, map_location="cpu", weights_only=True)
