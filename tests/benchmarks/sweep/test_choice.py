"""Grids, and what is chosen of them, against counts and numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.sweep.choose import select, standard_error
from benchmarks.sweep.grid import Grid, of_equal_size, read_grid
from benchmarks.sweep.halving import Halving, rungs
from benchmarks.sweep.tune import sides_of
from fewshot.errors import InputError


def test_ranges_and_values() -> None:
    grid = read_grid(["penalty.weight=0.1:100:log4", "penalty.radius=0.01,0.1", "core.hidden_size=2:6:lin3,20"])
    assert grid.values == {
        "penalty.weight": ("0.1", "1", "10", "100"),
        "penalty.radius": ("0.01", "0.1"),
        "core.hidden-size": ("2", "4", "6", "20"),
    }
    assert len(grid) == len(grid.settings) == 32
    assert grid.settings[0] == (("penalty.weight", "0.1"), ("penalty.radius", "0.01"), ("core.hidden-size", "2"))
    assert len({*grid.settings}) == 32


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("penalty.weight", "is no option with values"),
        ("=1,2", "is no option with values"),
        ("a=1:2", "'1:2' in a=1:2 is no value"),
        ("a=1,,2", "'' in a=1,,2 is no value"),
        ("a=x:2:log3", "has an end that is no number"),
        ("a=2:1:log3", "the lower first"),
        ("a=0:1:log3", "two positive ends"),
        ("a=0:inf:lin3", "is no range"),
        ("a=1:2:lin1", "two or more values"),
        ("a=1:1.00001:lin9", "too close to be told apart"),
        ("a=1,2,1", "has a value twice"),
    ],
)
def test_what_is_no_grid(word: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        read_grid([word])
    assert message in str(error.value)
    with pytest.raises(InputError, match="twice"):
        read_grid(["a=1", "a=2"])


def test_the_other_side_gets_as_many_settings() -> None:
    alone = of_equal_size(Grid({}), 16, "training.meta-rate", 1e-3)
    values = [float(value) for value in alone.values["training.meta-rate"]]
    assert len(values) == 16
    assert (values[0], values[-1]) == (2.5e-4, 4e-3)
    assert np.ptp(np.diff(np.log(values))) < 0.01
    shared = Grid({"training.meta-rate": ("1e-4", "1e-2"), "training.clamp": ("1", "2")})
    found = of_equal_size(shared, 16, "training.meta-rate", 1e-3)
    assert len(found) == 16
    assert found.values["training.meta-rate"][0] == "0.0001"
    assert found.values["training.meta-rate"][-1] == "0.01"
    assert of_equal_size(shared, 4, "training.meta-rate", 1e-3) is shared


def test_sides() -> None:
    words = ["--task", "quadratic", "--smooth", "--penalty.pgd-steps", "3"]
    smooth, plain = sides_of("optimize", words, read_grid(["penalty.weight=1,2", "training.meta-rate=1e-4,1e-2"]), None)
    assert (smooth.regularizer, plain.regularizer) == ("smooth", "none")
    assert len(smooth.settings) == len(plain.settings) == 4
    assert {name for setting in plain.settings for name, _ in setting} == {"training.meta-rate"}
    assert [config.penalty.weight for config in smooth.configs] == [1.0, 1.0, 2.0, 2.0]
    for side in (smooth, plain):
        for number, setting in enumerate(side.settings):
            parsed = side.track.line.parse(side.words_of(setting)).config
            assert side.configs[number] == parsed, "as its own parser reads it"
            (trial,) = side.trials(number, [7])
            assert side.track.line.parse(trial.words).config == parsed
    assert len(sides_of("optimize", words, read_grid(["penalty.weight=1,2"]), None, plain=False)) == 1
    with pytest.raises(InputError, match="2 settings and --grid 3"):
        sides_of("optimize", words, read_grid(["penalty.weight=1,2,3"]), read_grid(["training.clamp=1,2"]))


@pytest.mark.parametrize(
    ("words", "grid", "message"),
    [
        ("--smooth", "task=quadratic,digits_mlp", "task decides what is compared"),
        ("--smooth", "test.steps=10,20", "test.steps decides what is compared"),
        ("--smooth", "training.horizon=100,200", "training.horizon decides what is compared"),
        ("--smooth", "seeds=1,2", "seeds decides what is compared"),
        ("--smooth", "penalty.wieght=1,2", "--penalty.wieght: no such option"),
        ("--smooth", "penalty.weight=1,x", "--penalty.weight is 'x'; it must be a number"),
        ("--smooth", "penalty.weight=1,-1", "weight is -1"),
        ("--optimizer adam", "training.points=3,5", "nothing of --optimizer adam is meta-trained"),
    ],
)
def test_what_cannot_be_swept(words: str, grid: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        sides_of("optimize", words.split(), read_grid([grid]), None)
    assert message in str(error.value)


def noisy(*means: float, seeds: int = 3, problems: int = 40, apart: float = 0.01) -> list[np.ndarray]:
    """Tables that share what seeds and problems add, and differ by their means and a little."""
    draw = np.random.Generator(np.random.Philox(5))
    common = draw.normal(size=(seeds, 1)) + draw.normal(size=(1, problems))
    return [mean + common + apart * draw.normal(size=(seeds, problems)) for mean in means]


def test_the_best_is_the_best_mean() -> None:
    tables = noisy(0.1, 0.5, 0.2)
    assert select(tables, True, "best").chosen == 1
    assert select(tables, False, "best").chosen == 0
    assert select([-t for t in tables], False, "best").chosen == 1


def test_the_simplest_is_the_first_within_one_standard_error_of_the_difference() -> None:
    tables = noisy(0.0, 0.1999, 0.2, 0.1, apart=0.05)
    found = select(tables, True, "simplest")
    assert found.best in (1, 2)
    assert found.chosen == 1, "not the first one, which is far behind by paired differences"
    for judged, table in zip(found.judged, tables, strict=True):
        if judged.behind is None:
            continue
        behind = tables[found.best] - table
        assert judged.behind.mean == pytest.approx(behind.mean())
        assert judged.tied == (judged.behind.mean <= standard_error(judged.behind))
    assert not found.judged[0].tied


def test_one_standard_error_is_that_of_paired_differences() -> None:
    tables = [table[:1] for table in noisy(0.0, 0.3, seeds=1)]
    (behind,) = (judged.behind for judged in select(tables, True, "best").judged if judged.behind is not None)
    assert standard_error(behind) == pytest.approx(stats.sem((tables[1] - tables[0])[0]))


def test_what_failed_counts_as_the_worst() -> None:
    tables = noisy(0.1, 0.5, 0.2)
    tables[1][0] = math.nan
    found = select(tables, True, "best")
    assert found.judged[1].missing == 40
    assert found.chosen == 2, "two good seeds do not make up for one that failed"
    tables[0][:], tables[2][:] = math.nan, math.nan
    assert select(tables, True, "best").chosen == 1
    with pytest.raises(ValueError, match="no setting has a value"):
        select([np.full((2, 3), math.nan)] * 2, True, "best")


def test_rungs() -> None:
    assert rungs(900, 10, 3) == [100, 300, 900]
    assert rungs(40, 5, 4) == [10, 40], "validations are 5 apart: there is none at 2.5"
    assert rungs(4, 4, 2) == [4]


def test_halving_keeps_the_best_and_about_one_in_so_many() -> None:
    pytest.importorskip("optuna")
    values = np.random.Generator(np.random.Philox(3)).normal(size=64)
    values[10] = math.nan
    kept = Halving(64, False, 4).going_on(range(64), lambda i: values[i])
    assert int(np.nanargmin(values)) in kept
    assert 10 not in kept
    assert 12 <= len(kept) <= 24
    halving = Halving(64, False, 4)
    assert halving.going_on(range(64), lambda i: values[i]) == kept, "made anew, it decides the same"
    last = halving.going_on(kept, lambda i: values[i])
    assert int(np.nanargmin(values)) in last
    assert {*last} < {*kept}
