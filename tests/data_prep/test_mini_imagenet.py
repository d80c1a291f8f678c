"""Every form of miniImageNet, small but byte-true, ends as the same pixels in the same rows."""

import itertools
import pickle

import h5py
import numpy as np
import pytest
from miniature import (
    decoded,
    encoded,
    pictures,
    python2_pickle,
    shrink,
    tar_bytes,
    write_files,
    write_zip,
)

from data_prep import mini_imagenet
from data_prep.forms import imagenet_trees
from data_prep.forms.mini_imagenet_lists import chosen_ranks, list_name
from fewshot.data.store import Dataset
from fewshot.errors import InputError

CLASSES = {"train": ("n01532829", "n01558993"), "val": ("n01855672",), "test": ("n01930112",)}
EACH = 8


def jpegs_of(ranks, seed):
    """Whole classes as ILSVRC has them, {WNID: {rank: JPEG}}, with all ranks that are needed."""
    wnids = [wnid for classes in CLASSES.values() for wnid in classes]
    return {
        wnid: {
            rank: encoded(image, "JPEG")
            for rank, image in enumerate(pictures(max(ranks(wnid)) + 3, seed=seed + number), start=1)
        }
        for number, wnid in enumerate(wnids)
    }


@pytest.fixture(scope="module")
def few_ranks():
    return {wnid: frozenset(sorted(chosen_ranks(wnid))[:EACH]) for classes in CLASSES.values() for wnid in classes}


@pytest.fixture(scope="module")
def images(few_ranks):
    return jpegs_of(few_ranks.__getitem__, seed=1)


@pytest.fixture(autouse=True)
def small(monkeypatch, few_ranks):
    shrink(monkeypatch, "mini_imagenet", {split: dict.fromkeys(wnids, EACH) for split, wnids in CLASSES.items()})
    monkeypatch.setattr(imagenet_trees, "chosen_ranks", few_ranks.__getitem__)


@pytest.fixture(scope="module")
def pixels(images, few_ranks):
    """The chosen images of each class, uint8 [EACH, 84, 84, 3], in the order of their ranks."""
    return {
        wnid: np.stack([decoded(files[rank]) for rank in sorted(few_ranks[wnid])]) for wnid, files in images.items()
    }


def cache(split, pixels, strings=str):
    """Ren et al.'s dictionary, with the images of the classes alternating."""
    wnids = CLASSES[split]
    mixed = np.stack([pixels[wnid][row] for row in range(EACH) for wnid in wnids])
    rows = {strings(wnid): list(range(number, len(mixed), len(wnids))) for number, wnid in enumerate(wnids)}
    return {strings("image_data"): mixed, strings("class_dict"): rows}


def write_cache(folder, pixels, images, ranks):
    names = {"train": "train", "val": "validation", "test": "test"}
    files = {f"mini-imagenet-cache-{names[s]}.pkl": pickle.dumps(cache(s, pixels), protocol=4) for s in CLASSES}
    return write_files(folder, files)


def write_python2_cache(folder, pixels, images, ranks):
    files = {f"mini-imagenet/mini-imagenet-cache-{s}.pkl": python2_pickle(cache(s, pixels)) for s in CLASSES}
    return write_files(folder, {"mini-imagenet.tar.gz": tar_bytes(files, "w:gz")}) / "mini-imagenet.tar.gz"


def write_bytes_cache(folder, pixels, images, ranks):
    def as_bytes(text):
        return text.encode()

    files = {f"mini-imagenet-cache-{s}.pkl": pickle.dumps(cache(s, pixels, as_bytes), protocol=2) for s in CLASSES}
    return write_files(folder, files)


def category(split, pixels, first):
    wnids = CLASSES[split]
    return {
        "data": np.concatenate([pixels[wnid] for wnid in wnids]),
        "labels": [first + number for number in range(len(wnids)) for _ in range(EACH)],
        "catname2label": {wnid: first + number for number, wnid in enumerate(wnids)},
    }


