"""Seeds that are derived from seeds."""

from fewshot.seeding import derive


def test_derived_seeds_are_distinct_and_stable():
    assert derive(0, "init") == 1519069808562059438
    assert len({derive(seed, name, i) for seed in range(5) for name in ("a", "b") for i in range(20)}) == 200
    assert all(0 <= derive(seed, "x") < 2**63 for seed in range(100))
