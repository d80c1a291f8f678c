"""The speed command measures what it says, on sizes too small to be timed seriously."""

import pytest

from benchmarks.speed.__main__ import MetaLSTMSpeed, Sampling, main, measure_meta_lstm, measure_sampling
from benchmarks.speed.sib import ExtractionSpeed, SIBSpeed, measure_extraction, measure_sib


def test_sampling_is_timed_beside_learn2learn_and_keeps_memory_bounded(tmp_path):
    frame = measure_sampling(Sampling(classes=10, images=60, size=84, tasks=300, learn2learn=20, folder=tmp_path))
    ours, theirs = frame.to_dict("records")
    assert ours["tasks/s"] == pytest.approx(theirs["ratio"] * theirs["tasks/s"])
    assert ours["resident memory grew by (MiB)"] < 300
    assert not list(tmp_path.iterdir())


def test_meta_lstm_is_timed_plain_and_smooth():
    frame = measure_meta_lstm(MetaLSTMSpeed(size=16, channels=1, rounds=2))
    assert list(frame["episode"]) == ["plain", "smooth, exact", "smooth, pgd"]
    assert (frame["seconds"] > 0).all()
    assert frame["more than plain"][0] == 0


def test_sib_is_timed_plain_smooth_and_in_evaluation():
    frame = measure_sib(SIBSpeed(features=16, episodes=32, rounds=2))
    assert list(frame["SIB"]) == ["meta-training, plain", "meta-training, smooth", "evaluation"]
    assert (frame["episodes/s"] > 0).all()
    assert frame["time, of plain"][0] == 1


def test_extraction_is_timed_against_the_forward_pass():
    frame = measure_extraction(ExtractionSpeed("conv4_64", size=16, images=200, rounds=2))
    assert list(frame["conv4_64"]) == ["bare forward pass", "extraction"]
    assert (frame["images/s"] > 0).all()


def test_the_command_prints_a_table(capsys):
    main(["meta-lstm", "--size", "16", "--rounds", "1"])
    assert "smooth, pgd" in capsys.readouterr().out
