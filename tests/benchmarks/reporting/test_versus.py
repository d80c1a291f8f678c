"""`benchmarks.report --compare A B`, and `--format episodes`."""

import itertools

import numpy as np
import pandas as pd
import pytest
from makers import counts, few_shot, optimized
from scipy import stats

from benchmarks.report import main
from benchmarks.running.record import RECORD_NAME
from fewshot.errors import InputError


def write(folder, *records):
    """A folder of one configuration's runs."""
    for record in records:
        record.write(folder / f"seed{record.facts.seed}" / RECORD_NAME)
    return folder


def compare(capsys, *folders):
    main(["--compare", *map(str, folders)])
    return capsys.readouterr().out


def test_two_methods_are_paired_by_episode(tmp_path, capsys):
    """They are no partners, so that no table compares them; the interval is worked out here."""
    first, second = counts(0), counts(0) - counts(1, mean=17) % 5
    a = write(tmp_path / "a", few_shot(first, method="maml"))
    b = write(tmp_path / "b", few_shot(second, method="protonet"))
    difference = 100 * (first - second) / 75
    low, high = stats.t.interval(0.95, 49, difference.mean(), stats.sem(difference))
    line = compare(capsys, a, b).splitlines()
    assert line[0].startswith(f"A: maml on glyphs, 5-way 1-shot: test accuracy (%) {100 * first.mean() / 75:.2f} ± ")
    assert line[1].startswith(
        f"B: protonet on glyphs, 5-way 1-shot: test accuracy (%) {100 * second.mean() / 75:.2f} ± "
    )
    assert f"A - B: {difference.mean():+.2f} ({low:+.2f} to {high:+.2f}) points over 50 episodes" in line[2]
    assert line[2].endswith(": A is better")
    assert compare(capsys, b, a).splitlines()[2].endswith(": B is better")


def test_no_difference_is_none(tmp_path, capsys):
    generator = np.random.Generator(np.random.Philox(5))
    a = write(tmp_path / "a", few_shot(counts(0), method="maml"))
    b = write(tmp_path / "b", few_shot(counts(0) + generator.choice([-1, 1], 50), method="protonet"))
    assert compare(capsys, a, b).splitlines()[2].endswith((": not decided", ": no effect larger than the margin"))


def test_a_loss_is_better_where_it_is_smaller(tmp_path, capsys):
    tasks = {"task": "quadratic"}
    low = [optimized([None] * 6, seed=s, optimizer="simple", offset=0.1 * s, **tasks) for s in range(3)]
    high = [optimized([None] * 6, seed=s, optimizer="dm", offset=3 + 0.11 * s, **tasks) for s in range(3)]
    out = compare(capsys, write(tmp_path / "a", *low), write(tmp_path / "b", *high))
    assert out.rstrip().endswith("A is better")


def test_other_problems_are_not_compared(tmp_path):
    a = write(tmp_path / "a", few_shot(counts(0)))
    b = write(tmp_path / "b", few_shot(counts(0), shot=5))
    c = write(tmp_path / "c", few_shot(counts(0), which="others"))
    with pytest.raises(InputError, match=r"test glyphs, 5-way 1-shot against glyphs, 5-way 5-shot"):
        main(["--compare", str(a), str(b)])
    with pytest.raises(InputError, match=r"different problems \(other test hashes"):
        main(["--compare", str(a), str(c)])


def test_a_folder_must_hold_one_configuration(tmp_path):
    a = write(tmp_path / "runs" / "a", few_shot(counts(0)))
    write(tmp_path / "runs" / "b", few_shot(counts(0), "smooth"))
    with pytest.raises(
        InputError, match=r"runs holds the runs of 2 configurations \(meta_lstm on glyphs.*give the fold"
    ):
        main(["--compare", str(a), str(tmp_path / "runs")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds the runs of 0 configurations; give"):
        main(["--compare", str(tmp_path / "empty"), str(a)])
    with pytest.raises(InputError, match="does not exist"):
        main(["--compare", str(tmp_path / "nothing"), str(a)])


def test_failed_runs_are_not_compared(tmp_path):
    a = write(tmp_path / "a", few_shot(counts(0)))
    b = write(tmp_path / "b", few_shot(method="protonet", failed=True))
    with pytest.raises(InputError, match="no test problem has a value of both"):
        main(["--compare", str(a), str(b)])


def test_comparing_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [
        write(tmp_path / name, few_shot(counts(0), method=method)) for name, method in (("a", "maml"), ("b", "sib"))
    ]
    compare(capsys, *folders)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_every_value_of_every_row_is_in_the_csv_file(tmp_path):
    runs = tmp_path / "runs"
    few = {(r, s): counts(s, n=4) for r, s in itertools.product(("none", "smooth"), (0, 3))}
    for (regularizer, seed), correct in few.items():
        few_shot(correct, regularizer, seed).write(runs / f"{regularizer}{seed}" / RECORD_NAME)
    optimized([0.5, 0.75, 0.25], diverged={1}).write(runs / "general" / RECORD_NAME)
    few_shot(failed=True, seed=9).write(runs / "failed" / RECORD_NAME)
    main([str(runs), "--out", str(tmp_path / "out"), "--format", "episodes"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["episodes.csv"]
    table = pd.read_csv(tmp_path / "out" / "episodes.csv", keep_default_na=False, na_values={"value": [""]})
    for (regularizer, seed), correct in few.items():
        mine = table[(table["regularizer"] == regularizer) & (table["seed"] == seed) & (table["track"] == "few_shot")]
        assert mine["number"].tolist() == [0, 1, 2, 3]
        assert (mine["problem"] == "episode").all()
        np.testing.assert_allclose(mine["value"], 100 * correct / 75)
    general = table[table["track"] == "general"]
    np.testing.assert_allclose(general["value"], [50, np.nan, 25])
    assert set(general["problem"]) == {"initialization"}
    assert len(table) == 16 + 3
    assert table.groupby("track")["test"].nunique().eq(1).all()


def test_only_what_is_asked_for_is_in_the_csv_file(tmp_path):
    runs = tmp_path / "runs"
    for regularizer in ("none", "smooth"):
        few_shot(counts(0, n=4), regularizer).write(runs / regularizer / RECORD_NAME)
    main([str(runs), "--out", str(tmp_path / "out"), "--format", "episodes", "--where", "regularizer=smooth"])
    assert set(pd.read_csv(tmp_path / "out" / "episodes.csv")["regularizer"]) == {"smooth"}
