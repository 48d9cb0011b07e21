"""Pedestrians of our own: drawn people in PKU-ReID's layout, where no photograph can be shipped.

A person is a row of attributes (`draw_persons`). Each part of the walking body is a tube: a bent
centre line with an oval section. The tubes are sampled densely, projected, and a depth buffer at
three times the resolution keeps the nearest sample of each cell; shading and clothing are then
worked out for those samples only (`render_person`). Body frame: x to the person's left, y up,
z forward, in units of the person's height. Camera frame: x right, y up, z away from the camera.
"""

from __future__ import annotations

import errno
import functools
import io
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter, gaussian_filter1d, uniform_filter
from tqdm import tqdm

HEIGHT, WIDTH, ORIENTATIONS, CAMERAS = 128, 48, 8, 2
MAX_PERSONS = 100_000
_SUPER = 3  # samples a pixel, each way
_BYTES_PER_PERSON = 16 * 16_384  # a PNG of 128 x 48 pixels with sensor noise, rounded up

# What people wear: (colour, weight).
_OUTER = [
    ("#17171a", 24), ("#1d2338", 12), ("#3a3b40", 8), ("#77787c", 7), ("#eceae6", 9),
    ("#b9a387", 5), ("#a3242b", 5), ("#3a66b0", 6), ("#8fb4d8", 5), ("#3f5a40", 4),
    ("#6b4a35", 4), ("#d98fa6", 4), ("#5a3a70", 2), ("#d9b23c", 2), ("#7b2036", 3), ("#c9c9cf", 4),
]  # fmt: skip
_INNER = [
    ("#eceae6", 34), ("#17171a", 14), ("#9a9a9e", 12), ("#a3242b", 6), ("#8fb4d8", 8),
    ("#2b3a66", 8), ("#d9b23c", 3), ("#d98fa6", 5), ("#4d7a55", 4), ("#c8b493", 6),
]  # fmt: skip
_LOWER = [
    ("#151518", 30), ("#20283d", 20), ("#3b5278", 12), ("#6f8fb5", 5), ("#3c3d42", 11),
    ("#7d7d80", 6), ("#a8916d", 6), ("#4f3b2e", 4), ("#e2dfda", 3), ("#8c2a30", 2), ("#46513a", 2),
]  # fmt: skip
_SHOES = [
    ("#18181a", 38), ("#e6e4e0", 24), ("#6a6a70", 10), ("#5b3b27", 10), ("#28365c", 7),
    ("#b03038", 5), ("#c98a3a", 3), ("#9fb4cc", 3),
]  # fmt: skip
_BAGS = [
    ("#1a1a1d", 30), ("#4a3023", 14), ("#7c2430", 10), ("#e4e0d8", 12), ("#2a3f6a", 10),
    ("#8a6a45", 8), ("#50555c", 8), ("#c8b040", 3), ("#3c6b50", 5),
]  # fmt: skip
_SKIN = [("#e3b899", 30), ("#d8a582", 34), ("#c48e6a", 20), ("#9c6a4a", 10), ("#6b452f", 6)]
_HAIR = [("#121013", 60), ("#221a17", 22), ("#3d281c", 10), ("#6e4a2c", 4), ("#8d8a88", 4)]

# The values an attribute may take; the numbers are how often, for a man and for a woman.
_CHOICES: dict[str, dict[str, tuple[float, float]]] = {
    "hair_style": {
        "short": (92, 8), "bob": (4, 16), "long": (2, 38), "ponytail": (1, 26), "bun": (1, 12)
    },
    "fringe": {"no": (70, 55), "yes": (30, 45)},
    "glasses": {"no": (65, 75), "yes": (35, 25)},
    "top": {
        "tee": (16, 14), "shirt": (18, 10), "jumper": (14, 17), "hoodie": (12, 8),
        "jacket": (26, 20), "puffer": (8, 7), "coat": (6, 18), "dress": (0, 6)
    },
    "front": {"closed": (60, 58), "open": (40, 42)},
    "top_pattern": {"plain": (62, 62), "stripes": (13, 13), "checks": (12, 10), "print": (13, 15)},
    "shirt_pattern": {"plain": (66, 66), "stripes": (12, 12), "checks": (12, 8), "print": (10, 14)},
    "sleeves": {"long": (70, 75), "short": (30, 25)},
    "lower": {"trousers": (62, 24), "slim": (24, 42), "shorts": (14, 12), "skirt": (0, 22)},
    "legs": {"tights": (0, 55), "bare": (100, 45)},
    "shoes": {"trainers": (66, 46), "boots": (14, 28), "flats": (20, 26)},
    "bag": {
        "none": (52, 40), "backpack": (22, 16), "shoulder": (4, 18), "crossbody": (12, 14),
        "carried": (10, 12)
    },
    "bag_side": {"left": (50, 50), "right": (50, 50)},
}  # fmt: skip
_COLOURS = {
    "skin": _SKIN, "hair_colour": _HAIR, "top_colour": _OUTER, "top_second": _INNER,
    "shirt_colour": _INNER, "shirt_second": _OUTER, "lower_colour": _LOWER,
    "shoe_colour": _SHOES, "bag_colour": _BAGS,
}  # fmt: skip
_NUMBERS = ("height", "build", "stride", "arm_swing", "pattern_size")
ATTRIBUTES = ("figure", *_NUMBERS, *_COLOURS, *_CHOICES)
_OPENABLE = ("shirt", "hoodie", "jacket", "puffer", "coat")
_TWIN_SHARE = 0.2