def write_category(folder, pixels, images, ranks):
    names = {"train": ("train_phase_train", 0), "val": ("val", 64), "test": ("test", 80)}
    files = {
        f"miniImageNet_category_split_{name}.pickle": python2_pickle(category(split, pixels, first))
        for split, (name, first) in names.items()
    }
    more = pickle.dumps({"data": pictures(3), "labels": [0, 1, 1]}, protocol=2)
    extra = {f"miniImageNet_category_split_train_phase_{part}.pickle": more for part in ("val", "test")}
    return write_files(folder, files | extra)


def write_torchmeta(folder, pixels, images, ranks):
    folder.mkdir()
    for split, wnids in CLASSES.items():
        with h5py.File(folder / f"{split}_data.hdf5", "w") as file:
            for wnid in wnids:
                file.create_group("datasets") if "datasets" not in file else None
                file["datasets"].create_dataset(wnid, data=pixels[wnid])
    return folder


def in_class_folders(images, ranks):
    return {
        f"{split}/{wnid}/{list_name(wnid, rank)}": images[wnid][rank]
        for split, wnids in CLASSES.items()
        for wnid in wnids
        for rank in ranks[wnid]
    }


def write_class_folders(folder, pixels, images, ranks):
    return write_files(folder, in_class_folders(images, ranks) | {"train/.DS_Store": b"x", "readme.txt": b"hi"})


def write_class_zip(folder, pixels, images, ranks):
    files = {f"Mini-ImageNet/{name}": data for name, data in in_class_folders(images, ranks).items()}
    return write_zip(folder / "Mini-ImageNet.zip", files | {"__MACOSX/Mini-ImageNet/._train": b"x"})


def write_split_archives(folder, pixels, images, ranks):
    names = {"train": "base", "val": "Validation", "test": "novel"}
    for split, wnids in CLASSES.items():
        files = {f"{wnid}/{rank}.JPEG": images[wnid][rank] for wnid in wnids for rank in ranks[wnid]}
        write_zip(folder / f"{names[split]}.zip", files)
    return folder


def write_flat_with_other_endings(folder, pixels, images, ranks):
    endings = itertools.cycle((".JPG", ".jpeg", ".JPEG"))
    names = [(w, rank, list_name(w, rank).replace(".jpg", next(endings))) for w in images for rank in ranks[w]]
    lists = {
        f"{split}.csv": "\r\n".join(["\ufefffilename;label", *(f"{n};{w}" for w, _, n in names if w in wnids)]).encode()
        for split, wnids in CLASSES.items()
    }
    return write_files(folder, {f"images/{name}": images[w][rank] for w, rank, name in names} | lists)


def write_flat(folder, pixels, images, ranks):
    files = {f"images/{list_name(w, rank)}": images[w][rank] for w in images for rank in ranks[w]}
    lines = [f"{list_name(w, rank)},{w}" for w in CLASSES["train"] for rank in sorted(ranks[w])]
    write_files(folder, {"train.csv": "\n".join(["filename,label", *lines]).encode()})
    write_zip(folder / "images.zip", files)
    return folder


def numbered(images, wnid):
    """A class as in ILSVRC: names with file numbers whose order by value is that of the ranks, shuffled."""
    names = {f"{wnid}_{7 * rank + 3}.JPEG": data for rank, data in images[wnid].items()}
    return dict(sorted(names.items()))


def write_ilsvrc_folders(folder, pixels, images, ranks):
    files = {f"train/{wnid}/{name}": data for wnid in images for name, data in numbered(images, wnid).items()}
    return write_files(folder, files | {"val/n01530575/ILSVRC2012_val_00000001.JPEG": b"not read"})


def write_ilsvrc_class_tars(folder, pixels, images, ranks):
    tars = {f"{wnid}.tar": tar_bytes(numbered(images, wnid)) for wnid in images}
    return write_files(folder, tars | {"n01440764.tar": b"another class: never opened"})


def write_ilsvrc_train_tar(folder, pixels, images, ranks):
    tars = {f"{wnid}.tar": tar_bytes(numbered(images, wnid)) for wnid in images}
    everything = {"ILSVRC2012_img_train.tar": tar_bytes(tars | {"n01440764.tar": b"another class"})}
    return write_files(folder, everything) / "ILSVRC2012_img_train.tar"


