"""What each person looks like and wears: a table of attributes, drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

CAMERAS, ORIENTATIONS, HEIGHT, WIDTH = 2, 8, 128, 48
MAX_PERSONS = 100_000
VIEWS = CAMERAS * ORIENTATIONS
_TWIN_SHARE = 0.3

# fmt: off
# What people wear: colour and weight.
OUTER = {
    "#17171a": 25, "#1d2338": 15, "#3a3b40": 9, "#77787c": 8, "#eceae6": 9, "#b9a387": 3,
    "#a3242b": 3, "#3461b4": 7, "#8fb4d8": 7, "#3f5a40": 3, "#5b4436": 2, "#d98fa6": 2,
    "#5a3a70": 1, "#d9b23c": 1, "#7b2036": 3, "#c9c9cf": 4, "#4a5240": 3,
}
_INNER = {
    "#eceae6": 38, "#17171a": 16, "#9a9a9e": 15, "#a3242b": 4, "#8fb4d8": 8, "#2b3a66": 9,
    "#d9b23c": 2, "#d98fa6": 3, "#4d7a55": 2, "#c8b493": 4,
}
LOWER = {
    "#151518": 42, "#20283d": 26, "#3b5278": 10, "#6f8fb5": 4, "#3c3d42": 9, "#85858a": 4,
    "#a8916d": 2, "#4f3b2e": 1, "#e2dfda": 2, "#8c2a30": 1, "#46513a": 1,
}
_SHOES = {
    "#18181a": 38, "#e6e4e0": 24, "#6a6a70": 10, "#5b3b27": 10, "#28365c": 7, "#b03038": 5,
    "#c98a3a": 3, "#9fb4cc": 3,
}
_BAGS = {
    "#1a1a1d": 30, "#4a3023": 14, "#7c2430": 10, "#e4e0d8": 14, "#2a3f6a": 10, "#8a6a45": 8,
    "#50555c": 8, "#d0582e": 3, "#3c6b50": 5,
}
_SKIN = {"#e6bda0": 33, "#dba988": 40, "#c8946f": 20, "#9c6a4a": 5, "#6b452f": 2}
HAIR = {"#121013": 72, "#1e1816": 18, "#38261c": 6, "#6e4a2c": 2, "#8d8a88": 2}
COLOURS = {
    "skin": _SKIN, "hair_colour": HAIR, "top_colour": OUTER, "top_second": _INNER,
    "shirt_colour": _INNER, "shirt_second": OUTER, "lower_colour": LOWER,
    "shoe_colour": _SHOES, "bag_colour": _BAGS,
}
NATURAL = ("skin", "hair_colour")
# The other attributes' values, and how often a man and a woman have them.
CHOICES: dict[str, dict[str, tuple[float, float]]] = {
    "hair_style": {"short": (92, 8), "bob": (4, 18), "long": (2, 38), "ponytail": (1, 26),
                   "bun": (1, 10)},
    "fringe": {"no": (70, 55), "yes": (30, 45)},
    "glasses": {"no": (65, 75), "yes": (35, 25)},
    "top": {"tee": (16, 14), "shirt": (18, 10), "jumper": (14, 17), "hoodie": (12, 8),
            "jacket": (26, 20), "puffer": (8, 7), "coat": (6, 18), "dress": (0, 6)},
    "front": {"closed": (58, 56), "open": (42, 44)},
    "top_pattern": {"plain": (82, 80), "stripes": (3, 5), "checks": (5, 4), "print": (8, 8),
                    "blotches": (2, 3)},
    "accent": {"none": (87, 88), "sleeves": (4, 3), "yoke": (3, 2), "band": (3, 3), "hem": (3, 4)},
    "shirt_pattern": {"plain": (74, 74), "stripes": (7, 7), "checks": (7, 4), "print": (9, 10),
                      "blotches": (3, 5)},
    "sleeves": {"long": (70, 75), "short": (30, 25)},
    "lower": {"trousers": (46, 18), "wide": (16, 8), "slim": (26, 42), "shorts": (12, 11),
              "skirt": (0, 21)},
    "lower_detail": {"plain": (72, 76), "faded": (23, 21), "stripe": (5, 3)},
    "legs": {"tights": (0, 58), "bare": (100, 42)},
    "shoes": {"trainers": (66, 46), "boots": (14, 28), "flats": (20, 26)},
    "bag": {"none": (52, 40), "backpack": (22, 16), "shoulder": (4, 18), "crossbody": (12, 14),
            "carried": (10, 12)},
    "bag_side": {"left": (50, 50), "right": (50, 50)},
}
# Factors around 1 but for the height in metres: mean, spread, least, greatest.
NUMBERS = {
    "height": (1.68, 0.07, 1.45, 2.00), "build": (1.0, 0.07, 0.82, 1.30),
    "fit": (1.0, 0.30, 0.3, 2.0), "length": (1.0, 0.15, 0.7, 1.4), "stride": (1.0, 0.15, 0.6, 1.4),
    "arm_swing": (1.0, 0.35, 0.2, 1.9), "pattern_size": (1.0, 0.3, 0.5, 2.0),
}
# fmt: on
ATTRIBUTES = ("figure", *NUMBERS, *COLOURS, *CHOICES)
_OPENABLE = ("shirt", "hoodie", "jacket", "puffer", "coat")
_SHORT_SLEEVED = ("tee", "shirt", "dress")


def draw_persons(persons: int, seed: int) -> pd.DataFrame:
    """Draw persons: what each looks like and wears.

    Person k depends on (seed, k) alone, so a shorter set is a prefix of a longer one. About
    three in ten are near twins: they copy an earlier person, `twin_of`, but for the one attribute
    named in `twin_attribute`. Attributes that do not apply are drawn all the same and not shown
    (the side of a bag where there is none).

    Args:
        persons: how many, 1 to 100,000.
        seed: not negative; another seed draws other persons.
    Returns:
        A row a person: `pid` (1 to `persons`), `twin_of` (0 for none), `twin_attribute` ("none"
        for none), then `ATTRIBUTES`: colours as "#rrggbb", `height` in metres, the other numbers
        as factors around 1.
    Raises:
        ValueError: a number of persons or a seed out of range.
    """
    check_request(persons, seed)
    rows: list[dict] = []
    for pid in range(1, persons + 1):
        rows.append(draw_person(seed, pid, lambda other: rows[other - 1]))
    return pd.DataFrame(rows)


def draw_person(seed: int, pid: int, earlier: Callable[[int], dict] | None = None) -> dict:
    """Attributes of one person; `earlier` looks up a pid that is already drawn."""
    rng = np.random.default_rng([seed, pid, 0])
    if pid > 1 and rng.random() < _TWIN_SHARE:
        other = pid - 1 - int(rng.integers(min(pid - 1, 12)))
        row = dict(earlier(other) if earlier else draw_person(seed, other))
        name = choose(rng, _twin_weights(row))
        row |= {"pid": pid, "twin_of": other, "twin_attribute": name}
        old = row[name]
        while row[name] == old or (name in COLOURS and _distance(row[name], old) < 0.35):
            row[name] = _draw(rng, name, row["figure"])
        return row
    figure = "man" if rng.random() < 0.55 else "woman"
    row = {"pid": pid, "twin_of": 0, "twin_attribute": "none", "figure": figure}
    return row | {name: _draw(rng, name, figure) for name in ATTRIBUTES[1:]}


def _draw(rng: np.random.Generator, name: str, figure: str) -> str | float:
    man = figure == "man"
    if name in NUMBERS:
        mean, spread, least, greatest = NUMBERS[name]
        if name == "height":
            mean += 0.06 if man else -0.06
        return round(float(np.clip(rng.normal(mean, spread), least, greatest)), 3)
    if name in CHOICES:
        return choose(rng, {v: weights[0 if man else 1] for v, weights in CHOICES[name].items()})
    hue = 0.006 if name in NATURAL else 0.02
    return vary_colour(choose(rng, COLOURS[name]), 0.1, hue, rng)  # no two dyes are the same


def vary_colour(colour: str, brightness: float, hue: float, rng: np.random.Generator) -> str:
    varied = rgb(colour) * np.exp(rng.normal(0, brightness)) + rng.normal(0, hue, 3)
    return "#" + "".join(f"{int(v):02x}" for v in np.clip(varied * 255, 8, 247))


def choose(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    edges = np.cumsum(list(weights.values()))
    return list(weights)[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]


def _twin_weights(row: Mapping) -> dict[str, float]:
    """The attributes in which a near twin of this person may visibly differ, and how often."""
    weights = {"top_colour": 3, "shoe_colour": 2, "bag": 4, "hair_style": 2}
    if row["top"] != "dress":
        weights["lower_colour"] = 3
    if row["bag"] != "none":
        weights["bag_colour"] = 2
    if row["bag"] in ("shoulder", "crossbody", "carried"):
        weights["bag_side"] = 2
    if is_open(row):
        weights["shirt_colour"] = 3
    return weights


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float32) / 255


def _distance(one: str, other: str) -> float:
    return float(np.abs(rgb(one) - rgb(other)).sum())


def is_open(row: Mapping) -> bool:
    return row["front"] == "open" and row["top"] in _OPENABLE


def visible_lower(row: Mapping) -> str:
    return "skirt" if row["top"] == "dress" else row["lower"]


def has_short_sleeves(row: Mapping) -> bool:
    return row["sleeves"] == "short" and row["top"] in _SHORT_SLEEVED


def check_request(persons: int, seed: int) -> None:
    if not 1 <= persons <= MAX_PERSONS:
        raise ValueError(f"persons is {persons}, expected 1 to {MAX_PERSONS:,}")
    check_seed(seed)


def check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"seed is {seed}, expected 0 or more")


def check_person(row: Mapping) -> None:
    for name in ("pid", *ATTRIBUTES):
        if name not in row:
            raise ValueError(f"the person has no attribute {name!r}; take rows from draw_persons")
    for name, values in (("figure", ("man", "woman")), *CHOICES.items()):
        if str(row[name]) not in values:
            raise ValueError(f"{name} is {row[name]!r}, expected one of {', '.join(values)}")
    for name in COLOURS:
        text = str(row[name])
        if len(text) != 7 or text[0] != "#" or set(text[1:].lower()) - set("0123456789abcdef"):
            raise ValueError(f"{name} is {row[name]!r}, expected a colour such as '#1d2338'")
    for name, (_, _, least, greatest) in NUMBERS.items():
        if not least <= pd.to_numeric(row[name], errors="coerce") <= greatest:
            raise ValueError(f"{name} is {row[name]!r}, expected {least} to {greatest}")
