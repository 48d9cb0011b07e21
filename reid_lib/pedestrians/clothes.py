"""Colours of skin, hair and clothing, with their patterns, and the waves of cloth."""

import functools
from collections.abc import Mapping

import numpy as np
from scipy.ndimage import gaussian_filter

from reid_lib.pedestrians.people import TABLES, rgb


@functools.cache
def waves() -> np.ndarray:
    """A tile (256, 256) of smooth random heights with mean 0 and standard deviation 1."""
    noise = np.random.default_rng(0).standard_normal((3, 256, 256))
    # Waves along both diagonals, as cloth hangs, and plain ones.
    diagonal = sum(
        _sheared(gaussian_filter(_sheared(one, sign), (12, 6), mode="wrap"), -sign)
        for one, sign in zip(noise[:2], (1, -1), strict=True)
    )
    plain = (gaussian_filter(noise[2], sigma, mode="wrap") for sigma in ((9, 5), (9, 12)))
    mixed = 0.7 * _standardised(diagonal) + sum(map(_standardised, plain))
    return _standardised(mixed).astype(np.float32)


@functools.cache
def wave_slopes() -> np.ndarray:
    """Slopes of `waves` down and across, (256, 256, 2), with standard deviation 1."""
    slopes = [np.roll(waves(), -1, axis) - np.roll(waves(), 1, axis) for axis in (0, 1)]
    return np.stack([_standardised(slope) for slope in slopes], axis=-1)


def _sheared(tile: np.ndarray, sign: int) -> np.ndarray:
    return np.stack([np.roll(line, sign * i) for i, line in enumerate(tile)])


def _standardised(values: np.ndarray) -> np.ndarray:
    return values / values.std()


