"""Colours of skin, hair and clothing, with their patterns."""

from __future__ import annotations

import functools

import numpy as np
from scipy.ndimage import gaussian_filter

from reid_lib.pedestrians.people import rgb


@functools.cache
def waves() -> np.ndarray:
    """A tile (256, 256) of smooth random heights of mean 0 and spread 1."""
    noise = np.random.default_rng(0).standard_normal((3, 256, 256))
    # Waves longer along one diagonal, and along the other, as cloth hangs; and plain ones.
    diagonal = sum(
        _sheared(gaussian_filter(_sheared(one, sign), (12, 6), mode="wrap"), -sign)
        for one, sign in zip(noise, (1, -1), strict=False)
    )
    plain = (gaussian_filter(noise[2], sigma, mode="wrap") for sigma in ((9, 5), (9, 12)))
    return standardised(0.7 * standardised(diagonal) + sum(map(standardised, plain))).astype(
        np.float32
    )


def _sheared(tile: np.ndarray, sign: int) -> np.ndarray:
    return np.stack([np.roll(line, sign * i) for i, line in enumerate(tile)])


@functools.cache
def wave_slopes() -> np.ndarray:
    """Slopes of the tile of `waves` down and across, (256, 256, 2), of spread 1."""
    slopes = [np.roll(waves(), -1, axis) - np.roll(waves(), 1, axis) for axis in (0, 1)]
    return np.stack([standardised(slope) for slope in slopes], axis=-1)


def standardised(values: np.ndarray) -> np.ndarray:
    return values / values.std()


def paint(part, row, t, u, x) -> np.ndarray:
    """Colour of samples of one part, (n, 3) in 0 to 1; t and u as in `Part`, x across the body."""
    skin, colour = rgb(row["skin"]), np.empty((len(t), 3), dtype=np.float32)
    if part == "torso":
        return _paint_torso(row, t, u, x)
    if part == "head":
        return _paint_face(row, t, u)
    if part in ("neck", "hand"):
        colour[:] = skin
    elif part in ("hair", "tail"):
        colour[:] = rgb(row["hair_colour"]) * (1 + 0.2 * np.sin(40 * u) * np.sin(9 * u))[:, None]
    elif part == "arm":
        colour[:] = _cloth(row, "top", 0.36 * t, 0.028 * u)
        if row["accent"] == "sleeves" or row["accent"] == "yoke":
            colour[t < (1.1 if row["accent"] == "sleeves" else 0.2)] = rgb(row["top_second"])
        elif row["accent"] == "band":
            colour[(t > 0.36) & (t < 0.44)] = rgb(row["top_second"])
        if row["sleeves"] == "short":
            colour[t > 0.47] = skin
        elif row["top"] in ("jumper", "jacket", "puffer", "hoodie"):
            colour[t > 0.94] *= 0.8
    elif part in ("leg", "short", "hips"):
        _paint_legs(part, row, t, u, colour)
    elif part == "foot":
        colour[:] = rgb(row["shoe_colour"])
        if row["shoes"] == "trainers":
            colour[np.abs(u) > 1.9] = 0.86
        elif row["shoes"] == "flats" and row["figure"] == "woman":
            colour[(t > 0.2) & (t < 0.55) & (np.abs(u) < 1.0)] = skin
    elif part == "tails":
        worn = row["top"] in ("coat", "dress")
        colour[:] = _cloth(row, "top", t, x) if worn else rgb(row["lower_colour"])
    elif part in ("collar", "hood"):
        light = row["accent"] in ("yoke", "hem") or (part == "hood" and row["accent"] == "sleeves")
        colour[:] = rgb(row["top_second"] if light else row["top_colour"]) * 0.95
    else:
        colour[:] = rgb(row["bag_colour"])
        low, high = t.min(initial=9), t.max(initial=-9)
        colour[np.abs((t - low) / (high - low + 1e-6) - 0.45) < 0.02] *= 0.5
        if row["bag"] == "backpack":
            colour[(np.abs(np.abs(x) - 0.055) < 0.003) & (t < 0.15)] *= 0.6
    return colour