def draw_persons(persons: int, seed: int) -> pd.DataFrame:
    """Draw persons: what each looks like and wears.

    Person k depends on (seed, k) alone, so a shorter set is a prefix of a longer one. About a
    fifth are near twins: they copy an earlier person, `twin_of`, but for the one attribute named
    in `twin_attribute`. Attributes that do not apply are drawn all the same and not shown (the
    side of a bag where there is none).

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
    _check(persons, seed)
    rows: list[dict] = []
    for pid in range(1, persons + 1):
        rows.append(_person(seed, pid, rows.__getitem__))
    return pd.DataFrame(rows)


def _check(persons: int, seed: int) -> None:
    if not 1 <= persons <= MAX_PERSONS:
        raise ValueError(f"persons is {persons}, expected 1 to {MAX_PERSONS:,}")
    _check_seed(seed)


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"seed is {seed}, expected 0 or more")


def _person(seed: int, pid: int, earlier=None) -> dict:
    """Attributes of one person; `earlier(i)` gives person i + 1, where already drawn."""
    rng = np.random.default_rng([seed, pid, 0])
    if pid > 1 and rng.random() < _TWIN_SHARE:
        other = pid - 1 - int(rng.integers(min(pid - 1, 12)))
        row = dict(earlier(other - 1) if earlier else _person(seed, other))
        row |= {"pid": pid, "twin_of": other}
        row["twin_attribute"] = name = _pick(rng, _twin_weights(row))
        old = row[name]
        while row[name] == old or (name in _COLOURS and _distance(row[name], old) < 0.35):
            row[name] = _draw(rng, name, row["figure"])
        return row
    figure = "man" if rng.random() < 0.55 else "woman"
    man = figure == "man"
    row = {"pid": pid, "twin_of": 0, "twin_attribute": "none", "figure": figure}
    row["height"] = round(float(rng.normal(1.74 if man else 1.62, 0.06)), 3)
    row["build"] = round(float(np.clip(rng.normal(1.0, 0.09), 0.82, 1.3)), 3)
    row["stride"] = round(float(np.clip(rng.normal(1.0, 0.15), 0.6, 1.4)), 3)
    row["arm_swing"] = round(float(np.clip(rng.normal(1.0, 0.35), 0.2, 1.9)), 3)
    row["pattern_size"] = round(float(np.exp(rng.normal(0, 0.3))), 3)
    row |= {name: _draw(rng, name, figure) for name in (*_COLOURS, *_CHOICES)}
    return row


def _twin_weights(row: Mapping) -> dict[str, float]:
    """The attributes in which a near twin of this person may visibly differ, and how often."""
    names = {"top_colour": 3, "lower_colour": 3, "shoe_colour": 2, "bag": 4, "hair_style": 2}
    if row["bag"] != "none":
        names |= {"bag_colour": 2, "bag_side": 2} if row["bag"] != "backpack" else {"bag_colour": 2}
    if _is_open(row):
        names["shirt_colour"] = 3
    return names


def _pick(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    edges = np.cumsum(list(weights.values()))
    return list(weights)[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]


def _draw(rng: np.random.Generator, name: str, figure: str) -> str:
    if name in _CHOICES:
        column = 0 if figure == "man" else 1
        return _pick(rng, {value: w[column] for value, w in _CHOICES[name].items()})
    rgb = _rgb(_pick(rng, dict(_COLOURS[name])))
    rgb = rgb * np.exp(rng.normal(0, 0.08)) + rng.normal(0, 0.018, 3)  # no two dyes are the same
    return "#" + "".join(f"{int(v):02x}" for v in np.clip(rgb * 255, 8, 247))


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float32) / 255


def _distance(one: str, other: str) -> float:
    return float(np.abs(_rgb(one) - _rgb(other)).sum())


def _is_open(row: Mapping) -> bool:
    return row["front"] == "open" and row["top"] in _OPENABLE


def _check_row(row: Mapping) -> None:
    for name in ("pid", *ATTRIBUTES):
        if name not in row:
            raise ValueError(f"the person has no attribute {name!r}; take rows from draw_persons")
    for name, values in (*_CHOICES.items(), ("figure", ("man", "woman"))):
        if row[name] not in values:
            raise ValueError(f"{name} is {row[name]!r}, expected one of {', '.join(values)}")
    for name in _COLOURS:
        text = str(row[name])
        if len(text) != 7 or text[0] != "#" or set(text[1:].lower()) - set("0123456789abcdef"):
            raise ValueError(f"{name} is {row[name]!r}, expected a colour such as '#1d2338'")
    for name in _NUMBERS:
        if not 0.1 <= float(row[name]) <= 3:
            raise ValueError(f"{name} is {row[name]!r}, expected a number from 0.1 to 3")


# The body -----------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """A tube: point(v, u) = centre[v] + swell[v, u] * (ring[u, 0] side[v] + ring[u, 1] front[v])."""

    name: str
    centre: np.ndarray  # (V, nv, 3)
    side: np.ndarray  # (V, nv, 3), half the section's width, as a vector
    front: np.ndarray  # (V, nv, 3), half the section's depth
    ring: np.ndarray  # (nu, 2)
    swell: np.ndarray  # (nv, nu)
    keep: np.ndarray  # (nv, nu) bool: where the surface is
    t: np.ndarray  # (nv,): height in the standing body, or 0 to 1 along a limb
    half: np.ndarray  # (nv,): half the width, to tell where across the body a sample lies


class _Pose(NamedTuple):
    """Joints of V views in the body frame, (V, 3) each; angles (V,)."""

    pelvis: np.ndarray
    lean: np.ndarray
    twist: np.ndarray
    head_turn: np.ndarray
    legs: list[np.ndarray]  # left, right: (V, 3 joints, 3)
    feet: list[np.ndarray]  # pitch of each foot
    arms: list[np.ndarray]
    speed: np.ndarray


def _bump(phase: np.ndarray, at: float, width: float) -> np.ndarray:
    away = (phase / (2 * np.pi) - at + 0.5) % 1 - 0.5
    return np.exp(-0.5 * (away / width) ** 2)


def _vector(x, y, z) -> np.ndarray:
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1).astype(np.float32)


def _pose(row: Mapping, rng: np.random.Generator, views: int) -> _Pose:
    """A walking body at another phase of the step in each view."""
    # The golden ratio spreads the phases of one person's views over the step.
    phase = 2 * np.pi * ((rng.random() + 0.618 * np.arange(views)) % 1)
    stride = row["stride"] * rng.uniform(0.75, 1.15, views)
    slow = rng.random(views) < 0.08
    stride = np.where(slow, 0.3 * stride, stride)
    lean = rng.normal(0.03, 0.03, views)
    shoulder_x = 0.113 * (1.0 if row["figure"] == "man" else 0.91)
    legs, feet, lows = [], [], []
    for side, shift in ((1, 0.0), (-1, np.pi)):
        p = (phase + shift) % (2 * np.pi)
        thigh = 0.10 + stride * 0.40 * np.cos(p)
        knee = 0.08 + 0.22 * _bump(p, 0.14, 0.07) + stride * 1.0 * _bump(p, 0.74, 0.11)
        pitch = stride * (0.35 * _bump(p, 0.0, 0.06) - 0.75 * _bump(p, 0.62, 0.10))
        hip = _vector(side * 0.050, np.zeros(views), 0.0)
        joint = hip + 0.242 * _vector(0 * thigh, -np.cos(thigh), np.sin(thigh))
        shin = thigh - knee
        ankle = joint + 0.238 * _vector(-side * 0.03 * np.ones(views), -np.cos(shin), np.sin(shin))
        legs.append(np.stack([hip, joint, ankle], axis=1))
        feet.append(pitch + 0 * p)
        heel = ankle[:, 1] - 0.042 * np.cos(pitch) - 0.03 * np.sin(pitch)
        toe = ankle[:, 1] - 0.042 * np.cos(pitch) + 0.11 * np.sin(pitch)
        lows.append(np.minimum(heel, toe))
    pelvis = _vector(np.zeros(views), -np.minimum(*lows), 0.0)
    twist = (
        0.14 * stride * np.cos(phase)
    )  # the left shoulder goes back as the left leg goes forward
    arms = []
    habit = rng.random(views)
    phone_side = 1 if rng.random() < 0.35 else -1
    for side, shift in ((1, np.pi), (-1, 0.0)):
        p = phase + shift
        swing = 0.02 + 0.30 * row["arm_swing"] * stride * np.cos(p) + rng.normal(0, 0.05, views)
        bend = 0.22 + 0.16 * row["arm_swing"] * (1 + np.cos(p - 0.3)) + rng.normal(0, 0.06, views)
        out = 0.14 + 0.06 * rng.random(views) + 0.10 * (row["build"] - 1)
        turn = 0.10 + 0.15 * rng.random(views)
        calls = (habit < 0.07) & (side == phone_side)
        reads = (habit > 0.93) | ((habit > 0.86) & (side == phone_side))
        pocket = (habit > 0.07) & (habit < 0.12)
        swing = np.select([calls, reads, pocket], [0.5, 0.25, -0.15], swing)
        bend = np.select([calls, reads, pocket], [2.3, 1.55, 0.55], bend)
        turn = np.select([calls, reads, pocket], [0.1, 0.65, 0.45], turn)
        if row["bag"] == "carried" and (side == 1) == (row["bag_side"] == "left"):
            swing, bend = 0.25 * swing, 0.08 + 0 * bend
        upper = _vector(side * np.sin(out), -np.cos(out) * np.cos(swing), np.sin(swing))
        fore = swing + bend
        lower = _vector(side * np.sin(out - turn), -np.cos(fore), np.sin(fore))
        lower /= np.linalg.norm(lower, axis=-1, keepdims=True)
        shoulder = _torso_point(pelvis, lean, twist, side * shoulder_x * (0.6 + 0.4 * row["build"]),
                                0.285, 0.0)  # fmt: skip
        elbow = shoulder + 0.172 * upper
        arms.append(np.stack([shoulder, elbow, elbow + 0.148 * lower], axis=1))
    return _Pose(pelvis, lean, twist, rng.normal(0, 0.25, views), legs, feet, arms, stride)


def _torso_point(pelvis, lean, twist, x, y, z) -> np.ndarray:
    """A point given in the upright, untwisted torso, y above the pelvis (all broadcast)."""
    share = np.clip(np.asarray(y) / 0.28, 0, 1)
    angle = twist * (1.6 * share - 0.6)
    xx = x * np.cos(angle) - z * np.sin(angle) * -1
    zz = -x * np.sin(angle) + z * np.cos(angle)
    return pelvis + _vector(xx, y * np.cos(lean) - zz * np.sin(lean),
                            zz * np.cos(lean) + y * np.sin(lean))  # fmt: skip


def _ring(samples: int, power: float = 2.0) -> np.ndarray:
    angle = np.linspace(-np.pi, np.pi, samples, endpoint=False)
    curve = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return (np.sign(curve) * np.abs(curve) ** (2 / power)).astype(np.float32)


def _table(rows: list[tuple], at: np.ndarray) -> np.ndarray:
    """Interpolate a table of sections, (first column, values...), without overshoot."""
    table = np.array(sorted(rows))
    return PchipInterpolator(table[:, 0], table[:, 1:], axis=0)(at).T.astype(np.float32)


def _limb(name, joints, shares, widths, depths, nv, nu, smooth=0.04, power=2.0) -> _Part:
    """A tube along joints (V, k, 3) at `shares` of its length, bending in its own sagittal plane."""
    t = np.linspace(0, 1, nv)
    weights = np.stack([np.interp(t, shares, row) for row in np.eye(len(shares))], axis=1)
    centre = np.einsum("tk,vkc->vtc", gaussian_filter1d(weights, smooth * nv, axis=0), joints)
    along = np.gradient(centre, axis=1)
    along /= np.linalg.norm(along, axis=-1, keepdims=True) + 1e-9
    front = np.cross(along, np.array([1.0, 0, 0]))
    front /= np.linalg.norm(front, axis=-1, keepdims=True) + 1e-9
    side = np.cross(front, along)
    half, deep = _table(widths, t)[0], _table(depths, t)[0]
    ones = np.ones((nv, nu), dtype=bool)
    return _Part(name, centre, side * half[:, None], front * deep[:, None], _ring(nu, power),
                 ones.astype(np.float32), ones, t, half)  # fmt: skip


def _column(name, pose, sections, y, nu, power=2.3, turn=None) -> _Part:
    """An upright tube of the torso's frame; sections: (y, half width, half depth, z offset)."""
    half, deep, offset = _table(sections, y)
    v = lambda a: a[:, None]  # noqa: E731 - (V,) against (nv,)
    twist = v(pose.twist) if turn is None else v(turn)
    place = lambda x, z: _torso_point(  # noqa: E731
        pose.pelvis[:, None], v(pose.lean), twist, x, y[None], z
    )
    centre = place(0.0, offset)
    ones = np.ones((len(y), nu), dtype=bool)
    return _Part(name, centre, place(half, offset) - centre, place(0.0, offset + deep) - centre,
                 _ring(nu, power), ones.astype(np.float32), ones, y, half)  # fmt: skip


