"""The YAML file of a preset, and what is wrong with its values."""

import reprlib
from pathlib import Path

import yaml
from pydantic import ValidationError

_SHORT = reprlib.Repr()  # bounded, however often YAML repeats a part
_SHORT.maxlevel, _SHORT.maxstring = 2, 200


def read_preset(path: Path) -> tuple[dict, dict, list[dict]]:
    """Read the file of a preset: its values, the recipe of all rows, and the rows.

    Raises:
        ValueError: it is not YAML, or has another structure.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except Exception as error:  # for some texts PyYAML raises what int() or a recursion does
        raise ValueError(f"{path.name} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds no mapping; expected title, data, recipe, rows")
    recipe = content.pop("recipe", None) or {}
    rows = content.pop("rows", None) or []
    lists = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    if not isinstance(recipe, dict) or not lists:
        raise ValueError(f"{path.name}: recipe must be a mapping and rows a list of mappings")
    return content, recipe, rows


def explain(file: str, error: ValidationError) -> str:
    """One line per error: its place in the file, what is wrong, and the value found."""
    lines = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            lines.append(f"{file}: unknown key {place!r}")
        elif place:
            found = _SHORT.repr(fault["input"])
            lines.append(f"{file}: {place}: {fault['msg']}, found {found}")
        else:
            lines.append(f"{file}: {fault['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)
