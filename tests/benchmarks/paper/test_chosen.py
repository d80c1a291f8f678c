"""Chosen options in the runs of a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.jobs.kinds import FewShotJob, OptimizeJob, Places, TransferJob
from benchmarks.paper.__main__ import main
from benchmarks.paper.chosen import PAPER_GRID, tuned, with_files
from benchmarks.paper.exhibits import EXHIBITS, QUICK
from fewshot.errors import InputError

CHOSEN = "method = 'meta_lstm'\nregularizer = 'smooth'\nshot = 1\npenalty.weight = 7.0\ntraining.augment = true\n"


def test_a_file_is_for_the_runs_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "chosen.toml"
    path.write_text(CHOSEN)
    jobs = EXHIBITS["table2"][QUICK].jobs((0, 1))
    changed = with_files(jobs, [path])
    for before, after in zip(jobs, changed, strict=True):
        assert isinstance(before, FewShotJob)
        of_file = before.command.regularizer == "smooth" and before.command.shot == 1
        assert (after != before) == of_file
        if of_file:
            assert after.command.penalty.weight == 7.0
            assert after.command.training.augment
            assert after.seed == before.seed
    path.write_text("task = 'quadratic'\npenalty.weight = 1.0\n")
    with pytest.raises(InputError, match="is of no run here"):
        with_files(jobs, [path])


def test_what_is_only_tested_comes_from_the_chosen_run(tmp_path: Path) -> None:
    path = tmp_path / "chosen.toml"
    path.write_text("optimizer = 'simple'\nregularizer = 'smooth'\ntask = 'digits_mlp'\npenalty.weight = 7.0\n")
    jobs = EXHIBITS["figure5"][QUICK].jobs((0,))
    changed = [job for job in with_files(jobs, [path]) if isinstance(job, TransferJob)]
    weights = {job.source.command.penalty.weight for job in changed if job.source.command.regularizer == "smooth"}
    assert weights == {7.0}
    assert all("--penalty.weight" not in job.words for job in changed)


def test_the_papers_grid_gives_every_method_as_many_tries() -> None:
    assert len(PAPER_GRID) == 16
    assert PAPER_GRID.values["penalty.radius"] == ("0.01", "0.1", "1", "10")
    jobs = EXHIBITS["table1"][QUICK].jobs((0, 1, 2, 3, 4))
    found = tuned(jobs, range(5))
    assert [side.regularizer for side in found.tuning.sides] == ["none", "smooth", "l2", "orthogonal", "spectral"]
    assert {len(side.settings) for side in found.tuning.sides} == {16}
    assert len({config.sha256() for side in found.tuning.sides for config in side.configs}) == 5 * 16
    assert not {*found.tuning.seeds} & {*range(5)}
    chosen = [side.words_of(side.settings[3])[len(side.words) :] for side in found.tuning.sides]
    applied = found.apply(jobs, chosen)
    smooth = [job for job in applied if isinstance(job, OptimizeJob) and job.command.regularizer == "smooth"]
    trained = [job for job in smooth if not isinstance(job, TransferJob)]
    assert {job.command.config for job in trained} == {found.tuning.sides[1].configs[3]}


def test_a_plan_shows_the_tuning_and_what_a_cluster_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["table2", "--tune", "--engine", "ray", "--gpus", "0.5", "--results", str(tmp_path / "r"), "--dry-run"])
    printed = capsys.readouterr().out
    assert "tuning on validation, seeds 3 4 5" in printed
    assert "48 (3 seeds)" in printed
    assert "192 of 192 runs are left" in printed
    assert "each takes 1 core, 0.5 GPU" in printed
    assert "12 of 12 runs are left" in printed
    assert Places(tmp_path / "r").results.exists() is False
