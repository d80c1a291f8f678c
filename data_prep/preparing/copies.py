"""Classes and images that are in two places, by mistake or by their nature."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from itertools import chain

from data_prep.preparing.job import Job
from data_prep.preparing.options import Options, SourceOptions
from data_prep.preparing.plan import Layout
from fewshot.errors import InputError

_SHOWN = 5


def judge_copies(twins: list[tuple[str, str]], job: Job, options: SourceOptions) -> list[tuple[str, str]]:
    """Refuse, or tell of, identical images.

    Files that were published with identical images in them pass. In anybody's own images, those in two splits are told;
    with `--strict` they are refused.

    Returns:
        The pairs that pass.

    Raises:
        InputError: naming the first pairs.
    """
    if not twins or not job.plan.assembled or job.is_published:
        return twins
    split_of = {name: split for split, classes in job.plan.layout.items() for name in chain(*classes.values())}
    own = job.recipe.entry is None
    across = [pair for pair in twins if own and split_of[pair[0]] != split_of[pair[1]]]
    within = [pair for pair in twins if not own or split_of[pair[0]] == split_of[pair[1]]]
    accepted = isinstance(options, Options) and options.keep_duplicates
    if within and not accepted:
        raise InputError(
            f"{within[0][0]} and {within[0][1]} are the same image ({len(within)} such pairs); remove one of the two,"
            " or accept them with --keep-duplicates"
        )
    if across:
        told = "; ".join(f"{one} and {other}" for one, other in across[:_SHOWN])
        more = f"; and {len(across) - _SHOWN} more" if len(across) > _SHOWN else ""
        message = f"{len(across)} images are the same in two splits: {told}{more}"
        if isinstance(options, Options) and options.is_strict:
            raise InputError(f"{message}; remove one of each two, or accept them without --strict")
        print(f"warning: {message}")
    return twins


def alike_classes(layout: Layout) -> list[str]:
    """Classes whose names differ only in Unicode form, case or blanks, in words: `Cat (train) and cat (test)`."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for split, classes in layout.items():
        for label in classes:
            places[_meaning(label)].append(f"{label!r} ({split})")
    return [" and ".join(names) for names in places.values() if len(names) > 1]


def _meaning(label: str) -> str:
    return re.sub(r"[\s_]+", " ", unicodedata.normalize("NFKC", label).casefold()).strip()
