"""The dressed body as tubes: bent centre lines with oval sections, in a walking pose.

Body frame: x to the person's left, y up, z forward, in units of the person's height; heights on
the upright body count from the hip joints.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from reid_lib.pedestrians.people import TABLES, VIEWS

OVERSAMPLE = 2  # cells of the depth buffer per pixel, each way
SAMPLES = 3  # per pixel of a tube's surface, each way: one and a half per cell
UPPER_ARM, FOREARM = 0.155, 0.150
SECTIONS = {name: np.array(rows) / 1000 for name, rows in TABLES["sections"].items()}


class Part(NamedTuple):
    """A tube: point(v, u) = centre[v] + swell[v, u] (ring[u, 0] side[v] + ring[u, 1] front[v])."""

    kind: str
    centre: np.ndarray  # (views, nv, 3)
    side: np.ndarray  # (views, nv, 3), half the section's width, as a vector to the left
    front: np.ndarray  # (views, nv, 3), half its depth, as a vector to the front
    ring: np.ndarray  # (nu, 2)
    t: np.ndarray  # (nv,), height on the upright body, or 0 to 1 along a limb
    half: np.ndarray  # (nv,), half the width
    swell: np.ndarray | float = 1.0  # (nv, nu)
    keep: np.ndarray | bool = True  # (nv, nu), where the surface exists

    @property
    def angles(self) -> np.ndarray:
        """The angle of each sample around the tube, 0 in front and positive to the left, (nu,)."""
        return np.arctan2(*self.ring.T)


class Pose(NamedTuple):
    """Joints in the body frame; left before right."""

    pelvis: np.ndarray  # (views, 3)
    lean: np.ndarray  # (views,), angles in radians
    twist: np.ndarray
    head_turn: np.ndarray
    legs: list[np.ndarray]  # (views, 3, 3): hip, knee, ankle, relative to the pelvis
    pitch: list[np.ndarray]  # (views,), of the foot
    arms: list[np.ndarray]  # (views, 4, 3): beside the neck, shoulder, elbow, wrist


def draw_pose(person: Mapping, rng: np.random.Generator) -> Pose:
    """Draw a walking pose for each view, at different phases of the step."""
    # The golden ratio spreads the phases of one person's views over the whole step.
    phase = 2 * np.pi * ((rng.random() + 0.618 * np.arange(VIEWS)) % 1)
    stride = person["stride"] * rng.uniform(0.75, 1.15, VIEWS)
    stride *= np.where(rng.random(VIEWS) < 0.08, 0.3, 1)  # some stand, or nearly
    lean = rng.normal(0.04, 0.03, VIEWS)
    legs = _leg_joints(1, phase, stride), _leg_joints(-1, phase + np.pi, stride)
    legs, pitches, lowest = zip(*legs, strict=True)
    pelvis = _vector(np.zeros(VIEWS), -np.minimum(*lowest), 0.0)
    twist = 0.14 * stride * np.cos(phase)  # the shoulders turn against the legs
    place = functools.partial(_on_torso, pelvis, lean, twist)
    arms = []
    habit, handed = rng.random(VIEWS), 1 if rng.random() < 0.35 else -1
    wide = (0.112 if person["figure"] == "man" else 0.100) * (0.6 + 0.4 * person["build"])
    for side, shift in ((1, np.pi), (-1, 0.0)):
        p, active = phase + shift, person["arm_swing"]
        swing = 0.02 + 0.30 * active * stride * np.cos(p) + rng.normal(0, 0.05, VIEWS)
        bend = 0.22 + 0.16 * active * (1 + np.cos(p - 0.3))
        out = 0.13 + 0.06 * rng.random(VIEWS) + 0.15 * (person["build"] - 1) + 2 * _ease(person)
        turn = 0.12 + 0.15 * rng.random(VIEWS)
        calls = (habit < 0.07) & (side == handed)
        reads = (habit > 0.93) | ((habit > 0.86) & (side == handed))
        pocket = (habit > 0.07) & (habit < 0.12)
        swing = np.select([calls, reads, pocket], [0.5, 0.25, -0.15], swing)
        bend = np.select([calls, reads, pocket], [2.3, 1.55, 0.55], bend)
        turn = np.select([calls, reads, pocket], [0.1, 0.65, 0.45], turn)
        if person["bag"] == "carried" and (side == 1) == (person["bag_side"] == "left"):
            swing, bend = 0.25 * swing, np.full(VIEWS, 0.08)
        upper = _vector(side * np.sin(out), -np.cos(out) * np.cos(swing), np.sin(swing))
        lower = _vector(side * np.sin(out - turn), -np.cos(swing + bend), np.sin(swing + bend))
        lower /= np.linalg.norm(lower, axis=-1, keepdims=True)
        inner = place(side * (wide - 0.052), 0.280, -0.004)
        shoulder = place(side * wide, 0.254, -0.002)
        elbow = shoulder + UPPER_ARM * upper
        arms.append(np.stack([inner, shoulder, elbow, elbow + FOREARM * lower], axis=1))
    return Pose(pelvis, lean, twist, rng.normal(0, 0.25, VIEWS), legs, pitches, arms)


def _leg_joints(side: int, phase: np.ndarray, stride: np.ndarray) -> tuple[np.ndarray, ...]:
    """Hip, knee and ankle (views, 3, 3), pitch of the foot, and its lowest height (views,)."""
    thigh = 0.10 + stride * 0.40 * np.cos(phase)
    knee = 0.08 + 0.22 * _bump(phase, 0.14, 0.07) + stride * _bump(phase, 0.74, 0.11)
    pitch = stride * (0.35 * _bump(phase, 0.0, 0.06) - 0.75 * _bump(phase, 0.62, 0.10))
    hip = _vector(np.full(VIEWS, side * 0.050), 0.0, 0.0)
    joint = hip + 0.242 * _vector(side * 0.03, -np.cos(thigh), np.sin(thigh))
    shin = thigh - knee
    ankle = joint + 0.238 * _vector(-side * 0.05, -np.cos(shin), np.sin(shin))
    sole = ankle[:, 1] - 0.044 * np.cos(pitch)
    lowest = np.minimum(sole - 0.03 * np.sin(pitch), sole + 0.11 * np.sin(pitch))
    return np.stack([hip, joint, ankle], axis=1), pitch, lowest


def _bump(phase: np.ndarray, at: float, width: float) -> np.ndarray:
    """A bell curve over the step, which repeats every 2 pi; `at` and `width` in steps."""
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


def _interpolate(sections: Sequence, at: np.ndarray) -> np.ndarray:
    """Interpolate sections (place, values...) without overshoot: (values, places)."""
    table = np.array(sorted(map(tuple, sections)))
    return PchipInterpolator(table[:, 0], table[:, 1:], axis=0)(at).T.astype(np.float32)


def _even(sections: Sequence, low: float, high: float, length: float, count: int) -> np.ndarray:
    """Places from low to high that are evenly spaced on the tube's surface, not on its axis."""
    fine = np.linspace(low, high, 400)
    steps = np.diff(np.vstack([fine * length / (high - low), _interpolate(sections, fine)]))
    so_far = np.concatenate([[0], np.cumsum(np.sqrt((steps**2).sum(0)))])
    return np.interp(np.linspace(0, so_far[-1], count), so_far, fine)


