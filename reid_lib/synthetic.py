"""Pedestrians of our own: drawn people in PKU-ReID's layout, where no photograph can be shipped.

A person is a row of attributes (`draw_persons`). Each part of the walking body is a tube: a bent
centre line with oval sections. The tubes are sampled densely and projected, and a depth buffer of
three times the resolution keeps the nearest sample of each cell; clothing and light are then
worked out for those samples alone (`render_person`).

Body frame: x to the person's left, y up, z forward, in units of the person's height; heights on
the upright body count from the hip joints. Camera frame: x right, y up, z away from the camera.
"""

from __future__ import annotations

import errno
import functools
import io
import itertools
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter, gaussian_filter1d, uniform_filter
from tqdm import tqdm

DRAWING_VERSION = "1"  # names data folders: raise it with any change that alters a pixel
CAMERAS, ORIENTATIONS, HEIGHT, WIDTH = 2, 8, 128, 48
MAX_PERSONS = 100_000
_VIEWS = CAMERAS * ORIENTATIONS
_SUPER = 2  # cells of the depth buffer a pixel, each way
_EMPTY = np.iinfo(np.int64).max
_BYTES_PER_PERSON = _VIEWS * 16_384  # a noisy 128 x 48 PNG, rounded up
_TWIN_SHARE = 0.3

