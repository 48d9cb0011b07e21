"""What each person looks like and wears: a table of attributes, sampled at random."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

ORIENTATIONS, HEIGHT, WIDTH = 8, 128, 48
VIEWS = 2 * ORIENTATIONS  # all of camera 1, then all of camera 2
MAX_PERSONS = 100_000
TWIN_SHARE = 0.3

TABLES = yaml.safe_load(Path(__file__).with_name("tables.yaml").read_text(encoding="utf-8"))
COLOURS, CHOICES, NUMBERS = (TABLES[name] for name in ("colours", "choices", "numbers"))
NATURAL = ("skin", "hair_colour")  # not dyed: these vary less
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
    bag, weights = person["bag"], {"top_colour": 3, "shoe_colour": 2, "bag": 4, "hair_style": 2}
    return weights | {
        "lower_colour": 3 * (person["top"] != "dress"),
        "bag_colour": 2 * (bag != "none"),
        "bag_side": 2 * (bag in ("shoulder", "crossbody", "carried")),
        "shirt_colour": 3 * (as_worn(person)["front"] == "open"),
    }


def as_worn(person: Mapping) -> dict:
    """The attributes as they show: a dress ends in a skirt, and not every top opens."""
    shown = {name: person[name] for name in ATTRIBUTES}
    shown |= {name: float(person[name]) for name in NUMBERS}
    if person["top"] == "dress":
        shown["lower"] = "skirt"
    if person["top"] not in ("shirt", "hoodie", "jacket", "puffer", "coat"):
        shown["front"] = "closed"
    if person["top"] not in ("tee", "shirt", "dress"):
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


def as_sensed(person: Mapping, rng: np.random.Generator) -> dict:
    """The person in one camera's colours: each sees each dye differently; skin and hair hardly."""
    spread = {name: (0.08, 0.01) if name in NATURAL else (0.22, 0.016) for name in COLOURS}
    return {**person, **{c: vary_colour(person[c], *spread[c], rng) for c in COLOURS}}


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