def _body(row: Mapping, pose: _Pose, rng: np.random.Generator) -> list[_Part]:
    """The parts of a dressed person, in units of the person's height, pelvis at height 0."""
    man, build = row["figure"] == "man", row["build"]
    top, lower = row["top"], row["lower"]
    ease = {"tee": 0.006, "shirt": 0.009, "jumper": 0.010, "hoodie": 0.014, "jacket": 0.014,
            "puffer": 0.024, "coat": 0.015, "dress": 0.004}[top]  # fmt: skip
    b = build ** np.array([0.9, 1.2])
    parts = []

    hip, waist, chest, shoulder = (
        (0.093, 0.088, 0.100, 0.112) if man else (0.098, 0.077, 0.090, 0.100)
    )
    bust = 0.0 if man else 0.008
    sections = [
        (-0.075, hip + 0.002, 0.070, -0.004), (-0.02, hip, 0.072, -0.006),
        (0.06, waist, 0.060, 0.0), (0.13, (waist + chest) / 2, 0.064, 0.002),
        (0.20, chest, 0.068 + bust, 0.003 + bust / 2), (0.25, shoulder - 0.004, 0.064, 0.0),
        (0.283, shoulder - 0.004, 0.054, -0.004), (0.302, 0.088, 0.046, -0.006),
        (0.317, 0.058, 0.040, -0.006), (0.330, 0.036, 0.034, -0.004), (0.345, 0.029, 0.031, 0.002),
    ]  # fmt: skip
    loose = [
        (
            y,
            w * b[0] + (ease if y < 0.3 else 0.3 * ease),
            d * b[1] + (ease if y < 0.3 else 0.3 * ease),
            z,
        )
        for y, w, d, z in sections
    ]
    hem = {"tee": -0.035, "shirt": -0.045, "jumper": -0.035, "hoodie": -0.045, "jacket": -0.05,
           "puffer": -0.06, "coat": -0.075, "dress": -0.02}[top]  # fmt: skip
    torso = _column("torso", pose, loose, np.linspace(hem, 0.345, 190), 320, 2.5)
    if top == "puffer":
        quilts = 0.05 * np.abs(np.sin(np.pi * torso.t / 0.042)) - 0.03
        torso = torso._replace(swell=torso.swell + quilts[:, None].astype(np.float32))
    parts.append(torso)
    hips = [(y, w * b[0] + 0.003, d * b[1] + 0.003, z) for y, w, d, z in sections[:4]]
    parts.append(_column("hips", pose, hips, np.linspace(-0.075, 0.04, 60), 280, 2.4))
    neck = [(0.30, 0.034, 0.036, -0.002), (0.34, 0.030, 0.033, 0.004), (0.40, 0.030, 0.034, 0.012)]
    parts.append(_column("neck", pose, neck, np.linspace(0.30, 0.40, 44), 100))

    turn = pose.twist + pose.head_turn
    k = 1.0 if man else 0.97
    skull = [
        (0.350, 0.004, 0.006, 0.030), (0.353, 0.018, 0.022, 0.028), (0.365, 0.030, 0.040, 0.022),
        (0.385, 0.039, 0.050, 0.016), (0.41, 0.044, 0.055, 0.012), (0.435, 0.044, 0.056, 0.010),
        (0.455, 0.039, 0.050, 0.008), (0.470, 0.028, 0.036, 0.006), (0.478, 0.014, 0.018, 0.004),
        (0.481, 0.001, 0.001, 0.004),
    ]  # fmt: skip
    skull = [(y, w * k, d * k, z) for y, w, d, z in skull]
    parts.append(_column("head", pose, skull, np.linspace(0.350, 0.481, 84), 150, turn=turn))
    parts += _hair(row, pose, skull, turn)

    for side, joints, pitch in zip(("left", "right"), pose.legs, pose.feet, strict=True):
        joints = joints + pose.pelvis[:, None]
        cloth = {"trousers": 0.009, "slim": 0.002, "shorts": 0.0, "skirt": 0.0}[lower]
        flesh = [(0, 0.050), (0.25, 0.044), (0.46, 0.031), (0.54, 0.029), (0.66, 0.031), (0.95, 0.018),
                 (1, 0.018)]  # fmt: skip
        widths = [(s, w * b[0] + cloth * (0.5 + 0.7 * s)) for s, w in flesh]
        depths = [(s, 1.06 * w * b[0] + cloth * (0.5 + 0.8 * s)) for s, w in flesh]
        parts.append(_limb(side + " leg", joints, [0, 0.504, 1], widths, depths, 215, 140, 0.03))
        if lower == "shorts":
            short = np.stack([joints[:, 0], joints[:, 1] + 0.02 * (joints[:, 0] - joints[:, 1])], 1)
            wide = [(0, 0.056 * b[0]), (0.5, 0.053 * b[0]), (1, 0.051 * b[0])]
            parts.append(_limb(side + " short", short, [0, 1], wide, wide, 90, 150))
        parts.append(_foot(side, joints, pitch, row))
    if lower == "skirt" or top in ("coat", "dress"):
        parts.append(_tails(row, pose, hip * b[0], ease))

    sleeve = 0.5 * ease + 0.002
    for side, joints in zip(("left", "right"), pose.arms, strict=True):
        flesh = [(0, 0.030), (0.12, 0.031), (0.5, 0.023), (0.62, 0.023), (0.97, 0.015), (1, 0.015)]
        covered = 0.42 if row["sleeves"] == "short" and top in ("tee", "shirt", "dress") else 1.1
        widths = [(s, w * b[0] + (sleeve if s < covered else 0.0)) for s, w in flesh]
        arm = _limb(side + " arm", joints, [0, 0.537, 1], widths, widths, 165, 100)
        if top == "puffer":
            quilts = 0.10 * np.abs(np.sin(np.pi * arm.t / 0.13)) - 0.05
            arm = arm._replace(swell=arm.swell + quilts[:, None].astype(np.float32))
        parts.append(arm)
        reach = joints[:, 2] - joints[:, 1]
        reach /= np.linalg.norm(reach, axis=-1, keepdims=True)
        ends = np.stack([joints[:, 2] - 0.008 * reach, joints[:, 2] + 0.058 * reach], 1)
        wide = [(0, 0.012), (0.4, 0.014), (0.8, 0.012), (1, 0.003)]
        deep = [(0, 0.015), (0.35, 0.023), (0.8, 0.017), (1, 0.004)]
        parts.append(_limb(side + " hand", ends, [0, 1], wide, deep, 36, 70))
    parts += _bag(row, pose, hip * b[0] + ease, 0.07 * b[1] + ease)
    return parts


