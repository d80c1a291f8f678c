"""Prepare the reviews of IMDB: `python -m data_prep.imdb`."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from data_prep.fetching.download import Mirror
from data_prep.fetching.found import Found
from data_prep.preparing.job import Job, decide
from data_prep.preparing.options import SourceOptions, parse
from data_prep.preparing.pipeline import Work, carry_out
from data_prep.preparing.plan import Content, Plan
from data_prep.preparing.recipe import Download, Form, IncompleteError, Recipe
from data_prep.preparing.words import Texts
from fewshot.console import progress, run_command
from fewshot.data.store import DatasetWriter, TokenSplit
from fewshot.errors import InputError

_REVIEW = re.compile(r"(?:^|/)(train|test)/(neg|pos)/(\d+)_\d+\.txt$")
_SPLITS, _CLASSES = ("train", "test"), ("neg", "pos")
_LARGEST_REVIEW = 1 << 20
_LARGEST_VOCABULARY = 1 << 16
_LONGEST = 1 << 13


@dataclass(frozen=True)
class ImdbOptions(SourceOptions):
    """Prepare the Large Movie Review Dataset (Maas et al. 2011) for the general-training track."""

    vocabulary: int = 5000
    """Words that are told apart, the most frequent ones of the training reviews; with padding and unknown."""
    length: int = 200
    """Words of a review that are kept, from its beginning."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 3 <= self.vocabulary <= _LARGEST_VOCABULARY:
            raise InputError(f"--vocabulary {self.vocabulary} is out of range; give 3 to {_LARGEST_VOCABULARY} words")
        if not 1 <= self.length <= _LONGEST:
            raise InputError(f"--length {self.length} is out of range; give 1 to {_LONGEST} words")


def reviews(found: Found) -> Plan | None:
    """`train/{neg,pos}/NUMBER_STARS.txt` and `test/…`; reviews without a label are left out.

    Raises:
        IncompleteError: where a class of a split has no reviews.
    """
    matches = [(match, name) for name in found.names if (match := _REVIEW.search(name))]
    if not matches:
        return None
    layout: dict[str, dict[str, list[str]]] = {split: {label: [] for label in _CLASSES} for split in _SPLITS}
    for match, name in sorted(matches, key=lambda pair: (int(pair[0][3]), pair[1])):
        layout[match[1]][match[2]].append(name)
    empty = [f"{split}/{label}" for split in _SPLITS for label in _CLASSES if not layout[split][label]]
    if empty:
        raise IncompleteError(f"{found.path} has no reviews in {' and '.join(empty)}; get the whole archive")
    names = frozenset(name for _, name in matches)

    def read() -> Generator[tuple[str, Content]]:
        for name, source in found.sources(names):
            yield name, source.read(_LARGEST_REVIEW)

    return Plan("aclImdb", layout, names, read)


RECIPE = Recipe(
    "imdb",
    (Form("aclImdb_v1.tar.gz, or its folder", reviews),),
    image_size=0,
    downloads=(
        (
            Download(
                "aclImdb_v1.tar.gz",
                (
                    Mirror("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"),
                    Mirror("http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"),
                ),
                "md5:7c2ac02c03563afcf9b574c7e56c153a",
            ),
        ),
    ),
    terms="cite A. Maas et al., Learning Word Vectors for Sentiment Analysis, 2011; the reviews are IMDB's",
)


@dataclass(frozen=True)
class TextJob(Job):
    """A job on texts."""

    vocabulary: int
    length: int

    @property
    def bytes_per_row(self) -> int:
        """Of the numbers of a text's words."""
        return 2 * self.length

    @property
    def treatment(self) -> str:
        """What happens to the texts, in words."""
        return (
            f"first {self.length} words in lower case, of the {self.vocabulary} most frequent of the training split"
            " with padding and unknown"
        )


def fill(writer: DatasetWriter, job: TextJob, quiet: bool) -> list[tuple[str, str]]:
    """Write every text of a job, and the vocabulary of its training split.

    Returns:
        Pairs of texts that are identical, by name.

    Raises:
        InputError: where a text is no longer there.
    """
    texts, first, twins = Texts(), dict[bytes, str](), list[tuple[str, str]]()
    with progress(quiet) as bars:
        bar = bars.add_task(f"preparing {job.recipe.name}", total=job.plan.size, note="")
        for name, content in job.plan.read():
            assert isinstance(content, bytes)
            texts.add(name, content.decode("utf-8", "replace"))
            other = first.setdefault(hashlib.sha256(content).digest(), name)
            twins.extend([(other, name)] if other != name else [])
            bars.advance(bar)
    if len(texts) != job.plan.size:
        raise InputError(f"{job.files[0]} gave {len(texts)} of {job.plan.size} texts; it changed: try again")
    rows = {split: list(itertools.chain(*classes.values())) for split, classes in job.plan.layout.items()}
    vocabulary = texts.vocabulary(rows["train"], job.vocabulary)
    writer.add_vocabulary(vocabulary)
    for split, names in rows.items():
        sizes = {label: len(own) for label, own in job.plan.layout[split].items()}
        writer.add_split(split, sizes, (job.length,), TokenSplit)
        writer.write(split, 0, texts.rows(names, vocabulary, job.length), names)
    return twins


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = parse(ImdbOptions, arguments, "imdb")

    def decided(fetch: bool) -> TextJob:
        job = decide(RECIPE, options, fetch)
        return TextJob(job.recipe, job.plan, job.files, job.edition, job.target, options.vocabulary, options.length)

    carry_out(RECIPE, options, Work("texts", decided, lambda writer, job: fill(writer, job, options.quiet), True))


if __name__ == "__main__":
    run_command(main)
