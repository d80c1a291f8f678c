"""Which files of a listing are images that the user wants."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from data_prep.fetching.found import Found
from data_prep.fetching.left_out import LeftOut, extension
from data_prep.formats.images import is_image
from data_prep.formats.names import words
from fewshot.data.image_formats import image_endings

_HEAD = 512
_KNOWN_TO_BE_NONE = words(
    ".txt .csv .tsv .json .jsonl .xml .yaml .yml .md .rst .html .htm .npy .npz .mat .pkl .pickle .h5 .hdf5 .py .ipynb",
    ".pdf .doc .docx .xls .xlsx .mp4 .avi .mov .mkv .wav .mp3 .log .lst .db .sqlite .ini .cfg .sh .m .svg .pt .pth",
    ".safetensors .lock .sha256 .md5",
)
_PACKED = frozenset([".rar", ".7z", ".gz", ".bz2", ".xz", ".zst"])


def without_unwanted(found: Found, patterns: Collection[str], left_out: LeftOut) -> list[str]:
    """Names that no pattern of `--leave-out` leaves out."""
    if not patterns:
        return list(found.names)
    kept = []
    for name in found.names:
        if matches(name, patterns):
            left_out.add(name, "left out by --leave-out")
        else:
            kept.append(name)
    return kept


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name, or that of a folder on the way to it, is one of some patterns."""
    return any(
        fnmatchcase(part, pattern.strip("/")) for pattern in patterns for part in (name, *name.split("/"))
    ) or any(name.startswith(f"{pattern.strip('/')}/") for pattern in patterns)


def without_copies(found: Found, names: list[str], left_out: LeftOut) -> list[str]:
    """Leave out archives whose content lies unpacked beside them."""
    copies = set()
    for archive in found.archives():
        folder = archive.rpartition("/")[0]
        stem = archive.rpartition("/")[2].partition(".")[0]
        inside = [name[len(archive) + 1 :] for name in found.names if name.startswith(f"{archive}/")]
        for place in (folder, f"{folder}/{stem}".lstrip("/")):
            if inside and all(f"{place}/{name}".lstrip("/") in found.names for name in inside):
                copies.add(archive)
    if not copies:
        return names
    kept = []
    for name in names:
        if any(name.startswith(f"{archive}/") for archive in copies):
            left_out.add(name, "in an archive whose content lies unpacked beside it")
        else:
            kept.append(name)
    return kept


def images_among(found: Found, names: list[str], left_out: LeftOut) -> list[str]:
    """The names of images, by their endings, or by their first bytes where they have no ending that is known."""
    endings = image_endings()
    kinds = {name: extension(name) for name in names}
    unknown = {name for name, kind in kinds.items() if kind not in endings and kind not in _KNOWN_TO_BE_NONE}
    by_content = set()
    for name, source in found.sources(unknown) if unknown else ():
        with source.open() as stream:
            if is_image(stream.read(_HEAD)):
                by_content.add(name)
    for name, kind in kinds.items():
        if kind in _PACKED and name not in by_content:
            left_out.add(name, "packed in a way that is not read here; unpack it")
        elif kind not in endings and name not in by_content:
            left_out.add(name, "no image that Pillow reads")
    return [name for name, kind in kinds.items() if kind in endings or name in by_content]