def _limb(kind, joints, shares, sections, long, wide, smooth=0.04, power=2.0) -> Part:
    """A tube along joints (views, k, 3) at `shares` of its length, bent as hinges bend.

    It is `long` pixels long and `wide` pixels around.
    """
    nv = SAMPLES * long
    length = np.linalg.norm(np.diff(joints, axis=1), axis=-1).sum(1).mean()
    t = _even(sections, 0, 1, length, nv)
    weights = np.stack([np.interp(t, shares, row) for row in np.eye(len(shares))], axis=1)
    weights = gaussian_filter1d(weights, smooth * nv, axis=0).astype(np.float32)
    centre = sum(weights[:, k, None] * joints[:, None, k] for k in range(len(shares)))
    along = np.gradient(centre, axis=1)
    front = np.cross(along, np.array([1, 0, 0], dtype=np.float32))
    side = np.cross(front, along)
    half, *deep = _interpolate(sections, t)
    side *= (half / (np.linalg.norm(side, axis=-1) + 1e-9))[..., None]
    front *= ((deep[0] if deep else half) / (np.linalg.norm(front, axis=-1) + 1e-9))[..., None]
    return Part(kind, centre, side, front, _ring(SAMPLES * wide, power), t, half)


def _column(kind, pose, sections, span, long, wide, power=2.3, turn=None) -> Part:
    """An upright tube fixed to the torso between two heights; sizes as in `_limb`."""
    y = _even(sections, *span, span[1] - span[0], SAMPLES * long)
    half, deep, ahead = _interpolate(sections, y)
    frame = pose.pelvis, pose.lean, pose.twist if turn is None else turn
    place = functools.partial(_on_torso, *(joint[:, None] for joint in frame))
    centre = place(0.0, y, ahead)
    side, front = place(half, y, ahead) - centre, place(0.0, y, ahead + deep) - centre
    return Part(kind, centre, side, front, _ring(SAMPLES * wide, power), y, half)