# fmt: off
# What people wear: colour and weight.
_OUTER = {
    "#17171a": 25, "#1d2338": 15, "#3a3b40": 9, "#77787c": 8, "#eceae6": 9, "#b9a387": 3,
    "#a3242b": 3, "#3461b4": 7, "#8fb4d8": 7, "#3f5a40": 3, "#5b4436": 2, "#d98fa6": 2,
    "#5a3a70": 1, "#d9b23c": 1, "#7b2036": 3, "#c9c9cf": 4, "#4a5240": 3,
}
_INNER = {
    "#eceae6": 38, "#17171a": 16, "#9a9a9e": 15, "#a3242b": 4, "#8fb4d8": 8, "#2b3a66": 9,
    "#d9b23c": 2, "#d98fa6": 3, "#4d7a55": 2, "#c8b493": 4,
}
_LOWER = {
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
_HAIR = {"#121013": 72, "#1e1816": 18, "#38261c": 6, "#6e4a2c": 2, "#8d8a88": 2}
_COLOURS = {
    "skin": _SKIN, "hair_colour": _HAIR, "top_colour": _OUTER, "top_second": _INNER,
    "shirt_colour": _INNER, "shirt_second": _OUTER, "lower_colour": _LOWER,
    "shoe_colour": _SHOES, "bag_colour": _BAGS,
}
_OWN = ("skin", "hair_colour")
# The other attributes' values, and how often a man and a woman have them.
_CHOICES: dict[str, dict[str, tuple[float, float]]] = {
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
_NUMBERS = {
    "height": (1.68, 0.07, 1.45, 2.00), "build": (1.0, 0.07, 0.82, 1.30),
    "fit": (1.0, 0.30, 0.3, 2.0), "length": (1.0, 0.15, 0.7, 1.4), "stride": (1.0, 0.15, 0.6, 1.4),
    "arm_swing": (1.0, 0.35, 0.2, 1.9), "pattern_size": (1.0, 0.3, 0.5, 2.0),
}
# fmt: on
ATTRIBUTES = ("figure", *_NUMBERS, *_COLOURS, *_CHOICES)
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
    _check_request(persons, seed)
    rows: list[dict] = []
    for pid in range(1, persons + 1):
        rows.append(_person(seed, pid, lambda other: rows[other - 1]))
    return pd.DataFrame(rows)


def _person(seed: int, pid: int, earlier: Callable[[int], dict] | None = None) -> dict:
    """Attributes of one person; `earlier` looks up a pid that is already drawn."""
    rng = np.random.default_rng([seed, pid, 0])
    if pid > 1 and rng.random() < _TWIN_SHARE:
        other = pid - 1 - int(rng.integers(min(pid - 1, 12)))
        row = dict(earlier(other) if earlier else _person(seed, other))
        name = _pick(rng, _twin_weights(row))
        row |= {"pid": pid, "twin_of": other, "twin_attribute": name}
        old = row[name]
        while row[name] == old or (name in _COLOURS and _distance(row[name], old) < 0.35):
            row[name] = _draw(rng, name, row["figure"])
        return row
    figure = "man" if rng.random() < 0.55 else "woman"
    row = {"pid": pid, "twin_of": 0, "twin_attribute": "none", "figure": figure}
    return row | {name: _draw(rng, name, figure) for name in ATTRIBUTES[1:]}


def _draw(rng: np.random.Generator, name: str, figure: str) -> str | float:
    man = figure == "man"
    if name in _NUMBERS:
        mean, spread, least, greatest = _NUMBERS[name]
        if name == "height":
            mean += 0.06 if man else -0.06
        return round(float(np.clip(rng.normal(mean, spread), least, greatest)), 3)
    if name in _CHOICES:
        return _pick(rng, {v: weights[0 if man else 1] for v, weights in _CHOICES[name].items()})
    hue = 0.006 if name in _OWN else 0.02
    return _redyed(_pick(rng, _COLOURS[name]), 0.1, hue, rng)  # no two dyes are the same


def _redyed(colour: str, brightness: float, hue: float, rng: np.random.Generator) -> str:
    rgb = _rgb(colour) * np.exp(rng.normal(0, brightness)) + rng.normal(0, hue, 3)
    return "#" + "".join(f"{int(v):02x}" for v in np.clip(rgb * 255, 8, 247))


def _pick(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
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
    if _is_open(row):
        weights["shirt_colour"] = 3
    return weights


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float32) / 255


def _distance(one: str, other: str) -> float:
    return float(np.abs(_rgb(one) - _rgb(other)).sum())


def _is_open(row: Mapping) -> bool:
    return row["front"] == "open" and row["top"] in _OPENABLE


def _lower(row: Mapping) -> str:
    return "skirt" if row["top"] == "dress" else row["lower"]


def _has_short_sleeves(row: Mapping) -> bool:
    return row["sleeves"] == "short" and row["top"] in _SHORT_SLEEVED


def _check_request(persons: int, seed: int) -> None:
    if not 1 <= persons <= MAX_PERSONS:
        raise ValueError(f"persons is {persons}, expected 1 to {MAX_PERSONS:,}")
    _check_seed(seed)


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"seed is {seed}, expected 0 or more")


def _check_row(row: Mapping) -> None:
    for name in ("pid", *ATTRIBUTES):
        if name not in row:
            raise ValueError(f"the person has no attribute {name!r}; take rows from draw_persons")
    for name, values in (("figure", ("man", "woman")), *_CHOICES.items()):
        if str(row[name]) not in values:
            raise ValueError(f"{name} is {row[name]!r}, expected one of {', '.join(values)}")
    for name in _COLOURS:
        text = str(row[name])
        if len(text) != 7 or text[0] != "#" or set(text[1:].lower()) - set("0123456789abcdef"):
            raise ValueError(f"{name} is {row[name]!r}, expected a colour such as '#1d2338'")
    for name, (_, _, least, greatest) in _NUMBERS.items():
        if not least <= pd.to_numeric(row[name], errors="coerce") <= greatest:
            raise ValueError(f"{name} is {row[name]!r}, expected {least} to {greatest}")


# --- the body -------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """A tube: point(v, u) = centre[v] + swell[v, u] (ring[u, 0] side[v] + ring[u, 1] front[v])."""

    name: str
    centre: np.ndarray  # (views, nv, 3)
    side: np.ndarray  # (views, nv, 3), half the section's width, as a vector
    front: np.ndarray  # (views, nv, 3), half the section's depth
    ring: np.ndarray  # (nu, 2)
    t: np.ndarray  # (nv,), height on the upright body, or 0 to 1 along a limb
    half: np.ndarray  # (nv,), half the width
    swell: np.ndarray | float = 1.0  # (nv, nu)
    keep: np.ndarray | bool = True  # (nv, nu), where the surface is


class _Pose(NamedTuple):
    """Joints in the body frame; left before right."""

    pelvis: np.ndarray  # (views, 3)
    lean: np.ndarray  # (views,), angles in radians
    twist: np.ndarray
    head_turn: np.ndarray
    legs: list[np.ndarray]  # (views, 3, 3): hip, knee, ankle
    pitch: list[np.ndarray]  # (views,), of the foot
    arms: list[np.ndarray]  # (views, 4, 3): beside the neck, shoulder, elbow, wrist


# fmt: off
# Sections of the upright body: height, half width, half depth, how far forward.
_MAN = [
    (-0.090, 0.093, 0.070, -0.004), (-0.02, 0.093, 0.072, -0.006), (0.06, 0.088, 0.060, 0.0),
    (0.13, 0.094, 0.064, 0.002), (0.20, 0.102, 0.068, 0.003), (0.245, 0.106, 0.064, 0.0),
    (0.270, 0.100, 0.055, -0.004), (0.288, 0.083, 0.047, -0.006), (0.303, 0.062, 0.041, -0.006),
    (0.318, 0.044, 0.036, -0.005), (0.345, 0.030, 0.031, 0.002),
]
_WOMAN = [
    (-0.090, 0.098, 0.072, -0.006), (-0.02, 0.098, 0.073, -0.008), (0.06, 0.077, 0.056, 0.0),
    (0.13, 0.083, 0.060, 0.002), (0.20, 0.091, 0.074, 0.008), (0.245, 0.096, 0.062, 0.001),
    (0.270, 0.090, 0.052, -0.004), (0.288, 0.075, 0.045, -0.006), (0.303, 0.055, 0.039, -0.006),
    (0.318, 0.040, 0.034, -0.005), (0.345, 0.027, 0.029, 0.002),
]
_NECK = [(0.30, 0.034, 0.036, -0.002), (0.34, 0.030, 0.033, 0.004), (0.40, 0.030, 0.034, 0.012)]
_SKULL = [
    (0.350, 0.004, 0.006, 0.030), (0.353, 0.018, 0.022, 0.028), (0.365, 0.030, 0.040, 0.022),
    (0.385, 0.039, 0.050, 0.016), (0.41, 0.044, 0.055, 0.012), (0.435, 0.044, 0.056, 0.010),
    (0.455, 0.039, 0.050, 0.008), (0.470, 0.028, 0.036, 0.006), (0.478, 0.014, 0.018, 0.004),
    (0.481, 0.001, 0.001, 0.004),
]
_COLLAR = [(0.300, 0.062, 0.048, -0.005), (0.318, 0.047, 0.045, -0.003), (0.338, 0.038, 0.043, 0.0)]
_HOOD = [
    (0.235, 0.020, 0.010, -0.062), (0.25, 0.050, 0.022, -0.064), (0.285, 0.066, 0.036, -0.056),
    (0.320, 0.058, 0.036, -0.042), (0.345, 0.040, 0.022, -0.036), (0.350, 0.01, 0.006, -0.036),
]
_HANGING_HAIR = {  # below the cap, and where it ends
    "short": [(0.385, 0.041, 0.053, 0.010), (0.36, 0.035, 0.043, 0.006)],
    "bob": [(0.385, 0.053, 0.060, 0.004), (0.35, 0.054, 0.056, -0.004), (0.33, 0.05, 0.05, -0.006)],
    "long": [(0.385, 0.051, 0.059, 0.003), (0.35, 0.053, 0.055, -0.006),
             (0.32, 0.060, 0.051, -0.016), (0.27, 0.068, 0.042, -0.040), (0.18, 0.05, 0.03, -0.06)],
    "ponytail": [(0.385, 0.040, 0.052, 0.010), (0.36, 0.034, 0.042, 0.006)],
    "bun": [(0.385, 0.040, 0.052, 0.010), (0.36, 0.034, 0.042, 0.006)],
}
_TIED_HAIR = {
    "ponytail": [(0.27, 0.010, 0.010, -0.074), (0.30, 0.019, 0.017, -0.074),
                 (0.34, 0.023, 0.021, -0.070), (0.40, 0.019, 0.02, -0.066),
                 (0.43, 0.012, 0.012, -0.055)],
    "bun": [(0.430, 0.002, 0.002, -0.046), (0.438, 0.021, 0.021, -0.046),
            (0.458, 0.027, 0.027, -0.044), (0.478, 0.021, 0.021, -0.040),
            (0.487, 0.002, 0.002, -0.040)],
}
# Limbs: share of the length, half width (and half depth).
_LEG = [(0, 0.050), (0.25, 0.045), (0.46, 0.032), (0.54, 0.030), (0.66, 0.032), (0.95, 0.019),
        (1, 0.019)]
_ARM = [(0, 0.026), (0.10, 0.034), (0.20, 0.034), (0.35, 0.030), (0.58, 0.024), (0.68, 0.025),
        (0.97, 0.016), (1, 0.016)]
_HAND = [(0, 0.012, 0.015), (0.35, 0.014, 0.023), (0.8, 0.012, 0.017), (1, 0.003, 0.004)]
_SHOE = [(0, 0.004, 0.006), (0.06, 0.018, 0.022), (0.3, 0.022, 0.027), (0.65, 0.026, 0.020),
         (0.92, 0.019, 0.014), (1, 0.003, 0.004)]
_BACKPACK = [
    (0.03, 0.05, 0.012, 0.0), (0.04, 0.082, 0.040, 0.0), (0.12, 0.088, 0.050, -0.004),
    (0.22, 0.084, 0.044, 0.0), (0.285, 0.066, 0.030, 0.006), (0.302, 0.02, 0.01, 0.01),
]
_HIP_BAG = [  # the height counts from its lower edge
    (0.0, 0.016, 0.04, 0.0), (0.012, 0.027, 0.074, 0.0), (0.06, 0.026, 0.076, 0.0),
    (0.11, 0.022, 0.070, 0.0), (0.12, 0.008, 0.05, 0.0),
]
_HAND_BAG = [(0, 0.004, 0.012), (0.2, 0.008, 0.026), (0.34, 0.024, 0.060), (0.7, 0.034, 0.072),
             (0.95, 0.030, 0.064), (1, 0.005, 0.02)]
# How far the upper garment stands off the body, and how far down it reaches.
_EASE = {"tee": 0.008, "shirt": 0.010, "jumper": 0.011, "hoodie": 0.014, "jacket": 0.014,
         "puffer": 0.024, "coat": 0.014, "dress": 0.004}
_HEM = {"tee": -0.045, "shirt": -0.055, "jumper": -0.040, "hoodie": -0.045, "jacket": -0.05,
        "puffer": -0.06, "coat": -0.08, "dress": -0.02}
_LEG_EASE = {"trousers": (0.007, 0.012), "wide": (0.010, 0.024), "slim": (0.002, 0.004),
             "shorts": (0.0, 0.0), "skirt": (0.0, 0.0)}  # at the hip, at the ankle
# fmt: on


def _pose(row: Mapping, rng: np.random.Generator) -> _Pose:
    """A walking body, at another phase of the step in each view."""
    # The golden ratio spreads the phases of one person's views over the whole step.
    phase = 2 * np.pi * ((rng.random() + 0.618 * np.arange(_VIEWS)) % 1)
    stride = row["stride"] * rng.uniform(0.75, 1.15, _VIEWS)
    stride *= np.where(rng.random(_VIEWS) < 0.08, 0.3, 1)  # some stand, or nearly
    lean = rng.normal(0.04, 0.03, _VIEWS)
    zero = np.zeros(_VIEWS)
    legs, pitches, lowest = [], [], []
    for side, shift in ((1, 0.0), (-1, np.pi)):
        p = phase + shift
        thigh = 0.10 + stride * 0.40 * np.cos(p)
        knee = 0.08 + 0.22 * _bump(p, 0.14, 0.07) + stride * _bump(p, 0.74, 0.11)
        pitch = stride * (0.35 * _bump(p, 0.0, 0.06) - 0.75 * _bump(p, 0.62, 0.10))
        hip = _vector(side * 0.050 + zero, 0.0, 0.0)
        joint = hip + 0.242 * _vector(side * 0.03, -np.cos(thigh), np.sin(thigh))
        shin = thigh - knee
        ankle = joint + 0.238 * _vector(-side * 0.05, -np.cos(shin), np.sin(shin))
        legs.append(np.stack([hip, joint, ankle], axis=1))
        pitches.append(pitch)
        sole = ankle[:, 1] - 0.044 * np.cos(pitch)
        lowest.append(np.minimum(sole - 0.03 * np.sin(pitch), sole + 0.11 * np.sin(pitch)))
    pelvis = _vector(zero, -np.minimum(*lowest), 0.0)
    twist = 0.14 * stride * np.cos(phase)  # the shoulders turn against the legs

    arms = []
    habit, handed = rng.random(_VIEWS), 1 if rng.random() < 0.35 else -1
    wide = (0.112 if row["figure"] == "man" else 0.100) * (0.6 + 0.4 * row["build"])
    for side, shift in ((1, np.pi), (-1, 0.0)):
        p = phase + shift
        swing = 0.02 + 0.30 * row["arm_swing"] * stride * np.cos(p) + rng.normal(0, 0.05, _VIEWS)
        bend = 0.22 + 0.16 * row["arm_swing"] * (1 + np.cos(p - 0.3))
        out = 0.13 + 0.06 * rng.random(_VIEWS) + 0.15 * (row["build"] - 1) + 2 * _ease(row)
        turn = 0.12 + 0.15 * rng.random(_VIEWS)
        calls = (habit < 0.07) & (side == handed)
        reads = (habit > 0.93) | ((habit > 0.86) & (side == handed))
        pocket = (habit > 0.07) & (habit < 0.12)
        swing = np.select([calls, reads, pocket], [0.5, 0.25, -0.15], swing)
        bend = np.select([calls, reads, pocket], [2.3, 1.55, 0.55], bend)
        turn = np.select([calls, reads, pocket], [0.1, 0.65, 0.45], turn)
        if row["bag"] == "carried" and (side == 1) == (row["bag_side"] == "left"):
            swing, bend = 0.25 * swing, 0.08 + zero
        upper = _vector(side * np.sin(out), -np.cos(out) * np.cos(swing), np.sin(swing))
        lower = _vector(side * np.sin(out - turn), -np.cos(swing + bend), np.sin(swing + bend))
        lower /= np.linalg.norm(lower, axis=-1, keepdims=True)
        inner = _on_torso(pelvis, lean, twist, side * (wide - 0.052), 0.280, -0.004)
        shoulder = _on_torso(pelvis, lean, twist, side * wide, 0.254, -0.002)
        elbow = shoulder + 0.155 * upper
        arms.append(np.stack([inner, shoulder, elbow, elbow + 0.150 * lower], axis=1))
    return _Pose(pelvis, lean, twist, rng.normal(0, 0.25, _VIEWS), legs, pitches, arms)


def _bump(phase: np.ndarray, at: float, width: float) -> np.ndarray:
    away = (phase / (2 * np.pi) - at + 0.5) % 1 - 0.5
    return np.exp(-0.5 * (away / width) ** 2)


def _vector(x, y, z) -> np.ndarray:
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1).astype(np.float32)


