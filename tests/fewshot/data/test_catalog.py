"""What is known about the datasets."""

import importlib

import pytest

from fewshot.data import glyphs
from fewshot.data.catalog import CATALOG, class_label, class_lists, open_dataset, refuse_leak, seen_classes
from fewshot.errors import InputError

WITH_LISTS = [name for name, entry in CATALOG.items() if entry.class_table]


@pytest.mark.parametrize("name", WITH_LISTS)
def test_class_lists_have_the_published_sizes(name):
    published = next(iter(CATALOG[name].editions.values()))
    assert {split: len(classes) for split, classes in class_lists(name).items()} == {
        split: counts.classes for split, counts in published.items()
    }


@pytest.mark.parametrize("name", [name for name in WITH_LISTS if CATALOG[name].track == "few_shot"])
def test_few_shot_splits_share_no_class(name):
    lists = class_lists(name)
    assert len(set().union(*lists.values())) == sum(map(len, lists.values()))


@pytest.mark.parametrize(
    ("backbone", "target", "seen"),
    [
        ("mini_imagenet", "tiered_imagenet", {"val": 6, "test": 13}),
        ("tiered_imagenet", "mini_imagenet", {"val": 9, "test": 5}),
        ("cifar100", "cifar_fs", {"val": 16, "test": 20}),
        ("mini_imagenet", "mini_imagenet", {}),
        ("mini_imagenet", "cifar_fs", {}),
        ("omniglot", "omniglot", {}),
        ("somebodys_own", "mini_imagenet", {}),
    ],
)
def test_classes_that_a_backbone_has_seen_are_counted(backbone, target, seen):
    assert {split: len(classes) for split, classes in seen_classes(backbone, target).items()} == seen


def test_a_leak_is_refused_unless_forced():
    with pytest.raises(InputError, match=r"has seen 13 of the 160 test classes of tiered_imagenet \(n\d+, .*--force"):
        refuse_leak("mini_imagenet", "tiered_imagenet")
    with pytest.raises(InputError, match="has seen 5 of the 20 test classes of mini_imagenet"):
        refuse_leak("tiered_imagenet", "mini_imagenet")
    refuse_leak("mini_imagenet", "tiered_imagenet", force=True)
    refuse_leak("mini_imagenet", "mini_imagenet")
    refuse_leak("cifar_fs", "mini_imagenet")


@pytest.mark.parametrize("name", CATALOG)
def test_every_dataset_has_its_command(name):
    module = CATALOG[name].command.split()[2]
    assert callable(importlib.import_module(module).main)


@pytest.mark.parametrize("entry", CATALOG.values(), ids=CATALOG)
def test_statistics_fit_the_channels(entry):
    if entry.mean is not None:
        assert len(entry.mean) == len(entry.std) == entry.channels
        assert all(0 < number < 1 for number in (*entry.mean, *entry.std))


def test_class_names_are_explained_where_they_are_numbers():
    assert class_label(CATALOG["mini_imagenet"], "n02129165") == "n02129165 lion"
    assert class_label(CATALOG["cifar_fs"], "bee") == "bee"


def test_absent_datasets_name_their_command(tmp_path):
    with pytest.raises(InputError, match=r"prepare it with `python -m data_prep\.cifar_fs --split fc100 --out "):
        open_dataset("fc100", tmp_path)


def test_unknown_datasets_list_what_there_is(tmp_path, write_tiny_file):
    write_tiny_file(tmp_path / "own.h5")
    assert open_dataset("own", tmp_path).name == "tiny"
    with pytest.raises(
        InputError, match=r"unknown dataset 'onw'; known: glyphs, .*; prepared in .*: own; prepare your"
    ):
        open_dataset("onw", tmp_path)


def test_glyphs_are_made_on_first_use_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(glyphs, "RECIPE", glyphs.Recipe(images_per_class=2))
    made, prepare = [], glyphs.prepare
    monkeypatch.setattr(glyphs, "prepare", lambda *arguments: made.append(prepare(*arguments, glyphs.RECIPE)))
    for _ in range(2):
        assert open_dataset("glyphs", tmp_path / "new", quiet=True)["train"].shape[0] == 128
    assert len(made) == 1


def test_glyphs_of_another_recipe_are_refused(tmp_path):
    glyphs.prepare(tmp_path / "glyphs.h5", quiet=True, recipe=glyphs.Recipe(images_per_class=2))
    with pytest.raises(InputError, match=r"data_prep\.glyphs --force"):
        open_dataset("glyphs", tmp_path)
