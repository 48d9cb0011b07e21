"""What each person looks like and wears: a table of attributes, drawn at random."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

ORIENTATIONS, HEIGHT, WIDTH = 8, 128, 48
VIEWS = 2 * ORIENTATIONS  # all of camera 1, then all of camera 2
MAX_PERSONS = 100_000
TWIN_SHARE = 0.3

# fmt: off
# What people wear: colour and how often.
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
NATURAL = ("skin", "hair_colour")  # not dyed: these vary less
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
# Height in metres, the others factors around 1: mean, spread, least, greatest.
NUMBERS = {
    "height": (1.68, 0.07, 1.45, 2.00), "build": (1.0, 0.07, 0.82, 1.30),
    "fit": (1.0, 0.30, 0.3, 2.0), "length": (1.0, 0.15, 0.7, 1.4), "stride": (1.0, 0.15, 0.6, 1.4),
    "arm_swing": (1.0, 0.35, 0.2, 1.9), "pattern_size": (1.0, 0.3, 0.5, 2.0),
}
# fmt: on
ATTRIBUTES = ("figure", *NUMBERS, *COLOURS, *CHOICES)


def draw_persons(persons: int, seed: int) -> pd.DataFrame:
    """Draw what each person looks like and wears.

    Person k depends on (seed, k) alone, so a shorter set is a prefix of a longer one. About
    30% are near twins: they copy an earlier person, `twin_of`, except for the one attribute
    named in `twin_attribute`. Attributes that do not apply are drawn too but not shown (the side
    of a bag where there is none).

    Args:
        persons: 1 to 100,000.
        seed: not negative; another seed draws other persons.
    Returns:
        One row per person: `pid` (1 to `persons`), `twin_of` (0 for none), `twin_attribute`
        ("none" for none), then `ATTRIBUTES`: colours as "#rrggbb", `height` in metres, the other
        numbers as factors around 1.
    Raises:
        ValueError: `persons` or `seed` is out of range.
    Example:
        >>> draw_persons(3, seed=0).pid.tolist()
        [1, 2, 3]
    """
    if not 1 <= persons <= MAX_PERSONS:
        raise ValueError(f"persons is {persons}, expected 1 to {MAX_PERSONS:,}")
    check_seed(seed)
    drawn: list[dict] = []
    for pid in range(1, persons + 1):
        drawn.append(draw_person(seed, pid, drawn))
    return pd.DataFrame(drawn)


def draw_person(seed: int, pid: int, earlier: Sequence[dict] = ()) -> dict:
    """Draw one person's attributes; persons missing from `earlier` (pid 1 first) are redrawn."""
    rng = np.random.default_rng([seed, pid, 0])
    if pid > 1 and rng.random() < TWIN_SHARE:
        other = pid - 1 - int(rng.integers(min(pid - 1, 12)))
        person = dict(earlier[other - 1] if earlier else draw_person(seed, other))
        name = choose(rng, _twin_attributes(person))
        person |= {"pid": pid, "twin_of": other, "twin_attribute": name}
        old = person[name]
        while person[name] == old or (
            name in COLOURS and np.abs(rgb(person[name]) - rgb(old)).sum() < 0.35
        ):
            person[name] = _draw_attribute(rng, name, person["figure"])
        return person
    figure = "man" if rng.random() < 0.55 else "woman"
    person = {"pid": pid, "twin_of": 0, "twin_attribute": "none", "figure": figure}
    return person | {name: _draw_attribute(rng, name, figure) for name in ATTRIBUTES[1:]}


def _draw_attribute(rng: np.random.Generator, name: str, figure: str) -> str | float:
    man = figure == "man"
    if name in NUMBERS:
        mean, spread, least, greatest = NUMBERS[name]
        if name == "height":
            mean += 0.06 if man else -0.06
        return round(float(np.clip(rng.normal(mean, spread), least, greatest)), 3)
    if name in CHOICES:
        return choose(rng, {v: weights[0 if man else 1] for v, weights in CHOICES[name].items()})
    return vary_colour(choose(rng, COLOURS[name]), 0.1, 0.006 if name in NATURAL else 0.02, rng)


def _twin_attributes(person: Mapping) -> dict[str, float]:
    """Attributes in which a near twin of this person can visibly differ, and how often."""
    weights = {"top_colour": 3, "shoe_colour": 2, "bag": 4, "hair_style": 2}
    if person["top"] != "dress":
        weights["lower_colour"] = 3
    if person["bag"] != "none":
        weights["bag_colour"] = 2
    if person["bag"] in ("shoulder", "crossbody", "carried"):
        weights["bag_side"] = 2
    if as_worn(person)["front"] == "open":
        weights["shirt_colour"] = 3
    return weights


def as_worn(person: Mapping) -> dict:
    """The attributes as they show: a dress ends in a skirt, and not every top opens."""
    top = person["top"]
    shown = dict(person)
    if top == "dress":
        shown["lower"] = "skirt"
    if top not in ("shirt", "hoodie", "jacket", "puffer", "coat"):
        shown["front"] = "closed"
    if top not in ("tee", "shirt", "dress"):
        shown["sleeves"] = "long"
    return shown


def choose(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """Draw a key in proportion to its weight."""
    edges = np.cumsum(list(weights.values()))
    return list(weights)[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]


def rgb(colour: str) -> np.ndarray:
    """The colour "#rrggbb" as three numbers from 0 to 1."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float32) / 255


def vary_colour(colour: str, brightness: float, hue: float, rng: np.random.Generator) -> str:
    """Change a colour at random; the two numbers are standard deviations."""
    varied = rgb(colour) * np.exp(rng.normal(0, brightness)) + rng.normal(0, hue, 3)
    return "#" + "".join(f"{int(v):02x}" for v in np.clip(varied * 255, 8, 247))


def check_seed(seed: int) -> None:
    """Raise ValueError if the seed is negative."""
    if seed < 0:
        raise ValueError(f"seed is {seed}, expected 0 or more")


def check_person(person: Mapping) -> None:
    """Raise ValueError if an attribute is missing, unknown or out of range."""
    for name in ("pid", *ATTRIBUTES):
        if name not in person:
            raise ValueError(f"the person has no attribute {name!r}; take rows from draw_persons")
    for name, values in {"figure": ("man", "woman"), **CHOICES}.items():
        if str(person[name]) not in values:
            raise ValueError(f"{name} is {person[name]!r}, expected one of {', '.join(values)}")
    for name in COLOURS:
        if not re.fullmatch("#[0-9A-Fa-f]{6}", str(person[name])):
            raise ValueError(f"{name} is {person[name]!r}, expected a colour such as '#1d2338'")
    for name, (_, _, least, greatest) in NUMBERS.items():
        if not least <= pd.to_numeric(person[name], errors="coerce") <= greatest:
            raise ValueError(f"{name} is {person[name]!r}, expected {least} to {greatest}")
