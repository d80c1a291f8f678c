"""Records: what is written is what is read, of this version and the one before; and files that are none."""

import hashlib
import json

import msgspec
import pytest
from makers import few_shot, general, optimized, plausible_few_shot, plausible_general

from benchmarks.report import main
from benchmarks.reporting.read import load
from benchmarks.running.identity import config_sha256
from benchmarks.running.record import Record, find_records, read_record
from benchmarks.running.schema import FewShotDetails, FewShotFacts, FewShotResults, GeneralFacts, Measured
from fewshot.errors import InputError

MAKERS = [plausible_few_shot, plausible_general, lambda: few_shot(failed=True), lambda: general(optimizer="adam")]


@pytest.mark.parametrize("make", MAKERS)
def test_what_is_written_is_read(tmp_path, make):
    made, path = make(), tmp_path / "a" / "record.json"
    written = made.write(path)
    found = read_record(path)
    assert (written.path, found.path, made.path) == (path, path, None)
    assert made.digest == written.digest == found.digest
    for name in ("facts", "results", "details", "measured"):
        assert getattr(found, name) == getattr(made, name)
    assert path.read_bytes() == made.encoded()


def test_the_text_is_json_in_its_three_parts(tmp_path):
    path = tmp_path / "record.json"
    few_shot([40, 50], seed=3).write(path)
    content = json.loads(path.read_text())
    assert list(content) == ["record_version", "digest", "facts", "results", "details", "measured"]
    assert content["record_version"] == 2
    assert content["facts"]["track"] == "few_shot"
    assert content["results"]["best"]["correct"] == [40, 50]


def test_what_a_command_does_not_always_yield_is_outside_the_digest(tmp_path):
    path = tmp_path / "record.json"
    record = few_shot([40, 50])
    slower = Record.of(record.facts, record.results, record.details, Measured(train_seconds=99.0))
    assert slower.digest == record.digest
    slower.write(path)
    assert read_record(path).measured.train_seconds == 99.0
    assert few_shot([40, 51]).digest != record.digest
    assert few_shot([40, 50], seed=1).digest != record.digest
    assert plausible_few_shot().digest != Record.of(*_parts(plausible_few_shot(), curve=[])).digest


def _parts(record, **changes):
    return record.facts, record.results, msgspec.structs.replace(record.details, **changes)


