"""The speed commands of learned optimizers run and measure what they say."""

from benchmarks.speed.__main__ import main
from benchmarks.speed.optimizers import Cores, DropIn, measure_cores, measure_drop_in


def test_the_drop_in_is_timed_on_all_of_resnet18():
    (line,) = measure_drop_in(DropIn(rounds=1)).to_dict("records")
    assert line["weights"] == 11_689_512
    assert line["s/step"] > 0
    assert 80 * line["weights"] / 2**20 * 0.8 < line["extra MiB"] < 4096  # the hidden state alone is 80 bytes a weight


def test_cores_are_timed_with_every_maximum_that_fits_them():
    assert list(measure_cores(Cores(rows=50, steps=2, rounds=1))["inner step"]) == ["plain", "endpoints", "pgd"]
    assert list(measure_cores(Cores("dm", rows=50, steps=2, rounds=1))["inner step"]) == ["plain", "pgd"]


def test_inner_steps_of_meta_training_are_timed(capsys):
    main(["unroll", "--rounds", "1", "--truncation", "2", "--batch-size", "8"])
    assert capsys.readouterr().out.count("smooth, endpoints") == 2
