"""The spread of re-runs: the same sums in another order, nothing else; what is printed is their spread."""

import math

import numpy as np
import pytest
import torch

from benchmarks.speed import rerun
from benchmarks.speed.rerun import Reordered, RerunSpread, measure_rerun_spread
from fewshot.data.episodes import EpisodeSampler
from fewshot.data.store import writing
from fewshot.errors import InputError


def test_only_the_order_of_queries_changes(tiny):
    sampler = EpisodeSampler(tiny["train"], way=3, shot=2, query=5, seed=0)
    for index in range(4):
        plain, other = sampler[index], Reordered(sampler, 1)[index]
        assert torch.equal(plain.support_x, other.support_x)
        assert not np.array_equal(plain.query_index, other.query_index)
        before, after = np.argsort(plain.query_index), np.argsort(other.query_index)
        assert np.array_equal(plain.query_index[before], other.query_index[after])
        assert torch.equal(plain.query_x[before], other.query_x[after])
        assert torch.equal(plain.query_y[before], other.query_y[after])
        assert other.query_x.is_contiguous(memory_format=torch.channels_last)


def test_an_order_is_always_the_same_and_the_first_is_the_drawn_one(tiny):
    sampler = EpisodeSampler(tiny["train"], way=3, shot=1, query=5, seed=0)
    indices = [Reordered(sampler, order)[7].query_index.tolist() for order in (0, 1, 1, 2)]
    assert indices[0] == sampler[7].query_index.tolist()
    assert indices[1] == indices[2] != indices[3]


def test_the_spread_by_hand(monkeypatch):
    """70, 72, 74 with one thread, 71, 71, 71 with two."""
    found = {(1, 0): 70.0, (1, 1): 72.0, (1, 2): 74.0, (2, 0): 71.0, (2, 1): 71.0, (2, 2): 71.0}
    monkeypatch.setattr(rerun, "_accuracy", lambda command, threads, order: found[threads, order])
    lines = measure_rerun_spread(RerunSpread(orders=3)).to_dict("records")
    assert [line["re-runs with"] for line in lines] == ["1 thread", "2 threads", "all"]
    assert [line["re-runs"] for line in lines] == [3, 3, 6]
    assert [line["standard deviation"] for line in lines] == pytest.approx([2, 0, math.sqrt(9.5 / 5)])
    assert [line["largest difference"] for line in lines] == [4, 0, 4]


def test_re_runs_leave_threads_and_folders_as_they_were(tmp_path):
    with writing(tmp_path / "tiny.h5", "tiny", [], "none") as writer:
        for split in ("train", "val", "test"):
            writer.add_split(split, {f"{split}-{c}": 8 for c in range(4)}, (16, 16, 1))
            images = np.random.Generator(np.random.Philox(0)).integers(0, 256, (32, 16, 16, 1), dtype=np.uint8)
            writer.write(split, 0, images, [f"{split}/{i}.png" for i in range(32)])
    before = torch.get_num_threads()
    options = f"--dataset tiny --data {tmp_path} --preset quick --way 3 --query 3 --learner.inner-epochs 1".split()
    command = RerunSpread(orders=2, threads=(1,), episodes=4, test_episodes=3, options=tuple(options))
    (line,) = measure_rerun_spread(command).to_dict("records")
    assert 0 <= line["mean accuracy (%)"] <= 100
    assert torch.get_num_threads() == before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.h5"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"orders": 0}, "orders is 0"),
        ({"episodes": 1}, "episodes is 1"),
        ({"threads": (0,)}, "at least 1"),
        ({"orders": 1, "threads": (2,)}, "two re-runs"),
    ],
)
def test_options_are_checked_before_work(options, said):
    with pytest.raises(InputError, match=said):
        RerunSpread(**options)
