"""The two cameras, the places they look at, and how they turn light into pixels.

Scenes are (128, 48, 3) images; the places vary from image to image.
"""

import io
from types import SimpleNamespace

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from reid_lib.pedestrians.people import COLOURS, HEIGHT, TABLES, WIDTH, choose, rgb

CAMERAS = TABLES["cameras"]  # property -> one value per camera
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)


def _noise(rng: np.random.Generator, down: float, across: float) -> np.ndarray:
    """Smooth noise with standard deviation 1, (128, 48)."""
    values = rng.standard_normal((HEIGHT, WIDTH), dtype=np.float32)
    values = gaussian_filter(values, (down, across), mode="wrap")
    return values / values.std()


def _mix(scene: np.ndarray, colour, amount: np.ndarray) -> np.ndarray:
    """Move the scene towards a colour by `amount`, (128, 48), clipped to 0 to 1."""
    amount = np.clip(amount, 0, 1)[..., None]
    return scene + amount * (np.asarray(colour, dtype=np.float32) - scene)


def _tint(rng: np.random.Generator, red, green, blue, spread) -> np.ndarray:
    """A colour, varied at random."""
    return (np.array([red, green, blue]) + rng.normal(0, spread, 3)).astype(np.float32)


def _shrubs(rng: np.random.Generator) -> np.ndarray:
    """Dark foliage, all over the scene."""
    mottled = np.clip(1 + 0.58 * _noise(rng, 1.25, 1.35), 0.1, 2.6)
    return _tint(rng, 0.21, 0.225, 0.175, 0.02) * mottled[..., None]


def draw_place(camera: int, rng: np.random.Generator) -> np.ndarray:
    """The background of one image of camera 0 (a park) or 1 (a street), in linear light."""
    scene = (_park, _street)[camera](rng)
    return np.clip(_add_passer_by(scene, rng), 0.01, 1) ** 2.2


def _park(rng: np.random.Generator) -> np.ndarray:
    """Leaf litter and grass under trees."""
    wide, soft, fine = _noise(rng, 18, 12), _noise(rng, 2.5, 4), _noise(rng, 0.7, 1.0)
    litter, grass = _tint(rng, 0.565, 0.505, 0.475, 0.012), _tint(rng, 0.48, 0.525, 0.39, 0.012)
    scene = _mix(litter, grass, 0.5 + 0.9 * wide + rng.normal(0, 0.9))
    rough = rng.uniform(0.05, 0.12) * fine + 0.07 * soft
    if rng.random() < 0.25:  # thick fallen leaves
        deep = np.clip(_noise(rng, 12, 9) + rng.normal(0, 0.8), 0, 1)
        scene = _mix(scene, _tint(rng, 0.36, 0.265, 0.23, 0.015), deep)
        rough = rough + deep * (0.14 * fine + 0.12 * _noise(rng, 1.2, 1.8))
    bright = np.exp(rng.normal(0, 0.06)) * (1.04 - 0.12 * Y / HEIGHT + rough + 0.05 * wide)
    scene = scene * bright[..., None]
    leaf, rare = _noise(rng, 0.7, 0.9) + 0.5 * soft, rng.uniform(1.5, 3)
    scene = _mix(scene, _tint(rng, 0.68, 0.60, 0.51, 0.04), 0.8 * np.clip((leaf - rare) * 2, 0, 1))
    scene = _mix(scene, _tint(rng, 0.38, 0.30, 0.25, 0.02), 0.6 * np.clip((-leaf - rare) * 2, 0, 1))
    if rng.random() < 0.15:  # sun through the leaves
        scene = scene * (1 + 0.5 * np.clip(_noise(rng, 7, 6), 0, 1.3))[..., None]
    if rng.random() < 0.15:
        scene = _paint_ring(scene, rng)
    edge = rng.uniform(4, 44) + rng.normal(0, 0.4) * (X - 24)
    kind = rng.random()
    if kind < 0.35:  # shrubs
        scene = _mix(scene, _shrubs(rng), edge + 2.5 * soft - Y)
    elif kind < 0.50:  # stone steps with a dark edge
        step = (1 + 0.06 * np.floor((Y - edge) / rng.uniform(6, 14)) + 0.07 * soft)[..., None]
        scene = _mix(scene, _tint(rng, 0.42, 0.40, 0.40, 0.02) * step, edge - Y)
        scene = _mix(scene, (0.15, 0.13, 0.12), 0.8 * np.clip(2 - np.abs(Y - edge), 0, 1))
    elif kind < 0.62:  # a lawn in the sun
        lawn = _tint(rng, 0.60, 0.64, 0.47, 0.02) * (1 + 0.05 * fine)[..., None]
        scene = _mix(scene, lawn, (edge - Y) / 6)
    if rng.random() < 0.12:
        trunk = np.clip(rng.uniform(1.5, 4) - np.abs(X - rng.uniform(-4, 52) - 0.05 * Y), 0, 1)
        trunk[int(rng.uniform(10, 50)) :] = 0
        scene = _mix(scene, _tint(rng, 0.24, 0.20, 0.18, 0.02), trunk)
    return scene


