"""From a person's attributes to 16 images.

The tubes of the body are sampled densely and projected. A depth buffer of twice the resolution
keeps the nearest sample of each cell; clothing and light are computed for those samples alone.
Camera frame: x right, y up, z away from the camera.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter

from reid_lib.pedestrians import people
from reid_lib.pedestrians.body import OVERSAMPLE, Part, draw_pose, dressed_body
from reid_lib.pedestrians.clothes import paint, wave_slopes
from reid_lib.pedestrians.people import HEIGHT, ORIENTATIONS, VIEWS, WIDTH
from reid_lib.pedestrians.scenes import CAMERAS, draw_place, expose, ground_light

LINES, COLUMNS = HEIGHT * OVERSAMPLE, WIDTH * OVERSAMPLE  # of the depth buffer
EMPTY = np.iinfo(np.int64).max


class Samples(NamedTuple):
    """The samples that the cameras see: arrays of one entry per covered cell, (n,)."""

    view: np.ndarray
    line: np.ndarray
    column: np.ndarray
    index: np.ndarray  # among all samples of all parts
    beside: np.ndarray  # index of the next sample around the tube
    above: np.ndarray  # and along it
    part: np.ndarray
    t: np.ndarray  # as in `Part`
    u: np.ndarray  # angle around the tube, 0 in front and positive to the left
    x: np.ndarray  # distance to the left of the centre line


def render_person(person: Mapping, seed: int) -> np.ndarray:
    """Draw one person's 16 images.

    Orientations are 45 degrees apart in PKU-ReID's order: 1 walks to the right, 3 is seen from
    behind, 5 walks to the left, 7 comes towards the camera.

    Args:
        person: a row of `draw_persons`, or any mapping with `pid` and the `ATTRIBUTES`.
        seed: with the pid, determines poses, framing, backgrounds and sensor noise.
    Returns:
        (2, 8, 128, 48, 3) uint8: camera, orientation, height, width, RGB.
    Raises:
        ValueError: an attribute is missing or has an unknown value, or the seed is negative.
    Example:
        >>> from reid_lib.pedestrians import draw_persons
        >>> render_person(draw_persons(1, seed=0).iloc[0], seed=0).shape
        (2, 8, 128, 48, 3)
    """
    people.check_seed(seed)
    people.check_person(person)
    rng = np.random.default_rng([seed, int(person["pid"]), 1])
    person = people.as_worn(person)
    parts = dressed_body(person, draw_pose(person, rng))
    placed = _project(parts, rng)
    place = np.concatenate(placed, axis=2)
    scale, offset = _frame(place, rng)
    samples = _visible_samples(parts, place, scale, offset)
    colour, cover = _shade(parts, person, place, samples, rng)
    feet = [placed[i][:2].mean(2).T for i, part in enumerate(parts) if part.kind == "foot"]
    feet = np.stack([(foot * scale + offset) / OVERSAMPLE for foot in feet])
    # The hour at which the person walked past a camera colours its eight images alike.
    hours = [np.exp(rng.normal(0, s) + rng.normal(0, 0.07, 3)) for s in CAMERAS["spread"]]
    images = np.empty((VIEWS, HEIGHT, WIDTH, 3), dtype=np.uint8)
    for view in range(VIEWS):
        camera = view // ORIENTATIONS
        scene = draw_place(camera, rng) * ground_light(feet[:, view], rng)[..., None]
        scene = scene * (1 - cover[view, ..., None]) + colour[view]
        images[view] = expose(scene * hours[camera], camera, rng)
    return images.reshape(2, ORIENTATIONS, HEIGHT, WIDTH, 3)


def _per_view(name: str) -> np.ndarray:
    """One property of the camera of each view, (views, ...)."""
    return np.repeat(CAMERAS[name], ORIENTATIONS, axis=0)


def _project(parts: list[Part], rng: np.random.Generator) -> list[np.ndarray]:
    """Place each part's samples before the cameras.

    Returns:
        (3, views, samples) per part: x and y after perspective, and the distance behind the axis
        of the body.
    """
    # Annotators sort people who walk in any direction into eight bins of 45 degrees.
    heading = np.deg2rad(45.0 * (np.arange(VIEWS) % ORIENTATIONS) + rng.normal(0, 12, VIEWS))
    tilt = np.deg2rad(_per_view("elevation") + rng.normal(0, 2, VIEWS))
    far = (_per_view("distance") * rng.uniform(0.85, 1.2, VIEWS)).astype(np.float32)
    cos_h, sin_h, cos_t, sin_t = (
        f(a).astype(np.float32)[:, None] for a in (heading, tilt) for f in (np.cos, np.sin)
    )

    def turn(vectors):  # (views, nv, 3), from the body's frame to the camera's
        x, y, z = np.moveaxis(vectors.astype(np.float32), -1, 0)
        away = z * sin_h + x * cos_h
        turned = z * cos_h - x * sin_h, y * cos_t + away * sin_t, away * cos_t - y * sin_t
        return np.stack(turned)[..., None]

    placed = []
    for part in parts:
        across, ahead = (np.asarray(part.swell * r, dtype=np.float32) for r in part.ring.T)
        xyz = turn(part.side) * across
        xyz += turn(part.front) * ahead
        xyz += turn(part.centre)
        xyz = xyz.reshape(3, VIEWS, -1)
        xyz[:2] *= far[:, None] / (far[:, None] + xyz[2])
        placed.append(xyz)
    return placed


def _frame(place: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset, (views, 2) each, from `place` to columns and lines of the depth buffer.

    Boxes follow the person, a little off, but do not stretch a thin one to the full width.
    """
    (left, bottom), (right, top) = place[:2].min(2), place[:2].max(2)
    tall = (top - bottom) / rng.uniform(0.90, 0.965, VIEWS)
    wide = np.clip((right - left) / rng.uniform(0.84, 0.97, VIEWS), 0.31 * tall, 0.46 * tall)
    scale = np.stack([WIDTH / wide, -HEIGHT / tall], axis=1) * OVERSAMPLE
    across = (left + right) / 2 + rng.normal(0, 0.025, VIEWS) * wide
    down = (bottom + top) / 2 + rng.normal(0, 0.008, VIEWS) * tall
    offset = np.array([COLUMNS, LINES]) / 2 - np.stack([across, down], axis=1) * scale
    return scale.astype(np.float32), offset.astype(np.float32)


