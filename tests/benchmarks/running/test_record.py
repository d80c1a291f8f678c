"""Records of older versions, and files that are none."""

import json

import pytest
from record_makers import counts, make_record

from benchmarks.report import main
from benchmarks.reporting.rows import load
from benchmarks.running import record
from benchmarks.running.record import digest, read_record, write_record
from fewshot.errors import InputError


@pytest.fixture
def migrated(monkeypatch):
    """A program two versions on, whose first versions called the track "kind", and wrote shares for counts."""

    def rename(old):
        return {name: value for name, value in old.items() if name != "kind"} | {"track": old["kind"]}

    def count(old):
        correct = [round(share * old["queries_per_episode"]) for share in old["test"]["best"]["share"]]
        return {**old, "test": {"best": {"correct": correct}}}

    monkeypatch.setattr(record, "RECORD_VERSION", 3)
    monkeypatch.setattr(record, "MIGRATIONS", {1: rename, 2: count})


def write_old(path, version, changes=None):
    content = make_record(counts(0))
    content["test"] = {"best": {"share": [c / 75 for c in content["test"]["best"]["correct"]]}}
    if version == 1:
        content["kind"] = content.pop("track")
    content = {"record_version": version, **content, **(changes or {})}
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**content, "digest": digest(content), "measured": {}}))


@pytest.mark.parametrize("version", [1, 2])
def test_older_versions_become_the_current_one(tmp_path, migrated, version):
    path = tmp_path / "old" / "record.json"
    write_old(path, version)
    found = read_record(path)
    assert found["record_version"] == 3
    assert found["track"] == "few_shot"
    assert "kind" not in found
    assert found["test"]["best"]["correct"] == list(counts(0))
    assert found["digest"] == json.loads(path.read_text())["digest"]


def test_old_and_new_records_share_a_row(tmp_path, migrated):
    write_old(tmp_path / "old" / "record.json", 1)
    write_record(tmp_path / "new" / "record.json", make_record(counts(1), seed=1), {})
    (row,) = load([tmp_path])
    assert sorted(row.values) == [0, 1]


def test_the_digest_is_checked_before_anything_is_changed(tmp_path, migrated):
    path = tmp_path / "old" / "record.json"
    write_old(path, 1)
    content = json.loads(path.read_text())
    content["test"]["best"]["share"][0] = 0.0
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="changed after it was written"):
        read_record(path)


def test_a_record_that_does_not_fit_its_version_is_named(tmp_path, migrated):
    path = tmp_path / "old" / "record.json"
    write_old(path, 2, {"test": {}})
    with pytest.raises(InputError, match="is no record of version 2"):
        read_record(path)


@pytest.mark.parametrize("version", [0, 4, "1", None, True])
def test_versions_without_a_way_here_are_named(tmp_path, migrated, version):
    path = tmp_path / "old" / "record.json"
    write_old(path, version)
    with pytest.raises(InputError, match="this program reads 1, 2, 3"):
        read_record(path)


NAN = '{"record_version": 1, "digest": "", "value": NaN}'
BROKEN = [NAN, "", "{ broken", "[]", "null", "3", '{"record_version": 1}', '{"digest": 1}', "\x00\xff", "[" * 100_000]


def test_unreadable_records_are_named_and_left_out(tmp_path, capsys):
    for i, text in enumerate(BROKEN):
        (tmp_path / "runs" / str(i)).mkdir(parents=True)
        (tmp_path / "runs" / str(i) / "record.json").write_bytes(text.encode("latin-1"))
    write_record(tmp_path / "runs" / "good" / "record.json", make_record(counts(0)), {})
    main([str(tmp_path / "runs"), "--out", str(tmp_path)])
    printed = capsys.readouterr()
    assert printed.err.count("left out:") == len(BROKEN)
    assert printed.out.count("| glyphs") == 1