def _ease(person: Mapping) -> float:
    """How far the upper garment stands off the body."""
    return TABLES["ease"][person["top"]] * person["fit"]


def dressed_body(person: Mapping, pose: Pose) -> list[Part]:
    """The tubes of a person's body, hair, clothes and bag; `person` as from `as_worn`."""
    broad, thick = person["build"] ** 0.9, person["build"] ** 1.2
    figure = SECTIONS[person["figure"]] * (1, broad, thick, 1)
    parts = _trunk(person, pose, figure) + _head(person, pose) + _legs(person, pose, broad)
    if person["lower"] == "skirt" or person["top"] == "coat":
        parts.append(_tails(person, pose, figure[0, 1]))
    hip, back = figure[0, 1] + _ease(person), figure[4, 2] + _ease(person)
    return parts + _arms(person, pose, broad) + _bag(person, pose, hip, back)


def _trunk(person, pose, figure) -> list[Part]:
    """Torso and hips, with a collar or a hood."""
    ease, top = _ease(person), person["top"]
    # Cloth hangs from the shoulders: it stands off less there, and more lower down.
    off = ease * np.interp(figure[:, 0], [-0.09, 0.2, 0.26, 0.3], [1.3, 1, 0.7, 0.25])
    hem = max(-0.09, TABLES["hem"][top] * person["length"])
    loose = figure + off[:, None] * (0, 1, 1, 0)
    torso = _column("torso", pose, loose, (hem, 0.345), 44, 72, 2.5)
    if top == "puffer":
        torso = torso._replace(swell=_quilts(torso.t, 0.042, 0.05))
    hips = np.add(figure[:4], (0, 0.003, 0.003, 0))
    parts = [torso, _column("hips", pose, hips, (-0.09, 0.04), 14, 62, 2.4)]
    if top in ("shirt", "jacket", "puffer", "coat"):
        high = 0.332 if top == "shirt" else 0.342
        wide = np.add(SECTIONS["collar"], (0, 0.3 * ease, 0, 0))
        collar = _column("collar", pose, wide, (0.300, high), 8, 36)
        gap = np.interp(collar.t, [0.3, 0.342], [0.15, 0.6])[:, None]
        parts.append(collar._replace(keep=np.abs(collar.angles) > gap))
    if top == "hoodie" or (top in ("jacket", "puffer", "coat") and person["accent"] == "hem"):
        parts.append(_column("hood", pose, SECTIONS["hood"], (0.235, 0.350), 17, 38))
    return parts


