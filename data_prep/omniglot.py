"""Prepare Omniglot: `python -m data_prep.omniglot`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data_prep.fetching.download import Mirror
from data_prep.fetching.found import Found
from data_prep.forms.trees import IMAGE, Place, all_names, arrange, contents
from data_prep.preparing.options import Options, parse
from data_prep.preparing.pipeline import prepare
from data_prep.preparing.plan import Plan
from data_prep.preparing.recipe import Download, Form, IncompleteError, Recipe
from fewshot.console import run_command

_ADDRESS = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
_FULL = ("images_background", "images_evaluation")
_SMALL = ("images_background_small1", "images_background_small2")
_HASHES = {
    "images_background": "md5:68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation": "md5:6b91aef0f799c5bb55b94e3f2daec811",
}

# Vinyals et al. 2016 cut the alphabets, sorted by name, background before evaluation, at 1200 characters: the cut
# falls into Gurmukhi. Five whole alphabets of the first part are for validation.
_VINYALS_VAL = ("Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)")
_VINYALS_TEST = (
    *("Kannada", "Keble", "Malayalam", "Manipuri", "Mongolian", "Old_Church_Slavonic_(Cyrillic)", "Oriya", "Sylheti"),
    *("Syriac_(Serto)", "Tengwar", "Tibetan", "ULOG"),
)
_FIRST_TEST_CHARACTER_OF_GURMUKHI = 42
_SMALL_SPLITS = {"Early_Aramaic": "val", "Tagalog": "val", "Sanskrit": "test"}
_TURNS = (0, 90, 180, 270)


@dataclass(frozen=True)
class OmniglotOptions(Options):
    """Prepare Omniglot (Lake et al. 2015): 20 drawings of each character, strokes white on black.

    The two usual archives are split by characters as in Vinyals et al. 2016 (1028/172/423), the two archives
    `images_background_small*` by whole alphabets (161/39/42).
    """

    rotations: bool = False
    """Add each character turned by 90, 180 and 270 degrees as three more classes, as Vinyals et al. did."""


def recipe(options: OmniglotOptions) -> Recipe:
    """How Omniglot is prepared."""
    editions = (
        Form("images_background.zip and images_evaluation.zip", lambda found: _plan(found, _FULL, vinyals_split)),
        Form(
            "images_background_small1.zip and images_background_small2.zip",
            lambda found: _plan(found, _SMALL, lambda alphabet, _: _SMALL_SPLITS.get(alphabet, "train")),
        ),
    )
    turned = tuple(Form(form.expects, _with_rotations(form)) for form in editions)
    return Recipe(
        "omniglot",
        turned if options.rotations else editions,
        image_size=28,
        downloads=(tuple(Download(f"{n}.zip", (Mirror(f"{_ADDRESS}{n}.zip"),), _HASHES[n]) for n in _FULL),),
        resample="lanczos",
        terms="MIT licence; cite B. Lake et al., Human-level concept learning, Science 2015",
    )


def vinyals_split(alphabet: str, character: int) -> str:
    """The split of a character in Vinyals et al. 2016."""
    if alphabet in _VINYALS_VAL:
        return "val"
    in_last_part = alphabet == "Gurmukhi" and character >= _FIRST_TEST_CHARACTER_OF_GURMUKHI
    return "test" if in_last_part or alphabet in _VINYALS_TEST else "train"


def _plan(found: Found, folders: tuple[str, ...], split_of: Callable[[str, int], str]) -> Plan | None:
    pattern = re.compile(rf"(?:^|/)({'|'.join(folders)})/([^/]+)/character(\d+)/({IMAGE})$")
    matches = {name: match for name in found.names if (match := pattern.search(name))}
    missing = sorted(set(folders) - {match[1] for match in matches.values()})
    if not matches:
        return None
    if missing:
        raise IncompleteError(f"{found.path} has no {missing[0]}; get {missing[0]}.zip too")

    def place(name: str) -> Place | None:
        if (match := matches.get(name)) is None:
            return None
        return split_of(match[2], int(match[3])), f"{match[2]}/{match[3]}", match[4]

    layout = arrange(found.names, place)
    names = all_names(layout)
    return Plan(
        " and ".join(folders),
        layout,
        names,
        contents(found, names),
        channels=1,
        finish=lambda name, image: ((name, 255 - image),),
        treatment="inverted: strokes are white",
        assembled=True,
    )


def _with_rotations(form: Form) -> Callable[[Found], Plan | None]:
    def turned_plan(found: Found) -> Plan | None:
        plan = form.plan(found)
        if plan is None:
            return None
        layout = {
            split: {
                _turned(label, a): [_turned(x, a) for x in names] for a in _TURNS for label, names in classes.items()
            }
            for split, classes in plan.layout.items()
        }

        def finish(name: str, image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
            for upright_name, upright in plan.finish(name, image):
                for angle in _TURNS:
                    yield _turned(upright_name, angle), np.rot90(upright, angle // 90)

        return replace(plan, layout=layout, finish=finish, treatment=f"{plan.treatment}; also turned as more classes")

    return turned_plan


def _turned(name: str, angle: int) -> str:
    return f"{name} turned {angle}" if angle else name


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = parse(OmniglotOptions, arguments, "omniglot")
    prepare(recipe(options), options)


if __name__ == "__main__":
    run_command(main)
