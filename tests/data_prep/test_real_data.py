"""Real archives through their commands, as a user runs them."""

import pytest
from miniature import SHARED_DATA

from data_prep import cifar10, mnist, omniglot, verify
from fewshot.data.catalog import open_dataset
from fewshot.data.episodes import EpisodeSampler


def real(name):
    if not (SHARED_DATA / name).exists():
        pytest.skip(f"the real {name} is not on this machine")
    return str(SHARED_DATA / name)


def prepared(module, name, source, folder):
    module.main(["--from", source, "--out", str(folder), "--quiet"])
    verify.main([name, "--out", str(folder)])
    return open_dataset(name, folder)


def test_omniglot(tmp_path):
    dataset = prepared(omniglot, "omniglot", real("omniglot"), tmp_path)
    classes = {name: len(split.class_names) for name, split in dataset.splits.items()}
    assert classes == {"train": 161, "val": 39, "test": 42}
    assert all(set(split.class_sizes.tolist()) == {20} for split in dataset.splits.values())
    alphabets = {name: {c.partition("/")[0] for c in split.class_names} for name, split in dataset.splits.items()}
    assert alphabets["val"] == {"Early_Aramaic", "Tagalog"}
    assert alphabets["test"] == {"Sanskrit"}
    assert len(alphabets["train"]) == 5
    for split in dataset.splits.values():
        images = EpisodeSampler(split, 5, 5, 15, seed=0)[0]
        assert images.query_x.shape == (75, 1, 28, 28)
        strokes = (split.images > 127).mean()
        assert 0.02 < strokes < 0.2


def test_mnist(tmp_path):
    dataset = prepared(mnist, "mnist", real("mnist"), tmp_path)
    sizes = dataset["train"].class_sizes.tolist()
    assert sizes == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert dataset["train"].images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert dataset["train"].images.std() / 255 == pytest.approx(0.3081, abs=5e-5)
    assert dataset.fingerprint == "12d9ac393cf3647fcc19594bfe53ec02e4e531352d14fba91e6ef1c7e336f623"


@pytest.mark.slow
def test_cifar10(tmp_path, capsys):
    dataset = prepared(cifar10, "cifar10", real("cifar10_jpeg.zip"), tmp_path)
    assert "JPEG" in capsys.readouterr().out
    means = dataset["train"].images.mean(axis=(0, 1, 2)) / 255
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=2e-3)