def _quilts(t: np.ndarray, period: float, depth: float) -> np.ndarray:
    """The swell of a quilted tube, (nv, 1)."""
    return (1 + depth * (np.abs(np.sin(np.pi * t / period)) - 0.6))[:, None].astype(np.float32)


def _head(person, pose) -> list[Part]:
    """Neck, head, a cap of hair that leaves the face free, and a ponytail or bun behind it."""
    turn, style = pose.twist + pose.head_turn, person["hair_style"]
    parts = [_column("neck", pose, SECTIONS["neck"], (0.30, 0.40), 11, 22)]
    small = (1.68 / person["height"]) ** 0.8  # tall people's heads are small for their height
    skull = SECTIONS["head"] * (1, small, small, 1)
    parts.append(_column("head", pose, skull, (0.350, 0.481), 26, 34, turn=turn))
    thick = {"short": 0.008, "bob": 0.012, "long": 0.011}.get(style, 0.006)
    cap = np.add(skull[skull[:, 0] > 0.40], (0.5 * thick, thick, thick, -0.003))
    cap[-1, 1:3] = 0.001
    hanging = SECTIONS[("tied" if style in ("ponytail", "bun") else style) + "_hair"]
    low, high = hanging[-1, 0], cap[-1, 0]
    long = round(155 * (high - low)) + 8
    hair = _column("hair", pose, np.vstack([cap, hanging]), (low, high), long, 38, turn=turn)
    brow = 0.428 if person["fringe"] == "yes" else 0.445
    beside = low if style in ("bob", "long") else 0.405  # before the ears
    edges = [brow, brow - 0.01, beside, beside, low]
    edge = np.interp(np.abs(hair.angles), [0.75, 0.95, 1.15, 1.7, 2.2], edges)
    parts.append(hair._replace(keep=hair.t[:, None] >= edge))
    if style in ("ponytail", "bun"):
        tied = SECTIONS[style]
        parts.append(_column("tail", pose, tied, tied[[0, -1], 0], 20, 18, turn=turn))
    return parts


def _legs(person, pose, broad) -> list[Part]:
    """Legs, shorts and shoes."""
    parts = []
    high, low = TABLES["leg_ease"][person["lower"]]
    share, half = SECTIONS["leg"].T
    ease = high + (low - high) * share
    sections = np.stack([share, half * broad + ease, 1.06 * half * broad + ease], axis=1)
    sole = 1.06 if person["shoes"] != "flats" else 0.92
    for side, joints, pitch in zip((1, -1), pose.legs, pose.pitch, strict=True):
        joints = joints + pose.pelvis[:, None]
        hip, knee, ankle = np.moveaxis(joints, 1, 0)
        leg = _limb("leg", joints, [0, 0.504, 1], sections, 48, 34, 0.03)
        if person["lower"] in ("trousers", "wide"):  # they bunch up on the shoe
            leg = leg._replace(swell=(1 + 0.035 * np.sin(90 * leg.t**2) * (leg.t > 0.8))[:, None])
        parts.append(leg)
        if person["lower"] == "shorts":
            end = hip + (knee - hip) * min(1.08, 0.95 * person["length"])
            wide = [(0, 0.056 * broad), (1, 0.050 * broad + 0.004 * person["fit"])]
            parts.append(_limb("short", np.stack([hip, end], 1), [0, 1], wide, 24, 34))
        ahead = _vector(0.12 * side, np.sin(pitch), np.cos(pitch))
        up = _vector(0.0, np.cos(pitch), -np.sin(pitch))
        ends = np.stack([ankle - 0.035 * ahead - 0.022 * up, ankle + 0.112 * ahead - 0.024 * up], 1)
        shoe = SECTIONS["shoe"] * (1, sole, sole)
        parts.append(_limb("foot", ends, [0, 1], shoe, 20, 20, 0.01, 2.8))
    return parts


