"""Test problems side by side against one after the other: what is timed is what is compared, whichever is faster."""

import pandas as pd
import pytest

from benchmarks.speed import general
from benchmarks.speed.__main__ import main
from benchmarks.speed.general import TESTED, TogetherSpeed, measure_together


class Clock:
    """Seconds that pass where somebody says so, and nowhere else."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def timed(monkeypatch):
    """What `train` is called with; each call takes a second, and a tenth a network more."""
    clock, calls = Clock(), []

    def train(problems, start, steps, at):
        calls.append((len(problems), steps, tuple(at)))
        clock.now += 1.0 + 0.1 * len(problems)

    monkeypatch.setattr(general, "time", clock)
    monkeypatch.setattr(general, "train", train)
    monkeypatch.setattr(general, "TESTED", {"digits_mlp": TESTED["digits_mlp"]})
    return calls


def test_both_ways_train_the_same_problems_for_the_same_steps(timed):
    frame = measure_together(TogetherSpeed(problems=4, optimizers=("sgd",), steps=30, rounds=2))
    one_round = [4, 1, 1, 1, 1]
    assert [size for size, *_ in timed] == 3 * one_round, "a round that is not timed, and two that are"
    assert len({call[1:] for call in timed}) == 1, "the same steps and points of the curve"
    assert timed[0][1] == 30
    (line,) = frame.to_dict("records")
    assert line["side by side (s)"] == pytest.approx(1.4)
    assert line["one by one (s)"] == pytest.approx(4.4)
    assert line["times"] == pytest.approx(4.4 / 1.4)


def test_slower_side_by_side_is_said_too(timed, monkeypatch):
    """Two-sided: where one by one is faster, the ratio is below 1."""
    clock = general.time

    def train(problems, start, steps, at):
        clock.now += 10.0 if len(problems) > 1 else 1.0

    monkeypatch.setattr(general, "train", train)
    (line,) = measure_together(TogetherSpeed(problems=5, optimizers=("adam",), steps=20)).to_dict("records")
    assert line["times"] == pytest.approx(0.5)


def test_the_ratio_is_the_median_of_the_pairs_not_that_of_the_medians(timed, monkeypatch):
    """Pairs 1:2, 10:10, 3:9 (after one that does not count) have ratios 2, 1, 3, of medians 3 and 9."""
    clock, seconds = general.time, iter([5.0, 5.0, 1.0, 2.0, 10.0, 10.0, 3.0, 9.0])

    def train(problems, start, steps, at):
        clock.now += next(seconds)

    monkeypatch.setattr(general, "train", train)
    (line,) = measure_together(TogetherSpeed(problems=1, optimizers=("adam",), steps=20)).to_dict("records")
    assert (line["side by side (s)"], line["one by one (s)"]) == (3.0, 9.0)
    assert line["times"] == pytest.approx(2.0)


def test_it_runs_hand_designed_and_learned_optimizers_on_every_task(capsys):
    main(["together", "--problems", "3", "--steps", "4", "--rounds", "1"])
    table = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table if "mlp" in line]
    assert [row[:3] for row in rows] == [[task, o, "3"] for task in TESTED for o in ("adam", "simple")]
    frame = pd.DataFrame(rows)
    seconds, alone, ratio = (frame[column].astype(float) for column in (3, 4, 5))
    assert (seconds > 0).all()
    assert (alone > 0).all()
    assert ratio.to_numpy() == pytest.approx((alone / seconds).to_numpy(), rel=0.01), "of one round"