def _on_torso(pelvis, lean, twist, x, y, z) -> np.ndarray:
    """Place a point of the upright, untwisted torso (all broadcast): (..., 3)."""
    angle = twist * (1.6 * np.clip(np.asarray(y) / 0.28, 0, 1) - 0.6)
    x, z = x * np.cos(angle) + z * np.sin(angle), z * np.cos(angle) - x * np.sin(angle)
    y, z = y * np.cos(lean) - z * np.sin(lean), z * np.cos(lean) + y * np.sin(lean)
    return pelvis + _vector(x, y, z)


def _ring(samples: int, power: float = 2.0) -> np.ndarray:
    """Points of a section from back over right, front and left; a greater power is boxier."""
    angle = np.linspace(-np.pi, np.pi, 721)
    curve = np.stack([np.sin(angle), np.cos(angle)])
    curve = np.sign(curve) * np.abs(curve) ** (2 / power)
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(curve)))])
    at = np.linspace(0, length[-1], samples, endpoint=False)
    return np.stack([np.interp(at, length, axis) for axis in curve], axis=1).astype(np.float32)


def _table(rows: Iterable[tuple], at: np.ndarray) -> np.ndarray:
    """Interpolate sections (place, values...) smoothly, without overshoot: a row a value."""
    table = np.array(sorted(rows))
    return PchipInterpolator(table[:, 0], table[:, 1:], axis=0)(at).T.astype(np.float32)


def _angles(part: _Part) -> np.ndarray:
    """The angle of each sample around the tube, 0 in front and positive to the left, (nu,)."""
    return np.arctan2(*part.ring.T)


def _even(
    sections: Iterable[tuple], low: float, high: float, length: float, count: int
) -> np.ndarray:
    """Places from low to high that are evenly far apart on the tube, not along its axis."""
    fine = np.linspace(low, high, 400)
    steps = np.diff(np.vstack([fine * length / (high - low), _table(sections, fine)]))
    so_far = np.concatenate([[0], np.cumsum(np.sqrt((steps**2).sum(0)))])
    return np.interp(np.linspace(0, so_far[-1], count), so_far, fine)


def _limb(name, joints, shares, sections, nv, nu, smooth=0.04, power=2.0) -> _Part:
    """A tube along joints (views, k, 3) at `shares` of its length, bent as hinges bend.

    nv and nu are how many pixels it is long and around: it gets a sample and a half a cell.
    """
    nv, nu = (round(1.5 * _SUPER * n) for n in (nv, nu))
    length = np.linalg.norm(np.diff(joints, axis=1), axis=-1).sum(1).mean()
    t = _even(sections, 0, 1, length, nv)
    weights = np.stack([np.interp(t, shares, row) for row in np.eye(len(shares))], axis=1)
    weights = gaussian_filter1d(weights, smooth * nv, axis=0).astype(np.float32)
    centre = sum(weights[:, k, None] * joints[:, None, k] for k in range(len(shares)))
    along = np.gradient(centre, axis=1)
    front = np.cross(along, np.array([1, 0, 0], dtype=np.float32))
    side = np.cross(front, along)
    half, *deep = _table(sections, t)
    side *= (half / (np.linalg.norm(side, axis=-1) + 1e-9))[..., None]
    front *= ((deep[0] if deep else half) / (np.linalg.norm(front, axis=-1) + 1e-9))[..., None]
    return _Part(name, centre, side, front, _ring(nu, power), t, half)


def _column(name, pose, sections, span, nv, nu, power=2.3, turn=None) -> _Part:
    """An upright tube fixed to the torso, between two heights."""
    nv, nu = (round(1.5 * _SUPER * n) for n in (nv, nu))
    y = _even(sections, *span, span[1] - span[0], nv)
    half, deep, ahead = _table(sections, y)
    turn = pose.twist if turn is None else turn
    frame = [joint[:, None] for joint in (pose.pelvis, pose.lean, turn)]
    place = functools.partial(_on_torso, *frame)
    centre = place(0.0, y, ahead)
    side, front = place(half, y, ahead) - centre, place(0.0, y, ahead + deep) - centre
    return _Part(name, centre, side, front, _ring(nu, power), y, half)


def _ease(row: Mapping) -> float:
    return _EASE[row["top"]] * row["fit"]


def _body(row: Mapping, pose: _Pose) -> list[_Part]:
    """The parts of a dressed person."""
    broad, thick = row["build"] ** 0.9, row["build"] ** 1.2
    figure = _MAN if row["figure"] == "man" else _WOMAN
    body = [(y, w * broad, d * thick, z) for y, w, d, z in figure]
    parts = _trunk(row, pose, body) + _head(row, pose) + _legs(row, pose, broad)
    hip, back = body[0][1] + _ease(row), body[4][2] + _ease(row)
    if _lower(row) == "skirt" or row["top"] == "coat":
        parts.append(_tails(row, pose, body[0][1]))
    return parts + _arms(row, pose, broad) + _bag(row, pose, hip, back)


def _trunk(row, pose, body) -> list[_Part]:
    ease, top = _ease(row), row["top"]
    # Cloth hangs from the shoulders: it stands off less there, and more lower down.
    off = [ease * np.interp(y, [-0.09, 0.2, 0.26, 0.3], [1.3, 1, 0.7, 0.25]) for y, *_ in body]
    loose = [(y, w + e, d + e, z) for (y, w, d, z), e in zip(body, off, strict=True)]
    hem = max(-0.09, _HEM[top] * row["length"])
    torso = _column("torso", pose, loose, (hem, 0.345), 44, 72, 2.5)
    if top == "puffer":
        torso = torso._replace(swell=_quilts(torso.t, 0.042, 0.05))
    hips = [(y, w + 0.003, d + 0.003, z) for y, w, d, z in body[:4]]
    parts = [torso, _column("hips", pose, hips, (-0.09, 0.04), 14, 62, 2.4)]
    if top in ("shirt", "jacket", "puffer", "coat"):
        high = 0.332 if top == "shirt" else 0.342
        wide = [(y, w + 0.3 * ease, d, z) for y, w, d, z in _COLLAR]
        collar = _column("collar", pose, wide, (0.300, high), 8, 36)
        gap = np.interp(collar.t, [0.3, 0.342], [0.15, 0.6])[:, None]
        parts.append(collar._replace(keep=np.abs(_angles(collar)) > gap))
    if top == "hoodie" or (top in ("jacket", "puffer", "coat") and row["accent"] == "hem"):
        parts.append(_column("hood", pose, _HOOD, (0.235, 0.350), 17, 38))
    return parts


def _quilts(t: np.ndarray, period: float, depth: float) -> np.ndarray:
    return (1 + depth * (np.abs(np.sin(np.pi * t / period)) - 0.6))[:, None].astype(np.float32)


def _head(row, pose) -> list[_Part]:
    """Neck, head, a cap of hair that leaves the face free, and what is tied behind it."""
    turn, style = pose.twist + pose.head_turn, row["hair_style"]
    parts = [_column("neck", pose, _NECK, (0.30, 0.40), 11, 22)]
    small = (1.68 / row["height"]) ** 0.8  # tall people's heads are small for their height
    skull = [(y, w * small, d * small, z) for y, w, d, z in _SKULL]
    parts.append(_column("head", pose, skull, (0.350, 0.481), 26, 34, turn=turn))
    thick = {"short": 0.008, "bob": 0.012, "long": 0.011}.get(style, 0.006)
    cap = [(y + 0.5 * thick, w + thick, d + thick, z - 0.003) for y, w, d, z in skull if y > 0.40]
    cap[-1] = (cap[-1][0], 0.001, 0.001, cap[-1][3])
    hanging = _HANGING_HAIR[style]
    low, high = hanging[-1][0], cap[-1][0]
    tall = round(155 * (high - low)) + 8
    hair = _column("hair", pose, cap + hanging, (low, high), tall, 38, turn=turn)
    brow = 0.428 if row["fringe"] == "yes" else 0.445
    beside = low if style in ("bob", "long") else 0.405  # before the ears
    edges = [brow, brow - 0.01, beside, beside, low]
    edge = np.interp(np.abs(_angles(hair)), [0.75, 0.95, 1.15, 1.7, 2.2], edges)
    parts.append(hair._replace(keep=hair.t[:, None] >= edge))
    if style in _TIED_HAIR:
        tied = _TIED_HAIR[style]
        parts.append(_column("tail", pose, tied, (tied[0][0], tied[-1][0]), 20, 18, turn=turn))
    return parts


