"""What a preparation command does, from its recipe to its last line."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data_prep.fetching.found import provenance
from data_prep.preparing.filling import fill
from data_prep.preparing.job import Job, amount, decide_images, free_bytes, target_of
from data_prep.preparing.options import Options, SourceOptions
from data_prep.preparing.recipe import IncompleteError, Recipe
from fewshot.console import progress
from fewshot.data.store import Dataset, DatasetWriter, writing
from fewshot.errors import InputError
from fewshot.files import only_one

_MIB = 1 << 20


@dataclass(frozen=True)
class Work:
    """What differs between images and texts.

    Attributes:
        examples: what they are called.
        decide: makes the job, fetching what is missing where its argument allows it.
        fill: writes all examples of a job; returns pairs that are identical, by name.
        keeps_duplicates: whether identical ones pass wherever they come from.
    """

    examples: str
    decide: Callable[[bool], Job]
    fill: Callable[[DatasetWriter, Any], list[tuple[str, str]]]
    keeps_duplicates: bool


def prepare(recipe: Recipe, options: Options) -> None:
    """`carry_out` for images."""
    work = Work(
        "images",
        lambda fetch: decide_images(recipe, options, fetch),
        lambda writer, job: fill(writer, job, options.threads, options.quiet),
        options.keep_duplicates,
    )
    carry_out(recipe, options, work)


def carry_out(recipe: Recipe, options: SourceOptions, work: Work) -> None:
    """Write `OUT/NAME.h5` from what lies there or can be fetched; keep one that is there; or tell what would be done.

    Raises:
        InputError: with nothing written under the final name, and an earlier file left as it was.
    """
    target = target_of(recipe, options)
    if options.dry_run:
        _explain(recipe, options, work)
    elif target.exists() and not options.force:
        _keep(recipe, options)
    else:
        with only_one(options.downloads(recipe.name), f"preparing {recipe.name}"):
            _write(recipe, options, work)


def _write(recipe: Recipe, options: SourceOptions, work: Work) -> None:
    start = time.perf_counter()
    job = work.decide(True)
    sources = _sources(job, options.quiet)
    with writing(job.target, recipe.name, sources, job.treatment) as writer:
        twins = work.fill(writer, job)
        if not work.keeps_duplicates:
            _refuse_copies(twins, job)
        sources[f"identical_{work.examples}"] = len(twins)
    summary = _summary(job, work.examples)
    print(f"{job.target} written in {time.perf_counter() - start:.1f} s from {job.plan.form}: {summary}")
    for remark in (job.plan.remark, f"{len(twins)} {work.examples} are identical to another one" if twins else ""):
        if remark:
            print(f"note: {remark}")


def _keep(recipe: Recipe, options: SourceOptions) -> None:
    target = target_of(recipe, options)
    try:
        dataset = Dataset.open(target)
    except InputError as error:
        raise InputError(f"{error} (--force replaces it)") from error
    if dataset.name != recipe.name:
        raise InputError(f"{target} holds {dataset.name}, not {recipe.name}; --force replaces it")
    print(f"{target} is there already (fingerprint {dataset.fingerprint}); --force prepares it again")


def _sources(job: Job, quiet: bool) -> dict[str, Any]:
    total = sum(file.stat().st_size for file in job.files)
    with progress(quiet) as bars:
        bar = bars.add_task("hashing sources (MiB)", total=-(-total // _MIB), note="")
        hashes = provenance(job.files, lambda count: bars.advance(bar, count / _MIB))
    return {"form": job.plan.form, "edition": job.edition, "published": job.is_published, **hashes}


def _refuse_copies(twins: list[tuple[str, str]], job: Job) -> None:
    """Someone's copies; files that were published with identical images in them pass."""
    if twins and job.plan.assembled and not job.is_published:
        raise InputError(
            f"{twins[0][0]} and {twins[0][1]} are the same image ({len(twins)} such pairs); remove one of the two, or"
            " accept them with --keep-duplicates"
        )


def _explain(recipe: Recipe, options: SourceOptions, work: Work) -> None:
    target = target_of(recipe, options)
    if target.exists():
        print(f"{target} is there already and would be {'replaced' if options.force else 'kept'}")
    try:
        job = work.decide(False)
    except IncompleteError as error:
        if options.source is not None or not recipe.downloads:
            raise
        print(f"{error}\nwould fetch into {options.downloads(recipe.name)}:")
        for files in recipe.downloads[:1]:
            for file in files:
                print(f"  {file.file_name} ({file.known_hash or 'no hash published'}) from {file.mirrors[0].address}")
        return
    sources = _sources(job, options.quiet)
    print(f"found:  {job.plan.form}")
    for file in sources.get("files", []):
        print(f"reads:  {file['name']}, {amount(file['bytes'])}, sha256 {file['sha256']}")
    if "number_of_files" in sources:
        print(f"reads:  {sources['number_of_files']} files, {amount(sources['bytes'])}")
    print(f"writes: {job.target}: {_summary(job, work.examples)}")
    print(f"{work.examples}: {job.treatment}")
    print(f"needs:  {amount(job.bytes_needed)} of {amount(free_bytes(job.target))} free")


def _summary(job: Job, examples: str) -> str:
    counts = job.plan.counts().items()
    return ", ".join(f"{split} {count.classes} classes / {count.images} {examples}" for split, count in counts)
