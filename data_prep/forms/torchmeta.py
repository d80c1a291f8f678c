"""torchmeta's form of miniImageNet: one HDF5 file a split, one array a class."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from pathlib import Path

import h5py
import numpy as np

from data_prep.fetching.found import Found
from data_prep.formats.sources import reading
from data_prep.forms.arrays import per_split, row_of
from data_prep.preparing.plan import Content, Plan
from fewshot.errors import InputError

_LARGEST_CLASS = 1 << 28


def torchmeta_hdf5(found: Found) -> Plan | None:
    """`{train,val,test}_data.hdf5` with a group `datasets` of uint8 arrays [600, 84, 84, 3], one a WNID."""
    files = per_split(found, r"(train|val|test)_data\.hdf5")
    if not files:
        return None
    paths = {split: _on_disk(found, name) for split, name in files.items()}
    layout = {split: _index(path, files[split]) for split, path in paths.items()}

    def read() -> Generator[tuple[str, Content]]:
        for split, path in paths.items():
            with _classes(path) as classes:
                for wnid, images in layout[split].items():
                    pixels = classes[wnid][:]
                    yield from ((image, pixels[row_of(image)]) for image in images)

    return Plan("torchmeta's HDF5 files", layout, frozenset(files.values()), read)


def _on_disk(found: Found, name: str) -> Path:
    path = Path(found.names[name])
    if path.name != name.rpartition("/")[2]:
        raise InputError(f"{name} lies in an archive; unpack {path} first")
    return path


def _index(path: Path, file: str) -> dict[str, list[str]]:
    with _classes(path) as classes:
        return {
            wnid: [f"{file}/{wnid}[{row}]" for row in range(len(pixels))] for wnid, pixels in sorted(classes.items())
        }


@contextlib.contextmanager
def _classes(path: Path) -> Iterator[dict[str, h5py.Dataset]]:
    """The arrays of a file by class, each checked before any of it is read."""
    with reading(path, "hdf5"):
        pass
    try:
        with h5py.File(path, "r", locking=False) as file:
            group = file["datasets"]
            if not isinstance(group, h5py.Group):
                raise InputError(f"{path} has no group of arrays 'datasets'; get the original file")
            yield {str(wnid): _checked(group, str(wnid), path) for wnid in group}
    except InputError:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise InputError(f"{path} is truncated or no file of torchmeta's ({str(error)[:80]}); get it again") from error


def _checked(group: h5py.Group, wnid: str, path: Path) -> h5py.Dataset:
    # A link or an external array could point to any file of this machine.
    here = isinstance(group.get(wnid, getlink=True), h5py.HardLink)
    pixels = group[wnid] if here else None
    if not isinstance(pixels, h5py.Dataset) or pixels.external or pixels.is_virtual:
        raise InputError(f"{wnid} in {path} is no array of the file itself; nothing is read from it: get the original")
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.nbytes > _LARGEST_CLASS:
        raise InputError(f"{wnid} in {path} is {pixels.dtype} {pixels.shape}, not uint8 images; get the original")
    return pixels
