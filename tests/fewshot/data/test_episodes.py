"""Episodes: provenance, independence of order and process, uniformity, refusals."""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import pickle
import random
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fewshot.data.episodes import Episode, EpisodeSampler
from fewshot.data.store import Dataset, Split
from fewshot.errors import InputError


def split_of(sizes: list[int]) -> Split:
    """An index without a file: enough to draw indices."""
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    names = [f"class {c}" for c in range(len(sizes))]
    return Split(Path("nowhere.h5"), "train", (int(offsets[-1]), 1, 1, 1), 0, offsets, names, (0, 0))


def digest(sampler: EpisodeSampler, index: int) -> str:
    episode = sampler[index]
    parts = (episode.support_x, episode.query_x, episode.support_y, episode.query_y)
    return hashlib.sha256(b"".join(part.contiguous().numpy().tobytes() for part in parts)).hexdigest()


def assert_equal(one: Episode, other: Episode) -> None:
    for name, value in vars(one).items():
        assert np.array_equal(value, getattr(other, name)), name


def test_shapes_types_and_memory_order(tiny: Dataset) -> None:
    episode = EpisodeSampler(tiny["train"], way=5, shot=3, query=7, seed=0)[0]
    assert episode.support_x.shape == (15, 3, 8, 8)
    assert episode.query_x.shape == (35, 3, 8, 8)
    for images in (episode.support_x, episode.query_x):
        assert images.dtype == torch.uint8
        assert images.is_contiguous(memory_format=torch.channels_last)
    assert episode.support_y.tolist() == [0, 1, 2, 3, 4] * 3
    assert episode.query_y.tolist() == [0, 1, 2, 3, 4] * 7
    assert episode.support_y.dtype == episode.query_y.dtype == torch.int64


def test_images_and_labels_are_those_of_the_rows(tiny: Dataset) -> None:
    split = tiny["test"]
    sampler = EpisodeSampler(split, way=4, shot=2, query=6, seed=3)
    for index in range(20):
        episode = sampler[index]
        for images, labels, rows in (
            (episode.support_x, episode.support_y, episode.support_index),
            (episode.query_x, episode.query_y, episode.query_index),
        ):
            assert np.array_equal(images.permute(0, 2, 3, 1), split.images[rows])
            owners = np.searchsorted(split.class_offsets, rows, side="right") - 1
            assert np.array_equal(owners, episode.classes[labels])


@given(
    sizes=st.lists(st.integers(2, 40), min_size=2, max_size=12),
    seed=st.integers(0, 2**64 - 1),
    index=st.integers(0, 2**64 - 1),
    data=st.data(),
)
def test_no_image_and_no_class_is_drawn_twice(sizes: list[int], seed: int, index: int, data: st.DataObject) -> None:
    way = data.draw(st.integers(2, len(sizes)))
    shot = data.draw(st.integers(1, min(sizes) - 1))
    query = data.draw(st.integers(1, min(sizes) - shot))
    split = split_of(sizes)
    classes, rows = EpisodeSampler(split, way, shot, query, seed).indices(index)
    assert rows.shape == (way, shot + query)
    assert len(set(classes)) == way
    assert len(set(rows.ravel())) == rows.size
    assert (rows >= split.class_offsets[classes, None]).all()
    assert (rows < split.class_offsets[classes + 1, None]).all()


def test_order_of_access_does_not_matter(tiny: Dataset) -> None:
    sampler = EpisodeSampler(tiny["train"], 5, 1, 5, seed=1)
    forward = [sampler[i] for i in range(6)]
    again = EpisodeSampler(tiny["train"], 5, 1, 5, seed=1)
    for index in (3, 0, 5, 3, 1, 2, 4):
        assert_equal(again[index], forward[index])


def test_other_processes_draw_the_same_episodes(tiny: Dataset) -> None:
    sampler = EpisodeSampler(tiny["train"], 5, 1, 5, seed=1)
    expected = [digest(sampler, i) for i in range(4)]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(digest, itertools.repeat(sampler), range(4))) == expected


def test_pickle_is_small_and_draws_the_same(tiny: Dataset) -> None:
    sampler = EpisodeSampler(tiny["train"], 5, 1, 5, seed=1)
    expected = sampler[2]
    pickled = pickle.dumps(sampler)
    assert len(pickled) < tiny["train"].images.nbytes / 10
    assert_equal(pickle.loads(pickled)[2], expected)


def test_seed_and_index_both_decide() -> None:
    split = split_of([40] * 10)
    rows = {
        EpisodeSampler(split, 5, 1, 5, seed).indices(index)[1].tobytes()
        for seed in (0, 1, 2, 2**64 - 1)
        for index in (0, 1, 2, 2**64 - 1)
    }
    assert len(rows) == 16