def _legs(row, pose, broad) -> list[_Part]:
    parts = []
    high, low = _LEG_EASE[_lower(row)]
    off = [high + (low - high) * s for s, _ in _LEG]
    sections = [
        (s, w * broad + e, 1.06 * w * broad + e) for (s, w), e in zip(_LEG, off, strict=True)
    ]
    sole = 1.06 if row["shoes"] != "flats" else 0.92
    for side, name in enumerate(("left", "right")):
        hip, knee, ankle = np.moveaxis(pose.legs[side] + pose.pelvis[:, None], 1, 0)
        joints = np.stack([hip, knee, ankle], 1)
        leg = _limb(name + " leg", joints, [0, 0.504, 1], sections, 48, 34, 0.03)
        if _lower(row) in ("trousers", "wide"):  # they bunch up on the shoe
            leg = leg._replace(swell=(1 + 0.035 * np.sin(90 * leg.t**2) * (leg.t > 0.8))[:, None])
        parts.append(leg)
        if _lower(row) == "shorts":
            end = hip + (knee - hip) * min(1.08, 0.95 * row["length"])
            wide = [(0, 0.056 * broad), (1, 0.050 * broad + 0.004 * row["fit"])]
            parts.append(_limb(name + " short", np.stack([hip, end], 1), [0, 1], wide, 24, 34))
        pitch = pose.pitch[side]
        ahead = _vector(0.12 * (1 - 2 * side), np.sin(pitch), np.cos(pitch))
        up = _vector(0.0, np.cos(pitch), -np.sin(pitch))
        ends = np.stack([ankle - 0.035 * ahead - 0.022 * up, ankle + 0.112 * ahead - 0.024 * up], 1)
        shoe = [(s, w * sole, d * sole) for s, w, d in _SHOE]
        parts.append(_limb(name + " foot", ends, [0, 1], shoe, 20, 20, 0.01, 2.8))
    return parts


def _arms(row, pose, broad) -> list[_Part]:
    parts = []
    covered = 0.47 if _has_short_sleeves(row) else 1.1
    off = 0.003 + 0.45 * _ease(row)
    sections = [(s, w * broad + off * (0 < s < covered)) for s, w in _ARM]
    for joints, name in zip(pose.arms, ("left", "right"), strict=True):
        arm = _limb(name + " arm", joints, [0, 0.155, 0.58, 1], sections, 41, 24, 0.045)
        if row["top"] == "puffer":
            arm = arm._replace(swell=_quilts(arm.t, 0.115, 0.12))
        elbow, wrist = joints[:, 2], joints[:, 3]
        reach = (wrist - elbow) / 0.150
        ends = np.stack([wrist - 0.008 * reach, wrist + 0.058 * reach], 1)
        parts += [arm, _limb(name + " hand", ends, [0, 1], _HAND, 8, 16)]
    return parts


def _tails(row, pose, hip) -> _Part:
    """A skirt, or a coat or dress below the waist: wide enough for the step inside it."""
    coat = row["top"] == "coat"
    hem, start = (-0.20 if coat else -0.17) * row["length"], -0.06 if coat else 0.045
    y = np.linspace(hem, start, round(1.5 * _SUPER * 26))
    share = np.clip(y / hem, 0, 1)
    knee_z = [leg[:, 1, 2, None] * hem / -0.242 for leg in pose.legs]
    apart, middle = np.abs(knee_z[0] - knee_z[1]) / 2, (knee_z[0] + knee_z[1]) / 2
    off = 0.004 + (_ease(row) if row["top"] in ("coat", "dress") else 0.0)
    half = hip + off + 0.024 * row["fit"] * share - np.interp(y, [0, 0.05], [0, 0.012])
    deep = 0.070 * row["build"] + off + share * np.maximum(0.014, apart)
    place = functools.partial(_on_torso, pose.pelvis[:, None], 0.0, 0.0 * middle)
    middle = 0.8 * middle * share - 0.004
    centre = place(0.0, y, middle)
    side, front = place(half, y, middle) - centre, place(0.0, y, middle + deep) - centre
    tails = _Part("tails", centre, side, front, _ring(round(1.5 * _SUPER * 74), 2.2), y, half)
    angle = _angles(tails)
    swell = 1 + 0.04 * share[:, None] * np.sin(9 * angle + 2 * np.sin(2 * angle))
    gap = 0.45 + 0.25 * share[:, None] if coat and _is_open(row) else -1.0
    return tails._replace(swell=swell, keep=np.abs(angle) > gap)


def _bag(row, pose, hip, back) -> list[_Part]:
    kind, side = row["bag"], 0 if row["bag_side"] == "left" else 1
    if kind == "backpack":
        box = [(y, w, d, z - back - 0.040) for y, w, d, z in _BACKPACK]
        return [_column("bag", pose, box, (0.03, 0.302), 38, 60, 3.5)]
    if kind in ("shoulder", "crossbody"):
        low, away = (-0.10, hip + 0.030) if kind == "crossbody" else (-0.02, hip + 0.055)
        box = [(y + low, *section) for y, *section in _HIP_BAG]
        bag = _column("bag", pose, box, (low, low + 0.12), 24, 46, 3.5)
        return [bag._replace(centre=bag.centre + _vector(away * (1 - 2 * side), 0.0, -0.02))]
    if kind == "carried":
        elbow, wrist = pose.arms[side][:, 2], pose.arms[side][:, 3]
        grip = wrist + 0.3 * (wrist - elbow)
        ends = np.stack([grip, grip - np.array([0, 0.17, 0], dtype=np.float32)], 1)
        return [_limb("bag", ends, [0, 1], _HAND_BAG, 28, 42, 0.01, 3.0)]
    return []


# --- the picture ----------------------------------------------------------------------------------


class _Camera(NamedTuple):
    elevation: float  # degrees it looks down
    distance: float  # in heights of a person
    light: tuple[float, float, float]  # where it comes from
    sun: float
    sky: float
    exposure: float
    spread: float  # of the exposure from hour to hour, in logarithms
    contrast: float
    saturation: float
    mix: tuple[tuple[float, float, float], ...]  # what its red, green and blue see
    haze: tuple[float, float, float]
    blur: float  # in pixels
    sharpen: float
    noise: float
    quality: tuple[int, int]  # of the JPEG compression


# fmt: off
_CAMERAS = (
    _Camera(elevation=12, distance=4.5, light=(-0.45, 0.75, -0.50), sun=0.70, sky=0.66,
            exposure=1.12, spread=0.18, contrast=0.80, saturation=1.15,
            mix=((0.97, 0.0, 0.02), (0.0, 0.98, 0.0), (0.0, 0.06, 0.99)), haze=(0.01, 0.0, 0.03),
            blur=0.48, sharpen=1.3, noise=0.012, quality=(65, 92)),
    _Camera(elevation=20, distance=8.0, light=(0.35, 0.88, -0.30), sun=0.60, sky=0.90,
            exposure=2.1, spread=0.34, contrast=0.10, saturation=0.95,
            mix=((0.80, 0.0, 0.20), (0.03, 0.85, 0.08), (0.0, 0.06, 0.99)),
            haze=(0.035, 0.02, 0.07), blur=0.58, sharpen=1.4, noise=0.008, quality=(60, 90)),
)
# How deep the creases of a part are.
_CREASE = {"torso": 0.20, "leg": 0.18, "arm": 0.22, "tails": 0.16, "short": 0.20, "hair": 0.10,
           "tail": 0.10, "bag": 0.10, "hips": 0.15, "hood": 0.2, "collar": 0.1}
# fmt: on


class _Samples(NamedTuple):
    """What the cells of the depth buffer see: one entry a cell that a part covers."""

    view: np.ndarray
    line: np.ndarray
    column: np.ndarray
    winner: np.ndarray  # index of the sample


