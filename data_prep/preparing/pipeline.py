"""What a preparation command does, from its recipe to its last line."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from data_prep.fetching.found import provenance
from data_prep.formats.images import DeepImageError, span_of
from data_prep.preparing.copies import judge_copies
from data_prep.preparing.filling import BadImagesError, fill
from data_prep.preparing.job import ImageJob, Job, amount, decide_images, free_bytes, target_of
from data_prep.preparing.options import Options, SourceOptions
from data_prep.preparing.recipe import IncompleteError, Recipe
from fewshot.console import progress, starts_over
from fewshot.data.store import Dataset, DatasetWriter, writing
from fewshot.errors import InputError
from fewshot.files import only_one

_MIB = 1 << 20
_ATTEMPTS = 4


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
        with starts_over(), only_one(options.downloads(recipe.name), f"preparing {recipe.name}"):
            _write(recipe, options, work)


def _write(recipe: Recipe, options: SourceOptions, work: Work) -> None:
    start = time.perf_counter()
    job, twins = _written(work.decide(True), options, work)
    summary = _summary(job, work.examples)
    print(f"{job.target} written in {time.perf_counter() - start:.1f} s from {job.plan.form}: {summary}")
    for line in _told(job, twins, work.examples):
        print(line)


def _written(job: Job, options: SourceOptions, work: Work) -> tuple[Job, list[tuple[str, str]]]:
    """Write the file of a job, or of another that leaves out what cannot be read, or scales what is too deep.

    Returns:
        The job that was done, and pairs of identical examples.
    """
    hashes = _hashes(job, options.quiet)
    for _ in range(_ATTEMPTS):
        sources = {**_facts(job), **hashes}
        try:
            with writing(job.target, job.recipe.name, sources, job.treatment) as writer:
                twins = work.fill(writer, job)
                if not work.keeps_duplicates:
                    twins = judge_copies(twins, job, options)
                sources[f"identical_{work.examples}"] = len(twins)
            return job, twins
        except (BadImagesError, DeepImageError) as error:
            job = _revised(job, options, error)
    raise InputError(f"{job.target} could not be written in {_ATTEMPTS} attempts; its sources change: try again")


def _revised(job: Job, options: SourceOptions, error: BadImagesError | DeepImageError) -> Job:
    """The job after what came up in the images.

    Raises:
        InputError: where the user must decide.
    """
    assert isinstance(job, ImageJob)
    if isinstance(error, DeepImageError):
        with progress(options.quiet) as bars:
            bars.add_task("finding the range of 16-bit images", total=None, note="")
            return replace(job, span=span_of((name, data) for name, data in job.plan.read() if isinstance(data, bytes)))
    if not (isinstance(options, Options) and options.skips_bad):
        hint = "" if job.recipe.entry else ", or leave what cannot be read out with --skip-bad"
        raise InputError(f"{error}{hint}") from error
    return replace(job, plan=job.plan.without(dict.fromkeys(error.reasons, "damaged, or no image")))


def _keep(recipe: Recipe, options: SourceOptions) -> None:
    target = target_of(recipe, options)
    try:
        dataset = Dataset.open(target)
    except InputError as error:
        raise InputError(f"{error} (--force replaces it)") from error
    if dataset.name != recipe.name:
        raise InputError(f"{target} holds {dataset.name}, not {recipe.name}; --force replaces it")
    print(f"{target} is there already (fingerprint {dataset.fingerprint}); --force prepares it again")


def _hashes(job: Job, quiet: bool) -> dict[str, Any]:
    with progress(quiet) as bars:
        bar = bars.add_task("hashing sources (MiB)", total=None, note="")

        def report(total: int, done: int) -> None:
            bars.update(bar, total=-(-total // _MIB), completed=done / _MIB)

        return provenance(job.files, report)


def _facts(job: Job) -> dict[str, Any]:
    facts = {"form": job.plan.form, "edition": job.edition, "published": job.is_published}
    if job.plan.rules:
        facts["rules"] = list(job.plan.rules)
    if job.plan.warnings:
        facts["warnings"] = list(job.plan.warnings)
    if job.plan.left_out:
        facts["left_out"] = job.plan.left_out.as_json()
    return facts


def _told(job: Job, twins: list[tuple[str, str]], examples: str) -> list[str]:
    """What the user should know of the file that was written."""
    scaling = job.scaling if isinstance(job, ImageJob) else ""
    return [
        *job.plan.rules,
        *([f"{scaling}; --range LOW HIGH takes other values"] if scaling else []),
        *(f"left out: {line}" for line in job.plan.left_out.lines()),
        *(f"warning: {line}" for line in job.plan.warnings),
        *([f"note: {job.plan.remark}"] if job.plan.remark else []),
        *([f"note: {len(twins)} {examples} are identical to another one"] if twins else []),
    ]


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
    sources = _hashes(job, options.quiet)
    print(f"found:  {job.plan.form}")
    for line in job.plan.tree():
        print(line)
    for line in _told(job, [], work.examples):
        print(line)
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
