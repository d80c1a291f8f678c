"""The user's own split is kept, or refused with the ways out; it is never replaced."""

import os

import pytest
from miniature import tar_bytes, write_files, write_zip
from own import CLASSES, SPLIT_CLASSES, all_classes, classes, folder_of, images, prepare, split_tree

from fewshot.errors import InputError

NAMES = [
    ("train", "val", "test"),
    ("training", "validation", "testing"),
    ("Train", "Valid", "Test"),
    ("base", "val", "novel"),
    ("meta-train", "meta-val", "meta-test"),
    ("meta_training", "meta_validation", "meta_testing"),
    ("TRAIN", "DEV", "EVAL"),
    ("train2017", "val2017", "test2017"),
    ("birds_train", "birds_val", "birds_test"),
    ("train-images", "val-images", "test-images"),
]


def named(names):
    return dict(zip(CLASSES, names, strict=True))


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[0])
@pytest.mark.parametrize("around", ["", "mine/", "mine/images/"])
def test_the_usual_names_of_splits_are_kept(names, around, tmp_path, capsys):
    tree = split_tree(named(names))
    folder = folder_of(tmp_path, {f"{around}{name}": data for name, data in tree.items()})
    assert classes(prepare(folder, tmp_path)) == SPLIT_CLASSES
    assert f"split by the folders {around}{names[0]}, " in capsys.readouterr().out


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("ending", ["zip", "tar"])
@pytest.mark.parametrize("prefix", ["", "cub_"])
def test_an_archive_for_each_split(ending, wrapped, prefix, tmp_path):
    for split in CLASSES:
        tree = {n.partition("/")[2]: d for n, d in split_tree().items() if n.startswith(f"{split}/")}
        files = {f"{split}/{name}" if wrapped else name: data for name, data in tree.items()}
        path = tmp_path / "from" / f"{prefix}{split}.{ending}"
        write_zip(path, files) if ending == "zip" else write_files(path.parent, {path.name: tar_bytes(files)})
    assert classes(prepare(tmp_path / "from", tmp_path)) == SPLIT_CLASSES


def test_splits_of_links_into_a_pool(tmp_path, capsys):
    tree = split_tree()
    folder = folder_of(tmp_path, {f"pool/{name.partition('/')[2]}": data for name, data in tree.items()})
    for split, names in SPLIT_CLASSES.items():
        (folder / split).mkdir()
        for name in names:
            (folder / split / name).symlink_to(f"../pool/{name}")
    assert classes(prepare(folder, tmp_path)) == SPLIT_CLASSES
    assert "left out: 24 .png files: beside the split folders (pool/" in capsys.readouterr().out


def test_splits_of_links_to_single_images(tmp_path):
    tree = split_tree()
    folder = folder_of(tmp_path, {f"pool/{name.replace('/', '_')}": data for name, data in tree.items()})
    for name in tree:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(folder / "pool" / name.replace("/", "_"))
    assert classes(prepare(folder, tmp_path)) == SPLIT_CLASSES


def test_one_class_in_two_splits_by_links_is_refused(tmp_path):
    folder = folder_of(tmp_path, split_tree())
    (folder / "train" / "alias").symlink_to("../test/te_a")
    with pytest.raises(InputError, match="are one file, by links"):
        prepare(folder, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: {n: d for n, d in tree.items() if not n.startswith("val")}, r"no images in val/CLASS.*--divide"),
        (lambda tree: tree | images(["train2/x"]), r"train2 .* looks like a split.*--leave-out 'train2'"),
        (lambda tree: tree | images(["test_unlabelled/x"]), r"test_unlabelled .* looks like a split"),
        (lambda tree: tree | images(["training/x"]), r"train and training .* both names of the train split"),
        (lambda tree: tree | images(["test/tr_a"]), r"class tr_a is in train and in test.*--divide"),
        (lambda tree: {f"a/{n}": d for n, d in tree.items()} | {f"b/{n}": d for n, d in tree.items()}, "--leave-out"),
        (lambda tree: images(f"{c}/{s}" for c in ("cat", "dog", "cow") for s in CLASSES), r"in 3 classes.*--divide"),
        (
            lambda tree: {f"{n.replace('train/', 'train_v2/')}": d for n, d in tree.items()},
            "looks like a split|train/CLASS",
        ),
        (lambda tree: {n: d for n, d in tree.items() if n.startswith("train")}, "no images in val/CLASS"),
    ],
)
def test_folders_that_look_like_splits_and_do_not_fit_are_refused(change, message, tmp_path):
    folder = folder_of(tmp_path, change(split_tree()))
    with pytest.raises(InputError, match=message):
        prepare(folder, tmp_path)
    assert not list(tmp_path.glob("*.h5"))


def test_leaving_out_is_a_way_out(tmp_path, capsys):
    folder = folder_of(tmp_path, split_tree() | images(["train2/x", "train/old"]))
    dataset = prepare(folder, tmp_path, "--leave-out", "train2", "--leave-out", "ol*")
    assert classes(dataset) == SPLIT_CLASSES
    assert "left out: 6 .png files: left out by --leave-out" in capsys.readouterr().out


def test_dividing_anew_is_a_way_out(tmp_path):
    folder = folder_of(tmp_path, images(f"{s}/{c}" for s in ("train", "test") for c in "abcdefgh"))
    with pytest.raises(InputError, match="--divide"):
        prepare(folder, tmp_path)
    dataset = prepare(folder, tmp_path, "--divide")
    assert all_classes(dataset) == dict.fromkeys("abcdefgh", 6)


def test_splits_inside_the_classes_are_put_together(tmp_path):
    folder = folder_of(tmp_path, images(f"{c}/{s}" for s in ("train", "test") for c in "abcdefgh"))
    assert all_classes(prepare(folder, tmp_path, "--divide")) == dict.fromkeys("abcdefgh", 6)


def test_a_class_of_trains_is_no_split(tmp_path):
    folder = folder_of(tmp_path, images(["bus", "car", "train", "plane", "ship", "bike"]))
    assert set(all_classes(prepare(folder, tmp_path))) == {"bus", "car", "train", "plane", "ship", "bike"}


def test_an_archive_beside_its_own_content_counts_once(tmp_path, capsys):
    folder = folder_of(tmp_path, {f"birds/{name}": data for name, data in split_tree().items()})
    write_zip(folder / "birds.zip", {f"birds/{n}": d for n, d in split_tree().items()})
    assert classes(prepare(folder, tmp_path)) == SPLIT_CLASSES
    assert "24 .png files: in an archive whose content lies unpacked beside it" in capsys.readouterr().out


def test_a_folder_whose_name_is_no_utf8_is_read_under_a_printable_name(tmp_path):
    folder = folder_of(tmp_path, split_tree())
    odd = os.fsencode(folder / "train") + b"/caf\xe9"
    os.mkdir(odd)
    for name, data in images(["x"]).items():
        with open(odd + b"/" + os.fsencode(name[2:]), "wb") as file:
            file.write(data)
    dataset = prepare(folder, tmp_path)
    assert classes(dataset)["train"] == {*SPLIT_CLASSES["train"], "caf\\xe9"}
    assert dataset.sources["form"].isprintable()
