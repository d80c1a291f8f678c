"""The packed lists of miniImageNet."""

import numpy as np
import pytest
from miniature import SHARED_DATA

from data_prep.forms.mini_imagenet_lists import chosen_ranks, list_name, main, pack
from fewshot.data.catalog import class_lists, class_table
from fewshot.errors import InputError


def test_600_ranks_are_on_record_for_each_class():
    wnids = [wnid for classes in class_lists("mini_imagenet").values() for wnid in classes]
    assert len(wnids) == 100
    assert all(len(chosen_ranks(wnid)) == 600 for wnid in wnids)
    assert sorted(chosen_ranks("n01532829"))[:2] == [5, 6]


def test_the_packed_lists_are_the_published_ones(tmp_path):
    lists = [SHARED_DATA / "mini_imagenet_splits" / f"{split}.csv" for split in ("train", "val", "test")]
    if not all(path.is_file() for path in lists):
        pytest.skip("the published lists are not on this machine")
    again = np.unpackbits(pack(lists), axis=1)
    for row, wnid in zip(again, class_table("mini_imagenet"), strict=True):
        assert set(np.flatnonzero(row) + 1) == chosen_ranks(wnid)
    first = lists[1].read_text().splitlines()[1].split(",")
    assert first == [list_name(first[1], min(chosen_ranks(first[1]))), first[1]]


def test_lists_are_packed_bit_by_bit(tmp_path):
    for split, line in (("train", "n0153282900000007.jpg,n01532829"), ("val", "n0185567200001300.jpg,n01855672")):
        (tmp_path / f"{split}.csv").write_text(f"filename,label\n{line}\n")
    (tmp_path / "test.csv").write_text("filename,label\n")
    main([*(str(tmp_path / f"{split}.csv") for split in ("train", "val", "test")), "--out", str(tmp_path / "r.npy")])
    bits = np.unpackbits(np.load(tmp_path / "r.npy"), axis=1)
    wnids = list(class_table("mini_imagenet"))
    assert list(zip(*np.nonzero(bits), strict=True)) == [(0, 6), (wnids.index("n01855672"), 1299)]


def test_a_list_of_other_images_is_refused(tmp_path):
    (tmp_path / "train.csv").write_text("filename,label\nn01614925_1001.JPEG,n01614925\n")
    with pytest.raises(InputError, match=r"n01614925_1001\.JPEG"):
        pack([tmp_path / "train.csv"])
