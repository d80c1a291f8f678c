"""The speed commands of learned optimizers run and measure what they say."""

from benchmarks.speed.__main__ import main
from benchmarks.speed.optimizers import Cores, DropIn, measure_cores, measure_drop_in


def test_the_drop_in_is_timed_and_weighed_beside_adam():
    lines = measure_drop_in(DropIn(networks=("small", "resnet18"), optimizers=("simple",), rounds=1)).to_dict("records")
    assert [(line["network"], line["optimizer"]) for line in lines] == [
        (network, optimizer) for network in ("small", "resnet18") for optimizer in ("adam", "simple")
    ]
    assert [line["bytes/weight"] for line in lines] == [8, 80, 8, 80]
    assert lines[-1]["weights"] == 11_689_512
    assert lines[0]["times Adam"] == 1
    assert lines[-1]["ms/step"] > 0
    assert 0.8 * 80 * lines[-1]["weights"] / 2**20 < lines[-1]["peak MiB"] < 2048


def test_a_hidden_state_in_bfloat16_is_half_as_large():
    (_, line) = measure_drop_in(DropIn(("simple",), ("small",), "bfloat16", rounds=1)).to_dict("records")
    assert line["bytes/weight"] == 40


def test_cores_are_timed_with_every_maximum_that_fits_them():
    assert list(measure_cores(Cores(rows=50, steps=2, rounds=1))["inner step"]) == ["plain", "endpoints", "pgd"]
    assert list(measure_cores(Cores("dm", rows=50, steps=2, rounds=1))["inner step"]) == ["plain", "pgd"]


def test_inner_steps_of_meta_training_are_timed(capsys):
    main(["unroll", "--rounds", "1", "--truncation", "2", "--batch-size", "8"])
    assert capsys.readouterr().out.count("smooth, endpoints") == 2
