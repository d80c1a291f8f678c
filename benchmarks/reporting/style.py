"""How a method is drawn, the same in every figure and on the page.

Colour says the regularizer and a tint of it the method; in grayscale, dashes say hand-designed, the marker's shape says
the method and its filling the regularizer. Colours are those of Okabe & Ito, distinct to colour-blind readers.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

_REGULARIZERS = {
    # light background, dark background, filling in matplotlib's words, suffix of plotly's symbol
    "none": ("#D55E00", "#F58A42", "none", "-open"),
    "smooth": ("#0072B2", "#56B4E9", "full", ""),
    "l2": ("#009E73", "#35C79A", "left", "-dot"),
    "orthogonal": ("#B0568A", "#E39BC6", "top", "-open-dot"),
    "spectral": ("#A67C00", "#E6B93C", "bottom", "-dot"),
}
_OTHER_REGULARIZERS = (
    ("#6A51A3", "#B3A2E0", "right", "-open-dot"),
    ("#8C2D04", "#E89A6B", "right", "-open-dot"),
    ("#41607A", "#9BB8D0", "right", "-open-dot"),
)
_METHODS = {"simple": 0, "dm": 1, "rnnprop": 2, "meta_lstm": 0, "sib": 1, "protonet": 2}
_OTHER_METHODS = 3
"""First shape of methods that are not built in."""
_SHAPES = (("o", "circle"), ("s", "square"), ("^", "triangle-up"), ("D", "diamond"), ("v", "triangle-down"))
_TINTS = (0.0, -0.35, 0.3, -0.2, 0.15)
_HAND_DESIGNED = {
    # light, dark, dash in points (matplotlib), dash in plotly's words, marker and symbol (not on lines)
    "sgd": ("#5F6368", "#A9AEB5", (4, 2), "dash", "x", "x-thin-open"),
    "sgdm": ("#7D7A1E", "#BDB94F", (6, 2, 1, 2), "dashdot", "+", "cross-thin-open"),
    "adam": ("#882255", "#E07BA8", (1, 1.5), "dot", "*", "star"),
    "amsgrad": ("#2B7F78", "#63C5BB", (8, 3), "longdash", "p", "pentagon"),
    "rmsprop": ("#5B4BA0", "#A79BEA", (8, 2, 1, 2, 1, 2), "longdashdot", "d", "diamond-tall"),
}
_OTHER_HAND_DESIGNED = (
    ("#8A3324", "#E0A090", (2, 1, 5, 1), "5px,1px,2px,1px", "1", "y-down-open"),
    ("#1F5FA8", "#86B6EA", (3, 1, 1, 1, 1, 1), "3px,1px,1px,1px", "2", "y-up-open"),
    ("#4E6B1F", "#B3CF7D", (10, 2, 2, 2), "10px,2px,2px,2px", "3", "y-left-open"),
)
"""Looks of what plug-ins bring, which nothing built in has."""


@dataclass(frozen=True)
class LineStyle:
    """One line, for matplotlib and plotly."""

    colour: str
    dark_colour: str
    """On a dark background."""
    dashes: tuple[float, ...]
    """Lengths in points; empty for a solid line."""
    dash: str
    marker: str
    fill: str
    symbol: str
    width: float


def line_style(method: str, regularizer: str, learned: bool) -> LineStyle:
    """The style of a method with a regularizer.

    Names that are not built in get a style that depends on the name alone, and that nothing built in has.
    """
    if not learned:
        other = _OTHER_HAND_DESIGNED[_number(method) % len(_OTHER_HAND_DESIGNED)]
        light, dark, dashes, dash, marker, symbol = _HAND_DESIGNED.get(method, other)
        return LineStyle(light, dark, dashes, dash, marker, "full", symbol, 1.4)
    other = _OTHER_REGULARIZERS[_number(regularizer) % len(_OTHER_REGULARIZERS)]
    light, dark, fill, suffix = _REGULARIZERS.get(regularizer, other)
    index = _METHODS.get(method, _OTHER_METHODS + _number(method) % (len(_SHAPES) - _OTHER_METHODS))
    marker, symbol = _SHAPES[index]
    tint = _TINTS[index]
    return LineStyle(_mixed(light, tint), _mixed(dark, abs(tint)), (), "solid", marker, fill, symbol + suffix, 1.9)


def _number(name: str) -> int:
    return zlib.crc32(name.encode())


def _mixed(colour: str, amount: float) -> str:
    """`colour` mixed with white (amount > 0) or black (amount < 0)."""
    target = 255 if amount > 0 else 0
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + abs(amount) * (target - part)):02X}" for part in parts)