def _arms(person, pose, broad) -> list[Part]:
    """Arms and hands."""
    parts = []
    covered = 0.47 if person["sleeves"] == "short" else 1.1
    share, half = SECTIONS["arm"].T
    ease = (0.003 + 0.45 * _ease(person)) * ((share > 0) & (share < covered))
    sections = np.stack([share, half * broad + ease], axis=1)
    for joints in pose.arms:
        arm = _limb("arm", joints, [0, UPPER_ARM, 0.58, 1], sections, 41, 24, 0.045)
        if person["top"] == "puffer":
            arm = arm._replace(swell=_quilts(arm.t, 0.115, 0.12))
        elbow, wrist = joints[:, 2], joints[:, 3]
        reach = (wrist - elbow) / FOREARM
        ends = np.stack([wrist - 0.008 * reach, wrist + 0.058 * reach], 1)
        parts += [arm, _limb("hand", ends, [0, 1], SECTIONS["hand"], 8, 16)]
    return parts


def _tails(person, pose, hip) -> Part:
    """A skirt, or a coat or dress below the waist: wide enough for the step inside it."""
    coat = person["top"] == "coat"
    hem, start = (-0.20 if coat else -0.17) * person["length"], -0.06 if coat else 0.045
    y = np.linspace(hem, start, SAMPLES * 26)
    share = np.clip(y / hem, 0, 1)
    knee_z = [leg[:, 1, 2, None] * hem / -0.242 for leg in pose.legs]
    apart, middle = np.abs(knee_z[0] - knee_z[1]) / 2, (knee_z[0] + knee_z[1]) / 2
    off = 0.004 + (_ease(person) if person["top"] in ("coat", "dress") else 0.0)
    half = hip + off + 0.024 * person["fit"] * share - np.interp(y, [0, 0.05], [0, 0.012])
    deep = 0.070 * person["build"] + off + share * np.maximum(0.014, apart)
    place = functools.partial(_on_torso, pose.pelvis[:, None], 0.0, 0.0 * middle)
    middle = 0.8 * middle * share - 0.004
    centre = place(0.0, y, middle)
    side, front = place(half, y, middle) - centre, place(0.0, y, middle + deep) - centre
    tails = Part("tails", centre, side, front, _ring(SAMPLES * 74, 2.2), y, half)
    angle = tails.angles
    swell = 1 + 0.04 * share[:, None] * np.sin(9 * angle + 2 * np.sin(2 * angle))
    gap = 0.45 + 0.25 * share[:, None] if coat and person["front"] == "open" else -1.0
    return tails._replace(swell=swell, keep=np.abs(angle) > gap)


def _bag(person, pose, hip, back) -> list[Part]:
    """The bag, if any."""
    kind, left = person["bag"], person["bag_side"] == "left"
    if kind == "backpack":
        box = SECTIONS["backpack"] - (0, 0, 0, back) - (0, 0, 0, 0.040)
        return [_column("bag", pose, box, (0.03, 0.302), 38, 60, 3.5)]
    if kind in ("shoulder", "crossbody"):
        low, away = (-0.10, hip + 0.030) if kind == "crossbody" else (-0.02, hip + 0.055)
        box = np.add(SECTIONS["hip_bag"], (low, 0, 0, 0))
        bag = _column("bag", pose, box, (low, low + 0.12), 24, 46, 3.5)
        return [bag._replace(centre=bag.centre + _vector(away if left else -away, 0.0, -0.02))]
    if kind == "carried":
        elbow, wrist = pose.arms[0 if left else 1][:, 2:].swapaxes(0, 1)
        grip = wrist + 0.3 * (wrist - elbow)
        ends = np.stack([grip, grip - np.array([0, 0.17, 0], dtype=np.float32)], 1)
        return [_limb("bag", ends, [0, 1], SECTIONS["hand_bag"], 28, 42, 0.01, 3.0)]
    return []
