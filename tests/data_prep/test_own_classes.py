"""No two classes become one, and no class becomes two, without the user's word."""

import pytest
from miniature import encoded, pictures, write_zip
from own import SPLIT_CLASSES, all_classes, classes, folder_of, images, prepare, split_tree

from fewshot.errors import InputError

ALPHABETS = ("greek", "latin", "hebrew", "tifinagh")
CHARACTERS = [f"character{number:02d}" for number in range(1, 4)]
NAMES = [f"{one}{other}" for one in "abc" for other in "xyz"]


@pytest.mark.parametrize("around", ["", "images_background/", "a.zip/images/"])
def test_equal_names_under_several_folders_are_different_classes(around, tmp_path, capsys):
    files = images(f"{alphabet}/{character}" for alphabet in ALPHABETS for character in CHARACTERS)
    if around.startswith("a.zip"):
        write_zip(tmp_path / "from" / "a.zip", {f"images/{name}": data for name, data in files.items()})
    else:
        folder_of(tmp_path, {f"{around}{name}": data for name, data in files.items()})
    dataset = prepare(tmp_path / "from", tmp_path)
    assert all_classes(dataset) == {f"{a}/{c}": 3 for a in ALPHABETS for c in CHARACTERS}
    told = capsys.readouterr().out
    assert "each is named with its own" in told
    assert "divided at random, seed 0" in told
    assert dataset.sources["rules"][-1] == "divided at random, seed 0"


def test_equal_names_below_split_folders_too(tmp_path):
    files = images(f"{s}/{s}_{a}/{c}" for s in ("train", "val", "test") for a in "pq" for c in CHARACTERS)
    assert classes(prepare(folder_of(tmp_path, files), tmp_path))["val"] == {
        f"val_{a}/{c}" for a in "pq" for c in CHARACTERS
    }


def test_names_that_differ_need_no_parents(tmp_path):
    files = images(f"{group}/{name}" for group, names in (("pets", NAMES[:4]), ("birds", NAMES[4:])) for name in names)
    assert set(all_classes(prepare(folder_of(tmp_path, files), tmp_path))) == set(NAMES)


@pytest.mark.parametrize(
    "inside",
    [
        ("session0", "session1"),
        ("2021-03-04", "2021-03-05_b"),
        ("cam_1", "cam_2"),
        ("front", "back"),
        ("images",),
        ("video_1/frames", "video_2/frames"),
        ("day1/cam0", "day1/cam1", "day2/cam0"),
    ],
)
@pytest.mark.parametrize("split", [False, True])
def test_parts_of_a_class_belong_to_it(inside, split, tmp_path, capsys):
    if split:
        files = {}
        for part in inside:
            files |= split_tree(inner=f"/{part}")
        assert classes(prepare(folder_of(tmp_path, files), tmp_path)) == SPLIT_CLASSES
    else:
        files = images(f"{name}/{part}" for name in NAMES for part in inside)
        assert all_classes(prepare(folder_of(tmp_path, files), tmp_path)) == dict.fromkeys(NAMES, 3 * len(inside))
    assert "subfolders belong to the class around them" in capsys.readouterr().out


@pytest.mark.parametrize("inside", [("0", "1"), ("x1", "x2"), ("session0", "other")])
def test_names_that_tell_nothing_are_refused_with_the_ways_out(inside, tmp_path):
    folder = folder_of(tmp_path, images(f"{name}/{part}" for name in NAMES for part in inside))
    with pytest.raises(InputError, match=r"--class-folder first .* last .* name "):
        prepare(folder, tmp_path)
    first = prepare(folder, tmp_path, "--class-folder", "first")
    assert all_classes(first) == dict.fromkeys(NAMES, 6)
    last = prepare(folder, tmp_path, "--class-folder", "last", "--force")
    assert all_classes(last) == {f"{name}/{part}": 3 for name in NAMES for part in inside}


def test_equal_names_are_one_class_where_the_user_says_so(tmp_path):
    folder = folder_of(tmp_path, images(f"{batch}/{name}" for batch in ("batch1", "batch2") for name in NAMES))
    with pytest.raises(InputError, match="batch1, batch2 look like parts of classes, but lie around them"):
        prepare(folder, tmp_path)
    assert all_classes(prepare(folder, tmp_path, "--class-folder", "name")) == dict.fromkeys(NAMES, 6)


def test_images_beside_folders_of_images_are_refused(tmp_path):
    folder = folder_of(tmp_path, images([*NAMES, "ax/kitten", "ax/adult"]))
    with pytest.raises(InputError, match="ax has images of its own and in adult, kitten"):
        prepare(folder, tmp_path)
    assert all_classes(prepare(folder, tmp_path, "--class-folder", "first"))["ax"] == 9


@pytest.mark.parametrize(
    "masks", ["masks", "Segmentations", "labels", "annotations", "ground_truth", "SegmentationClass"]
)
@pytest.mark.parametrize("photos", ["images", "JPEGImages"])
def test_masks_beside_the_images_are_left_out(masks, photos, tmp_path, capsys):
    files = images(f"{photos}/{name}" for name in NAMES) | images(
        (f"{masks}/{name}" for name in NAMES), ending="bmp", kind="BMP"
    )
    assert all_classes(prepare(folder_of(tmp_path, files), tmp_path)) == dict.fromkeys(NAMES, 3)
    assert "left out: 27 .bmp files: a mask or label beside the images" in capsys.readouterr().out


def test_masks_inside_classes_and_beside_single_images_are_left_out(tmp_path):
    inside = images(f"{name}/{kind}" for name in NAMES for kind in ("images", "masks"))
    assert all_classes(prepare(folder_of(tmp_path, inside), tmp_path)) == dict.fromkeys(NAMES, 3)
    beside = images(NAMES) | {f"{name}/0_mask.png": encoded(pictures(1, 12, 7)[0]) for name in NAMES}
    (tmp_path / "other").mkdir()
    assert all_classes(prepare(folder_of(tmp_path / "other", beside), tmp_path / "other")) == dict.fromkeys(NAMES, 3)


def test_a_class_of_masks_is_a_class(tmp_path):
    folder = folder_of(tmp_path, images([*NAMES, "mask", "label"]))
    assert set(all_classes(prepare(folder, tmp_path))) == {*NAMES, "mask", "label"}


def test_another_tree_of_the_same_classes_is_refused(tmp_path):
    folder = folder_of(tmp_path, images(f"{tree}/{name}" for tree in ("images", "thumbs") for name in NAMES))
    with pytest.raises(InputError, match=r"images and thumbs have folders of the same names; .*--leave-out 'thumbs'"):
        prepare(folder, tmp_path)
    assert all_classes(prepare(folder, tmp_path, "--leave-out", "thumbs")) == dict.fromkeys(NAMES, 3)


def test_small_classes_are_left_out_on_request(tmp_path, capsys):
    folder = folder_of(tmp_path, split_tree() | images(["train/lonely"], each=1) | images(["train/pair"], each=2))
    assert classes(prepare(folder, tmp_path))["train"] == {*SPLIT_CLASSES["train"], "lonely", "pair"}
    dataset = prepare(folder, tmp_path, "--min-images", "3", "--force")
    assert classes(dataset) == SPLIT_CLASSES
    told = capsys.readouterr().out
    assert "2 classes of fewer than 3 images are left out: lonely (1), pair (2)" in told
    assert "left out: 3 .png files: its class has fewer than 3 images" in told
    assert "lonely (1)" in dataset.sources["rules"][-1]