FORMS = {
    writer.__name__.removeprefix("write_"): writer
    for writer in (
        write_cache,
        write_python2_cache,
        write_bytes_cache,
        write_category,
        write_torchmeta,
        write_class_folders,
        write_class_zip,
        write_split_archives,
        write_flat_with_other_endings,
        write_flat,
        write_ilsvrc_folders,
        write_ilsvrc_class_tars,
        write_ilsvrc_train_tar,
    )
}


def prepare(source, out):
    mini_imagenet.main(["--from", str(source), "--out", str(out), "--quiet"])
    return Dataset.open(out / "mini_imagenet.h5")


@pytest.fixture(scope="module")
def fingerprints():
    return set()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_pixels_and_fingerprint(form, tmp_path, pixels, images, few_ranks, fingerprints):
    dataset = prepare(FORMS[form](tmp_path / "from", pixels, images, few_ranks), tmp_path / "out")
    for split, wnids in CLASSES.items():
        assert [name.split()[0] for name in dataset[split].class_names] == list(wnids)
        np.testing.assert_array_equal(dataset[split].images, np.concatenate([pixels[wnid] for wnid in wnids]))
    fingerprints.add(dataset.fingerprint)
    assert len(fingerprints) == 1
    assert dataset.sources["edition"] == "small"
    assert dataset.sources["identical_images"] == 0


@pytest.mark.parametrize("form", ["cache", "category", "torchmeta"])
def test_a_form_that_lacks_a_split_is_named(form, tmp_path, pixels, images, few_ranks):
    folder = FORMS[form](tmp_path / "from", pixels, images, few_ranks)
    next(file for file in folder.iterdir() if "test" in file.name and "phase" not in file.name).unlink()
    with pytest.raises(InputError, match="no such file for test"):
        prepare(folder, tmp_path / "out")


def test_a_class_with_missing_files_is_not_read_by_rank(tmp_path, pixels, images, few_ranks):
    folder = write_ilsvrc_folders(tmp_path / "from", pixels, images, few_ranks)
    files = sorted((folder / "train" / "n01855672").iterdir())
    for file in files[:5]:
        file.unlink()
    with pytest.raises(InputError, match=rf"class n01855672 has {len(files) - 5} files where ILSVRC2012 has"):
        prepare(folder, tmp_path / "out")


def test_a_missing_class_is_named(tmp_path, pixels, images, few_ranks):
    images = {wnid: files for wnid, files in images.items() if wnid != "n01558993"}
    folder = write_ilsvrc_folders(tmp_path / "from", pixels, images, few_ranks)
    with pytest.raises(InputError, match="the train split lacks class n01558993"):
        prepare(folder, tmp_path / "out")


def test_a_missing_image_is_named(tmp_path, pixels, images, few_ranks):
    folder = write_flat(tmp_path / "from", pixels, images, few_ranks)
    files = {f"images/{list_name(w, rank)}": images[w][rank] for w in images for rank in few_ranks[w]}
    absent = list_name("n01930112", max(few_ranks["n01930112"]))
    del files[f"images/{absent}"]
    write_zip(folder / "images.zip", files)
    with pytest.raises(InputError, match=absent):
        prepare(folder, tmp_path / "out")