def _paint_legs(part, row, t, u, colour) -> None:
    cloth, skin = rgb(row["lower_colour"]), rgb(row["skin"])
    if row["top"] == "dress":
        cloth = rgb(row["top_colour"])
    bare = part == "leg" and row["lower"] in ("shorts", "skirt")
    if bare:
        colour[:] = 0.1 if row["lower"] == "skirt" and row["legs"] == "tights" else skin
    else:
        colour[:] = cloth
    if part == "leg" and not bare:
        if row["lower_detail"] == "faded":  # jeans wear pale on the thighs and the knees
            pale = np.exp(-((u / 0.9) ** 2)) * np.exp(-(((t - 0.35) / 0.2) ** 2))
            colour += (0.30 * pale)[:, None] * (0.9 - cloth)
        elif row["lower_detail"] == "stripe":
            colour[np.abs(np.abs(u) - np.pi / 2) < 0.16] = rgb(row["top_second"])
        colour[np.abs(np.abs(u) - np.pi / 2) < 0.05] *= 0.8
    if part == "leg" and row["shoes"] == "boots" and row["lower"] not in ("trousers", "wide"):
        colour[t > (0.78 if row["figure"] == "woman" else 0.93)] = rgb(row["shoe_colour"])


def _paint_face(row, t, u) -> np.ndarray:
    """Skin with brows, eyes, nose and mouth; the scalp is hair."""
    skin, hair, off = rgb(row["skin"]), rgb(row["hair_colour"]), np.abs(u)
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
    one, two = rgb(row[f"{worn}_colour"]), rgb(row[f"{worn}_second"])
    pattern, size = row[f"{worn}_pattern"], 0.022 * row["pattern_size"]
    bands = np.floor(t / size) % 2
    if pattern == "stripes":
        mix = bands
    elif pattern == "checks":
        mix = 0.5 * (bands + np.floor(s / size) % 2)
    elif pattern == "blotches":
        place = [(a * (9 / size)).astype(np.int64) % 256 for a in (t, s)]
        mix = np.clip(0.5 + 2 * waves()[place[0], place[1]], 0, 1)
    else:
        return np.tile(one, (len(t), 1))
    mix = mix.astype(np.float32)[:, None]
    return one * (1 - mix) + two * mix


def _paint_torso(row, t, u, x) -> np.ndarray:
    top, second = row["top"], rgb(row["top_second"])
    front = np.abs(u) < np.pi / 2
    across = np.where(front, x, 0.4 - x)
    colour = _cloth(row, "top", t, across)
    if row["accent"] in ("yoke", "band"):
        low, high = (0.235, 0.4) if row["accent"] == "yoke" else (0.15, 0.19)
        colour[(t > low) & (t < high)] = second
    elif row["accent"] == "hem":
        colour[t < -0.01] = second
    if row["front"] == "open":
        half = np.interp(t, [-0.1, 0.1, 0.24, 0.31], [0.050, 0.040, 0.034, 0.020])
        gap = front & (np.abs(x) < half)
        inner = _cloth(row, "shirt", t, across)
        if row["shirt_pattern"] == "print":
            inner[_device(row, t, x)] = rgb(row["shirt_second"])
        inner[t < -0.035] = rgb(row["lower_colour"])
        colour[gap] = inner[gap]
        colour[front & ~gap & (np.abs(x) < half + 0.006)] *= 0.7
    elif row["top_pattern"] == "print":
        colour[front & _device(row, t, x)] = second
    elif top in ("jacket", "puffer", "coat", "shirt"):
        colour[front & (np.abs(x) < 0.003)] *= 0.55
    if top in ("jumper", "hoodie", "jacket", "puffer") and row["accent"] != "hem":
        colour[t < -0.022] *= 0.82
    high = 0.322 if top in ("shirt", "hoodie", "jacket", "puffer", "coat") else 0.308
    colour[t > np.where(front, high, 0.328)] = rgb(row["skin"])
    side = 1 if row["bag_side"] == "left" else -1
    strap = {
        "backpack": front & (np.abs(np.abs(x) - 0.058) < 0.012) & (t > 0.12),
        "crossbody": np.abs((x + side * 0.06) * 0.27 + (t - 0.31) * side * 0.17) < 0.0035,
        "shoulder": (np.abs(x - side * 0.072) < 0.008) & (t > 0.05),
    }.get(row["bag"])
    if strap is not None:
        colour[strap] = rgb(row["bag_colour"])
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
    return (x**2 + y**2 < 1.4) & (waves()[place[0], place[1]] > -0.2)
