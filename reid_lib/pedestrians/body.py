"""The dressed body as tubes: bent centre lines with oval sections, in a walking pose.

Body frame: x to the person's left, y up, z forward, in units of the person's height; heights on
the upright body count from the hip joints.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from reid_lib.pedestrians.people import VIEWS, has_short_sleeves, is_open, visible_lower

OVERSAMPLE = 2  # cells of the depth buffer a pixel, each way


class Part(NamedTuple):
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


class Pose(NamedTuple):
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


def draw_pose(row: Mapping, rng: np.random.Generator) -> Pose:
    """A walking body, at another phase of the step in each view."""
    # The golden ratio spreads the phases of one person's views over the whole step.
    phase = 2 * np.pi * ((rng.random() + 0.618 * np.arange(VIEWS)) % 1)
    stride = row["stride"] * rng.uniform(0.75, 1.15, VIEWS)
    stride *= np.where(rng.random(VIEWS) < 0.08, 0.3, 1)  # some stand, or nearly
    lean = rng.normal(0.04, 0.03, VIEWS)
    zero = np.zeros(VIEWS)
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
    habit, handed = rng.random(VIEWS), 1 if rng.random() < 0.35 else -1
    wide = (0.112 if row["figure"] == "man" else 0.100) * (0.6 + 0.4 * row["build"])
    for side, shift in ((1, np.pi), (-1, 0.0)):
        p = phase + shift
        swing = 0.02 + 0.30 * row["arm_swing"] * stride * np.cos(p) + rng.normal(0, 0.05, VIEWS)
        bend = 0.22 + 0.16 * row["arm_swing"] * (1 + np.cos(p - 0.3))
        out = 0.13 + 0.06 * rng.random(VIEWS) + 0.15 * (row["build"] - 1) + 2 * _ease(row)
        turn = 0.12 + 0.15 * rng.random(VIEWS)
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
    return Pose(pelvis, lean, twist, rng.normal(0, 0.25, VIEWS), legs, pitches, arms)


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


def section_angles(part: Part) -> np.ndarray:
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


def _limb(name, joints, shares, sections, nv, nu, smooth=0.04, power=2.0) -> Part:
    """A tube along joints (views, k, 3) at `shares` of its length, bent as hinges bend.

    nv and nu are how many pixels it is long and around: it gets a sample and a half a cell.
    """
    nv, nu = (round(1.5 * OVERSAMPLE * n) for n in (nv, nu))
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
    return Part(name, centre, side, front, _ring(nu, power), t, half)


def _column(name, pose, sections, span, nv, nu, power=2.3, turn=None) -> Part:
    """An upright tube fixed to the torso, between two heights."""
    nv, nu = (round(1.5 * OVERSAMPLE * n) for n in (nv, nu))
    y = _even(sections, *span, span[1] - span[0], nv)
    half, deep, ahead = _table(sections, y)
    turn = pose.twist if turn is None else turn
    frame = [joint[:, None] for joint in (pose.pelvis, pose.lean, turn)]
    place = functools.partial(_on_torso, *frame)
    centre = place(0.0, y, ahead)
    side, front = place(half, y, ahead) - centre, place(0.0, y, ahead + deep) - centre
    return Part(name, centre, side, front, _ring(nu, power), y, half)


def _ease(row: Mapping) -> float:
    return _EASE[row["top"]] * row["fit"]


def dressed_body(row: Mapping, pose: Pose) -> list[Part]:
    """The parts of a dressed person."""
    broad, thick = row["build"] ** 0.9, row["build"] ** 1.2
    figure = _MAN if row["figure"] == "man" else _WOMAN
    body = [(y, w * broad, d * thick, z) for y, w, d, z in figure]
    parts = _trunk(row, pose, body) + _head(row, pose) + _legs(row, pose, broad)
    hip, back = body[0][1] + _ease(row), body[4][2] + _ease(row)
    if visible_lower(row) == "skirt" or row["top"] == "coat":
        parts.append(_tails(row, pose, body[0][1]))
    return parts + _arms(row, pose, broad) + _bag(row, pose, hip, back)


def _trunk(row, pose, body) -> list[Part]:
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
        parts.append(collar._replace(keep=np.abs(section_angles(collar)) > gap))
    if top == "hoodie" or (top in ("jacket", "puffer", "coat") and row["accent"] == "hem"):
        parts.append(_column("hood", pose, _HOOD, (0.235, 0.350), 17, 38))
    return parts


def _quilts(t: np.ndarray, period: float, depth: float) -> np.ndarray:
    return (1 + depth * (np.abs(np.sin(np.pi * t / period)) - 0.6))[:, None].astype(np.float32)


def _head(row, pose) -> list[Part]:
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
    edge = np.interp(np.abs(section_angles(hair)), [0.75, 0.95, 1.15, 1.7, 2.2], edges)
    parts.append(hair._replace(keep=hair.t[:, None] >= edge))
    if style in _TIED_HAIR:
        tied = _TIED_HAIR[style]
        parts.append(_column("tail", pose, tied, (tied[0][0], tied[-1][0]), 20, 18, turn=turn))
    return parts


def _legs(row, pose, broad) -> list[Part]:
    parts = []
    high, low = _LEG_EASE[visible_lower(row)]
    off = [high + (low - high) * s for s, _ in _LEG]
    sections = [
        (s, w * broad + e, 1.06 * w * broad + e) for (s, w), e in zip(_LEG, off, strict=True)
    ]
    sole = 1.06 if row["shoes"] != "flats" else 0.92
    for side, name in enumerate(("left", "right")):
        hip, knee, ankle = np.moveaxis(pose.legs[side] + pose.pelvis[:, None], 1, 0)
        joints = np.stack([hip, knee, ankle], 1)
        leg = _limb(name + " leg", joints, [0, 0.504, 1], sections, 48, 34, 0.03)
        if visible_lower(row) in ("trousers", "wide"):  # they bunch up on the shoe
            leg = leg._replace(swell=(1 + 0.035 * np.sin(90 * leg.t**2) * (leg.t > 0.8))[:, None])
        parts.append(leg)
        if visible_lower(row) == "shorts":
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


def _arms(row, pose, broad) -> list[Part]:
    parts = []
    covered = 0.47 if has_short_sleeves(row) else 1.1
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


def _tails(row, pose, hip) -> Part:
    """A skirt, or a coat or dress below the waist: wide enough for the step inside it."""
    coat = row["top"] == "coat"
    hem, start = (-0.20 if coat else -0.17) * row["length"], -0.06 if coat else 0.045
    y = np.linspace(hem, start, round(1.5 * OVERSAMPLE * 26))
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
    tails = Part("tails", centre, side, front, _ring(round(1.5 * OVERSAMPLE * 74), 2.2), y, half)
    angle = section_angles(tails)
    swell = 1 + 0.04 * share[:, None] * np.sin(9 * angle + 2 * np.sin(2 * angle))
    gap = 0.45 + 0.25 * share[:, None] if coat and is_open(row) else -1.0
    return tails._replace(swell=swell, keep=np.abs(angle) > gap)


def _bag(row, pose, hip, back) -> list[Part]:
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