def paint(kind: str, person: Mapping, t: np.ndarray, u: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Colour samples of one part, before the light.

    Args:
        kind: kind of the part.
        person: attributes as from `as_worn`.
        t: (n,), height on the upright body, or 0 to 1 along a limb.
        u: (n,), angle around the tube, 0 in front and positive to the left.
        x: (n,), distance to the left of the centre line.
    Returns:
        (n, 3) float32 in 0 to 1.
    """
    base = TABLES["base_colour"].get(kind, "top_colour")
    if base == "lower_colour" and person["top"] == "dress":
        base = "top_colour"
    colour = np.tile(rgb(person[base]), (len(t), 1))
    accent, second = person["accent"], rgb(person["top_second"])
    if kind == "torso":
        _paint_torso(colour, person, t, u, x)
    elif kind == "head":
        _paint_face(colour, person, t, np.abs(u))
    elif kind == "leg":
        _paint_leg(colour, person, t, u)
    elif kind in ("hair", "tail"):
        colour *= (1 + 0.2 * np.sin(40 * u) * np.sin(9 * u))[:, None]
    elif kind == "arm":
        colour[:] = _cloth(person, "top", 0.36 * t, 0.028 * u)
        accents = {"sleeves": t < 1.1, "yoke": t < 0.2, "band": (t > 0.36) & (t < 0.44)}
        colour[accents.get(accent, t > 2)] = second
        if person["sleeves"] == "short":
            colour[t > 0.47] = rgb(person["skin"])
        elif person["top"] in ("jumper", "jacket", "puffer", "hoodie"):
            colour[t > 0.94] *= 0.8
    elif kind == "foot" and person["shoes"] == "trainers":
        colour[np.abs(u) > 1.9] = 0.86
    elif kind == "foot" and person["shoes"] == "flats" and person["figure"] == "woman":
        colour[(t > 0.2) & (t < 0.55) & (np.abs(u) < 1.0)] = rgb(person["skin"])
    elif kind == "tails" and person["top"] in ("coat", "dress"):
        colour[:] = _cloth(person, "top", t, x)
    elif kind in ("collar", "hood"):
        if accent in ("yoke", "hem") or (kind == "hood" and accent == "sleeves"):
            colour[:] = second
        colour *= 0.95
    elif kind == "bag":
        low, high = t.min(initial=9), t.max(initial=-9)
        colour[np.abs((t - low) / (high - low + 1e-6) - 0.45) < 0.02] *= 0.5
        if person["bag"] == "backpack":
            colour[(np.abs(np.abs(x) - 0.055) < 0.003) & (t < 0.15)] *= 0.6
    return colour


def _paint_leg(colour, person, t, u) -> None:
    """Trousers with their details, or skin or tights; boots over narrow legs."""
    beside = np.abs(np.abs(u) - np.pi / 2)  # angle from the seams
    if person["lower"] in ("shorts", "skirt"):
        tights = person["lower"] == "skirt" and person["legs"] == "tights"
        colour[:] = 0.1 if tights else rgb(person["skin"])
    else:
        if person["lower_detail"] == "faded":  # jeans are pale on the thighs and the knees
            pale = np.exp(-((u / 0.9) ** 2)) * np.exp(-(((t - 0.35) / 0.2) ** 2))
            colour += (0.30 * pale)[:, None] * (0.9 - colour)
        elif person["lower_detail"] == "stripe":
            colour[beside < 0.16] = rgb(person["top_second"])
        colour[beside < 0.05] *= 0.8
    if person["shoes"] == "boots" and person["lower"] not in ("trousers", "wide"):
        colour[t > (0.78 if person["figure"] == "woman" else 0.93)] = rgb(person["shoe_colour"])


def _paint_face(colour, person, t, off) -> None:
    """Mouth, nose, brows, eyes, glasses and scalp; `off` is the angle from the nose."""
    skin, hair = rgb(person["skin"]), rgb(person["hair_colour"])
    colour[(off < 0.30) & (np.abs(t - 0.3755) < 0.003)] = skin * (0.80, 0.55, 0.55)
    colour[(np.abs(off - 0.10) < 0.07) & (np.abs(t - 0.393) < 0.004)] *= 0.8
    colour[(np.abs(off - 0.44) < 0.26) & (np.abs(t - 0.427) < 0.0032)] = 0.5 * skin + 0.5 * hair
    colour[(np.abs(off - 0.42) < 0.20) & (np.abs(t - 0.4155) < 0.004)] = 0.13
    if person["glasses"] == "yes":
        rim = (off < 0.95) & (np.abs(np.abs(t - 0.4155) - 0.0085) < 0.0022)
        colour[rim | ((off > 0.95) & (off < 1.6) & (np.abs(t - 0.418) < 0.003))] = 0.08
    colour[((off > 1.9) & (t > 0.385)) | ((off > 1.2) & (t > 0.41))] = hair


def _paint_torso(colour, person, t, u, x) -> None:
    """The top with its accents and print, what it shows underneath, and the bag's strap."""
    top, accent, second = person["top"], person["accent"], rgb(person["top_second"])
    front, opens = np.abs(u) < np.pi / 2, top in ("shirt", "hoodie", "jacket", "puffer", "coat")
    across = np.where(front, x, 0.4 - x)
    colour[:] = _cloth(person, "top", t, across)
    accents = {"yoke": t > 0.235, "band": (t > 0.15) & (t < 0.19), "hem": t < -0.01}
    colour[accents.get(accent, t > 2)] = second
    if person["front"] == "open":
        half = np.interp(t, [-0.1, 0.1, 0.24, 0.31], [0.050, 0.040, 0.034, 0.020])
        gap = front & (np.abs(x) < half)
        inner = _cloth(person, "shirt", t, across)
        if person["shirt_pattern"] == "print":
            inner[_chest_print(person, t, x)] = rgb(person["shirt_second"])
        inner[t < -0.035] = rgb(person["lower_colour"])
        colour[gap] = inner[gap]
        colour[front & ~gap & (np.abs(x) < half + 0.006)] *= 0.7
    elif person["top_pattern"] == "print":
        colour[front & _chest_print(person, t, x)] = second
    elif opens and top != "hoodie":
        colour[front & (np.abs(x) < 0.003)] *= 0.55
    if top in ("jumper", "hoodie", "jacket", "puffer") and accent != "hem":
        colour[t < -0.022] *= 0.82
    colour[t > np.where(front, 0.322 if opens else 0.308, 0.328)] = rgb(person["skin"])
    side = 1 if person["bag_side"] == "left" else -1
    strap = {
        "backpack": front & (np.abs(np.abs(x) - 0.058) < 0.012) & (t > 0.12),
        "crossbody": np.abs((x + side * 0.06) * 0.27 + (t - 0.31) * side * 0.17) < 0.0035,
        "shoulder": (np.abs(x - side * 0.072) < 0.008) & (t > 0.05),
    }.get(person["bag"], np.zeros_like(front))
    colour[strap] = rgb(person["bag_colour"])


def _cloth(person, worn, t, s) -> np.ndarray:
    """Colour of the "top" or the "shirt" without prints, t along and s across it."""
    one, two = rgb(person[f"{worn}_colour"]), rgb(person[f"{worn}_second"])
    pattern, size = person[f"{worn}_pattern"], 0.022 * person["pattern_size"]
    mix = np.zeros_like(t)
    if pattern == "stripes":
        mix = np.floor(t / size) % 2
    elif pattern == "checks":
        mix = 0.5 * (np.floor(t / size) % 2 + np.floor(s / size) % 2)
    elif pattern == "blotches":
        mix = np.clip(0.5 + 2 * _wave_height(t * (9 / size), s * (9 / size)), 0, 1)
    mix = mix.astype(np.float32)[:, None]
    return one * (1 - mix) + two * mix


def _chest_print(person, t, x) -> np.ndarray:
    """Where the print is: one of five simple emblems, chosen by the person's pattern size."""
    size = person["pattern_size"]
    x, y = x / (0.05 * size), (t - 0.20) / (0.048 * size)
    emblem = round(1000 * size) % 5
    if emblem == 0:
        return (x**2 + y**2 < 1) & ((x**2 + y**2 > 0.5) | (np.abs(x) < 0.3))
    if emblem == 1:  # lines of writing
        ink = (np.floor(y * 4) % 2 == 0) & (np.sin(11 * x + 5 * y) < 0.7)
        return ink & (np.abs(x) < 1.2) & (np.abs(y) < 0.9)
    if emblem == 2:
        return np.abs(x) + np.abs(y) < 1.2
    if emblem == 3:
        return (np.abs(x) < 1.1) & (np.abs(y) < 1.1) & ((np.abs(x) > 0.5) | (np.abs(y) > 0.5))
    return (x**2 + y**2 < 1.4) & (_wave_height(y * 40 + 300 * size, x * 40 + 300 * size) > -0.2)


def _wave_height(down: np.ndarray, across: np.ndarray) -> np.ndarray:
    return waves()[down.astype(np.int64) % 256, across.astype(np.int64) % 256]