def render_person(person: Mapping, seed: int) -> np.ndarray:
    """Draw one person's 16 images.

    Orientations are 45 degrees apart in PKU-ReID's order: 1 walks to the right, 3 is seen from
    behind, 5 walks to the left, 7 comes towards the camera.

    Args:
        person: a row of `draw_persons`, or any mapping with `pid` and the `ATTRIBUTES`.
        seed: with the pid, decides poses, framing, backgrounds and sensor noise.
    Returns:
        (2, 8, 128, 48, 3) uint8: camera, orientation, height, width, RGB.
    Raises:
        ValueError: an attribute is missing or has an unknown value, or the seed is negative.
    """
    _check_seed(seed)
    _check_row(person)
    row = {name: person[name] for name in ATTRIBUTES}
    row |= {name: float(row[name]) for name in _NUMBERS}
    rng = np.random.default_rng([seed, int(person["pid"]), 1])
    cameras = [camera for camera in _CAMERAS for _ in range(ORIENTATIONS)]
    parts = _body(row, _pose(row, rng))
    place, scale, offset = _project(parts, cameras, rng)
    samples = _nearest(parts, place, scale, offset)
    colour, cover = _shade(parts, row, place, samples, cameras, rng)
    feet = _feet(parts, place, scale, offset)
    # The light of the hour in which the person walked past each camera: it colours all eight
    # images of one camera, and says nothing about the other camera's.
    hours = [np.exp(rng.normal(0, camera.spread) + rng.normal(0, 0.07, 3)) for camera in _CAMERAS]
    images = np.empty((_VIEWS, HEIGHT, WIDTH, 3), dtype=np.uint8)
    for view, camera in enumerate(cameras):
        scene = (_park, _street)[view // ORIENTATIONS](rng) * _shadow(feet[view], rng)[..., None]
        scene = scene * (1 - cover[view, ..., None]) + colour[view]
        images[view] = _expose(scene * hours[view // ORIENTATIONS], camera, rng)
    return images.reshape(CAMERAS, ORIENTATIONS, HEIGHT, WIDTH, 3)


def _spans(parts: list[_Part]) -> list[slice]:
    """Where each part's samples lie among all."""
    ends = np.cumsum([0] + [len(part.t) * len(part.ring) for part in parts]).tolist()
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def _project(parts, cameras, rng):
    """Turn and place the samples of all parts before the cameras.

    Returns:
        place (3, views, samples): x, y after perspective, and the distance behind the body's axis;
        scale and offset (views, 2): from there to the columns and lines of the depth buffer.
    """
    # As wide as eight bins of 45 degrees, into which an eye sorts people who walk as they like.
    heading = np.deg2rad(45.0 * (np.arange(_VIEWS) % ORIENTATIONS) + rng.normal(0, 12, _VIEWS))
    tilt = np.deg2rad([camera.elevation for camera in cameras] + rng.normal(0, 2, _VIEWS))
    far = np.array([camera.distance for camera in cameras]) * rng.uniform(0.85, 1.2, _VIEWS)
    far = far.astype(np.float32)
    cos_h, sin_h, cos_t, sin_t = (
        f(a).astype(np.float32)[:, None] for a in (heading, tilt) for f in (np.cos, np.sin)
    )

    def turn(vectors):  # (views, nv, 3), from the body's frame to the camera's
        x, y, z = np.moveaxis(vectors.astype(np.float32), -1, 0)
        away = z * sin_h + x * cos_h
        return z * cos_h - x * sin_h, y * cos_t + away * sin_t, away * cos_t - y * sin_t

    spans = _spans(parts)
    place = np.empty((3, _VIEWS, spans[-1].stop), dtype=np.float32)
    for part, span in zip(parts, spans, strict=True):
        across, ahead = (np.asarray(part.swell * r, dtype=np.float32) for r in part.ring.T)
        for out, centre, side, front in zip(
            place[:, :, span], turn(part.centre), turn(part.side), turn(part.front), strict=True
        ):
            grid = out.reshape(_VIEWS, len(part.t), len(part.ring))
            np.multiply(side[..., None], across, out=grid)
            grid += front[..., None] * ahead
            grid += centre[..., None]
    place[:2] *= far[:, None] / (far[:, None] + place[2])

    # Boxes follow the person, a little off, but do not stretch a thin one to the full width.
    (left, bottom), (right, top) = place[:2].min(2), place[:2].max(2)
    tall = (top - bottom) / rng.uniform(0.90, 0.965, _VIEWS)
    wide = np.clip((right - left) / rng.uniform(0.84, 0.97, _VIEWS), 0.31 * tall, 0.46 * tall)
    scale = np.stack([WIDTH / wide, -HEIGHT / tall], axis=1) * _SUPER
    across = (left + right) / 2 + rng.normal(0, 0.025, _VIEWS) * wide
    down = (bottom + top) / 2 + rng.normal(0, 0.008, _VIEWS) * tall
    middle = np.stack([across, down], axis=1)
    offset = np.array([WIDTH, HEIGHT]) * _SUPER / 2 - middle * scale
    return place, scale.astype(np.float32), offset.astype(np.float32)


def _nearest(parts, place, scale, offset) -> _Samples:
    """Find for each cell of the depth buffer the sample that the camera sees."""
    shapes = [(len(part.t), len(part.ring)) for part in parts]
    keep = np.concatenate([
        np.broadcast_to(part.keep, shape).ravel() for part, shape in zip(parts, shapes, strict=True)
    ])  # fmt: skip
    kept = np.flatnonzero(keep)
    lines, columns = HEIGHT * _SUPER, WIDTH * _SUPER
    buffer = np.full((_VIEWS, lines * columns), _EMPTY)
    for view in range(_VIEWS):
        x, y, z = place[:, view] if len(kept) == len(keep) else place[:, view, kept]
        column = (x * scale[view, 0] + offset[view, 0]).astype(np.int32)
        line = (y * scale[view, 1] + offset[view, 1]).astype(np.int32)
        inside = (column >= 0) & (column < columns) & (line >= 0) & (line < lines)
        # Depth in the upper bits, the sample's index in the lower 24: the least key is nearest.
        key = ((z + 4) * 2**24).astype(np.int64) << 24 | kept
        np.minimum.at(buffer[view], (line * columns + column)[inside], key[inside])
    buffer = buffer.reshape(_VIEWS, lines, columns)
    # Cells that the samples missed between two that they hit.
    for one, gap, other in (
        (buffer[:, :-2], buffer[:, 1:-1], buffer[:, 2:]),
        (buffer[:, :, :-2], buffer[:, :, 1:-1], buffer[:, :, 2:]),
    ):
        np.copyto(gap, one, where=(gap == _EMPTY) & (one != _EMPTY) & (other != _EMPTY))
    view, line, column = np.nonzero(buffer != _EMPTY)
    return _Samples(view, line, column, buffer[view, line, column] & (2**24 - 1))


def _feet(parts, place, scale, offset) -> np.ndarray:
    """Where the feet stand in the images, in pixels: (views, 2 feet, 2)."""
    feet = [place[:2, :, span].mean(2).T for part, span in zip(parts, _spans(parts), strict=True)
            if part.name.endswith("foot")]  # fmt: skip
    return np.stack([foot * scale + offset for foot in feet], axis=1) / _SUPER


@functools.cache
def _waves() -> np.ndarray:
    """A tile (256, 256) of smooth random heights of mean 0 and spread 1."""
    noise = np.random.default_rng(0).standard_normal((3, 256, 256))
    # Waves longer along one diagonal, and along the other, as cloth hangs; and plain ones.
    diagonal = sum(
        _sheared(gaussian_filter(_sheared(one, sign), (12, 6), mode="wrap"), -sign)
        for one, sign in zip(noise, (1, -1), strict=False)
    )
    plain = (gaussian_filter(noise[2], sigma, mode="wrap") for sigma in ((9, 5), (9, 12)))
    return _unit(0.7 * _unit(diagonal) + sum(map(_unit, plain))).astype(np.float32)


def _sheared(tile: np.ndarray, sign: int) -> np.ndarray:
    return np.stack([np.roll(line, sign * i) for i, line in enumerate(tile)])


@functools.cache
def _slopes() -> np.ndarray:
    """Slopes of the tile of `_waves` down and across, (256, 256, 2), of spread 1."""
    slopes = [np.roll(_waves(), -1, axis) - np.roll(_waves(), 1, axis) for axis in (0, 1)]
    return np.stack([_unit(slope) for slope in slopes], axis=-1)


def _unit(values: np.ndarray) -> np.ndarray:
    return values / values.std()


def _shade(parts, row, place, samples, cameras, rng):
    """Light and colour what the cameras see.

    Returns:
        Linear colour times cover (views, 128, 48, 3), and cover (views, 128, 48).
    """
    view, line, column, winner = samples
    total = place.shape[2]
    part, along_u, along_v = np.empty((3, total), dtype=np.int32)
    t, u, x = np.empty((3, total), dtype=np.float32)
    for number, (p, span) in enumerate(zip(parts, _spans(parts), strict=True)):
        nv, nu = len(p.t), len(p.ring)
        index = np.arange(span.start, span.stop, dtype=np.int32).reshape(nv, nu)
        part[span] = number
        along_u[span] = np.roll(index, -1, axis=1).ravel()
        along_v[span] = np.concatenate([index[1:], index[-2:-1]]).ravel()
        t[span], u[span] = np.repeat(p.t, nu), np.tile(_angles(p), nv)
        x[span] = (p.half[:, None] * p.ring[:, 0]).ravel()
    part, t, u, x = part[winner], t[winner], u[winner], x[winner]

    here = place[:, view, winner]
    along_u, along_v = (_normed(place[:, view, a[winner]] - here) for a in (along_u, along_v))
    normal = np.stack([
        along_u[1] * along_v[2] - along_u[2] * along_v[1],
        along_u[2] * along_v[0] - along_u[0] * along_v[2],
        along_u[0] * along_v[1] - along_u[1] * along_v[0],
    ])  # fmt: skip
    normal *= -np.sign(normal[2])

    # Creases: another place on the tile for each view and part.
    names = [p.name.split()[-1] for p in parts]
    depth = np.array([_CREASE.get(name, 0.0) for name in names], dtype=np.float32)
    cells = np.array([200 if name in ("leg", "arm", "short") else 450 for name in names])
    shift = rng.integers(0, 256, (2, _VIEWS, len(parts)))
    down = (t * cells[part]).astype(np.int64) + shift[0, view, part]
    across = (u * (128 / np.pi)).astype(np.int64) + shift[1, view, part]
    slope = _slopes()[down % 256, across % 256] * depth[part, None]
    slope[_is_bare(row, names, part, t)] = 0
    normal = _normed(normal + slope[:, 0] * along_v + slope[:, 1] * along_u)

    light = np.array([camera.light for camera in cameras]) + rng.normal(0, 0.15, (_VIEWS, 3))
    light = (light / np.linalg.norm(light, axis=1, keepdims=True)).astype(np.float32)
    sun, sky = np.array([(camera.sun, camera.sky) for camera in cameras], dtype=np.float32).T
    lambert = sum(light[view, axis] * normal[axis] for axis in range(3))
    sun = sun * rng.uniform(0.6, 1.4, _VIEWS).astype(np.float32)
    bright = sun[view] * np.maximum(0, lambert) + sky[view] * (0.62 + 0.38 * normal[1])
    bright *= _nooks(here[2], samples)
    # Trees shade the person more or less than the ground, and one half more than the other.
    shade, half = rng.normal(0, [[0.25], [0.35]], (2, _VIEWS)).astype(np.float32)
    bright *= np.exp(shade[view] + half[view] * (line / (HEIGHT * _SUPER) - 0.5))

    albedo = np.empty((len(winner), 4), dtype=np.float32)
    for camera in range(CAMERAS):
        # Two sensors see one dye differently, each dye in its own way; skin and hair hardly.
        seen = row | {
            name: _redyed(row[name], *((0.08, 0.01) if name in _OWN else (0.22, 0.016)), rng)
            for name in _COLOURS
        }
        for number, name in enumerate(names):
            chosen = np.flatnonzero((part == number) & (view // ORIENTATIONS == camera))
            albedo[chosen, :3] = _paint(name, seen, t[chosen], u[chosen], x[chosen])
    albedo[:, :3] = 0.006 + 0.994 * albedo[:, :3] ** 2.2  # even black cloth shines a little
    albedo[:, :3] *= bright[:, None]
    albedo[:, 3] = 1
    cells = np.zeros((_VIEWS, HEIGHT * _SUPER, WIDTH * _SUPER, 4), dtype=np.float32)
    cells[view, line, column] = albedo
    pixels = sum(cells[:, i::_SUPER, j::_SUPER] for i in range(_SUPER) for j in range(_SUPER))
    pixels /= _SUPER**2
    return pixels[..., :3], pixels[..., 3]


def _is_bare(row, names, part, t) -> np.ndarray:
    """Which samples of the legs and arms are skin."""
    leg, arm = (np.array([name == kind for name in names])[part] for kind in ("leg", "arm"))
    leg &= _lower(row) in ("shorts", "skirt")
    return leg | (arm & _has_short_sleeves(row) & (t > 0.47))


def _normed(vectors: np.ndarray) -> np.ndarray:
    x, y, z = vectors
    return vectors / (np.sqrt(x * x + y * y + z * z) + 1e-9)


def _nooks(depth: np.ndarray, samples: _Samples) -> np.ndarray:
    """Darken what lies behind its surroundings: under the chin, between arm and body."""
    view, line, column, _ = samples
    maps = np.zeros((2, _VIEWS, HEIGHT * _SUPER, WIDTH * _SUPER), dtype=np.float32)
    maps[0, view, line, column], maps[1, view, line, column] = depth, 1
    maps = uniform_filter(maps, (0, 0, 5 * _SUPER, 4 * _SUPER - 1), mode="constant")
    around, cover = maps[:, view, line, column]
    return 1 - np.clip((depth - around / cover) * 6, 0, 0.5)


def _paint(part, row, t, u, x) -> np.ndarray:
    """Colour of samples of one part, (n, 3) in 0 to 1; t and u as in `_Part`, x across the body."""
    skin, colour = _rgb(row["skin"]), np.empty((len(t), 3), dtype=np.float32)
    if part == "torso":
        return _paint_torso(row, t, u, x)
    if part == "head":
        return _paint_face(row, t, u)
    if part in ("neck", "hand"):
        colour[:] = skin
    elif part in ("hair", "tail"):
        colour[:] = _rgb(row["hair_colour"]) * (1 + 0.2 * np.sin(40 * u) * np.sin(9 * u))[:, None]
    elif part == "arm":
        colour[:] = _cloth(row, "top", 0.36 * t, 0.028 * u)
        if row["accent"] == "sleeves" or row["accent"] == "yoke":
            colour[t < (1.1 if row["accent"] == "sleeves" else 0.2)] = _rgb(row["top_second"])
        elif row["accent"] == "band":
            colour[(t > 0.36) & (t < 0.44)] = _rgb(row["top_second"])
        if _has_short_sleeves(row):
            colour[t > 0.47] = skin
        elif row["top"] in ("jumper", "jacket", "puffer", "hoodie"):
            colour[t > 0.94] *= 0.8
    elif part in ("leg", "short", "hips"):
        _paint_legs(part, row, t, u, colour)
    elif part == "foot":
        colour[:] = _rgb(row["shoe_colour"])
        if row["shoes"] == "trainers":
            colour[np.abs(u) > 1.9] = 0.86
        elif row["shoes"] == "flats" and row["figure"] == "woman":
            colour[(t > 0.2) & (t < 0.55) & (np.abs(u) < 1.0)] = skin
    elif part == "tails":
        worn = row["top"] in ("coat", "dress")
        colour[:] = _cloth(row, "top", t, x) if worn else _rgb(row["lower_colour"])
    elif part in ("collar", "hood"):
        light = row["accent"] in ("yoke", "hem") or (part == "hood" and row["accent"] == "sleeves")
        colour[:] = _rgb(row["top_second"] if light else row["top_colour"]) * 0.95
    else:
        colour[:] = _rgb(row["bag_colour"])
        low, high = t.min(initial=9), t.max(initial=-9)
        colour[np.abs((t - low) / (high - low + 1e-6) - 0.45) < 0.02] *= 0.5
        if row["bag"] == "backpack":
            colour[(np.abs(np.abs(x) - 0.055) < 0.003) & (t < 0.15)] *= 0.6
    return colour


def _paint_legs(part, row, t, u, colour) -> None:
    cloth, skin = _rgb(row["lower_colour"]), _rgb(row["skin"])
    if row["top"] == "dress":
        cloth = _rgb(row["top_colour"])
    bare = part == "leg" and _lower(row) in ("shorts", "skirt")
    if bare:
        colour[:] = 0.1 if _lower(row) == "skirt" and row["legs"] == "tights" else skin
    else:
        colour[:] = cloth
    if part == "leg" and not bare:
        if row["lower_detail"] == "faded":  # jeans wear pale on the thighs and the knees
            pale = np.exp(-((u / 0.9) ** 2)) * np.exp(-(((t - 0.35) / 0.2) ** 2))
            colour += (0.30 * pale)[:, None] * (0.9 - cloth)
        elif row["lower_detail"] == "stripe":
            colour[np.abs(np.abs(u) - np.pi / 2) < 0.16] = _rgb(row["top_second"])
        colour[np.abs(np.abs(u) - np.pi / 2) < 0.05] *= 0.8
    if part == "leg" and row["shoes"] == "boots" and _lower(row) not in ("trousers", "wide"):
        colour[t > (0.78 if row["figure"] == "woman" else 0.93)] = _rgb(row["shoe_colour"])


def _paint_face(row, t, u) -> np.ndarray:
    """Skin with brows, eyes, nose and mouth; the scalp is hair."""
    skin, hair, off = _rgb(row["skin"]), _rgb(row["hair_colour"]), np.abs(u)
    colour = np.tile(skin, (len(t), 1))
    colour[(off < 0.30) & (np.abs(t - 0.3755) < 0.003)] = skin * (0.80, 0.55, 0.55)
    colour[(np.abs(off - 0.10) < 0.07) & (np.abs(t - 0.393) < 0.004)] *= 0.8
    colour[(np.abs(off - 0.44) < 0.26) & (np.abs(t - 0.427) < 0.0032)] = 0.5 * skin + 0.5 * hair
    colour[(np.abs(off - 0.42) < 0.20) & (np.abs(t - 0.4155) < 0.004)] = 0.13
    if row["glasses"] == "yes":
        rim = (off < 0.95) & (np.abs(np.abs(t - 0.4155) - 0.0085) < 0.0022)
        colour[rim | ((off > 0.95) & (off < 1.6) & (np.abs(t - 0.418) < 0.003))] = 0.08
    colour[((off > 1.9) & (t > 0.385)) | ((off > 1.2) & (t > 0.41))] = hair
    return colour


def _cloth(row, worn, t, s) -> np.ndarray:
    """Colour of the cloth of the "top" or the "shirt", t along and s across it; no prints."""
    one, two = _rgb(row[f"{worn}_colour"]), _rgb(row[f"{worn}_second"])
    pattern, size = row[f"{worn}_pattern"], 0.022 * row["pattern_size"]
    bands = np.floor(t / size) % 2
    if pattern == "stripes":
        mix = bands
    elif pattern == "checks":
        mix = 0.5 * (bands + np.floor(s / size) % 2)
    elif pattern == "blotches":
        place = [(a * (9 / size)).astype(np.int64) % 256 for a in (t, s)]
        mix = np.clip(0.5 + 2 * _waves()[place[0], place[1]], 0, 1)
    else:
        return np.tile(one, (len(t), 1))
    mix = mix.astype(np.float32)[:, None]
    return one * (1 - mix) + two * mix


def _paint_torso(row, t, u, x) -> np.ndarray:
    top, second = row["top"], _rgb(row["top_second"])
    front = np.abs(u) < np.pi / 2
    across = np.where(front, x, 0.4 - x)
    colour = _cloth(row, "top", t, across)
    if row["accent"] in ("yoke", "band"):
        low, high = (0.235, 0.4) if row["accent"] == "yoke" else (0.15, 0.19)
        colour[(t > low) & (t < high)] = second
    elif row["accent"] == "hem":
        colour[t < -0.01] = second
    if _is_open(row):
        half = np.interp(t, [-0.1, 0.1, 0.24, 0.31], [0.050, 0.040, 0.034, 0.020])
        gap = front & (np.abs(x) < half)
        inner = _cloth(row, "shirt", t, across)
        if row["shirt_pattern"] == "print":
            inner[_device(row, t, x)] = _rgb(row["shirt_second"])
        inner[t < -0.035] = _rgb(row["lower_colour"])
        colour[gap] = inner[gap]
        colour[front & ~gap & (np.abs(x) < half + 0.006)] *= 0.7
    elif row["top_pattern"] == "print":
        colour[front & _device(row, t, x)] = second
    elif top in ("jacket", "puffer", "coat", "shirt"):
        colour[front & (np.abs(x) < 0.003)] *= 0.55
    if top in ("jumper", "hoodie", "jacket", "puffer") and row["accent"] != "hem":
        colour[t < -0.022] *= 0.82
    high = 0.322 if top in ("shirt", "hoodie", "jacket", "puffer", "coat") else 0.308
    colour[t > np.where(front, high, 0.328)] = _rgb(row["skin"])
    side = 1 if row["bag_side"] == "left" else -1
    strap = {
        "backpack": front & (np.abs(np.abs(x) - 0.058) < 0.012) & (t > 0.12),
        "crossbody": np.abs((x + side * 0.06) * 0.27 + (t - 0.31) * side * 0.17) < 0.0035,
        "shoulder": (np.abs(x - side * 0.072) < 0.008) & (t > 0.05),
    }.get(row["bag"])
    if strap is not None:
        colour[strap] = _rgb(row["bag_colour"])
    return colour


def _device(row, t, x) -> np.ndarray:
    """Where the chest print is: one of five simple devices, by the person's pattern size."""
    size = row["pattern_size"]
    x, y = x / (0.05 * size), (t - 0.20) / (0.048 * size)
    which = round(1000 * size) % 5
    if which == 0:
        return (x**2 + y**2 < 1) & ((x**2 + y**2 > 0.5) | (np.abs(x) < 0.3))
    if which == 1:  # lines of writing
        ink = (np.floor(y * 4) % 2 == 0) & (np.sin(11 * x + 5 * y) < 0.7)
        return ink & (np.abs(x) < 1.2) & (np.abs(y) < 0.9)
    if which == 2:
        return np.abs(x) + np.abs(y) < 1.2
    if which == 3:
        return (np.abs(x) < 1.1) & (np.abs(y) < 1.1) & ((np.abs(x) > 0.5) | (np.abs(y) > 0.5))
    place = [(a * 40 + 300 * size).astype(np.int64) % 256 for a in (y, x)]
    return (x**2 + y**2 < 1.4) & (_waves()[place[0], place[1]] > -0.2)


# --- the scene and the camera ---------------------------------------------------------------------

_Y, _X = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)


def _noise(rng: np.random.Generator, down: float, across: float) -> np.ndarray:
    """Smooth noise of spread 1, (128, 48)."""
    values = rng.standard_normal((HEIGHT, WIDTH), dtype=np.float32)
    return _unit(gaussian_filter(values, (down, across), mode="wrap"))


def _mix(scene: np.ndarray, colour, amount: np.ndarray) -> np.ndarray:
    amount = np.clip(amount, 0, 1)[..., None]
    return scene + amount * (np.asarray(colour, dtype=np.float32) - scene)


def _tint(rng: np.random.Generator, red, green, blue, spread) -> np.ndarray:
    return (np.array([red, green, blue]) + rng.normal(0, spread, 3)).astype(np.float32)


def _shrubs(rng: np.random.Generator) -> np.ndarray:
    mottled = np.clip(1 + 0.58 * _noise(rng, 1.25, 1.35), 0.1, 2.6)
    return _tint(rng, 0.21, 0.225, 0.175, 0.02) * mottled[..., None]


def _park(rng: np.random.Generator) -> np.ndarray:
    """Litter and grass under trees, in linear light, (128, 48, 3): another place each time."""
    wide, soft, fine = _noise(rng, 18, 12), _noise(rng, 2.5, 4), _noise(rng, 0.7, 1.0)
    litter, grass = _tint(rng, 0.565, 0.505, 0.475, 0.012), _tint(rng, 0.48, 0.525, 0.39, 0.012)
    scene = _mix(litter, grass, 0.5 + 0.9 * wide + rng.normal(0, 0.9))
    rough = rng.uniform(0.05, 0.12) * fine + 0.07 * soft
    if rng.random() < 0.25:  # fallen leaves lie thick
        deep = np.clip(_noise(rng, 12, 9) + rng.normal(0, 0.8), 0, 1)
        scene = _mix(scene, _tint(rng, 0.36, 0.265, 0.23, 0.015), deep)
        rough = rough + deep * (0.14 * fine + 0.12 * _noise(rng, 1.2, 1.8))
    bright = np.exp(rng.normal(0, 0.06)) * (1.04 - 0.12 * _Y / HEIGHT + rough + 0.05 * wide)
    scene = scene * bright[..., None]
    leaf, rare = _noise(rng, 0.7, 0.9) + 0.5 * soft, rng.uniform(1.5, 3)
    scene = _mix(scene, _tint(rng, 0.68, 0.60, 0.51, 0.04), 0.8 * np.clip((leaf - rare) * 2, 0, 1))
    scene = _mix(scene, _tint(rng, 0.38, 0.30, 0.25, 0.02), 0.6 * np.clip((-leaf - rare) * 2, 0, 1))
    if rng.random() < 0.15:  # sun through the leaves
        scene = scene * (1 + 0.5 * np.clip(_noise(rng, 7, 6), 0, 1.3))[..., None]
    if rng.random() < 0.15:
        scene = _painted_ring(scene, rng)
    edge = rng.uniform(4, 44) + rng.normal(0, 0.4) * (_X - 24)
    kind = rng.random()
    if kind < 0.35:  # shrubs
        scene = _mix(scene, _shrubs(rng), edge + 2.5 * soft - _Y)
    elif kind < 0.50:  # stone steps, in shade below
        step = (1 + 0.06 * np.floor((_Y - edge) / rng.uniform(6, 14)) + 0.07 * soft)[..., None]
        scene = _mix(scene, _tint(rng, 0.42, 0.40, 0.40, 0.02) * step, edge - _Y)
        scene = _mix(scene, (0.15, 0.13, 0.12), 0.8 * np.clip(2 - np.abs(_Y - edge), 0, 1))
    elif kind < 0.62:  # a lawn in the sun
        lawn = _tint(rng, 0.60, 0.64, 0.47, 0.02) * (1 + 0.05 * fine)[..., None]
        scene = _mix(scene, lawn, (edge - _Y) / 6)
    if rng.random() < 0.12:
        trunk = np.clip(rng.uniform(1.5, 4) - np.abs(_X - rng.uniform(-4, 52) - 0.05 * _Y), 0, 1)
        trunk[int(rng.uniform(10, 50)) :] = 0
        scene = _mix(scene, _tint(rng, 0.24, 0.20, 0.18, 0.02), trunk)
    return np.clip(_passer_by(scene, rng), 0.01, 1) ** 2.2


def _street(rng: np.random.Generator) -> np.ndarray:
    """Grey paving, in linear light, (128, 48, 3): another place each time."""
    soft, fine = _noise(rng, 22, 16), _noise(rng, 0.8, 1.3)
    tone = rng.choice([0.38, 0.51, 0.56, 0.60], p=[0.15, 0.35, 0.3, 0.2])
    stone = tone * np.exp(rng.normal(0, 0.05)) * _tint(rng, 1.0, 0.99, 1.01, 0.012)
    scene = stone * (1 + 0.05 * soft + 0.022 * fine + 0.025 * _noise(rng, 1.5, 6))[..., None]
    scene = scene * (0.72 + 0.25 * _Y / HEIGHT)[..., None]
    angle, gap = rng.uniform(-0.45, 0.45), rng.uniform(12, 26)
    for turn, step in ((angle, gap), (angle + rng.uniform(0.9, 1.5), gap * rng.uniform(1.2, 2))):
        if rng.random() < 0.75:
            place = (_Y * np.cos(turn) + _X * np.sin(turn) + rng.uniform(0, step)) / step
            joint = np.clip(1.2 - step * np.abs(place % 1 - 0.5), 0, 1)
            slab = 0.03 * np.sin(7.3 * np.floor(place + 0.5))
            scene = scene * (1 + slab - rng.uniform(0.03, 0.10) * joint)[..., None]
    if rng.random() < 0.22:  # patches of sun
        patch = _noise(rng, 14, 11) + 0.35 * _noise(rng, 4, 5) + rng.normal(0, 1.2)
        scene = _mix(scene, _tint(rng, 0.78, 0.76, 0.73, 0.015), 0.8 / (1 + np.exp(-3 * patch)))
    if rng.random() < 0.12:
        scene = _painted_ring(scene, rng)
    if rng.random() < 0.28:  # a kerb, and shrubs behind it
        edge = rng.uniform(-16, 32) + rng.choice([-1, 1]) * rng.uniform(0.6, 1.4) * (_X - 24)
        scene = _mix(scene, _tint(rng, 0.74, 0.73, 0.73, 0.02), edge + rng.uniform(2, 6) - _Y)
        scene = _mix(scene, _shrubs(rng), edge + 1.5 * _noise(rng, 2, 2) - _Y)
    return np.clip(_passer_by(scene, rng), 0.01, 1) ** 2.2


def _painted_ring(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    wide = rng.uniform(9, 20)
    r = np.hypot((_X - rng.uniform(-5, 53)) / wide, (_Y - rng.uniform(60, 128)) / (0.45 * wide))
    scene = _mix(scene, (0.50, 0.49, 0.50), 0.6 * np.clip((1 - r) * 8, 0, 1))
    return _mix(scene, (0.70, 0.62, 0.25), 0.9 * np.clip(1.6 - np.abs(r - 1) * 8, 0, 1))


def _passer_by(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Now and then somebody else, at the image's edge and further away."""
    if rng.random() > 0.05:
        return scene
    x = _X - rng.choice([rng.uniform(-3, 8), rng.uniform(40, 51)])
    feet, size = rng.uniform(15, 55), rng.uniform(0.45, 0.7)
    y = (feet - _Y) / (120 * size)  # 0 at the feet, 1 at the crown
    step = rng.uniform(0, 7) * size
    x = x / size
    pieces = ((0.0, 0.5, step, 4), (0.0, 0.5, -step, 4), (0.47, 0.85, 0, 9), (0.87, 1.0, 0, 5))
    for low, high, off, half in pieces:
        across = np.abs(x - off * (0.5 - np.clip(y, 0, 0.5)) * 2) / half
        along = np.abs(2 * y - low - high) / (high - low)
        shade = _rgb(_pick(rng, _LOWER if high < 0.6 else _OUTER if high < 0.9 else _HAIR))
        scene = _mix(scene, 0.1 + 0.8 * shade, 3 * (1 - across**3 - along**3))
    return scene


def _shadow(feet: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How much light reaches the ground around the feet (2, 2), (128, 48)."""
    light, depth = np.ones((HEIGHT, WIDTH), dtype=np.float32), rng.uniform(0.25, 0.6)
    spots = [(x, y + 2, 7, 3.0, depth) for x, y in feet] + [(*feet.mean(0), 16, 7, 0.25 * depth)]
    for x, y, wide, high, dark in spots:
        light *= 1 - dark * np.exp(-(((_X - x) / wide) ** 2) - ((_Y - y) / high) ** 2)
    return light


def _expose(scene: np.ndarray, camera: _Camera, rng: np.random.Generator) -> np.ndarray:
    """What the camera makes of a scene in linear light: (128, 48, 3) uint8."""
    blur = camera.blur * rng.uniform(0.75, 1.35)
    scene = gaussian_filter(scene, (blur, blur, 0))
    if rng.random() < 0.2:  # somebody moves
        scene = gaussian_filter1d(scene, rng.uniform(0.4, 0.9), axis=1)
    gain = camera.exposure * np.exp(rng.normal(0, 0.10) + rng.normal(0, 0.04, 3))
    scene = np.clip(scene * gain, 0, 1).astype(np.float32) ** np.float32(1 / 2.2)
    image = sum(scene[..., k, None] * np.array(camera.mix, np.float32)[:, k] for k in range(3))
    curve = image * image * (3 - 2 * image)  # steep in the middle, with a toe and a shoulder
    image += camera.contrast * (curve - image)
    grey = (0.30 * image[..., 0] + 0.59 * image[..., 1] + 0.11 * image[..., 2])[..., None]
    image = grey + camera.saturation * (image - grey)
    image += np.array(camera.haze, dtype=np.float32) * (1 - image)
    image += camera.sharpen * (image - gaussian_filter(image, (1.0, 1.0, 0)))
    image += camera.noise * rng.standard_normal((HEIGHT, WIDTH, 1), dtype=np.float32)
    image += 0.5 * camera.noise * rng.standard_normal((HEIGHT, WIDTH, 3), dtype=np.float32)
    pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "JPEG", quality=int(rng.integers(*camera.quality)))
        return np.asarray(Image.open(file).convert("RGB"))


# --- files ----------------------------------------------------------------------------------------


def write_dataset(
    folder: Path, persons: int, seed: int, progress: bool = False, workers: int = 1
) -> None:
    """Draw a data set into `folder`, and its attributes into `<folder>.persons.csv` beside it.

    Files are named `personId_cameraId_orientationId.png`, the person padded to at least three
    digits. Everything is drawn into a temporary folder beside the target and renamed when it is
    complete. The bytes depend on `persons` and `seed` alone, not on `workers`.

    Args:
        folder: new, or empty; parents are made.
        persons: 1 to 100,000; 16 images each.
        seed: not negative.
        progress: show a bar.
        workers: processes that draw.
    Raises:
        ValueError: persons, seed or workers out of range.
        FileExistsError: `folder` is a file or holds something, or the table's place is a folder.
        OSError: the disk is full, or too small for the set.
    """
    _check_request(persons, seed)
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected 1 or more")
    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is in use; name a new or an empty folder")
    table_place = folder.with_name(folder.name + ".persons.csv")
    if table_place.is_dir():
        raise FileExistsError(f"{table_place} is a folder; the attributes are written there")
    folder.parent.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(folder.parent).free, persons * _BYTES_PER_PERSON
    if free < needed:
        sizes = f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free"
        raise OSError(errno.ENOSPC, sizes, str(folder))
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as aside:
        images, table = Path(aside, "images"), Path(aside, "persons.csv")
        images.mkdir()
        _write_all(images, table, persons, seed, progress, workers)
        if folder.exists():
            folder.rmdir()
        images.rename(folder)
        table.replace(table_place)


def _write_all(images, table, persons, seed, progress, workers) -> None:
    draw = functools.partial(_write_person, images, seed, max(3, len(str(persons))))
    pids = range(1, persons + 1)
    with (
        tqdm(total=persons, unit="person", disable=not progress) as bar,
        table.open("w", encoding="utf-8", newline="") as file,
    ):

        def note(rows: Iterable[dict]) -> None:
            for row in rows:
                pd.DataFrame([row]).to_csv(file, header=row["pid"] == 1, index=False)
                bar.update()

        if workers == 1:
            note(map(draw, pids))
            return
        # New processes, not forks: a fork of a process with threads can hang. Blocks, since a
        # pool asked for 100,000 persons at once would hold that many results.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            for start in range(0, persons, 32 * workers):
                note(pool.map(draw, pids[start : start + 32 * workers]))


def _write_person(images: Path, seed: int, width: int, pid: int) -> dict:
    row = _person(seed, pid)
    for camera, views in enumerate(render_person(row, seed), start=1):
        for orientation, pixels in enumerate(views, start=1):
            name = f"{pid:0{width}d}_{camera}_{orientation}.png"
            Image.fromarray(pixels).save(images / name, compress_level=6)
    return row
