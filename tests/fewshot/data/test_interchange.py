"""Tasks of learn2learn over a prepared split are distributed like ours."""

import random
import sys
import warnings

import numpy as np
import pytest
import torch
from scipy import stats

from fewshot.data.episodes import EpisodeSampler
from fewshot.data.interchange import meta_dataset, task_dataset
from fewshot.errors import InputError

WAY, SHOT, QUERY, TASKS = 3, 2, 2, 600


@pytest.fixture(autouse=True)
def learn2learn():
    with warnings.catch_warnings(action="ignore"):
        pytest.importorskip("fewshot.vision")
        return pytest.importorskip("learn2learn")


@pytest.fixture(autouse=True)
def seeded():
    state = random.getstate()
    random.seed(1)
    yield
    random.setstate(state)


def rows_of(images, split):
    """The rows of a split that hold these images, which are all different."""
    known = {image.tobytes(): row for row, image in enumerate(split.images)}
    assert len(known) == len(split.images)
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [known[image.tobytes()] for image in pixels]


def test_a_meta_dataset_knows_every_image_and_its_class(tiny):
    split = tiny["val"]
    images = meta_dataset(split)
    assert len(images) == 120
    assert images.labels_to_indices[1] == list(range(24, 48))
    for row in (0, 23, 24, 119):
        image, label = images[row]
        assert label == row // 24 == images.indices_to_labels[row]
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy() * 255, split.images[row])


def test_a_task_has_its_classes_in_blocks_and_no_image_twice(tiny):
    split = tiny["train"]
    for images, labels in task_dataset(split, WAY, SHOT, QUERY, tasks=20):
        assert images.shape == (WAY * (SHOT + QUERY), 3, 8, 8)
        assert images.dtype == torch.float32
        rows = rows_of(images, split)
        assert len(set(rows)) == len(rows)
        classes = (np.searchsorted(split.class_offsets, rows, side="right") - 1).reshape(WAY, -1)
        blocks = labels.reshape(WAY, -1).numpy()
        assert all(len(set(block)) == 1 for block in (*classes, *blocks))
        assert set(blocks[:, 0]) == set(range(WAY))


def test_partition_task_gives_support_and_query(tiny, learn2learn):
    images, labels = task_dataset(tiny["test"], WAY, SHOT, QUERY)[0]
    (support, support_y), (query, query_y) = learn2learn.data.partition_task(images, labels, shots=SHOT)
    assert support.shape[0] == WAY * SHOT
    assert query.shape[0] == WAY * QUERY
    assert torch.bincount(support_y).tolist() == [SHOT] * WAY
    assert torch.bincount(query_y).tolist() == [QUERY] * WAY


def test_tasks_are_distributed_like_episodes(tiny):
    split = tiny["val"]
    by_label, by_image = np.zeros((2, 5, WAY)), np.zeros((2, len(split.images)))
    sampler = EpisodeSampler(split, WAY, SHOT, QUERY, seed=3)
    for index, (images, labels) in enumerate(task_dataset(split, WAY, SHOT, QUERY, tasks=TASKS)):
        classes, rows = sampler.indices(index)
        by_label[0, classes, range(WAY)] += 1
        by_image[0, rows.ravel()] += 1
        rows = np.array(rows_of(images, split)).reshape(WAY, -1)
        by_label[1, rows[:, 0] // 24, labels[:: SHOT + QUERY].numpy()] += 1
        by_image[1, rows.ravel()] += 1
    for counts in (by_label.reshape(2, -1), by_image):
        assert counts[0].sum() == counts[1].sum() >= TASKS * WAY
        assert stats.chi2_contingency(counts).pvalue > 1e-3


def test_pairs_of_classes_are_as_frequent_as_in_episodes(tiny):
    split = tiny["val"]
    counts = np.zeros((2, 5, 5))
    sampler = EpisodeSampler(split, 2, 1, 1, seed=3)
    for index, (images, _) in enumerate(task_dataset(split, 2, 1, 1, tasks=TASKS)):
        counts[0][tuple(sorted(sampler.indices(index)[0]))] += 1
        counts[1][tuple(sorted({row // 24 for row in rows_of(images, split)}))] += 1
    assert stats.chi2_contingency(counts[:, *np.triu_indices(5, 1)]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((6, 1, 1), "has only 5 classes"), ((2, 20, 5), "need 25 images"), ((2, 1, 1, 0), "tasks 0 is out of range")],
)
def test_impossible_tasks_are_refused(sizes, message, tiny):
    with pytest.raises(InputError, match=message):
        task_dataset(tiny["val"], *sizes)


def test_without_learn2learn_the_way_to_get_it_is_told(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "learn2learn", None)
    with pytest.raises(InputError, match="make setup"):
        meta_dataset(tiny["val"])