def test_lists_of_another_split_are_refused(tmp_path, pixels, images, few_ranks):
    folder = write_flat(tmp_path / "from", pixels, images, few_ranks)
    foreign = min(set(range(1, 9)) - few_ranks["n01532829"])
    (folder / "train.csv").write_text(f"filename,label\n{list_name('n01532829', foreign)},n01532829\n")
    with pytest.raises(InputError, match=rf"train.csv .* lists {list_name('n01532829', foreign)}"):
        prepare(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"filename,label\n%s,n01532829\n", "puts class n01532829 into test"),
        (b"\xef\xbb\xbffilename;label\r\n%s;n01532829\r\n", "puts class n01532829 into test"),
        (b"%s n01532829\n", "puts class n01532829 into test"),
        (b"filename,label\n", "lists no image of miniImageNet"),
        (b"filename,label\ncat.jpg,cat\n", "lists no image of miniImageNet"),
    ],
)
def test_lists_that_move_a_class_to_another_split_are_refused(content, message, tmp_path, pixels, images, few_ranks):
    folder = write_flat(tmp_path / "from", pixels, images, few_ranks)
    listed = list_name("n01532829", min(few_ranks["n01532829"])).encode()
    (folder / "test.csv").write_bytes(content.replace(b"%s", listed))
    with pytest.raises(InputError, match=message):
        prepare(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("image_data"), "no uint8 .* under 'image_data' but keys"),
        (lambda c: c.update(image_data=c["image_data"].astype(float)), "but float64"),
        (lambda c: c.pop("class_dict"), "no dictionary 'class_dict'"),
        (lambda c: c["class_dict"].update(n01532829=[0, 10**9]), "rows beyond its 16 images"),
        (lambda c: c["class_dict"].update(n01532829=["zero"]), "rows of n01532829 .* no list of whole numbers"),
        (lambda c: c["class_dict"].update(n01532829=[0, 1]), "gives image 1 to two classes"),
        (lambda c: c["class_dict"].update(n01532829=[0, 2]), "has 2 images of class n01532829, not 8"),
    ],
)
def test_dictionaries_of_another_content_are_refused(change, message, tmp_path, pixels, images, few_ranks):
    folder = write_cache(tmp_path / "from", pixels, images, few_ranks)
    content = cache("train", pixels)
    change(content)
    (folder / "mini-imagenet-cache-train.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=message):
        prepare(folder, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.h5"))


def test_labels_that_do_not_fit_are_refused(tmp_path, pixels, images, few_ranks):
    folder = write_category(tmp_path / "from", pixels, images, few_ranks)
    content = category("val", pixels, 64)
    content["labels"].pop()
    (folder / "miniImageNet_category_split_val.pickle").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match="7 labels for 8 images"):
        prepare(folder, tmp_path / "out")


@pytest.mark.parametrize("trap", ["soft link", "external link", "external storage", "not HDF5", "wrong type"])
def test_hdf5_files_that_point_elsewhere_are_refused(trap, tmp_path, pixels, images, few_ranks):
    folder = write_torchmeta(tmp_path / "from", pixels, images, few_ranks)
    path = folder / "test_data.hdf5"
    with h5py.File(path, "r+") as file:
        del file["datasets/n01930112"]
        if trap == "soft link":
            file["datasets/n01930112"] = h5py.SoftLink("/nowhere")
        elif trap == "external link":
            file["datasets/n01930112"] = h5py.ExternalLink(str(folder / "val_data.hdf5"), "datasets/n01855672")
        elif trap == "external storage":
            (tmp_path / "secret").write_bytes(bytes(EACH * 84 * 84 * 3))
            shape, where = (EACH, 84, 84, 3), [(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)]
            file["datasets"].create_dataset("n01930112", shape, "u1", external=where)
        elif trap == "wrong type":
            file["datasets"].create_dataset("n01930112", data=np.zeros((EACH, 3)))
    if trap == "not HDF5":
        path.write_bytes(b"<!DOCTYPE html><html>quota exceeded</html>")
    with pytest.raises(InputError, match=r"no array of the file itself|HTML page|not uint8 images"):
        prepare(folder, tmp_path / "out")


def test_a_whole_class_is_read_by_the_published_ranks(tmp_path, monkeypatch):
    monkeypatch.setattr(imagenet_trees, "chosen_ranks", chosen_ranks)
    shrink(monkeypatch, "mini_imagenet", {"train": {"n01532829": 600}})
    files = {
        f"n01532829_{5 * rank}.JPEG": encoded(np.array([[[rank % 256, rank // 256, 0]]], np.uint8))
        for rank in range(1, 1301)
    }
    folder = write_files(tmp_path / "from", {"n01532829.tar": tar_bytes(files)})
    mini_imagenet.main(["--from", str(folder), "--out", str(tmp_path), "--image-size", "1", "--quiet"])
    corner = Dataset.open(tmp_path / "mini_imagenet.h5")["train"].images[:, 0, 0].astype(int)
    assert list(corner[:, 0] + 256 * corner[:, 1]) == sorted(chosen_ranks("n01532829"))
