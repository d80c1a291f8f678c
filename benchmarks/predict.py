"""Classify a folder of images from a few labelled ones: `python -m benchmarks.predict LEARNER --support FOLDER ...`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import tyro

from benchmarks.running.command import parse_as
from benchmarks.running.device import choose_device
from fewshot.console import note, run_command, say
from fewshot.data.image_formats import image_endings
from fewshot.errors import InputError
from fewshot.files import write_text
from fewshot.registry import load_plugins
from fewshot.trained import Answers, load_learner

FILE, LABEL, PROBABILITY = "file", "label", "probability"


@dataclass(frozen=True)
class PredictCommand:
    """Classify the images of a folder with a meta-trained few-shot learner, from a few images of each class.

    Writes a CSV file: the name of each image, its most probable label with its probability, and the probability of
    every label. Images are brought to the learner's size and channels (docs/learners.md).
    """

    learner: Annotated[Path, tyro.conf.Positional]
    """best.safetensors in the folder of a finished run of `benchmarks.run`, or a copy of it."""
    support: Path
    """Folder with a folder of images for each class, which is its label."""
    query: Path
    """Folder of the images to be classified, folders below it included."""
    out: Path = Path("predictions.csv")
    """The file to write."""
    backbone: Path | None = None
    """Of a learner on features, the file of its backbone, or a folder to search; default: beside the learner, then
    results/backbones."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one."""
    plugin: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Python file or module that registers the learner's method (docs/plugins.md); may be given more than once."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the predictions, and say how many."""
    command = parse_as(PredictCommand, None, "benchmarks.predict", arguments)
    load_plugins(command.plugin)
    labelled, queries = _labelled(command.support), _images(command.query)
    if not queries:
        raise InputError(f"{command.query} holds no images; give a folder of those to be classified")
    learner = load_learner(command.learner, command.backbone, choose_device(command.device))
    support = [path for paths in labelled.values() for path in paths]
    labels = [label for label, paths in labelled.items() for _ in paths]
    answers = learner.predict(support, labels, queries)
    names = [path.relative_to(command.query).as_posix() for path in queries]
    write_text(command.out, table(names, answers).to_csv(index=False))
    if learner.transductive:
        note(f"{learner.card.method} is transductive: each answer depends on all {len(queries)} images")
    counts = ", ".join(f"{label} {answers.labels.count(label):,}" for label in labelled)
    say(f"{len(queries):,} images classified from {len(support)} labelled ones ({counts}): {command.out}")


def table(names: Sequence[str], answers: Answers) -> pd.DataFrame:
    """A line a query: its name, label and probability, and the probability of every label."""
    probabilities = answers.probabilities.numpy()
    lines = pd.DataFrame({FILE: names, LABEL: answers.labels, PROBABILITY: probabilities.max(axis=1)})
    every = pd.DataFrame(probabilities, columns=[f"p({label})" for label in answers.classes])
    return pd.concat([lines, every], axis=1)


def _labelled(folder: Path) -> dict[str, list[Path]]:
    """Images by class."""
    folders = sorted(path for path in _inside(folder) if path.is_dir() and not path.name.startswith("."))
    found = {path.name: _images(path) for path in folders}
    if empty := [name for name, paths in found.items() if not paths]:
        raise InputError(f"{folder / empty[0]} holds no images; give at least one of every class, or remove the folder")
    if len(found) < 2:
        raise InputError(f"{folder} holds {len(found)} folders; give a folder of images for each class, at least 2")
    return found


def _images(folder: Path) -> list[Path]:
    """Images in and below a folder, by their names' endings, sorted; what is hidden is passed over."""
    _inside(folder)  # refuses what is no folder
    images = (path for path in folder.rglob("*") if path.suffix.lower() in image_endings() and path.is_file())
    return sorted(path for path in images if not any(w.startswith(".") for w in path.relative_to(folder).parts))


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); give a folder of images") from error


if __name__ == "__main__":
    run_command(main)
