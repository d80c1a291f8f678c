"""From texts to numbers of words."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence

import numpy as np

PADDING, UNKNOWN = "<padding>", "<unknown>"
"""What numbers 0 and 1 mean; no word looks like them."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case: letters and digits, apostrophes inside; line breaks of HTML are none."""
    return _WORD.findall(_BREAK.sub(" ", text).lower())


class Texts:
    """Texts as numbers of their words, in the order in which words were first met."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._texts: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, name: str, text: str) -> None:
        """Keep the words of a text."""
        numbers = array("I", [self._numbers.setdefault(word, len(self._numbers)) for word in words_of(text)])
        self._texts[name] = np.frombuffer(numbers, np.uint32) if numbers else np.empty(0, np.uint32)

    def vocabulary(self, names: Iterable[str], size: int) -> list[str]:
        """Padding, unknown, and the most frequent words of some texts, most frequent first, ties in alphabetical order.

        Args:
            names: of the texts that count.
            size: of the whole list; shorter where there are fewer words.
        """
        total = np.zeros(len(self._numbers), np.int64)
        for name in names:
            numbers, counts = np.unique(self._texts[name], return_counts=True)
            total[numbers] += counts
        counted = [(-int(count), word) for word, count in zip(self._numbers, total, strict=True) if count]
        return [PADDING, UNKNOWN, *(word for _, word in sorted(counted)[: size - 2])]

    def rows(self, names: Sequence[str], vocabulary: Sequence[str], length: int) -> np.ndarray:
        """Texts cut to, or padded at their ends to `length` words.

        Returns:
            uint16 [len(names), length], places in `vocabulary`.
        """
        places = np.full(len(self._numbers), 1, np.uint16)
        for place, word in enumerate(vocabulary):
            if word in self._numbers:
                places[self._numbers[word]] = place
        rows = np.zeros((len(names), length), np.uint16)
        for row, name in zip(rows, names, strict=True):
            start = self._texts[name][:length]
            row[: len(start)] = places[start]
        return rows
