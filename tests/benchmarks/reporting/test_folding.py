"""Tables and text that fit a terminal."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from makers import counts, few_shot, optimized, source

from benchmarks.reporting import folding
from benchmarks.reporting.claims import judge
from benchmarks.reporting.compare import DEFAULT_MARGINS
from benchmarks.reporting.read import rows_of
from benchmarks.reporting.render_text import notes_text, to_text, verdicts_text
from benchmarks.reporting.tables import to_frame

RECORDS = [
    *(few_shot(counts(s), r, s, penalty={"weight": w}) for s in (0, 1) for r, w in (("none", 0), ("smooth", 1.5))),
    few_shot([], "smooth", failed=True),
    *(optimized([0.5, 0.6], r, steps=n) for r in ("none", "smooth") for n in (200, 1000)),
    optimized([0.5, 0.6], optimizer="adam", steps=200, diverged={0}),
    optimized([0.6, 0.7], "smooth", steps=200, transfer=source(0)),
]


def widest(text):
    return max(map(len, text.splitlines()))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width):
    rows = rows_of(RECORDS)
    judgements, frame = judge(rows), to_frame(rows)
    assert widest(to_text(frame)) > 120
    for text in (to_text(frame, width), verdicts_text(judgements, width), notes_text(frame, DEFAULT_MARGINS, width)):
        assert widest(text) <= width


def test_results_are_never_what_is_left_out():
    frame = to_frame(rows_of(RECORDS))
    for width in (80, 120):
        text = to_text(frame, width)
        for line in frame.to_dict("records"):
            if line["value"] == line["value"]:
                assert f"{line['value']:.2f} ± " in text, width
            if line["difference"] == line["difference"]:
                assert f"{line['difference']:+.2f} (" in text
        assert "1 failed" in text or re.search("no room in 80 columns: [^|]*failures", text)
        assert "1 diverged" in text


def test_without_a_width_nothing_is_folded():
    text = to_text(to_frame(rows_of(RECORDS)))
    assert "all rows" not in text
    assert "no room" not in text
    assert "no larger than" in text
    assert to_text(to_frame(rows_of(RECORDS)), 1000) == text


def test_what_all_rows_agree_in_is_said_once():
    cells = pd.DataFrame(
        {"dataset": ["glyphs"] * 2, "method": ["a", "b"], "accuracy (%)": ["1", "2"], "n": ["x" * 9] * 2}
    )
    text = folding.table(cells, 40)
    assert text.splitlines()[0] == f"all rows: dataset glyphs, n {'x' * 9}"
    assert [line.split("|")[1:3] for line in text.splitlines()[2:3]] == [[" method   ", " accuracy (%)   "]]
    assert "no room" not in text


def test_columns_without_room_are_named():
    cells = pd.DataFrame(
        {"method": ["a", "b"], "difference": ["1", "2"], "accuracy (%)": ["3", "4"], "more": ["5", "6"]}
    )
    text = folding.table(cells, 30)
    assert text.splitlines()[0] == "| method   | accuracy (%)   |"
    assert " ".join(text.split()).endswith("no room in 30 columns: difference, more")


def test_no_column_is_shown_before_a_more_important_one():
    columns = {"method": ["a", "b"], "more": ["5", "6"], "difference": ["+1.63 ± 0.52 points", "?"]}
    cells = pd.DataFrame({**columns, "accuracy (%)": ["3", "4"]})
    assert folding.table(cells, 40).splitlines()[-1] == "no room in 40 columns: more, difference"


def test_where_no_column_fits_a_row_is_a_paragraph():
    cells = pd.DataFrame({"method": ["a " * 20, "b"], "accuracy (%)": ["76.12 ± 1.93", "2"], "more": ["", "6"]})
    text = folding.table(cells, 30)
    assert widest(text) <= 30
    assert "accuracy (%) 76.12" in " ".join(text.split())
    assert "- method b, accuracy (%) 2," in text
    assert "|" not in text


@given(st.lists(st.text("abc ", max_size=200), max_size=5), st.integers(10, 100))
def test_lines_keep_their_words(paragraphs, width):
    text = "\n".join(paragraphs)
    broken = folding.lines(text, width)
    if all(len(word) <= width for word in text.split()):
        assert broken.split() == text.split()
        assert all(len(line) <= width for line in broken.splitlines())
    assert folding.lines(text, None) == text


def test_the_command_fits_the_terminal_it_prints_to_and_its_file_is_whole(tmp_path):
    for number, record in enumerate(RECORDS):
        record.write(tmp_path / "runs" / str(number) / "record.json")
    arguments = [str(tmp_path / "runs"), "--out", str(tmp_path), "--format", "md"]
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 80, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-m", "benchmarks.report", *arguments]
    with subprocess.Popen(
        command, stdout=writer, stderr=subprocess.DEVNULL, env=environment, cwd=Path(__file__).parents[3]
    ) as process:
        os.close(writer)
        printed = b""
        while True:
            try:
                printed += os.read(reader, 65536)
            except OSError:  # of a terminal that was closed
                break
        os.close(reader)
    assert process.returncode == 0
    tables = printed.decode().replace("\r", "").partition("written to")[0]
    assert "### Table 2: Meta-LSTM" in tables
    assert widest(tables) <= 80
    assert widest((tmp_path / "tables.md").read_text()) > 120