def _hair(row, pose, skull, turn) -> list[_Part]:
    """A cap that leaves the face free, and what hangs from it."""
    style = row["hair_style"]
    thick = {"short": 0.006, "bob": 0.011, "long": 0.010, "ponytail": 0.005, "bun": 0.005}[style]
    length = {"short": 0.372, "bob": 0.345, "long": 0.20, "ponytail": 0.375, "bun": 0.375}[style]
    cap = [(y + 0.4 * thick, w + thick, d + thick, z - 0.002) for y, w, d, z in skull if y > 0.40]
    cap[-1] = (cap[-1][0] + 0.6 * thick, 0.001, 0.001, cap[-1][3])
    if style in ("bob", "long"):
        cap += [(0.385, 0.050, 0.058, 0.004), (0.35, 0.052, 0.054, -0.006)]
        if style == "long":
            cap += [
                (0.32, 0.058, 0.050, -0.016),
                (0.27, 0.066, 0.040, -0.040),
                (0.20, 0.050, 0.030, -0.056),
            ]
    else:
        cap += [(0.385, 0.040, 0.052, 0.010), (0.36, 0.034, 0.042, 0.006)]
    hair = _column("hair", pose, cap, np.linspace(length, cap[len([s for s in skull if s[0] > 0.4]) - 1][0],
                   95 if length > 0.3 else 190), 170, turn=turn)  # fmt: skip
    angle = np.abs(np.linspace(-np.pi, np.pi, 170, endpoint=False))[None]
    y = hair.t[:, None]
    brow = 0.428 if row["fringe"] == "yes" else 0.447
    if style in ("bob", "long"):
        keep = (angle > 0.85) | (y > brow)
    else:
        low = np.interp(angle, [0.85, 1.15, 1.7, 2.2], [brow, 0.418, 0.405, length])
        keep = y > np.where(angle < 0.85, brow, low)
    parts = [hair._replace(keep=keep)]
    tail = {"ponytail": [(0.27, 0.012, 0.012, -0.072), (0.34, 0.022, 0.020, -0.070), (0.40, 0.018, 0.02, -0.066),
                         (0.43, 0.012, 0.012, -0.055)],
            "bun": [(0.430, 0.002, 0.002, -0.045), (0.438, 0.020, 0.020, -0.045), (0.458, 0.026, 0.026, -0.043),
                    (0.478, 0.020, 0.020, -0.040), (0.486, 0.002, 0.002, -0.040)]}  # fmt: skip
    if style in tail:
        span = tail[style]
        parts.append(
            _column("tail", pose, span, np.linspace(span[0][0], span[-1][0], 80), 80, turn=turn)
        )
    return parts


def _foot(side, joints, pitch, row) -> _Part:
    """A shoe, from the heel to the toe."""
    ankle = joints[:, 2]
    ahead = _vector(0.12 * (1 if side == "left" else -1), np.sin(pitch), np.cos(pitch))
    up = _vector(0 * pitch, np.cos(pitch), -np.sin(pitch))
    ends = np.stack([ankle - 0.035 * ahead - 0.022 * up, ankle + 0.112 * ahead - 0.024 * up], 1)
    bulk = {"trainers": 1.05, "boots": 1.05, "flats": 0.92}[row["shoes"]]
    wide = [(0, 0.004), (0.06, 0.018 * bulk), (0.3, 0.021 * bulk), (0.7, 0.025 * bulk),
            (0.93, 0.018 * bulk), (1, 0.003)]  # fmt: skip
    tall = [
        (0, 0.006),
        (0.06, 0.022),
        (0.3, 0.026 * bulk),
        (0.6, 0.020 * bulk),
        (0.9, 0.014),
        (1, 0.004),
    ]
    return _limb(side + " foot", ends, [0, 1], wide, tall, 70, 90, 0.01, 2.8)


def _tails(row, pose, hip, ease) -> _Part:
    """A skirt, or a coat or dress below the waist: wide enough for the step inside it."""
    coat = row["top"] == "coat"
    knees = [leg[:, 1] + pose.pelvis for leg in pose.legs]
    hem, flare = (-0.20, 0.020) if coat else (-0.17, 0.026)
    start = -0.06 if coat else 0.045
    y = np.linspace(hem, start, 110)
    share = np.clip((0.0 - y) / (0.0 - hem), 0, 1)
    knee_z = [knee[:, 2] * (hem / -0.242) for knee in knees]
    far = np.abs(knee_z[0] - knee_z[1])[:, None] / 2
    middle = (knee_z[0] + knee_z[1])[:, None] / 2
    half = (
        np.where(y > 0, np.interp(y, [0, 0.05], [hip, hip - 0.012]), hip)
        + ease
        + flare * share
        + 0.004
    )
    deep = 0.070 * row["build"] + ease + 0.004 + share * np.maximum(0.012, far + 0.048 - 0.070)
    place = functools.partial(_torso_point, pose.pelvis[:, None], 0.0, 0.0 * pose.twist[:, None])
    centre = place(0.0, y[None], -0.004 + 0.8 * middle * share)
    side = place(half, y[None], 0.0) - place(0.0, y[None], 0.0)
    front = place(0.0, y[None], deep) - place(0.0, y[None], 0.0)
    nu = 330
    angle = np.linspace(-np.pi, np.pi, nu, endpoint=False)[None]
    swell = 1 + 0.035 * share[:, None] * np.sin(9 * angle + 2 * np.sin(2 * angle))
    keep = np.ones((len(y), nu), dtype=bool)
    if coat and _is_open(row):
        keep = np.abs(angle) > 0.45 + 0.25 * share[:, None]
    return _Part("tails", centre, side, front, _ring(nu, 2.2), swell.astype(np.float32), keep, y,
                 half.astype(np.float32))  # fmt: skip