CHANGES = [
    (b'"correct":[40,', b'"correct":[41,'),
    (b'"seed":0,"dataset"', b'"seed":1,"dataset"'),
    (b'"curve":[]', b'"curve":[{"loss":1.0}]'),
    (b'"digest": "', b'"digest": "0'),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_a_record_knows_that_it_was_changed(tmp_path, old, new):
    path = tmp_path / "record.json"
    few_shot([40, 50]).write(path)
    text = path.read_bytes()
    assert old in text
    path.write_bytes(text.replace(old, new, 1))
    with pytest.raises(InputError, match=f"{path} was changed after it was written"):
        read_record(path)


@pytest.mark.parametrize("make", MAKERS)
def test_a_record_may_be_laid_out_by_hand(tmp_path, make):
    path = tmp_path / "record.json"
    made = make().write(path)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
    found = read_record(path)
    assert (found.digest, found.facts, found.results, found.details) == (
        made.digest,
        made.facts,
        made.results,
        made.details,
    )
    assert found.light().details == made.details
    assert found.write(tmp_path / "again.json").digest == made.digest
    assert read_record(tmp_path / "again.json").results == made.results


INVALID = [
    (b'"seed":0,"dataset"', b'"seed":"0","dataset"', r"Expected `int`, got `str` - at `\$.seed`"),
    (b'"fingerprint":"', b'"fingerprint":7,"x":"', r"Expected `str`, got `int` - at `\$.dataset.fingerprint`"),
    (b'"interruptions":0', b'"interruptions":0,"mood":1', r"unknown field `mood` - at `\$.measured`"),
    (b'"status":"finished"', b'"status":"done"', r"Invalid enum value 'done' - at `\$.status`"),
    (b'"track":"few_shot"', b'"track":"zero_shot"', r"Invalid value 'zero_shot' - at `\$.track`"),
    (b'"transductive":false,', b"", r"missing required field `transductive`"),
]


@pytest.mark.parametrize(("old", "new", "message"), INVALID)
def test_what_is_wrong_is_named_by_its_path(tmp_path, old, new, message):
    path = tmp_path / "record.json"
    few_shot([40, 50]).write(path)
    text = path.read_bytes()
    assert old in text
    path.write_bytes(text.replace(old, new, 1))
    with pytest.raises(InputError, match=f"{path} is no valid record: .*{message}.*--fresh"):
        read_record(path)


def test_parts_are_checked_when_they_are_asked_for(tmp_path):
    path = tmp_path / "record.json"
    record = few_shot([40, 50])
    text = record.encoded().replace(b'"correct":[40,50]', b'"correct":[40,"x"]')
    parts = [bytes(json_part) for json_part in msgspec.json.decode(text, type=Raws).parts()]
    digest = hashlib.sha256(b"\n".join(parts)).hexdigest()
    path.write_bytes(text.replace(record.digest.encode(), digest.encode()))
    found = read_record(path)
    with pytest.raises(InputError, match=rf"{path} .*Expected `int`, got `str` - at `\$.*correct\[1\]`"):
        _ = found.results


class Raws(msgspec.Struct):
    """A record's parts as they stand."""

    facts: msgspec.Raw
    results: msgspec.Raw
    details: msgspec.Raw

    def parts(self):
        return self.facts, self.results, self.details


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused(value):
    record = plausible_general(steps=20)
    runs = list(record.results.best.runs)
    runs[0] = msgspec.structs.replace(runs[0], test_loss=[value])
    best = msgspec.structs.replace(record.results.best, runs=runs)
    with pytest.raises(ValueError, match="test_loss"):
        Record.of(record.facts, msgspec.structs.replace(record.results, best=best), record.details)
    with pytest.raises(ValueError, match=r"\$.rate is not finite"):
        Record.of(msgspec.structs.replace(record.facts, rate=value), record.results, record.details)
    curve = msgspec.structs.replace(record.details, curve=[{"loss": 1.0}, {"loss": value}])
    with pytest.raises(ValueError, match=r"\$.curve\[1\].loss is not finite"):
        Record.of(record.facts, record.results, curve)
    Record.of(record.facts, record.results, msgspec.structs.replace(record.details, curve=[{"loss": None}]))


def test_parts_of_other_types_are_refused():
    record = few_shot([40, 50])
    wrong = msgspec.structs.replace(record.results.best, correct=[0.5])
    with pytest.raises(ValueError, match="correct"):
        Record.of(record.facts, FewShotResults(best=wrong, last=wrong), record.details)
    with pytest.raises(ValueError, match="best"):
        Record.of(record.facts, optimized([0.5]).results, record.details)
    with pytest.raises(ValueError, match="status"):
        Record.of(msgspec.structs.replace(record.facts, status="done"), record.results, record.details)


def test_a_light_record_reads_its_file_again(tmp_path):
    path = tmp_path / "record.json"
    made = plausible_few_shot().write(path)
    light = read_record(path).light()
    assert light._parts is None
    assert (light.results, light.details) == (made.results, made.details)
    assert light.whole()._parts is not None
    assert light.whole().whole().details == made.details
    unwritten = few_shot([40])
    assert unwritten.light() is unwritten
    few_shot([40]).write(path)
    with pytest.raises(InputError, match="was written anew while it was read"):
        _ = light.details
    path.unlink()
    with pytest.raises(InputError, match="is not a readable record"):
        light.whole()


def version_1(track="few_shot", **changes):
    """A record as version 1 had it, with its digest."""
    record = few_shot([40, 50], "l2") if track == "few_shot" else plausible_general("simple", "smooth", steps=20)
    facts, details = msgspec.to_builtins(record.facts), msgspec.to_builtins(record.details)
    environment = facts.pop("environment")
    environment.pop("plugins")
    old = {**facts, **environment, "test": msgspec.to_builtins(record.results)}
    old["training"] = old["training"] | {name: details.pop(name) for name in list(details) if name not in OUTSIDE}
    old |= {name: value for name, value in details.items() if value}
    if track == "general":
        old["protocol"].pop("computation")
        old["protocol"] |= old["protocol"].pop("task_facts") | {"weights": 1234}
    old = {"record_version": 1, **old, **changes}
    text = json.dumps(old, sort_keys=True, allow_nan=False)
    return {**old, "digest": hashlib.sha256(text.encode()).hexdigest(), "measured": {"train_seconds": 3.5}}


OUTSIDE = ("grid", "border", "envelope", "smoothness")
"""Details that version 1 kept beside, not in, what it said of the training."""


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_few_shot_records_of_version_1_are_read(tmp_path):
    new = few_shot([40, 50], "l2")
    old = version_1()
    found = read_record(write_json(tmp_path / "record.json", old))
    assert isinstance(found.facts, FewShotFacts)
    assert found.results == new.results
    assert found.details == FewShotDetails(curve=[], validation=[])
    assert found.measured == Measured(train_seconds=3.5)
    assert found.digest == old["digest"]
    assert found.facts.environment == new.facts.environment
    assert found.facts.config["penalty"] == {"weight": 1.0}  # ε belonged to smoothness alone
    assert found.facts.config_sha256 == config_sha256(found.facts.config) != old["config_sha256"]


def test_general_records_of_version_1_are_read(tmp_path):
    new = plausible_general("simple", "smooth", steps=20)
    old = version_1("general")
    found = read_record(write_json(tmp_path / "record.json", old))
    assert isinstance(found.facts, GeneralFacts)
    assert (found.results, found.details) == (new.results, new.details)
    assert found.facts.config_sha256 == old["config_sha256"]
    assert found.facts.protocol.task_facts == {"weights": 1234}
    assert found.facts.protocol.steps == 20


def test_a_record_of_version_1_is_light_and_written_as_the_current_version(tmp_path):
    path = write_json(tmp_path / "record.json", version_1())
    light = read_record(path).light()
    assert light.results.best.correct == [40, 50]
    again = light.write(tmp_path / "new.json")
    assert json.loads((tmp_path / "new.json").read_text())["record_version"] == 2
    assert read_record(tmp_path / "new.json").digest == again.digest != light.digest


def test_old_and_new_records_share_a_row(tmp_path):
    write_json(tmp_path / "old" / "record.json", version_1())
    few_shot([41, 52], "l2", seed=1, penalty={"weight": 1.0}).write(tmp_path / "new" / "record.json")
    (row,) = load([tmp_path])
    assert sorted(row.values) == [0, 1]


def test_records_of_version_1_know_that_they_were_changed(tmp_path):
    old = version_1()
    old["test"]["best"]["correct"][0] += 1
    with pytest.raises(InputError, match="changed after it was written"):
        read_record(write_json(tmp_path / "record.json", old))


@pytest.mark.parametrize("changes", [{"test": {"best": 3}}, {"training": {}}, {"config": 5}, {"manifests": []}])
def test_a_record_that_does_not_fit_version_1_is_named(tmp_path, changes):
    path = write_json(tmp_path / "record.json", version_1(**changes))
    with pytest.raises(InputError, match=f"{path} is no"):
        read_record(path)


@pytest.mark.parametrize("version", [0, 3, 99, "1", None, True, 1.5])
def test_versions_without_a_way_here_are_named(tmp_path, version):
    content = json.loads(few_shot([40]).encoded()) | {"record_version": version}
    path = write_json(tmp_path / "record.json", content)
    with pytest.raises(InputError, match=f"{path} .*record.version"):
        read_record(path)


NAN = '{"record_version": 2, "digest": "", "value": NaN}'
BROKEN = [NAN, "", "{ broken", "[]", "null", "3", '{"record_version": 1}', '{"digest": 1}', "\x00\xff", "[" * 100_000]
BROKEN += ['{"record_version": 2}', '{"record_version": 1, "digest": "", "config": ' + "[" * 100_000]


def test_unreadable_records_are_named_and_left_out(tmp_path, capsys):
    for i, text in enumerate(BROKEN):
        (tmp_path / "runs" / str(i)).mkdir(parents=True)
        (tmp_path / "runs" / str(i) / "record.json").write_bytes(text.encode("latin-1"))
    (tmp_path / "runs" / "folder" / "record.json").mkdir(parents=True)
    few_shot([40, 50]).write(tmp_path / "runs" / "good" / "record.json")
    main([str(tmp_path / "runs"), "--out", str(tmp_path), "--format", "md"])
    printed = capsys.readouterr()
    assert printed.err.count("left out:") == len(BROKEN) + 1
    assert printed.err.count("\n") == len(BROKEN) + 1
    assert printed.out.count("| glyphs") == 1


def test_any_truncation_is_noticed(tmp_path):
    text = optimized([0.5, 0.6]).encoded()
    path = tmp_path / "record.json"
    for length in range(0, len(text) - 1, 37):
        path.write_bytes(text[:length])
        with pytest.raises(InputError, match=r"record\.json"):
            read_record(path)


def test_records_are_found_in_order(tmp_path):
    for name in ("b", "a/c", "a"):
        few_shot([40]).write(tmp_path / name / "record.json")
    found = list(find_records([tmp_path, tmp_path / "b" / "record.json"]))
    assert found == [tmp_path / name / "record.json" for name in ("a/c", "a", "b", "b")]
    with pytest.raises(InputError, match="nowhere does not exist"):
        list(find_records([tmp_path / "nowhere"]))
