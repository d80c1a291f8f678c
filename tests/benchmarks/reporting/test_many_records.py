"""Reports of many records: what is read, worked out and drawn, counted; never timed."""

import os
from collections import Counter

import numpy as np
import pytest
from makers import draw, few_shot, optimized, plausible_few_shot

from benchmarks.report import main
from benchmarks.reporting import compare as compare_module
from benchmarks.reporting import read, rows
from benchmarks.reporting.claims import compare
from benchmarks.reporting.compare import best_rows
from benchmarks.reporting.groups import GROUPS, OF_CROWD, OF_CROWDED_DIFFERENCES, choose, groups_of
from benchmarks.reporting.read import load, rows_of
from benchmarks.reporting.rows import Row
from benchmarks.running import record as records_module
from benchmarks.running.parallel import mapped
from benchmarks.speed.report import ReportSpeed, measure_report, synthetic_records
from fewshot.errors import InputError


@pytest.fixture
def counted(monkeypatch):
    """Calls of what costs time, by name."""
    calls = Counter()

    def count(owner, name, called=""):
        original = getattr(owner, name)

        def counting(*arguments, **options):
            calls[called or name] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, counting)

    count(records_module, "read_record", "reads again")
    for owner, name in (
        (read, "read_record"),
        (compare_module, "contrast"),
        (compare_module, "more_needed"),
        (rows, "mean_of"),
        (rows, "apart"),
    ):
        count(owner, name)
    return calls


def write_many(folder, count):
    for i, content in enumerate(synthetic_records(count)):
        content.write(folder / str(i) / "record.json")


def test_work_grows_with_records_and_nothing_is_done_twice(tmp_path, counted):
    """300 records are 30 pairs of rows; a search for power and a digest each once, whatever is written."""
    write_many(tmp_path / "runs", 300)
    counted.clear()
    main([str(tmp_path / "runs"), "--out", str(tmp_path), "--drawn", "1", "--format", "md", "csv", "tex", "html"])
    assert counted["read_record"] == 300
    assert counted["reads again"] == 10  # of the one group that is drawn, once
    assert counted["contrast"] <= 30 + 2 * 30  # of the best against others, for the tables and for the page
    assert counted["more_needed"] <= 30
    assert counted["apart"] == 3  # in general, on one test, and tests
    assert counted["mean_of"] == 60


def test_the_best_of_many_rows_is_found_by_as_many_differences(counted):
    made = rows_of([optimized(np.arange(5) / 10 + i, core={"hidden_size": i}) for i in range(30)])
    counted.clear()
    assert len(best_rows(made)) == 1
    assert counted["contrast"] == 29
    assert counted["more_needed"] == 0
    near = rows_of([optimized(draw(i), core={"hidden_size": i}) for i in range(30)])
    counted.clear()
    assert not best_rows(near)
    assert counted["contrast"] < 29  # the first that is not told apart ends it


def test_many_are_read_as_few_are(tmp_path, monkeypatch, capsys):
    write_many(tmp_path / "runs", 40)
    (tmp_path / "runs" / "3" / "record.json").write_text("{ broken")
    (tmp_path / "runs" / "8" / "record.json").write_text("[]")
    alone = load([tmp_path])
    said = capsys.readouterr().err
    original = read.mapped
    monkeypatch.setattr(read, "mapped", lambda work, items, least, chunk: original(work, items, 2, 3))
    together = load([tmp_path])
    assert capsys.readouterr().err == said
    assert said.count("left out") == 2
    assert len(alone) == len(together) == 8
    for a, b in zip(alone, together, strict=True):
        assert (a.labels, a.partner, a.failed) == (b.labels, b.partner, b.failed)
        for seed, values in a.values.items():
            np.testing.assert_array_equal(values, b.values[seed])
        assert [r.facts for r in a.records.values()] == [r.facts for r in b.records.values()]
        assert [r.digest for r in a.records.values()] == [r.digest for r in b.records.values()]


def _where(number):
    return number, os.getpid()


def test_work_is_shared_and_its_results_keep_their_order():
    with mapped(_where, range(40), least=2) as found:
        numbers, processes = zip(*found, strict=True)
    assert numbers == tuple(range(40))
    if len(os.sched_getaffinity(0)) > 1:
        assert os.getpid() not in processes
    with mapped(_where, range(4), least=5) as found:
        assert {process for _, process in found} == {os.getpid()}


def test_an_error_in_another_process_is_raised_here():
    with pytest.raises(ZeroDivisionError), mapped((1).__floordiv__, [1, 0, 1], least=2) as found:
        list(found)


def test_curves_are_read_when_they_are_looked_at(tmp_path, counted):
    path = tmp_path / "a" / "record.json"
    written = plausible_few_shot().write(path)
    (row,) = load([tmp_path])
    (record,) = row.records.values()
    assert record.facts == written.facts
    assert counted["read_record"] == 1
    whole = record.whole()
    assert (whole.details, whole.results) == (written.details, written.results)
    assert counted["reads again"] == 1


def crowd(count):
    return rows_of([few_shot([30, 40], r, dataset=f"d{i}") for i in range(count) for r in ("none", "smooth")])


def test_of_a_crowd_the_experiments_of_most_runs_are_drawn():
    made = [*crowd(GROUPS), *rows_of([optimized([0.5, 0.6], seed=s) for s in range(3)])]
    groups = groups_of(made)
    choice = choose(groups, compare(made))
    assert len(choice.groups) == GROUPS + 1
    assert len(choice.drawn) == OF_CROWD
    assert any(group.track == "general" for group in choice.drawn)  # 3 runs, the others 2
    assert len(choice.differences["accuracy"]) == min(OF_CROWDED_DIFFERENCES, GROUPS)
    assert f"4 of {GROUPS + 1} experiments" in choice.note
    few = choose(groups[:GROUPS], compare(made))
    assert few.drawn == tuple(groups[:GROUPS])
    assert few.note == ""
    assert len(choose(groups, [], 2).drawn) == 2
    with pytest.raises(InputError, match="--drawn is -1"):
        choose(groups, [], -1)


def test_the_report_says_what_it_does_not_draw(tmp_path, capsys):
    write_many(tmp_path / "runs", 40)
    arguments = [str(tmp_path / "runs"), "--out", str(tmp_path), "--format", "html"]
    main([*arguments, "--drawn", "1"])
    assert "figures and charts show 1 of 4 experiments" in capsys.readouterr().out
    assert "1 of 4 experiments" in (tmp_path / "report.html").read_text()
    main(arguments)
    assert "figures and charts show" not in capsys.readouterr().out
    assert "1 of 4 experiments" not in (tmp_path / "report.html").read_text()


def test_the_speed_of_reports_is_measured(tmp_path):
    (line,) = measure_report(ReportSpeed(20, format=("csv",), folder=tmp_path)).to_dict("records")
    assert line["records"] == 20
    assert line["seconds"] > 0
    assert 20 < line["peak memory (MB)"] < 2000
    assert list(tmp_path.iterdir()) == []
    assert isinstance(rows_of(synthetic_records(20))[0], Row)
