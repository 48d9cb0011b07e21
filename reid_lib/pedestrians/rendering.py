"""From a person's attributes to 16 images.

The tubes are sampled densely and projected, and a depth buffer of three times the resolution keeps
the nearest sample of each cell; clothing and light are then worked out for those samples alone.
Camera frame: x right, y up, z away from the camera.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter

from reid_lib.pedestrians.body import OVERSAMPLE, Part, draw_pose, dressed_body, section_angles
from reid_lib.pedestrians.clothes import paint, wave_slopes
from reid_lib.pedestrians.people import (
    ATTRIBUTES,
    CAMERAS,
    COLOURS,
    HEIGHT,
    NATURAL,
    NUMBERS,
    ORIENTATIONS,
    VIEWS,
    WIDTH,
    check_person,
    check_seed,
    has_short_sleeves,
    vary_colour,
    visible_lower,
)
from reid_lib.pedestrians.scenes import CAMERA_MODELS, draw_park, draw_shadow, draw_street, expose

_EMPTY = np.iinfo(np.int64).max
# How deep the creases of a part are.
# fmt: off
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
    check_seed(seed)
    check_person(person)
    row = {name: person[name] for name in ATTRIBUTES}
    row |= {name: float(row[name]) for name in NUMBERS}
    rng = np.random.default_rng([seed, int(person["pid"]), 1])
    cameras = [camera for camera in CAMERA_MODELS for _ in range(ORIENTATIONS)]
    parts = dressed_body(row, draw_pose(row, rng))
    place, scale, offset = _project(parts, cameras, rng)
    samples = _nearest(parts, place, scale, offset)
    colour, cover = shade(parts, row, place, samples, cameras, rng)
    feet = _feet(parts, place, scale, offset)
    # The light of the hour in which the person walked past each camera: it colours all eight
    # images of one camera, and says nothing about the other camera's.
    hours = [
        np.exp(rng.normal(0, camera.spread) + rng.normal(0, 0.07, 3)) for camera in CAMERA_MODELS
    ]
    images = np.empty((VIEWS, HEIGHT, WIDTH, 3), dtype=np.uint8)
    for view, camera in enumerate(cameras):
        scene = (draw_park, draw_street)[view // ORIENTATIONS](rng) * draw_shadow(feet[view], rng)[
            ..., None
        ]
        scene = scene * (1 - cover[view, ..., None]) + colour[view]
        images[view] = expose(scene * hours[view // ORIENTATIONS], camera, rng)
    return images.reshape(CAMERAS, ORIENTATIONS, HEIGHT, WIDTH, 3)


def sample_spans(parts: list[Part]) -> list[slice]:
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
    heading = np.deg2rad(45.0 * (np.arange(VIEWS) % ORIENTATIONS) + rng.normal(0, 12, VIEWS))
    tilt = np.deg2rad([camera.elevation for camera in cameras] + rng.normal(0, 2, VIEWS))
    far = np.array([camera.distance for camera in cameras]) * rng.uniform(0.85, 1.2, VIEWS)
    far = far.astype(np.float32)
    cos_h, sin_h, cos_t, sin_t = (
        f(a).astype(np.float32)[:, None] for a in (heading, tilt) for f in (np.cos, np.sin)
    )

    def turn(vectors):  # (views, nv, 3), from the body's frame to the camera's
        x, y, z = np.moveaxis(vectors.astype(np.float32), -1, 0)
        away = z * sin_h + x * cos_h
        return z * cos_h - x * sin_h, y * cos_t + away * sin_t, away * cos_t - y * sin_t

    spans = sample_spans(parts)
    place = np.empty((3, VIEWS, spans[-1].stop), dtype=np.float32)
    for part, span in zip(parts, spans, strict=True):
        across, ahead = (np.asarray(part.swell * r, dtype=np.float32) for r in part.ring.T)
        for out, centre, side, front in zip(
            place[:, :, span], turn(part.centre), turn(part.side), turn(part.front), strict=True
        ):
            grid = out.reshape(VIEWS, len(part.t), len(part.ring))
            np.multiply(side[..., None], across, out=grid)
            grid += front[..., None] * ahead
            grid += centre[..., None]
    place[:2] *= far[:, None] / (far[:, None] + place[2])

    # Boxes follow the person, a little off, but do not stretch a thin one to the full width.
    (left, bottom), (right, top) = place[:2].min(2), place[:2].max(2)
    tall = (top - bottom) / rng.uniform(0.90, 0.965, VIEWS)
    wide = np.clip((right - left) / rng.uniform(0.84, 0.97, VIEWS), 0.31 * tall, 0.46 * tall)
    scale = np.stack([WIDTH / wide, -HEIGHT / tall], axis=1) * OVERSAMPLE
    across = (left + right) / 2 + rng.normal(0, 0.025, VIEWS) * wide
    down = (bottom + top) / 2 + rng.normal(0, 0.008, VIEWS) * tall
    middle = np.stack([across, down], axis=1)
    offset = np.array([WIDTH, HEIGHT]) * OVERSAMPLE / 2 - middle * scale
    return place, scale.astype(np.float32), offset.astype(np.float32)


def _nearest(parts, place, scale, offset) -> _Samples:
    """Find for each cell of the depth buffer the sample that the camera sees."""
    shapes = [(len(part.t), len(part.ring)) for part in parts]
    keep = np.concatenate([
        np.broadcast_to(part.keep, shape).ravel() for part, shape in zip(parts, shapes, strict=True)
    ])  # fmt: skip
    kept = np.flatnonzero(keep)
    lines, columns = HEIGHT * OVERSAMPLE, WIDTH * OVERSAMPLE
    buffer = np.full((VIEWS, lines * columns), _EMPTY)
    for view in range(VIEWS):
        x, y, z = place[:, view] if len(kept) == len(keep) else place[:, view, kept]
        column = (x * scale[view, 0] + offset[view, 0]).astype(np.int32)
        line = (y * scale[view, 1] + offset[view, 1]).astype(np.int32)
        inside = (column >= 0) & (column < columns) & (line >= 0) & (line < lines)
        # Depth in the upper bits, the sample's index in the lower 24: the least key is nearest.
        key = ((z + 4) * 2**24).astype(np.int64) << 24 | kept
        np.minimum.at(buffer[view], (line * columns + column)[inside], key[inside])
    buffer = buffer.reshape(VIEWS, lines, columns)
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
    spans = zip(parts, sample_spans(parts), strict=True)
    feet = [place[:2, :, span].mean(2).T for part, span in spans if part.name.endswith("foot")]
    return np.stack([foot * scale + offset for foot in feet], axis=1) / OVERSAMPLE


def shade(parts, row, place, samples, cameras, rng):
    """Light and colour what the cameras see.

    Returns:
        Linear colour times cover (views, 128, 48, 3), and cover (views, 128, 48).
    """
    view, line, column, winner = samples
    total = place.shape[2]
    part, along_u, along_v = np.empty((3, total), dtype=np.int32)
    t, u, x = np.empty((3, total), dtype=np.float32)
    for number, (p, span) in enumerate(zip(parts, sample_spans(parts), strict=True)):
        nv, nu = len(p.t), len(p.ring)
        index = np.arange(span.start, span.stop, dtype=np.int32).reshape(nv, nu)
        part[span] = number
        along_u[span] = np.roll(index, -1, axis=1).ravel()
        along_v[span] = np.concatenate([index[1:], index[-2:-1]]).ravel()
        t[span], u[span] = np.repeat(p.t, nu), np.tile(section_angles(p), nv)
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
    shift = rng.integers(0, 256, (2, VIEWS, len(parts)))
    down = (t * cells[part]).astype(np.int64) + shift[0, view, part]
    across = (u * (128 / np.pi)).astype(np.int64) + shift[1, view, part]
    slope = wave_slopes()[down % 256, across % 256] * depth[part, None]
    slope[_is_bare(row, names, part, t)] = 0
    normal = _normed(normal + slope[:, 0] * along_v + slope[:, 1] * along_u)

    light = np.array([camera.light for camera in cameras]) + rng.normal(0, 0.15, (VIEWS, 3))
    light = (light / np.linalg.norm(light, axis=1, keepdims=True)).astype(np.float32)
    sun, sky = np.array([(camera.sun, camera.sky) for camera in cameras], dtype=np.float32).T
    lambert = sum(light[view, axis] * normal[axis] for axis in range(3))
    sun = sun * rng.uniform(0.6, 1.4, VIEWS).astype(np.float32)
    bright = sun[view] * np.maximum(0, lambert) + sky[view] * (0.62 + 0.38 * normal[1])
    bright *= ambient_occlusion(here[2], samples)
    # Trees shade the person more or less than the ground, and one half more than the other.
    shade, half = rng.normal(0, [[0.25], [0.35]], (2, VIEWS)).astype(np.float32)
    bright *= np.exp(shade[view] + half[view] * (line / (HEIGHT * OVERSAMPLE) - 0.5))

    albedo = np.empty((len(winner), 4), dtype=np.float32)
    for camera in range(CAMERAS):
        # Two sensors see one dye differently, each dye in its own way; skin and hair hardly.
        seen = row | {
            name: vary_colour(row[name], *((0.08, 0.01) if name in NATURAL else (0.22, 0.016)), rng)
            for name in COLOURS
        }
        for number, name in enumerate(names):
            chosen = np.flatnonzero((part == number) & (view // ORIENTATIONS == camera))
            albedo[chosen, :3] = paint(name, seen, t[chosen], u[chosen], x[chosen])
    albedo[:, :3] = 0.006 + 0.994 * albedo[:, :3] ** 2.2  # even black cloth shines a little
    albedo[:, :3] *= bright[:, None]
    albedo[:, 3] = 1
    cells = np.zeros((VIEWS, HEIGHT * OVERSAMPLE, WIDTH * OVERSAMPLE, 4), dtype=np.float32)
    cells[view, line, column] = albedo
    pixels = sum(
        cells[:, i::OVERSAMPLE, j::OVERSAMPLE] for i in range(OVERSAMPLE) for j in range(OVERSAMPLE)
    )
    pixels /= OVERSAMPLE**2
    return pixels[..., :3], pixels[..., 3]


def _is_bare(row, names, part, t) -> np.ndarray:
    """Which samples of the legs and arms are skin."""
    leg, arm = (np.array([name == kind for name in names])[part] for kind in ("leg", "arm"))
    leg &= visible_lower(row) in ("shorts", "skirt")
    return leg | (arm & has_short_sleeves(row) & (t > 0.47))


def _normed(vectors: np.ndarray) -> np.ndarray:
    x, y, z = vectors
    return vectors / (np.sqrt(x * x + y * y + z * z) + 1e-9)


def ambient_occlusion(depth: np.ndarray, samples: _Samples) -> np.ndarray:
    """Darken what lies behind its surroundings: under the chin, between arm and body."""
    view, line, column, _ = samples
    maps = np.zeros((2, VIEWS, HEIGHT * OVERSAMPLE, WIDTH * OVERSAMPLE), dtype=np.float32)
    maps[0, view, line, column], maps[1, view, line, column] = depth, 1
    maps = uniform_filter(maps, (0, 0, 5 * OVERSAMPLE, 4 * OVERSAMPLE - 1), mode="constant")
    around, cover = maps[:, view, line, column]
    return 1 - np.clip((depth - around / cover) * 6, 0, 0.5)