def _visible_samples(parts, place, scale, offset) -> Samples:
    """Find for each cell of the depth buffer the sample nearest to the camera."""
    keep = [np.broadcast_to(part.keep, (len(part.t), len(part.ring))).ravel() for part in parts]
    kept = np.flatnonzero(np.concatenate(keep))
    buffer = np.full((VIEWS, LINES * COLUMNS), EMPTY)
    for view in range(VIEWS):
        x, y, z = place[:, view] if len(kept) == place.shape[2] else place[:, view, kept]
        column = (x * scale[view, 0] + offset[view, 0]).astype(np.int32)
        line = (y * scale[view, 1] + offset[view, 1]).astype(np.int32)
        inside = (column >= 0) & (column < COLUMNS) & (line >= 0) & (line < LINES)
        # Depth in the upper bits, the sample's index in the lower 24: the least key is nearest.
        key = ((z + 4) * 2**24).astype(np.int64) << 24 | kept
        np.minimum.at(buffer[view], (line * COLUMNS + column)[inside], key[inside])
    buffer = buffer.reshape(VIEWS, LINES, COLUMNS)
    # Fill cells that the samples missed between two that they hit, down and then across.
    for cells in (buffer, buffer.swapaxes(1, 2)):
        one, gap, other = cells[:, :-2], cells[:, 1:-1], cells[:, 2:]
        np.copyto(gap, one, where=(gap == EMPTY) & (one != EMPTY) & (other != EMPTY))
    cells = np.nonzero(buffer != EMPTY)
    return Samples(*cells, *_locate(parts, buffer[cells] & (2**24 - 1)))


def _locate(parts: list[Part], index: np.ndarray) -> tuple[np.ndarray, ...]:
    """The fields of `Samples` that follow from a sample's index, beginning with the index."""
    along, around = np.array([(len(part.t), len(part.ring)) for part in parts]).T
    starts = np.cumsum(along * around) - along * around
    part = np.searchsorted(starts, index, side="right") - 1
    i, j = np.divmod(index - starts[part], around[part])
    beside = index - j + (j + 1) % around[part]
    above = index + around[part] * np.where(i + 1 < along[part], 1, -1)
    i, j = i + (np.cumsum(along) - along)[part], j + (np.cumsum(around) - around)[part]
    names = "t", "half", "ring", "angles"
    t, half, ring, angles = (np.concatenate([getattr(p, name) for p in parts]) for name in names)
    t, x = t[i].astype(np.float32), (half[i] * ring[j, 0]).astype(np.float32)
    return index, beside, above, part, t, angles[j], x


