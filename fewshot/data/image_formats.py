"""Which image files are read, and what reading a damaged one raises."""

from __future__ import annotations

import struct
import zlib
from functools import cache

from PIL import Image

MAX_PIXELS = 80_000_000
FORMATS = (
    *("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "PPM", "TIFF", "AVIF", "JPEG2000", "ICO", "ICNS", "CUR", "PCX"),
    *("SGI", "QOI", "SUN", "PSD", "DDS", "XBM", "XPM", "MSP", "BLP", "PIXAR"),
)
"""All that Pillow decodes itself and knows by its first bytes: nothing that starts another program, as EPS does."""
BY_ENDING = {".tga": "TGA", ".icb": "TGA", ".vda": "TGA", ".vst": "TGA", ".im": "IM"}
"""Formats without such first bytes, by the endings of their files."""
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow raises where an image is damaged."""


@cache
def image_endings() -> frozenset[str]:
    """The endings of file names that formats which are read here usually have, in lower case (`.png`)."""
    known = {ending for ending, kind in Image.registered_extensions().items() if kind in FORMATS}
    return frozenset(known | set(BY_ENDING) | {".jfif", ".jpe"})
