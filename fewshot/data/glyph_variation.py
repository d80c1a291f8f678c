"""Random variations of character masks, the same bits on every machine.

Only operations that IEEE 754 rounds exactly are used: elementwise + - * / and comparisons in float64, integers and
indexing. There is no sine, exponential, matrix product or floating-point sum in here, since their last bits depend on
the processor and on numpy's version. Random numbers are the raw words of the counter-based generator Philox.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from fewshot.errors import InputError

SIDE = 28  # pixels of an image
MASK_SIDE = 32  # samples of a mask
GLYPH_SIDE = 24  # samples along the longer side of a glyph in its mask
DISTANCE_ZERO = 128  # the mask's value on the outline; larger inside
DISTANCE_STEPS = 8  # steps of the mask's value per sample of distance

MOST_STROKES = 8

_PARAMETER_WORDS = 128  # room for MOST_STROKES
_NOISE_WORDS = SIDE * SIDE // 2  # four bytes a pixel
_WORDS = _PARAMETER_WORDS + _NOISE_WORDS  # a multiple of 4, Philox's block
_FOUR_BYTES_DEVIATION = 147.8  # standard deviation of the sum of four uniform bytes

_Y = (np.arange(SIDE) - (SIDE - 1) / 2)[None, :, None]  # pixel centres, from the image's middle downwards
_X = (np.arange(SIDE) - (SIDE - 1) / 2)[None, None, :]


@dataclass(frozen=True)
class Variation:
    """How strongly characters are varied. A pair is a range, a single number the largest deviation either way.

    Attributes:
        size: longer side of the character, in pixels of the 28.
        stretch: relative change of width against height; 0.2 is 20 % wider and 20 % lower, or the reverse.
        shift: distance of the character's centre from the image's, in pixels along each axis.
        rotation: tangent of half the angle; 0.13 is 15 degrees.
        shear: slant, in pixels sideways per pixel of height.
        warp: elastic distortion, in pixels: displacements at 4 x 4 nodes, linear between them.
        stroke: thickening or thinning of every outline, in pixels.
        softness: width of the edge between ink and paper, in pixels; 1 is sharp.
        contrast: difference of ink and paper; 1 is black on white.
        inverted: share of the images whose ink is the lighter of the two.
        clouds: uneven light: change of brightness at 5 x 5 nodes, linear between them.
        noise: standard deviation of the pixel noise (nearly Gaussian), in brightness.
        strokes: foreign strokes in the image, from none to this many (at most `MOST_STROKES`).
        stroke_length: of a foreign stroke, in pixels.
        stroke_width: of a foreign stroke, in pixels.
        stroke_ink: darkness of a foreign stroke relative to the character's ink.

    Raises:
        InputError: where `strokes` is out of bounds, or a range is reversed.
    """

    size: tuple[float, float] = (15.0, 22.0)
    stretch: float = 0.15
    shift: float = 2.5
    rotation: float = 0.15
    shear: float = 0.25
    warp: float = 1.2
    stroke: float = 0.4
    softness: tuple[float, float] = (1.0, 2.0)
    contrast: tuple[float, float] = (0.5, 0.9)
    inverted: float = 0.0
    clouds: float = 0.1
    noise: float = 0.06
    strokes: int = 1
    stroke_length: tuple[float, float] = (6.0, 16.0)
    stroke_width: tuple[float, float] = (1.0, 2.5)
    stroke_ink: tuple[float, float] = (0.3, 0.9)

    def __post_init__(self) -> None:
        if not 0 <= self.strokes <= MOST_STROKES:
            raise InputError(f"{self.strokes} foreign strokes in an image; choose 0 to {MOST_STROKES}")
        for name, value in asdict(self).items():
            if isinstance(value, tuple) and not 0 <= value[0] <= value[1]:
                raise InputError(f"the range {value} of {name} is reversed or negative; give (lowest, highest)")


class _Draws:
    """Hands out the uniform numbers of n images in a fixed order; every number is an array [n, 1, 1]."""

    def __init__(self, words: np.ndarray) -> None:
        self._numbers = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
        self._taken = 0

    def unit(self) -> np.ndarray:
        column = self._numbers[:, self._taken, None, None]
        self._taken += 1
        return column

    def between(self, low: float, high: float) -> np.ndarray:
        return low + (high - low) * self.unit()

    def around_zero(self, largest: float) -> np.ndarray:
        return self.between(-largest, largest)

    def below(self, count: int) -> np.ndarray:
        """Whole numbers from 0 to `count` - 1."""
        return (self.unit() * count).astype(np.int64)


def vary(
    masks: np.ndarray, variation: Variation, key: tuple[int, int], start: int, stop: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images `start` to `stop` of the endless sequence that `key` stands for.

    Args:
        masks: uint8 [F, 32, 32], signed distances from the outline, one a face.
        variation: the strengths.
        key: (seed, class); with an image's number it decides the image.
        start: first image.
        stop: one past the last.

    Returns:
        images: uint8 [n, 28, 28, 1].
        faces: which of the masks each shows, int64 [n].
    """
    block = np.array([start * _WORDS // 4, 0, 0, 0], dtype=np.uint64)
    words = np.random.Philox(key=np.array(key, dtype=np.uint64), counter=block).random_raw((stop - start) * _WORDS)
    words = words.reshape(stop - start, _WORDS)
    draws = _Draws(words[:, :_PARAMETER_WORDS])
    face = draws.below(len(masks))
    ink = _character(masks, face, variation, draws)
    count = draws.below(variation.strokes + 1)
    for number in range(variation.strokes):
        ink = np.maximum(ink, _foreign_stroke(number, count, variation, draws))
    brightness = _colour(ink, variation, draws) + variation.noise * _noise(words[:, _PARAMETER_WORDS:])
    pixels = np.floor(np.clip(brightness, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return pixels[..., None], face[:, 0, 0]


def _character(masks: np.ndarray, face: np.ndarray, variation: Variation, draws: _Draws) -> np.ndarray:
    """How much of each pixel the character inks, float64 [n, 28, 28] in 0 to 1."""
    x = _X - draws.around_zero(variation.shift) + _smooth_field(4, variation.warp, draws)
    y = _Y - draws.around_zero(variation.shift) + _smooth_field(4, variation.warp, draws)
    x, y = _turned(x, y, draws.around_zero(variation.rotation))
    x = x + draws.around_zero(variation.shear) * y
    stretch = 1.0 + draws.around_zero(variation.stretch)
    zoom = GLYPH_SIDE / draws.between(*variation.size)
    distance = _sample(masks, face, x * zoom / stretch, y * zoom * stretch) / zoom
    distance = distance + draws.around_zero(variation.stroke)
    return np.clip(distance / draws.between(*variation.softness) + 0.5, 0.0, 1.0)


def _foreign_stroke(number: int, count: np.ndarray, variation: Variation, draws: _Draws) -> np.ndarray:
    """The ink of one straight stroke anywhere in the image; none where `number` is not below the image's `count`."""
    x, y = _X - draws.around_zero(SIDE / 2), _Y - draws.around_zero(SIDE / 2)
    along, across = _turned(x, y, draws.around_zero(1.0))
    beyond = np.maximum(np.abs(along) - draws.between(*variation.stroke_length) / 2.0, 0.0)
    distance = draws.between(*variation.stroke_width) / 2.0 - np.sqrt(beyond * beyond + across * across)
    return np.clip(distance + 0.5, 0.0, 1.0) * draws.between(*variation.stroke_ink) * (number < count)


def _colour(ink: np.ndarray, variation: Variation, draws: _Draws) -> np.ndarray:
    """Brightness of every pixel, about 0 to 1: ink on paper, one lighter than the other, under uneven light."""
    contrast = draws.between(*variation.contrast)
    dark = draws.unit() * (1.0 - contrast)
    inverted = draws.unit() < variation.inverted
    paper = np.where(inverted, dark, dark + contrast)
    step = np.where(inverted, contrast, -contrast)
    return paper + step * ink + _smooth_field(5, variation.clouds, draws)


def _noise(words: np.ndarray) -> np.ndarray:
    """Nearly Gaussian noise of standard deviation 1, [n, 28, 28]: the sum of four random bytes a pixel."""
    halves = words[:, :, None] >> np.array([0, 32], dtype=np.uint64)
    total = sum((halves >> np.uint64(shift)) & np.uint64(255) for shift in (0, 8, 16, 24))
    return (np.asarray(total).reshape(-1, SIDE, SIDE).astype(np.float64) - 510.0) / _FOUR_BYTES_DEVIATION


def _turned(x: np.ndarray, y: np.ndarray, half_tangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates turned by the angle of which `half_tangent` is the tangent of the half."""
    square = half_tangent * half_tangent
    cosine, sine = (1.0 - square) / (1.0 + square), 2.0 * half_tangent / (1.0 + square)
    return cosine * x + sine * y, cosine * y - sine * x


def _smooth_field(nodes: int, largest: float, draws: _Draws) -> np.ndarray:
    """Random values at `nodes` x `nodes` points spread over the image, linear between them, [n, 28, 28]."""
    corners = np.concatenate([draws.around_zero(largest) for _ in range(nodes * nodes)], axis=1)
    corners = corners.reshape(-1, nodes, nodes)
    place = np.arange(SIDE) * (nodes - 1) / (SIDE - 1)
    low = np.minimum(place.astype(np.int64), nodes - 2)
    part = place - low
    rows = corners[:, low] * (1.0 - part)[:, None] + corners[:, low + 1] * part[:, None]
    return rows[:, :, low] * (1.0 - part) + rows[:, :, low + 1] * part


def _sample(masks: np.ndarray, face: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance at (x, y) from the middle of each image's mask, in mask samples, linear between samples."""
    distances = ((masks.astype(np.float64) - DISTANCE_ZERO) / DISTANCE_STEPS).ravel()
    middle = (MASK_SIDE - 1) / 2
    x, y = np.clip(x + middle, 0.0, MASK_SIDE - 1.0), np.clip(y + middle, 0.0, MASK_SIDE - 1.0)
    left = np.minimum(x.astype(np.int64), MASK_SIDE - 2)
    top = np.minimum(y.astype(np.int64), MASK_SIDE - 2)
    right_part, lower_part = x - left, y - top
    place = (face * MASK_SIDE + top) * MASK_SIDE + left
    upper = distances[place] * (1.0 - right_part) + distances[place + 1] * right_part
    lower = distances[place + MASK_SIDE] * (1.0 - right_part) + distances[place + MASK_SIDE + 1] * right_part
    return upper * (1.0 - lower_part) + lower * lower_part
