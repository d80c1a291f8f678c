"""What tells rows, and tests, apart in words."""

import pytest
from makers import counts, few_shot, optimized, source

from benchmarks.reporting.groups import groups_of
from benchmarks.reporting.naming import apart
from benchmarks.reporting.read import rows_of

HASHES = {"data": "d" * 64, "test": "e" * 64}


def settings(records):
    return [row.settings for row in rows_of(records)]


def test_options_read_as_words():
    options = [
        {"core.hidden_size": 20, "penalty.weight": 0.1, "augment": True, "steps": 1000, "filters": [32, 64]},
        {"core.hidden_size": 40, "penalty.weight": 1.0, "augment": False, "steps": 200, "filters": None},
    ]
    assert apart(["a", "a"], options, [HASHES] * 2) == [
        "augment on, hidden size 20, filters 32, 64, λ = 0.1, 1,000 steps",
        "augment off, hidden size 40, no filters, λ = 1, 200 steps",
    ]


def test_only_what_differs_between_things_of_one_name_is_named():
    options = [{"way": 5, "shot": 1}, {"way": 5, "shot": 5}, {"way": 10, "shot": 7}]
    assert apart(["a", "a", "b"], options, [HASHES] * 3) == ["shot 1", "shot 5", ""]


def test_options_of_one_last_name_are_written_out():
    options = [{"test.seed": 0, "training.seed": 0, "a.rate": 1}, {"test.seed": 1, "training.seed": 2, "a.rate": 3}]
    assert apart(["a", "a"], options, [HASHES] * 2) == [
        "rate 1, test seed 0, training seed 0",
        "rate 3, test seed 1, training seed 2",
    ]


def test_an_option_that_one_has_not_is_not_invented():
    assert apart(["a", "a"], [{"x": 1}, {}], [HASHES] * 2) == ["x 1", ""]


def test_a_hash_is_named_only_where_nothing_else_tells():
    hashes = [{**HASHES, "test": t * 64} for t in "abc"]
    options = [{"steps": 200}, {"steps": 1000}, {"steps": 1000}]
    assert apart(["a"] * 3, options, hashes) == [
        "200 steps",
        "1,000 steps, test bbbbbbbb",
        "1,000 steps, test cccccccc",
    ]
    assert apart(["a"] * 3, options, [HASHES] * 3) == ["200 steps", "1,000 steps", "1,000 steps"]


def test_tables_say_steps_and_legends_need_not():
    """A legend stands under the title of its test."""
    records = [optimized([0.5, 0.6], optimizer=o, steps=s) for o in ("adam", "sgd") for s in (200, 1000)]
    assert (
        settings(records) == ["200 steps", "1,000 steps"] * 2 or settings(records) == ["1,000 steps", "200 steps"] * 2
    )
    groups = groups_of(rows_of(records))
    assert {group.title for group in groups} == {"digits_mlp, 200 steps", "digits_mlp, 1,000 steps"}
    assert [[row.label for row in group.rows] for group in groups] == [["adam", "sgd"]] * 2
    assert {group.slug for group in groups} == {"digits-mlp-200-steps", "digits-mlp-1-000-steps"}


def test_what_differs_on_one_test_is_in_the_legend():
    records = [optimized([0.5, 0.6], core={"hidden_size": size}) for size in (20, 40)]
    assert sorted(row.label for row in rows_of(records)) == ["simple (hidden size 20)", "simple (hidden size 40)"]
    transferred = [optimized([0.5], transfer=source(0, config_sha256=c * 64)) for c in "ab"]
    assert sorted(row.label for row in rows_of(transferred)) == [
        "simple (from mnist_mlp, source aaaaaaaa)",
        "simple (from mnist_mlp, source bbbbbbbb)",
    ]


@pytest.mark.parametrize(
    ("changes", "titles"),
    [
        ({"test": {"episodes": 2000, "seed": 0}}, ["glyphs, 5-way 1-shot, 600 episodes", "… 2,000 episodes"]),
        ({"query": 5}, ["glyphs, 5-way 1-shot, query 15", "… query 5"]),
        ({"way": 10}, ["glyphs, 5-way 1-shot", "glyphs, 10-way 1-shot"]),
    ],
)
def test_tests_of_one_name_are_told_apart(changes, titles):
    rows = rows_of([few_shot(counts(0)), few_shot(counts(0), **changes)])
    expected = {title.replace("…", "glyphs, 5-way 1-shot,") for title in titles}
    assert {row.on for row in rows} == expected


def test_tests_that_differ_in_nothing_said_are_told_apart_by_a_hash():
    rows = rows_of([few_shot(counts(0)), few_shot(counts(0), which="other")])
    marks = sorted(f"test {row.tested_on[1][:8]}" for row in rows)
    assert sorted(row.on for row in rows) == [f"glyphs, 5-way 1-shot, {mark}" for mark in marks]
    assert sorted(row.settings for row in rows) == marks
    assert {row.label for row in rows} == {"meta_lstm"}
    assert len({group.slug for group in groups_of(rows)}) == 2
