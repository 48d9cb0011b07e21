"""The YAML file of a preset, and what is wrong with its values."""

import reprlib
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

_SHORT = reprlib.Repr()  # bounded, however often YAML repeats a part
_SHORT.maxlevel, _SHORT.maxstring = 2, 200


def read_preset(path: Path) -> tuple[dict, dict, list[dict]]:
    """Read the file of a preset: its values, the recipe of all rows, and the rows.

    Raises:
        ValueError: it is not YAML, or has another structure.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        began = error.context_mark
        context = f", {error.context} of line {began.line + 1}" if began else ""
        where = f"line {error.problem_mark.line + 1}: {error.problem}{context}"
        raise ValueError(f"{path.name} is not YAML: {where}") from None
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


def validated(
    model: type[BaseModel], values: dict, file: str, row: dict | None = None, number: int = 0
) -> BaseModel:
    """The values as a model.

    Args:
        model: the class.
        values: those of the recipe and of a row, where there is a row.
        file: name of the preset's file.
        row: the values of the row alone.
        number: of the row, from 1.
    Raises:
        ValueError: one line per error: its place in the file, what is wrong, and the value found.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = error.errors()
    lines = []
    for fault in faults:
        place, first = ".".join(str(part) for part in fault["loc"]), fault["loc"][:1]
        part = "" if row is None else f"row {_SHORT.repr(row.get('row', number))}: "
        if row is not None and first and first[0] in values and first[0] not in row:
            part = "recipe: "
        if fault["type"] == "extra_forbidden":
            text = f"unknown key {place!r}"
        elif place:
            text = f"{place}: {fault['msg']}, found {_SHORT.repr(fault['input'])}"
        else:
            text = fault["msg"].removeprefix("Value error, ")
        lines.append(f"{file}: {part}{text}")
    raise ValueError("\n".join(lines))
