"""The paper's tables and figures by name: plans, and small experiments from end to end."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from benchmarks.backbones import command as backbones
from benchmarks.backbones.experiment import ensure
from benchmarks.few_shot import command as few_shot
from benchmarks.general import command as general
from benchmarks.jobs.engine import LOGS, Local
from benchmarks.jobs.kinds import Job, OptimizeJob, Places, PretrainJob, TransferJob
from benchmarks.jobs.plan import STARTING, make_plan
from benchmarks.jobs.schedule import run_jobs
from benchmarks.paper.__main__ import main
from benchmarks.paper.exhibits import EXHIBITS, QUICK, Exhibit
from benchmarks.reporting.kinds import KINDS
from benchmarks.running.record import Record, read_record
from benchmarks.running.schema import Measured
from fewshot.console import run_command
from fewshot.data.store import Dataset
from scripts import Script, writes

TINY = "--training.unrolls 2 --training.horizon 20 --training.validate-every 2 --steps 20 --test.initializations 2"
SCALES = [(name, scale) for name, scales in EXHIBITS.items() for scale in scales]


def tiny_jobs(seeds) -> list[Job]:
    words = [("--task", "quadratic", "--regularizer", regularizer, *TINY.split()) for regularizer in ("none", "smooth")]
    trained = [OptimizeJob(w, seed) for w in words for seed in seeds]
    test = ("--task", "quadratic", "--steps", "30", "--test.initializations", "2")
    return [*trained, *(TransferJob(test, job.seed, source=job) for job in trained[:1])]


def arguments(folder: Path, *more: str, name: str = "figure3") -> list[str]:
    places = [word for name in ("results", "data", "backbones", "features", "out")
              for word in (f"--{name}", str(folder / name))]  # fmt: skip
    return [name, *places, *more]


@pytest.fixture
def tiny_exhibit(monkeypatch: pytest.MonkeyPatch):
    """Makes figure3 an exhibit of given jobs."""

    def make(jobs) -> None:
        exhibit = Exhibit("tiny", jobs, (0,), ("curves",))
        monkeypatch.setitem(EXHIBITS._things, "figure3", {QUICK: exhibit})

    return make


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory):
    """The folder of a small experiment that was run with two workers."""
    folder = tmp_path_factory.mktemp("paper")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXHIBITS._things, "figure3", {QUICK: Exhibit("tiny", tiny_jobs, (0,), ("curves",))})
        main(arguments(folder, "--workers", "2", "--quiet"))
    return folder


@pytest.mark.parametrize(("name", "scale"), SCALES)
def test_every_command_parses_and_every_run_is_one(name: str, scale: str, tmp_path: Path) -> None:
    parsers = {"benchmarks.run": few_shot.parse, "benchmarks.optimize": general.parse}
    parsers["benchmarks.pretrain"] = backbones.parse
    exhibit, places = EXHIBITS[name][scale], Places(tmp_path)
    jobs = exhibit.jobs(exhibit.seeds)
    everything = {*jobs, *(other for job in jobs for other in job.dependencies)}
    assert len(set(jobs)) == len(jobs)
    assert len({job.name for job in everything}) == len(everything)
    for job in {job.kind: job for job in everything}.values():
        command = parsers[job.module](job.arguments(places))
        assert command.results == (places.backbones if isinstance(job, PretrainJob) else tmp_path)
        assert command.seeds == ((0,) if isinstance(job, TransferJob) else (job.seed,))
        if scale == QUICK and not job.optional:
            assert job.dataset in (None, "glyphs") or isinstance(job, PretrainJob), "quick ones need no preparation"
    paths = [job.record_path(places) for job in jobs if not isinstance(job, TransferJob)]
    assert len(set(paths)) == len(paths)
    assert name[-1] in exhibit.title(name, scale)
    assert ("not the paper's protocol" in exhibit.title(name, scale)) == (scale == QUICK)
    assert set(exhibit.figures) <= set(KINDS)


def test_records_lie_where_the_plan_looks(finished: Path) -> None:
    plan = make_plan(tiny_jobs((0,)), Places(finished / "results"))
    assert [run.state for run in plan.runs] == ["finished"] * 3
    test = plan.runs[2]
    assert test.record is not None
    assert test.record.facts.config["transfer"]["config_sha256"] == plan.runs[0].record.facts.config_sha256
    assert test.record.facts.config["test"]["steps"] == 30


def test_what_is_written(finished: Path) -> None:
    title = "Figure 3: tiny (quick-scale analogue, not the paper's protocol)"
    out = finished / "out"
    assert (out / "tables.md").read_text().startswith(f"# {title}\n")
    assert title in (out / "tables.tex").read_text()
    assert f"<h1>{title.replace(chr(39), '&#39;')}</h1>" in (out / "report.html").read_text()
    figures = sorted(path.name for path in (out / "figures").iterdir())
    assert figures == [f"curves-quadratic-{n}-steps.{kind}" for n in (20, 30) for kind in ("png", "svg")]
    assert "analogue" in (out / "figures" / "curves-quadratic-20-steps.svg").read_text()
    measured = [read_record(path).measured for path in (finished / "results").rglob("record.json")]
    sums = [f"{sum(getattr(m, f'{name}_seconds') for m in measured):.1f}" for name in ("train", "test")]
    last = (out / "wall_times.md").read_text().splitlines()[-1]
    assert [word for word in last.split() if word != "|"] == ["sum", *sums]


def test_a_transfer_is_found_without_weights_but_not_for_other_weights(finished: Path, tmp_path: Path) -> None:
    results = shutil.copytree(finished / "results", tmp_path / "results")
    jobs = tiny_jobs((0,))
    weights = [jobs[i].record_path(Places(results)).with_name("best.safetensors") for i in (0, 1)]
    weights[0].unlink()
    plan = make_plan(jobs, Places(results))
    assert plan.runs[2].state == "finished"
    assert plan.unprepared == ()
    shutil.copy(weights[1], weights[0])
    assert make_plan(jobs, Places(results)).runs[2].state == "missing"


def test_a_transfer_whose_weights_were_not_kept_cannot_start(finished: Path, tmp_path: Path) -> None:
    results = shutil.copytree(finished / "results", tmp_path / "results")
    jobs = tiny_jobs((0,))
    transfer = jobs[2].record_path(Places(results))
    jobs[0].record_path(Places(results)).with_name("best.safetensors").unlink()
    shutil.rmtree(transfer.parent)
    (reason,) = make_plan(jobs, Places(results)).unprepared
    assert "best.safetensors was not kept with its record; give another place as --results" in reason
    shutil.rmtree(jobs[0].record_path(Places(results)).parent)  # then it is made again
    assert make_plan(jobs, Places(results)).unprepared == ()


def rewrite(path: Path, record: Record, measured: Measured | None = None, **facts: object) -> None:
    """Write a record with other facts."""
    parts = record.results, record.details, measured or record.measured
    if facts.get("status") == "failed":
        parts = None, *parts[1:]
    Record.of(msgspec.structs.replace(record.facts, **facts), *parts).write(path)


def test_states_and_estimates(finished: Path, tmp_path: Path) -> None:
    results = shutil.copytree(finished / "results", tmp_path / "results")
    jobs = tiny_jobs((0, 1, 2))
    path, other = jobs[0].record_path(Places(results)), jobs[1].record_path(Places(results))
    record = read_record(path)
    measured = Measured(train_seconds=40.0, test_seconds=2.0)
    rewrite(path, record, measured)
    rewrite(other, record, measured, seed=1, status="failed", failure="diverged")
    third = jobs[2].record_path(Places(results)).parent
    third.mkdir()
    (third / "checkpoint.pt").touch()
    jobs[3].record_path(Places(results)).unlink()
    plan = make_plan(jobs, Places(results))
    states = [run.state for run in plan.runs]
    assert states == ["finished", "failed", "interrupted", "interrupted", "missing", "missing", "finished"]
    assert plan.seconds(jobs[2]) == STARTING + 42.0
    assert plan.seconds(jobs[3]) == STARTING + jobs[3].guess
    left = [STARTING + 42.0] + 3 * [STARTING + 60.0]
    assert plan.remaining(1) == pytest.approx(sum(left))
    assert plan.remaining(2) == pytest.approx(sum(left) / 2)
    assert plan.remaining(9) == STARTING + 60.0
    table = plan.table().splitlines()
    assert "42 s, measured" in table[2]
    assert "about 47 s, as measured in like runs" in table[4]
    assert "about 1 min 5 s, guessed" in table[5]
    elsewhere = msgspec.structs.replace(record.facts.environment, threads=record.facts.environment.threads + 1)
    rewrite(path, record, measured, environment=elsewhere)
    assert make_plan(jobs, Places(results)).seconds(jobs[2]) == STARTING + jobs[2].guess, "measured otherwise"


def test_optional_runs_are_made_when_they_are_asked_for(tmp_path: Path, write_tiny_file) -> None:
    (tmp_path / "data").mkdir()
    write_tiny_file(tmp_path / "data" / "omniglot.h5")
    jobs, places = EXHIBITS["table3"][QUICK].jobs((0,)), Places(tmp_path / "results", data=tmp_path / "data")
    plan = make_plan(jobs, places)
    assert {run.job.dataset for run in plan.runs} == {"glyphs"}
    assert plan.left_out == ("runs on omniglot, which are optional; add them with --also omniglot",)
    more = make_plan(jobs, places, ["omniglot"])
    assert {run.job.dataset for run in more.runs} == {"glyphs", "omniglot"}
    assert len(more.runs) == 2 * len(plan.runs)


def test_backbones_are_looked_for_where_runs_take_them_from(tmp_path: Path, write_tiny_file) -> None:
    (tmp_path / "data").mkdir()
    dataset = Dataset.open(write_tiny_file(tmp_path / "data" / "tiny.h5"))
    places = Places(data=tmp_path / "data", backbones=tmp_path / "backbones")
    job = PretrainJob(("--dataset", "tiny", "--backbone", "resnet12"))
    assert make_plan([job], places).runs[0].state == "missing"
    result = job.result(places)
    result.parent.mkdir(parents=True)
    result.touch()
    assert ensure(dataset, "resnet12", results=places.backbones) == result


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments(tmp_path / "new", "--dry-run", name="table3"))
    assert not list(tmp_path.iterdir())
    printed = capsys.readouterr().out
    assert "backbone conv4_64" in printed
    assert "--also omniglot" in printed
    assert "15 of 15 runs are left" in printed


def test_missing_datasets_name_their_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        run_command(main, arguments(tmp_path, "--scale", "full", name="table2"))
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    for name in ("mini_imagenet", "tiered_imagenet"):
        assert f"`python -m data_prep.{name} --out {tmp_path / 'data'}`" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table4"], "unknown table or figure 'table4'; choose one of: table1"),
        (["table1", "--workers", "0"], "workers is 0"),
        (["table1", "--seeds", "1", "1"], "seeds are 1, 1"),
    ],
)
def test_errors(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        run_command(main, words)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_only_missing_runs_are_run(finished: Path, tmp_path: Path, tiny_exhibit) -> None:
    folder = shutil.copytree(finished, tmp_path / "copy")
    paths = {path: path.read_bytes() for path in (folder / "results").rglob("record.json")}
    jobs = tiny_jobs((0,))
    gone = jobs[1].record_path(Places(folder / "results"))
    digest = read_record(gone).digest
    shutil.rmtree(gone.parent)
    tiny_exhibit(tiny_jobs)
    main(arguments(folder, "--quiet"))
    assert read_record(gone).digest == digest
    assert {path: path.read_bytes() for path in paths if path != gone} == {p: b for p, b in paths.items() if p != gone}


def test_when_all_is_finished_nothing_starts(
    finished: Path, tmp_path: Path, tiny_exhibit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.jobs.engine.launch", None)
    tiny_exhibit(tiny_jobs)
    main([*arguments(finished), "--out", str(tmp_path)])
    assert "all 3 runs are finished" in capsys.readouterr().out
    assert (tmp_path / "tables.md").read_bytes() == (finished / "out" / "tables.md").read_bytes()


def test_a_failing_job_is_reported_and_the_others_go_on(
    finished: Path, tmp_path: Path, tiny_exhibit, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finished, tmp_path / "copy")
    bad = Script(("raise SystemExit('no luck')",), label="bad")
    good = Script(writes(tmp_path / "log", "x"), label="good", guess=1)
    after = Script(("pass",), label="after", needs=(bad,))
    tiny_exhibit(lambda seeds: [*tiny_jobs(seeds), bad, after, good])
    with pytest.raises(SystemExit) as exit_:
        main(arguments(folder, "--workers", "1"))
    assert exit_.value.code == 1
    assert (tmp_path / "log").read_text() == "<xx>"
    printed = capsys.readouterr().out
    assert "bad on nothing, seed 0: ended with status 1" in printed
    assert "SystemExit: no luck" in printed
    assert "after on nothing, seed 0: not started, because it needs bad on nothing" in printed
    assert "### Table 1" in printed, "the table is made of the others"


def test_a_recorded_failure_is_no_success(finished: Path, tmp_path: Path, tiny_exhibit) -> None:
    folder = shutil.copytree(finished, tmp_path / "copy")
    path = tiny_jobs((0,))[1].record_path(Places(folder / "results"))
    rewrite(path, read_record(path), status="failed", failure="diverged")
    tiny_exhibit(tiny_jobs)
    with pytest.raises(SystemExit) as exit_:
        main(arguments(folder, "--quiet"))
    assert exit_.value.code == 1
    assert "failed" in (folder / "out" / "tables.md").read_text()


def test_workers_dependencies_and_what_is_made_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = Script(writes(log, "a", 0.5), label="a", guess=1)
    others = [Script(writes(log, name, 0.5), label=name, needs=(first,), made="it") for name in "bcd"]
    assert not run_jobs(make_plan([*others, first], Places(tmp_path)), Places(tmp_path), Local(2), quiet=True)
    text = log.read_text()
    assert text.startswith("<aa>"), "nothing runs beside what all need"
    maker = text[5]
    assert text[4:8] == f"<{maker}{maker}>", "the first one that makes what others use runs alone"
    assert text[8] == text[10] == "<", "then two at a time"
    assert sorted(text.replace("<", "").replace(">", "")) == sorted("aabbccdd")
    assert (tmp_path / LOGS / "a.log").is_file()