def _bag(row, pose, hip, deep) -> list[_Part]:
    kind, side = row["bag"], 1 if row["bag_side"] == "left" else -1
    if kind == "backpack":
        z = -deep - 0.042
        box = [(0.03, 0.05, 0.012, z), (0.04, 0.082, 0.040, z), (0.12, 0.088, 0.050, z - 0.004),
               (0.22, 0.084, 0.044, z), (0.285, 0.066, 0.030, z + 0.006), (0.302, 0.02, 0.01, z + 0.01)]  # fmt: skip
        return [_column("bag", pose, box, np.linspace(0.03, 0.302, 130), 270, 3.5)]
    if kind in ("shoulder", "crossbody"):
        low, high = (-0.10, 0.03) if kind == "crossbody" else (-0.02, 0.10)
        box = [(low, 0.016, 0.04, 0.0), (low + 0.012, 0.027, 0.074, 0.0), ((low + high) / 2, 0.026, 0.076, 0.0),
               (high - 0.01, 0.022, 0.070, 0.0), (high, 0.008, 0.05, 0.0)]  # fmt: skip
        bag = _column("bag", pose, box, np.linspace(low, high, 70), 200, 3.5)
        away = side * (hip + (0.030 if kind == "crossbody" else 0.062))
        return [bag._replace(centre=bag.centre + _vector(away, 0.0, -0.02))]
    if kind == "carried":
        arm = pose.arms[0 if side == 1 else 1]
        hand = arm[:, 2] + 0.045 * (arm[:, 2] - arm[:, 1]) / 0.148
        ends = np.stack([hand, hand - np.array([0, 0.17, 0])], 1)
        wide = [(0, 0.004), (0.2, 0.008), (0.34, 0.024), (0.7, 0.032), (0.95, 0.030), (1, 0.005)]
        long = [(0, 0.012), (0.2, 0.026), (0.34, 0.060), (0.7, 0.072), (0.95, 0.066), (1, 0.02)]
        return [_limb("bag", ends, [0, 1], wide, long, 100, 180, 0.01, 3.0)]
    return []


# The picture --------------------------------------------------------------------------------------


class _Camera(NamedTuple):
    elevation: float  # degrees it looks down
    distance: float  # in person's heights
    light: tuple[float, float, float]
    sun: float
    sky: float
    exposure: float
    contrast: float
    cast: tuple[float, float, float]
    haze: tuple[float, float, float]
    saturation: float
    blur: float
    sharpen: float
    noise: float
    quality: tuple[int, int]


_CAMERAS = (
    _Camera(11, 4.5, (-0.45, 0.75, -0.50), 0.75, 0.62, 1.2, 0.75, (0.98, 0.98, 1.06), (0, 0, 0), 1.25,
            0.55, 1.1, 0.012, (72, 90)),
    _Camera(19, 8.0, (0.35, 0.88, -0.30), 0.55, 0.80, 1.6, 0.25, (1.0, 0.94, 1.06), (0.05, 0.03, 0.09), 0.85,
            0.75, 0.7, 0.010, (60, 85)),
)  # fmt: skip


def render_person(person: Mapping, seed: int) -> np.ndarray:
    """Draw one person's 16 images.

    Orientations are 45 degrees apart in PKU-ReID's order: 1 walks to the right, 3 is seen from
    behind, 5 walks to the left, 7 comes towards the camera.

    Args:
        person: a row of `draw_persons`, or any mapping with `pid` and the `ATTRIBUTES`.
        seed: with the pid, decides pose, framing, background and sensor noise.
    Returns:
        (2, 8, 128, 48, 3) uint8: camera, orientation, height, width, RGB.
    Raises:
        ValueError: an attribute is missing or has an unknown value, or the seed is negative.
    """
    _check_seed(seed)
    _check_row(person)
    row = {name: person[name] for name in ("pid", *ATTRIBUTES)}
    rng = np.random.default_rng([seed, int(row["pid"]), 1])
    views = CAMERAS * ORIENTATIONS
    pose = _pose(row, rng, views)
    parts = _body(row, pose, rng)
    colour, alpha, feet = _draw_parts(parts, row, pose, rng)
    images = np.empty((views, HEIGHT, WIDTH, 3), dtype=np.uint8)
    for view in range(views):
        camera = view // ORIENTATIONS
        scene = _background(camera, rng) * _shadow(feet[view], rng)[..., None]
        scene = scene * (1 - alpha[view, ..., None]) + colour[view]
        images[view] = _expose(scene, _CAMERAS[camera], rng)
    return images.reshape(CAMERAS, ORIENTATIONS, HEIGHT, WIDTH, 3)