def test_smaller_episodes_are_prefixes_of_larger_ones() -> None:
    split = split_of([40] * 10)
    large_classes, large = EpisodeSampler(split, 8, 10, 15, seed=4).indices(6)
    classes, rows = EpisodeSampler(split, 5, 1, 15, seed=4).indices(6)
    assert np.array_equal(classes, large_classes[:5])
    assert np.array_equal(rows, large[:5, :16])


def test_global_random_state_does_not_move(tiny: Dataset) -> None:
    before = random.getstate(), pickle.dumps(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
    sampler = EpisodeSampler(tiny["train"], 5, 1, 5, seed=1)
    expected = sampler[0]
    random.seed(1)
    torch.manual_seed(1)
    assert_equal(sampler[0], expected)
    random.setstate(before[0])
    torch.set_rng_state(before[2])
    sampler[1]
    after = random.getstate(), pickle.dumps(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
    assert after[:2] == before[:2]
    assert torch.equal(after[2], before[2])


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """6 000 3-way episodes from classes of 8, 6, 10, 8 and 7 images: classes [6000, 3], members [6000, 3, 5]."""
    split = split_of([8, 6, 10, 8, 7])
    sampler = EpisodeSampler(split, way=3, shot=2, query=3, seed=11)
    classes, rows = map(np.array, zip(*(sampler.indices(i) for i in range(6000)), strict=True))
    return classes, rows - split.class_offsets[classes][:, :, None]


def uniform(values: np.ndarray, kinds: int) -> bool:
    return stats.chisquare(np.bincount(values.ravel(), minlength=kinds)).pvalue > 1e-3


def test_classes_are_uniform_at_every_label_and_in_pairs(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    classes, _ = drawn
    for label in range(3):
        assert uniform(classes[:, label], 5)
    pairs = {pair: n for n, pair in enumerate(itertools.permutations(range(5), 2))}
    assert uniform(np.array([pairs[first, second] for first, second, _ in classes.tolist()]), len(pairs))


def test_images_are_uniform_at_every_position_and_in_pairs(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    classes, members = drawn
    for which, size in enumerate([8, 6, 10, 8, 7]):
        chosen = members[classes == which]
        for position in range(5):
            assert uniform(chosen[:, position], size)
        support_and_query = chosen[:, 0] * size + chosen[:, 4]
        off_diagonal = np.bincount(support_and_query, minlength=size * size).reshape(size, size)[
            ~np.eye(size, dtype=bool)
        ]
        assert stats.chisquare(off_diagonal).pvalue > 1e-3


def test_neighbouring_episodes_are_independent(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    classes, _ = drawn
    table = np.zeros((5, 5))
    np.add.at(table, (classes[:-1, 0], classes[1:, 0]), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"way": 9}, "way 9: split 'train' has only 8 classes; choose at most that many"),
        ({"way": 1}, "way 1 is out of range"),
        ({"shot": 0}, "shot 0 is out of range"),
        ({"query": 0}, "query 0 is out of range"),
        ({"shot": 10, "query": 12}, "need 22 images a class, but class 'train-7' of split 'train' has 21; lower shot"),
        ({"shot": 1.5}, "shot 1.5 is not a whole number"),
        ({"seed": -1}, "seed -1 is out of range"),
        ({"seed": 2**64}, f"seed {2**64} is out of range"),
    ],
)
def test_sizes_are_checked_at_construction(tiny: Dataset, sizes: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        EpisodeSampler(tiny["train"], **{"way": 5, "shot": 1, "query": 5, "seed": 0, **sizes})


@pytest.mark.parametrize("index", [-1, 2**64, 0.5])
def test_indices_out_of_range_are_refused(tiny: Dataset, index: int) -> None:
    with pytest.raises(InputError, match="episode index"):
        EpisodeSampler(tiny["train"], 5, 1, 5)[index]


def test_classes_too_large_for_the_draw_are_refused() -> None:
    with pytest.raises(InputError, match="a class of 1048576 images; at most 1048575"):
        EpisodeSampler(split_of([2**20, 40]), 2, 1, 5)


def test_whole_classes_can_be_used(tiny: Dataset) -> None:
    """20 of 20 images, 6 of 6 classes: the draw is a permutation."""
    classes, rows = EpisodeSampler(tiny["test"], way=6, shot=5, query=15, seed=0).indices(0)
    assert sorted(classes) == list(range(6))
    smallest = rows[list(classes).index(0)]
    assert sorted(smallest) == list(range(20))


def test_moving_keeps_provenance(tiny: Dataset) -> None:
    episode = EpisodeSampler(tiny["train"], 5, 1, 5)[0]
    moved = episode.to("meta")
    assert {moved.support_x.device.type, moved.query_y.device.type} == {"meta"}
    assert moved.classes is episode.classes


def test_grayscale_images(write_tiny_file, tmp_path: Path) -> None:
    gray = Dataset.open(write_tiny_file(tmp_path / "gray.h5", channels=1))
    assert EpisodeSampler(gray["train"], 5, 1, 5)[0].support_x.shape == (5, 1, 8, 8)