def _street(rng: np.random.Generator) -> np.ndarray:
    """Grey paving."""
    soft, fine = _noise(rng, 22, 16), _noise(rng, 0.8, 1.3)
    tone = rng.choice([0.38, 0.51, 0.56, 0.60], p=[0.15, 0.35, 0.3, 0.2])
    stone = tone * np.exp(rng.normal(0, 0.05)) * _tint(rng, 1.0, 0.99, 1.01, 0.012)
    scene = stone * (1 + 0.05 * soft + 0.022 * fine + 0.025 * _noise(rng, 1.5, 6))[..., None]
    scene = scene * (0.72 + 0.25 * Y / HEIGHT)[..., None]
    angle, gap = rng.uniform(-0.45, 0.45), rng.uniform(12, 26)
    for turn, step in ((angle, gap), (angle + rng.uniform(0.9, 1.5), gap * rng.uniform(1.2, 2))):
        if rng.random() < 0.75:
            place = (Y * np.cos(turn) + X * np.sin(turn) + rng.uniform(0, step)) / step
            joint = np.clip(1.2 - step * np.abs(place % 1 - 0.5), 0, 1)
            slab = 0.03 * np.sin(7.3 * np.floor(place + 0.5))
            scene = scene * (1 + slab - rng.uniform(0.03, 0.10) * joint)[..., None]
    if rng.random() < 0.22:  # patches of sun
        patch = _noise(rng, 14, 11) + 0.35 * _noise(rng, 4, 5) + rng.normal(0, 1.2)
        scene = _mix(scene, _tint(rng, 0.78, 0.76, 0.73, 0.015), 0.8 / (1 + np.exp(-3 * patch)))
    if rng.random() < 0.12:
        scene = _paint_ring(scene, rng)
    if rng.random() < 0.28:  # a kerb, and shrubs behind it
        edge = rng.uniform(-16, 32) + rng.choice([-1, 1]) * rng.uniform(0.6, 1.4) * (X - 24)
        scene = _mix(scene, _tint(rng, 0.74, 0.73, 0.73, 0.02), edge + rng.uniform(2, 6) - Y)
        scene = _mix(scene, _shrubs(rng), edge + 1.5 * _noise(rng, 2, 2) - Y)
    return scene


def _paint_ring(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A yellow ring painted on the ground."""
    wide = rng.uniform(9, 20)
    r = np.hypot((X - rng.uniform(-5, 53)) / wide, (Y - rng.uniform(60, 128)) / (0.45 * wide))
    scene = _mix(scene, (0.50, 0.49, 0.50), 0.6 * np.clip((1 - r) * 8, 0, 1))
    return _mix(scene, (0.70, 0.62, 0.25), 0.9 * np.clip(1.6 - np.abs(r - 1) * 8, 0, 1))


def _add_passer_by(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a smaller person near the edge of one image in twenty."""
    if rng.random() > 0.05:
        return scene
    x = X - rng.choice([rng.uniform(-3, 8), rng.uniform(40, 51)])
    feet, size = rng.uniform(15, 55), rng.uniform(0.45, 0.7)
    y = (feet - Y) / (120 * size)  # 0 at the feet, 1 at the crown
    step = rng.uniform(0, 7) * size
    x = x / size
    pieces = ((0.0, 0.5, step, 4), (0.0, 0.5, -step, 4), (0.47, 0.85, 0, 9), (0.87, 1.0, 0, 5))
    for low, high, off, half in pieces:
        across = np.abs(x - off * (0.5 - np.clip(y, 0, 0.5)) * 2) / half
        along = np.abs(2 * y - low - high) / (high - low)
        name = "lower_colour" if high < 0.6 else "top_colour" if high < 0.9 else "hair_colour"
        shade = 0.1 + 0.8 * rgb(choose(rng, COLOURS[name]))
        scene = _mix(scene, shade, 3 * (1 - across**3 - along**3))
    return scene


def ground_light(feet: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Share of the light that reaches the ground, (128, 48), beside the feet (2, 2) in pixels."""
    light, depth = np.ones((HEIGHT, WIDTH), dtype=np.float32), rng.uniform(0.25, 0.6)
    spots = [(x, y + 2, 7, 3.0, depth) for x, y in feet] + [(*feet.mean(0), 16, 7, 0.25 * depth)]
    for x, y, wide, high, dark in spots:
        light *= 1 - dark * np.exp(-(((X - x) / wide) ** 2) - ((Y - y) / high) ** 2)
    return light


def expose(scene: np.ndarray, which: int, rng: np.random.Generator) -> np.ndarray:
    """Photograph a scene in linear light with noise and JPEG artefacts: (128, 48, 3) uint8."""
    camera = SimpleNamespace(**{name: pair[which] for name, pair in CAMERAS.items()})
    blur = camera.blur * rng.uniform(0.75, 1.35)
    scene = gaussian_filter(scene, (blur, blur, 0))
    if rng.random() < 0.2:  # motion blur
        scene = gaussian_filter1d(scene, rng.uniform(0.4, 0.9), axis=1)
    gain = camera.exposure * np.exp(rng.normal(0, 0.10) + rng.normal(0, 0.04, 3))
    scene = np.clip(scene * gain, 0, 1).astype(np.float32) ** np.float32(1 / 2.2)
    image = sum(scene[..., k, None] * np.array(camera.mix, np.float32)[:, k] for k in range(3))
    curve = image * image * (3 - 2 * image)  # an S-shaped tone curve
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