def _draw_parts(parts, row, pose, rng):
    """Project and shade the parts.

    Returns:
        Premultiplied linear colour (V, 128, 48, 3), coverage (V, 128, 48), and the feet's places in
        the image (V, 2, 2).
    """
    views = len(pose.lean)
    cameras = [_CAMERAS[view // ORIENTATIONS] for view in range(views)]
    heading = np.deg2rad(45.0 * (np.arange(views) % ORIENTATIONS) + rng.normal(0, 6, views))
    tilt = np.deg2rad([c.elevation for c in cameras] + rng.normal(0, 2.0, views))
    distance = np.array([c.distance for c in cameras]) * rng.uniform(0.85, 1.2, views)
    ch, sh, ct, st = (f(a).astype(np.float32) for a in (heading, tilt) for f in (np.cos, np.sin))

    def turn(vectors):  # (V, ..., 3) from the body's frame to the camera's
        shape = (-1,) + (1,) * (vectors.ndim - 2)
        c, s, ce, se = (a.reshape(shape) for a in (ch, sh, ct, st))
        x, y, z = np.moveaxis(vectors.astype(np.float32), -1, 0)
        away = z * s + x * c
        return z * c - x * s, y * ce + away * se, away * ce - y * se

    total = sum(part.keep.size for part in parts)
    place = np.empty((3, views, total), dtype=np.float32)
    static = {name: np.empty(total, dtype=np.float32) for name in ("t", "u", "x")}
    which = np.empty(total, dtype=np.int16)
    keep = np.empty(total, dtype=bool)
    next_u, next_v = np.empty((2, total), dtype=np.int32)
    start = 0
    for number, part in enumerate(parts):
        nv, nu = part.keep.shape
        span = slice(start, start + nv * nu)
        across = (part.swell * part.ring[:, 0]).astype(np.float32)
        ahead = (part.swell * part.ring[:, 1]).astype(np.float32)
        for axis, (c, s, f) in enumerate(
            zip(turn(part.centre), turn(part.side), turn(part.front), strict=True)
        ):
            out = place[axis, :, span].reshape(views, nv, nu)
            np.multiply(s[..., None], across, out=out)
            out += f[..., None] * ahead
            out += c[..., None]
        index = np.arange(start, start + nv * nu, dtype=np.int32).reshape(nv, nu)
        next_u[span] = np.roll(index, -1, axis=1).ravel()
        next_v[span] = np.concatenate([index[1:], index[-2:-1]]).ravel()
        which[span], keep[span] = number, part.keep.ravel()
        static["t"][span] = np.repeat(part.t, nu)
        static["u"][span] = np.tile(np.linspace(-np.pi, np.pi, nu, endpoint=False), nv)
        static["x"][span] = (part.half[:, None] * part.ring[:, 0]).ravel()
        start += nv * nu

    x, y, z = place
    nearer = distance[:, None].astype(np.float32) / (distance[:, None].astype(np.float32) + z)
    x *= nearer
    y *= nearer
    scale, offset = _frame(x, y, keep, cameras, rng)
    rows, columns = HEIGHT * _SUPER, WIDTH * _SUPER
    best = np.full((views, rows * columns), np.iinfo(np.int64).max)
    kept = np.flatnonzero(keep)
    for view in range(views):
        column = (x[view, kept] * scale[view, 0] + offset[view, 0]).astype(np.int32)
        line = (offset[view, 1] - y[view, kept] * scale[view, 1]).astype(np.int32)
        inside = (column >= 0) & (column < columns) & (line >= 0) & (line < rows)
        depth = ((z[view, kept] + 4) * 2**28).astype(np.int64)
        key = (depth >> 4 << 24) | kept
        cell = (line * columns + column)[inside]
        np.minimum.at(best[view], cell, key[inside])
    best = best.reshape(views, rows, columns)
    _close_gaps(best)
    view, line, column = np.nonzero(best != np.iinfo(np.int64).max)
    winner = (best[view, line, column] & (2**24 - 1)).astype(np.int64)
    return _shade(parts, row, rng, cameras, place, static, which, next_u, next_v, view, line, column, winner,
                  scale, offset)  # fmt: skip


def _frame(x, y, keep, cameras, rng):
    """Fit each view's person into its image, a little off, as a detector's box would."""
    views = len(x)
    low_x, high_x = x[:, keep].min(1), x[:, keep].max(1)
    low_y, high_y = y[:, keep].min(1), y[:, keep].max(1)
    tall = (high_y - low_y) / rng.uniform(0.90, 0.965, views)
    wide = (high_x - low_x) / rng.uniform(0.84, 0.97, views)
    # Boxes follow the person, but not all the way: a thin one is not stretched to the full width.
    wide = np.clip(wide, 0.31 * tall, 0.46 * tall)
    scale = np.stack([WIDTH / wide, HEIGHT / tall], axis=1) * _SUPER
    middle = (low_x + high_x) / 2 + rng.normal(0, 0.025, views) * wide
    centre = (low_y + high_y) / 2 + rng.normal(0, 0.008, views) * tall
    offset = np.stack(
        [WIDTH * _SUPER / 2 - middle * scale[:, 0], HEIGHT * _SUPER / 2 + centre * scale[:, 1]],
        axis=1,
    )
    return scale.astype(np.float32), offset.astype(np.float32)


def _close_gaps(best: np.ndarray) -> None:
    """Fill single cells that no sample hit between two that were, in place."""
    empty = np.iinfo(np.int64).max
    for one, other, mid in (
        (best[:, :-2], best[:, 2:], best[:, 1:-1]),
        (best[:, :, :-2], best[:, :, 2:], best[:, :, 1:-1]),
    ):
        gap = (mid == empty) & (one != empty) & (other != empty)
        mid[gap] = one[gap]


@functools.cache
def _folds() -> np.ndarray:
    """Slopes of creased cloth, a tile of (256, 256, 2), from long and short waves."""
    rng = np.random.default_rng(0)
    height = sum(
        amount
        * gaussian_filter(rng.standard_normal((256, 256)), sigma, mode="wrap")
        * np.prod(sigma) ** 0.5
        for sigma, amount in (((3, 10), 1.0), ((6, 18), 2.0), ((2.0, 4), 0.4))
    )
    slopes = np.stack([np.roll(height, -1, a) - np.roll(height, 1, a) for a in (0, 1)], axis=-1)
    return (slopes / slopes.std((0, 1))).astype(np.float32)


def _shade(parts, row, rng, cameras, place, static, which, next_u, next_v, view, line, column, winner, scale,
           offset):  # fmt: skip
    views = len(cameras)
    here = place[:, view, winner]
    along_u = place[:, view, next_u[winner]] - here
    along_v = place[:, view, next_v[winner]] - here
    for tangent in (along_u, along_v):
        tangent /= np.sqrt((tangent**2).sum(0)) + 1e-9
    normal = np.stack([
        along_u[1] * along_v[2] - along_u[2] * along_v[1],
        along_u[2] * along_v[0] - along_u[0] * along_v[2],
        along_u[0] * along_v[1] - along_u[1] * along_v[0],
    ])  # fmt: skip
    normal *= -np.sign(normal[2])
    part = which[winner]
    names = [p.name for p in parts]
    t, u, x = (static[name][winner] for name in ("t", "u", "x"))

    # Creases: another place on the tile for each view and part.
    shift = rng.integers(0, 256, (2, views, len(parts)))
    strength = np.array([_CREASE.get(name.split()[-1], 0.0) for name in names], dtype=np.float32)
    per_length = np.array(
        [420 if name in ("torso", "tails", "hips", "bag") else 150 for name in names]
    )
    fold = _folds()[
        (t * per_length[part] + shift[0, view, part]).astype(np.int64) % 256,
        (u * (128 / np.pi) + shift[1, view, part]).astype(np.int64) % 256,
    ]
    normal += strength[part] * (fold[:, 0] * along_v + fold[:, 1] * along_u)
    normal /= np.sqrt((normal**2).sum(0)) + 1e-9

    light = np.array([c.light for c in cameras], dtype=np.float32)
    light = light + rng.normal(0, 0.12, light.shape).astype(np.float32)
    light /= np.linalg.norm(light, axis=1, keepdims=True)
    lambert = np.maximum(0, sum(light[view, axis] * normal[axis] for axis in range(3)))
    sun, sky = (
        np.array([getattr(c, n) for c in cameras], dtype=np.float32)[view] for n in ("sun", "sky")
    )
    bright = sun * lambert + sky * (0.62 + 0.38 * normal[1])
    bright *= _nooks(place[2, view, winner], view, line, column, views)

    albedo = np.empty((len(winner), 3), dtype=np.float32)
    for number, name in enumerate(names):
        chosen = np.flatnonzero(part == number)
        if len(chosen):
            albedo[chosen] = _paint(name, row, t[chosen], u[chosen], x[chosen])
    linear = albedo**2.2 * bright[:, None]
    buffer = np.zeros((views, HEIGHT * _SUPER, WIDTH * _SUPER, 4), dtype=np.float32)
    buffer[view, line, column, :3] = linear
    buffer[view, line, column, 3] = 1
    small = buffer.reshape(views, HEIGHT, _SUPER, WIDTH, _SUPER, 4).mean((2, 4))
    feet = np.empty((views, 2, 2), dtype=np.float32)
    for k, name in enumerate(("left foot", "right foot")):
        middle = np.flatnonzero(which == names.index(name))
        feet[:, k, 0] = (place[0][:, middle].mean(1) * scale[:, 0] + offset[:, 0]) / _SUPER
        feet[:, k, 1] = (offset[:, 1] - place[1][:, middle].mean(1) * scale[:, 1]) / _SUPER
    return small[..., :3], small[..., 3], feet


_CREASE = {"torso": 0.09, "leg": 0.10, "arm": 0.12, "tails": 0.07, "short": 0.10, "hair": 0.08, "bag": 0.05,
           "tail": 0.1, "hips": 0.1}  # fmt: skip


def _nooks(depth, view, line, column, views) -> np.ndarray:
    """Darken what lies behind its surroundings: under the chin, between arm and body."""
    maps = np.zeros((2, views, HEIGHT * _SUPER, WIDTH * _SUPER), dtype=np.float32)
    maps[0, view, line, column] = depth
    maps[1, view, line, column] = 1
    maps = uniform_filter(maps, (0, 0, 15, 11), mode="constant")
    mean = maps[0, view, line, column] / maps[1, view, line, column]
    return 1 - np.clip((depth - mean) * 6, 0, 0.5)


def _paint(name, row, t, u, x) -> np.ndarray:
    """Colour of the samples of one part, (n, 3); t, u, x as in `_Part`."""
    skin, kind = _rgb(row["skin"]), name.split()[-1]
    colour = np.empty((len(t), 3), dtype=np.float32)
    if kind == "head":
        return _face(row, t, u)
    if kind in ("neck", "hand"):
        colour[:] = skin
    elif kind in ("hair", "tail"):
        colour[:] = _rgb(row["hair_colour"]) * (1 + 0.25 * np.sin(40 * u) * np.sin(9 * u))[:, None]
    elif kind == "torso":
        return _upper(row, t, u, x)
    elif kind == "arm":
        short = row["sleeves"] == "short" and row["top"] in ("tee", "shirt", "dress")
        size = 0.030 * row["pattern_size"]
        colour[:] = _pattern(row, "top", t * 0.32, u * 0.025, size)
        if short:
            colour[t > 0.42] = skin
        elif row["top"] in ("jumper", "jacket", "puffer", "hoodie"):
            colour[t > 0.95] *= 0.8
    elif kind in ("hips", "short"):
        colour[:] = _rgb(row["lower_colour"])
    elif kind == "leg":
        if row["lower"] in ("trousers", "slim"):
            colour[:] = _rgb(row["lower_colour"])
            if row["lower"] == "trousers":
                colour[np.abs(np.abs(u) - np.pi / 2) < 0.06] *= 0.75
        else:
            tights = row["lower"] == "skirt" and row["legs"] == "tights"
            colour[:] = _rgb("#1a181b") if tights else skin
        if row["shoes"] == "boots":
            colour[t > (0.78 if row["figure"] == "woman" else 0.93)] = _rgb(row["shoe_colour"])
    elif kind == "foot":
        colour[:] = _rgb(row["shoe_colour"])
        if row["shoes"] == "trainers":
            colour[np.abs(u) > 2.2] = (0.85, 0.85, 0.84)
        elif row["shoes"] == "flats" and row["figure"] == "woman":
            colour[(t > 0.2) & (t < 0.55) & (np.abs(u) < 1.0)] = skin
    elif kind == "tails":
        if row["top"] in ("coat", "dress"):
            colour[:] = _pattern(row, "top", t, x, 0.04 * row["pattern_size"])
        else:
            colour[:] = _rgb(row["lower_colour"])
    else:
        colour[:] = _rgb(row["bag_colour"])
        colour[np.abs(t - t.mean()) < 0.004] *= 0.6
    return colour


def _face(row, t, u) -> np.ndarray:
    """Skin with brows, eyes and mouth; the scalp is hair. t is the height above the pelvis."""
    skin, hair = _rgb(row["skin"]), _rgb(row["hair_colour"])
    colour = np.tile(skin, (len(t), 1)).astype(np.float32)
    off = np.abs(u)
    eye = (np.abs(off - 0.42) < 0.20) & (np.abs(t - 0.4155) < 0.004)
    brow = (np.abs(off - 0.44) < 0.26) & (np.abs(t - 0.427) < 0.0032)
    mouth = (off < 0.30) & (np.abs(t - 0.3755) < 0.003)
    nose = (np.abs(off - 0.10) < 0.07) & (np.abs(t - 0.393) < 0.004)
    colour[mouth] = skin * (0.80, 0.52, 0.52)
    colour[nose] *= 0.78
    colour[brow] = 0.5 * skin + 0.5 * hair
    colour[eye] = (0.13, 0.10, 0.10)
    if row["glasses"] == "yes":
        rim = (off < 0.95) & (np.abs(np.abs(t - 0.4155) - 0.0085) < 0.0022)
        colour[rim | ((off > 0.95) & (off < 1.6) & (np.abs(t - 0.418) < 0.003))] = (
            0.08,
            0.08,
            0.09,
        )
    colour[(off > 1.9) & (t > 0.385)] = hair
    return colour


def _pattern(row, which, t, s, size) -> np.ndarray:
    """Plain, striped or checked cloth at t along and s across it; a print is plain here."""
    one, two = _rgb(row[f"{which}_colour"]), _rgb(row[f"{which}_second"])
    kind = row[f"{which}_pattern"]
    bands = (np.floor(t / size) % 2).astype(np.float32)
    if kind == "stripes":
        mix = bands
    elif kind == "checks":
        mix = 0.5 * (bands + np.floor(s / size) % 2)
    else:
        mix = 0 * bands
    return one * (1 - mix[:, None]) + two * mix[:, None]


def _upper(row, t, u, x) -> np.ndarray:
    size = 0.022 * row["pattern_size"]
    front = np.abs(u) < np.pi / 2
    across = np.where(front, x, 0.4 - x)
    colour = _pattern(row, "top", t, across, size).astype(np.float32)
    if row["top_pattern"] == "print" and not _is_open(row):
        colour[front & _motif(row, t, x)] = _rgb(row["top_second"])
    if _is_open(row):
        gap = front & (
            np.abs(x) < np.interp(t, [-0.1, 0.1, 0.24, 0.31], [0.050, 0.040, 0.034, 0.020])
        )
        inner = _pattern(row, "shirt", t, across, size)
        if row["shirt_pattern"] == "print":
            inner[_motif(row, t, x)] = _rgb(row["shirt_second"])
        colour[gap] = inner[gap]
    elif front.any() and row["top"] in ("jacket", "puffer", "coat", "shirt"):
        colour[front & (np.abs(x) < 0.003)] *= 0.55
    skin = t > np.where(front, 0.325 if row["top"] in ("shirt", "hoodie", "jacket", "puffer", "coat") else 0.312,
                        0.333)  # fmt: skip
    colour[skin] = _rgb(row["skin"])
    if row["top"] == "shirt":
        colour[(t > 0.317) & ~skin] = 0.5 * colour[(t > 0.317) & ~skin] + 0.5
    if row["top"] in ("jumper", "hoodie", "jacket", "puffer"):
        colour[t < -0.018] *= 0.82
    strap = np.zeros(len(t), dtype=bool)
    side = 1 if row["bag_side"] == "left" else -1
    if row["bag"] == "backpack":
        strap = front & (np.abs(np.abs(x) - 0.058) < 0.012) & (t > 0.12)
    elif row["bag"] == "crossbody":
        strap = np.abs((x + side * 0.06) * 0.27 + (t - 0.31) * side * 0.17) < 0.0035
    elif row["bag"] == "shoulder":
        strap = (np.abs(x - side * 0.072) < 0.008) & (t > 0.05)
    colour[strap] = _rgb(row["bag_colour"])
    return colour


def _motif(row, t, x) -> np.ndarray:
    """The chest print: one of four simple devices, by the person's pattern size."""
    x, y = x / (0.05 * row["pattern_size"]), (t - 0.205) / (0.045 * row["pattern_size"])
    which = int(row["pattern_size"] * 1000) % 4
    if which == 0:
        return x**2 + y**2 < 1
    if which == 1:
        return (np.abs(x) < 1.2) & (np.abs(y) < 0.9) & (np.floor(y * 4) % 2 == 0)
    if which == 2:
        return np.abs(x) + np.abs(y) < 1.2
    return (np.abs(x) < 1.1) & (np.abs(y) < 1.1) & ((np.abs(x) > 0.5) | (np.abs(y) > 0.5))


# The scene and the camera -------------------------------------------------------------------------


def _noise(rng, down: float, across: float) -> np.ndarray:
    values = gaussian_filter(rng.standard_normal((HEIGHT, WIDTH)), (down, across), mode="wrap")
    return (values / values.std()).astype(np.float32)


def _background(camera: int, rng: np.random.Generator) -> np.ndarray:
    """Ground and what stands on it, in linear light, (128, 48, 3); another place each time."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    return (_park if camera == 0 else _street)(rng, x, y)


def _mix(scene, colour, amount) -> np.ndarray:
    amount = np.clip(amount, 0, 1)[..., None]
    return scene * (1 - amount) + np.asarray(colour, dtype=np.float32) * amount


def _park(rng, x, y) -> np.ndarray:
    soft, fine = _noise(rng, 14, 9), _noise(rng, 0.7, 0.9)
    grain = _noise(rng, 1.2, 2.0)
    litter = np.array([0.57, 0.50, 0.465]) + rng.normal(0, 0.012, 3)
    grass = np.array([0.50, 0.545, 0.38]) + rng.normal(0, 0.012, 3)
    scene = _mix(
        np.broadcast_to(litter, (HEIGHT, WIDTH, 3)), grass, 0.5 + soft * 0.6 + rng.normal(0, 0.9)
    )
    if rng.random() < 0.25:
        scene = _mix(scene, (0.38, 0.28, 0.26), (_noise(rng, 10, 8) + rng.normal(0, 0.8)) * 1.5)
    scene = scene * (1 + 0.13 * grain + 0.10 * fine + 0.05 * soft)[..., None]
    scene = _mix(scene, (0.80, 0.68, 0.58), 0.8 * (fine > 1.7))
    scene = _mix(scene, (0.30, 0.18, 0.14), 0.7 * (_noise(rng, 0.8, 1.2) > 1.9))
    if rng.random() < 0.15:
        scene = _ring_on_ground(scene, rng, x, y)
    if rng.random() < 0.5:
        edge = rng.uniform(5, 42) + rng.normal(0, 0.35) * (x - 24) + 3.0 * _noise(rng, 3, 3)
        bush = np.array([0.16, 0.19, 0.13]) + rng.normal(0, 0.015, 3)
        if rng.random() < 0.35:
            scene = _mix(scene, (0.48, 0.45, 0.44), np.clip(edge + rng.uniform(4, 9) - y, 0, 1))
        leaves = np.clip(1 + 0.7 * _noise(rng, 1, 1.2) + 0.3 * fine, 0, 3)[..., None] * bush
        scene = np.where((y < edge)[..., None], leaves, scene)
    if rng.random() < 0.12:
        foot, left = rng.uniform(10, 50), rng.uniform(-4, 46)
        scene = _mix(scene, (0.20, 0.15, 0.12), (y < foot) & (np.abs(x - left) < rng.uniform(2, 4)))
    return np.clip(scene, 0.01, 1) ** 2.2


def _street(rng, x, y) -> np.ndarray:
    tone = rng.uniform(0.50, 0.66)
    stone = tone * np.array([1.0, 0.99, 1.02]) + rng.normal(0, 0.008, 3)
    soft, fine = _noise(rng, 25, 18), _noise(rng, 0.8, 1.0)
    scene = np.broadcast_to(stone, (HEIGHT, WIDTH, 3)) * (1 + 0.05 * soft + 0.035 * fine)[..., None]
    scene = scene * (0.92 + 0.16 * y / HEIGHT)[..., None]
    angle, size = rng.uniform(-0.5, 0.5), rng.uniform(14, 26)
    for direction, gap in ((angle, size * 0.55), (angle + rng.uniform(1.0, 1.5), size)):
        along = (y * np.cos(direction) + x * np.sin(direction) + rng.uniform(0, gap)) % gap
        scene = scene * (1 - rng.uniform(0.05, 0.14) * (along < 1.1))[..., None]
    if rng.random() < 0.12:
        scene = _ring_on_ground(scene, rng, x, y)
    if rng.random() < 0.25:
        slope = rng.choice([-1, 1]) * rng.uniform(0.6, 1.4)
        edge = rng.uniform(-14, 34) + slope * (x - 24)
        scene = _mix(scene, (0.78, 0.77, 0.76), np.clip(edge + 4 - y, 0, 1))
        bush = np.clip(1 + 0.7 * _noise(rng, 1.2, 1.4), 0, 3)[..., None] * np.array(
            [0.17, 0.20, 0.13]
        )
        scene = np.where((y < edge + 1.5 * fine - 1)[..., None], bush, scene)
    return np.clip(scene, 0.01, 1) ** 2.2


def _ring_on_ground(scene, rng, x, y) -> np.ndarray:
    wide = rng.uniform(8, 16)
    r = np.hypot((x - rng.uniform(-5, 53)) / wide, (y - rng.uniform(60, 128)) / (0.45 * wide))
    return _mix(scene, (0.82, 0.72, 0.22), 0.8 * np.clip(1.5 - np.abs(r - 1) * 8, 0, 1))


def _shadow(feet, rng) -> np.ndarray:
    """How much light reaches the ground around the feet, (128, 48)."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    light = np.ones((HEIGHT, WIDTH), dtype=np.float32)
    depth = rng.uniform(0.25, 0.6)
    for fx, fy in feet:
        light *= 1 - depth * np.exp(-(((x - fx) / 7) ** 2) - ((y - fy - 2) / 3.0) ** 2)
    mx, my = feet.mean(0)
    return light * (1 - 0.2 * depth * np.exp(-(((x - mx) / 16) ** 2) - ((y - my) / 7) ** 2))


def _expose(scene, camera: _Camera, rng: np.random.Generator) -> np.ndarray:
    """What the camera makes of a scene in linear light: uint8 (128, 48, 3)."""
    blur = camera.blur * rng.uniform(0.75, 1.25)
    scene = gaussian_filter(scene, (blur, blur, 0))
    if rng.random() < 0.2:
        scene = gaussian_filter1d(scene, rng.uniform(0.4, 0.9), axis=1)
    cast = np.array(camera.cast) * np.exp(rng.normal(0, 0.025, 3))
    scene = scene * cast**2.2 * camera.exposure * np.exp(rng.normal(0, 0.16))
    image = np.clip(scene, 0, None) ** (1 / 2.2)
    grey = image @ np.array([0.3, 0.59, 0.11])
    image = grey[..., None] + camera.saturation * (image - grey[..., None])
    image = np.clip(image, 0, 1)
    curve = image * image * (3 - 2 * image)  # steep in the middle, with a toe and a shoulder
    image = image + camera.contrast * (curve - image)
    haze = np.array(camera.haze)
    image = haze + (1 - haze) * image
    image = image + camera.sharpen * (image - gaussian_filter(image, (1.0, 1.0, 0)))
    image = image + camera.noise * rng.standard_normal((HEIGHT, WIDTH, 1))
    image = image + 0.5 * camera.noise * rng.standard_normal((HEIGHT, WIDTH, 3))
    pixels = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "JPEG", quality=int(rng.integers(*camera.quality)))
        return np.asarray(Image.open(file).convert("RGB"))


# Files --------------------------------------------------------------------------------------------


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
        FileExistsError: `folder` is a file, or a folder with something in it.
        OSError: the disk is full, or too small for the set.
    """
    _check(persons, seed)
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected 1 or more")
    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is in use; name a new or an empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(folder.parent).free, persons * _BYTES_PER_PERSON
    if free < needed:
        raise OSError(
            errno.ENOSPC, f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free", str(folder)
        )
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as aside:
        images, table = Path(aside, "images"), Path(aside, "persons.csv")
        images.mkdir()
        _write_all(images, table, persons, seed, progress, workers)
        if folder.exists():
            folder.rmdir()
        os.replace(images, folder)
        os.replace(table, folder.with_name(folder.name + ".persons.csv"))


def _write_all(images, table, persons, seed, progress, workers) -> None:
    draw = functools.partial(_write_person, images, seed, max(3, len(str(persons))))
    with (
        tqdm(total=persons, unit="person", disable=not progress) as bar,
        open(table, "w", encoding="utf-8", newline="") as file,
    ):

        def note(rows):
            for row in rows:
                pd.DataFrame([row]).to_csv(file, header=row["pid"] == 1, index=False)
                bar.update()

        pids = range(1, persons + 1)
        if workers == 1:
            note(map(draw, pids))
            return
        # Blocks, since a pool asked for 100,000 results at once would hold them all. New
        # processes, not forks: a fork of a process with threads can hang.
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