def _shade(parts, person, place, samples, rng) -> tuple[np.ndarray, np.ndarray]:
    """Light and colour what the cameras see.

    Returns:
        Linear colour times cover (views, 128, 48, 3), and cover (views, 128, 48).
    """
    view, here = samples.view, place[:, samples.view, samples.index]
    around, along = (
        _normalised(place[:, view, other] - here) for other in (samples.beside, samples.above)
    )
    normal = np.cross(around, along, axis=0)
    normal *= -np.sign(normal[2])
    slope = _creases(parts, person, samples, rng)
    normal = _normalised(normal + slope[:, 0] * along + slope[:, 1] * around)
    bright = _brightness(normal, samples, rng) * ambient_occlusion(here[2], samples)
    # Trees shade the person more or less than the ground, and one half more than the other.
    shade, half = rng.normal(0, [[0.25], [0.35]], (2, VIEWS)).astype(np.float32)
    bright *= np.exp(shade[view] + half[view] * (samples.line / LINES - 0.5))
    colour = 0.006 + 0.994 * _paint_parts(parts, person, samples, rng) ** 2.2  # black cloth shines
    cells = np.zeros((VIEWS, LINES, COLUMNS, 4), dtype=np.float32)
    cells[view, samples.line, samples.column, :3] = colour * bright[:, None]
    cells[view, samples.line, samples.column, 3] = 1
    steps = range(OVERSAMPLE)
    pixels = sum(cells[:, i::OVERSAMPLE, j::OVERSAMPLE] for i in steps for j in steps)
    pixels /= OVERSAMPLE**2
    return pixels[..., :3], pixels[..., 3]


def _normalised(vectors: np.ndarray) -> np.ndarray:
    x, y, z = vectors
    return vectors / (np.sqrt(x * x + y * y + z * z) + 1e-9)


def _creases(parts, person, samples, rng) -> np.ndarray:
    """Slopes of the cloth along and around the tubes, (n, 2)."""
    kinds = np.array([part.kind for part in parts])
    depths = people.TABLES["crease_depth"]
    depth = np.array([depths.get(kind, 0.0) for kind in kinds], dtype=np.float32)
    stretch = np.where(np.isin(kinds, ("leg", "arm", "short")), 200, 450)
    # Another place on the tile of waves for each view and part.
    shift = rng.integers(0, 256, (2, VIEWS, len(parts)))[:, samples.view, samples.part]
    down = (samples.t * stretch[samples.part]).astype(np.int64) + shift[0]
    across = (samples.u * (128 / np.pi)).astype(np.int64) + shift[1]
    slope = wave_slopes()[down % 256, across % 256] * depth[samples.part, None]
    if person["lower"] in ("shorts", "skirt"):
        slope[(kinds == "leg")[samples.part]] = 0
    if person["sleeves"] == "short":
        slope[(kinds == "arm")[samples.part] & (samples.t > 0.47)] = 0
    return slope


def _brightness(normal: np.ndarray, samples: Samples, rng: np.random.Generator) -> np.ndarray:
    """Light of sun and sky on surfaces with these normals, (n,)."""
    view = samples.view
    light = _per_view("light") + rng.normal(0, 0.15, (VIEWS, 3))
    light = (light / np.linalg.norm(light, axis=1, keepdims=True)).astype(np.float32)
    sun, sky = (_per_view(name).astype(np.float32) for name in ("sun", "sky"))
    lambert = sum(light[view, axis] * normal[axis] for axis in range(3))
    sun = sun * rng.uniform(0.6, 1.4, VIEWS).astype(np.float32)
    return sun[view] * np.maximum(0, lambert) + sky[view] * (0.62 + 0.38 * normal[1])


def ambient_occlusion(depth: np.ndarray, samples: Samples) -> np.ndarray:
    """Darken what lies behind its surroundings: under the chin, between arm and body; (n,)."""
    cells = samples.view, samples.line, samples.column
    maps = np.zeros((2, VIEWS, LINES, COLUMNS), dtype=np.float32)
    maps[0][cells], maps[1][cells] = depth, 1
    maps = uniform_filter(maps, (0, 0, 5 * OVERSAMPLE, 4 * OVERSAMPLE - 1), mode="constant")
    around, cover = maps[0][cells], maps[1][cells]
    return 1 - np.clip((depth - around / cover) * 6, 0, 0.5)


def _paint_parts(parts, person, samples, rng) -> np.ndarray:
    """Colours as each camera's sensor sees them, (n, 3) in 0 to 1, before the light."""
    albedo = np.empty((len(samples.index), 3), dtype=np.float32)
    sensor = samples.view // ORIENTATIONS
    for camera in (0, 1):
        seen = people.as_sensed(person, rng)
        for number, part in enumerate(parts):
            here = np.flatnonzero((samples.part == number) & (sensor == camera))
            albedo[here] = paint(part.kind, seen, samples.t[here], samples.u[here], samples.x[here])
    return albedo
