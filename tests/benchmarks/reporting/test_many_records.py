"""Reports of many records: what is read, worked out and drawn, counted; never timed."""

import json
import os
from collections import Counter

import numpy as np
import pytest
from synthetic_records import few_shot, general

from benchmarks.report import main
from benchmarks.reporting import claims, compare, rows, runs, tables
from benchmarks.reporting.choice import EXPERIMENTS, LINES_OF_CROWD, OF_CROWD, choose
from benchmarks.reporting.compare import compare as compare_rows
from benchmarks.reporting.items import experiments, items_of
from benchmarks.reporting.rows import Row, group, load
from benchmarks.running import record as records_module
from benchmarks.running.parallel import mapped
from benchmarks.running.record import digest, read_record, write_record
from benchmarks.speed.report import ReportSpeed, measure_report, synthetic_records
from fewshot.errors import InputError

LEFT_OUT = ("training", "smoothness", "grid", "test.last")


@pytest.fixture
def counted(monkeypatch):
    """Calls of what costs time, by name."""
    calls = Counter()

    def count(owner, name):
        original = getattr(owner, name)

        def counting(*arguments, **options):
            calls[name] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, counting)

    for owner, name in (
        (runs, "read_record"),
        (records_module, "digest"),
        (rows, "signed_rank"),
        (rows, "mean_interval"),
        (compare, "pairs_needed"),
        (tables, "settings_of"),
        (claims, "settings_of"),
    ):
        count(owner, name)
    runs._whole.cache_clear()
    return calls


def write_many(folder, count):
    for i, content in enumerate(synthetic_records(count)):
        write_record(folder / str(i) / "record.json", content, {})


def test_work_grows_with_records_and_nothing_is_done_twice(tmp_path, counted):
    """300 records are 30 pairs of rows; a search for power, a test and a digest each once, whatever is written."""
    write_many(tmp_path / "runs", 300)
    counted.clear()
    main([str(tmp_path / "runs"), "--out", str(tmp_path), "--drawn", "1", "--format", "md", "csv", "tex", "html"])
    assert counted["read_record"] <= 300 + 10  # and the one experiment that is drawn, once
    assert counted["digest"] == 0  # the texts are as they were written
    assert counted["signed_rank"] == 30
    assert counted["pairs_needed"] <= 30
    assert counted["settings_of"] == 2
    assert counted["mean_interval"] <= 60 * 2 + 30 + 60  # of rows, pooled, of pairs, of the best against others


def test_the_best_of_many_rows_costs_no_test(counted):
    made = group([general("simple", "none", core={"hidden_size": i}, steps=20) for i in range(30)])
    counted.clear()
    tables.best_rows(made)
    assert counted["signed_rank"] == 0
    assert counted["mean_interval"] <= 30 + 29


def test_many_are_read_as_few_are(tmp_path, monkeypatch, capsys):
    write_many(tmp_path / "runs", 40)
    (tmp_path / "runs" / "3" / "record.json").write_text("{ broken")
    (tmp_path / "runs" / "8" / "record.json").write_text("[]")
    alone = load([tmp_path])
    said = capsys.readouterr().err
    original = rows.mapped
    monkeypatch.setattr(rows, "mapped", lambda work, items, least, chunk: original(work, items, 2, 3))
    together = load([tmp_path])
    assert capsys.readouterr().err == said
    assert said.count("left out") == 2
    assert len(alone) == len(together) == 8
    for a, b in zip(alone, together, strict=True):
        assert (a.labels, a.partner, a.failed) == (b.labels, b.partner, b.failed)
        for seed, values in a.values.items():
            np.testing.assert_array_equal(values, b.values[seed])
        assert [dict(record) for record in a.records] == [dict(record) for record in b.records]


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


@pytest.mark.parametrize("make", [few_shot, general])
def test_members_left_out_are_the_only_difference(tmp_path, make):
    path = tmp_path / "record.json"
    content = {name: value for name, value in make().items() if name not in ("record_version", "digest", "measured")}
    written = write_record(path, content, {"train_seconds": 1.0})
    assert read_record(path) == written
    whole = json.loads(json.dumps(written))
    for name in ("training", "smoothness", "grid"):
        whole.pop(name, None)
    whole["test"].pop("last")
    assert read_record(path, LEFT_OUT) == whole
    path.write_text(json.dumps(written))  # another layout: nothing can be cut out of the text
    assert read_record(path, LEFT_OUT) == whole
    bare = few_shot(failed=True)
    path.write_text(json.dumps(bare, indent=1))
    assert read_record(path, LEFT_OUT)["test"] == {}


def test_changes_are_noticed_whatever_the_text_hash_says(tmp_path):
    path = tmp_path / "record.json"
    write_record(path, {"track": "x", "value": 1}, {"train_seconds": 1.0})
    text = path.read_text()
    path.write_text(text.replace('"train_seconds": 1.0', '"train_seconds": 2.0'))
    assert read_record(path)["measured"] == {"train_seconds": 2.0}
    for old, new in (
        ('"value": 1', '"value": 2'),
        ('"digest": "', '"digest": "0'),
        ('"measured": {', '"value": 2,\n "measured": {'),
        ("\n}\n", ',\n "value": 2\n}\n'),
    ):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(InputError, match="changed after it was written"):
            read_record(path)
    content = json.loads(text)
    content.pop("text_sha256")
    path.write_text(json.dumps(content))
    assert read_record(path)["value"] == 1  # as older programs wrote it
    assert digest(content) == content["digest"]


def test_curves_are_read_when_they_are_looked_at(tmp_path, counted):
    path = tmp_path / "a" / "record.json"
    content = {name: value for name, value in few_shot().items() if name not in ("record_version", "digest")}
    written = write_record(path, content, {})
    (row,) = load([tmp_path])
    record = row.records[0]
    assert record["config"] == content["config"]
    assert record.get("backbone") is None
    assert counted["read_record"] == 1
    assert record["training"] == content["training"]
    assert record["test"]["last"] == content["test"]["last"]
    assert record.get("smoothness") is None
    assert dict(record) == written
    assert counted["read_record"] == 2
    write_record(path, {**content, "seed": 9}, {})
    runs._whole.cache_clear()
    with pytest.raises(InputError, match="written anew"):
        record["training"]


def crowd(count):
    return group([few_shot(r, dataset=f"d{i}", episodes=5) for i in range(count) for r in ("none", "smooth")])


def test_of_a_crowd_the_experiments_of_most_runs_are_drawn():
    made = [*crowd(EXPERIMENTS), *group([general(seed=s, steps=20, initializations=2) for s in range(3)])]
    groups = experiments(items_of(made))
    choice = choose(groups, compare_rows(made))
    assert len(choice.groups) == EXPERIMENTS + 1
    assert len(choice.drawn) == OF_CROWD
    assert any(group.track == "general" for group in choice.drawn)  # 3 runs, the others 2
    assert len(choice.differences["accuracy"]) == min(LINES_OF_CROWD, EXPERIMENTS)
    assert f"4 of {EXPERIMENTS + 1} experiments" in choice.note
    few = choose(groups[:EXPERIMENTS], compare_rows(made))
    assert few.drawn == tuple(groups[:EXPERIMENTS])
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
    assert isinstance(group(synthetic_records(20))[0], Row)
