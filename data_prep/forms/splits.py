"""The words by which people name the splits of a dataset."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from data_prep.fetching.found import archive_stem

_WORDS = {
    "train": "train|training|trainset|trn|base|metatrain|metatraining",
    "val": "val|valid|validation|valset|dev|development|metaval|metavalid|metavalidation",
    "test": "test|testing|testset|tst|novel|eval|evaluation|metatest|metatesting",
}
_SPLIT_OF = {word: split for split, words in _WORDS.items() for word in words.split("|")}
_ANY = "|".join(sorted(_SPLIT_OF, key=len, reverse=True))
_AT_END = re.compile(rf"(?P<rest>.*[-_. ])(?P<word>{_ANY})")
_AT_START = re.compile(rf"(?P<word>{_ANY})(?P<rest>[-_. ].*|\d+)")
KNOWN = (
    "train, training, base, meta-train | val, valid, validation, dev, meta-val | test, testing, novel, eval, meta-test"
)


def split_of(part: str) -> str | None:
    """The split that a folder, an archive or a list of this name is; None for any other name.

    Case, and dashes, blanks and underscores do not count.
    """
    return _SPLIT_OF.get(re.sub(r"[-_ ]+", "", archive_stem(part)).casefold())


def splits_among(parts: Iterable[str]) -> dict[str, str]:
    """Which of the names that lie beside each other are splits, and of which.

    Besides the words themselves: names that have all but such a word in common, as `train2017` and `val2017`, or
    `birds_train` and `birds_test`.
    """
    parts = list(parts)
    splits = {part: split for part in parts if (split := split_of(part))}
    if splits:
        return splits
    alike: defaultdict[tuple[bool, str], dict[str, str]] = defaultdict(dict)
    for part in parts:
        for pattern in (_AT_END, _AT_START):
            if match := pattern.fullmatch(archive_stem(part).casefold()):
                alike[pattern is _AT_END, match["rest"]][part] = _SPLIT_OF[match["word"]]
    families = [family for family in alike.values() if len(set(family.values())) > 1]
    return max(families, key=len) if families else {}


def looks_like_split(part: str) -> bool:
    """Whether a name is that of no split but begins or ends like one (`train2`, `test_unlabelled`)."""
    stem = archive_stem(part).casefold()
    return split_of(part) is None and bool(_AT_START.fullmatch(stem) or _AT_END.fullmatch(stem))
