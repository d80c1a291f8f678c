"""Tables in all formats, from fixed records; what is in them, whatever the order of records and the names in them."""

import io
import itertools
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from makers import ENVIRONMENT, counts, draw, few_shot, optimized, source

from benchmarks.report import main
from benchmarks.reporting.published import FEW_SHOT, TABLE1, TABLES, Published, Table, published
from benchmarks.reporting.read import rows_of
from benchmarks.reporting.render_text import escape_latex, escape_markdown, to_latex, to_text
from benchmarks.reporting.tables import select, sort, to_frame
from fewshot.errors import InputError

GOLDEN = Path(__file__).parent / "golden"


def golden_records():
    """Every kind of row: plain, regularized, failed, diverged, transductive, transferred, hand-designed, a loss."""
    return [
        few_shot([30, 38], dataset="mini_imagenet"),
        few_shot([33, 41], "smooth", dataset="mini_imagenet"),
        few_shot([30, 40], seed=0, shot=5),
        few_shot([20, 34], seed=1, shot=5),
        few_shot([33, 42], "smooth", seed=0, shot=5),
        few_shot([25, 39], "smooth", seed=1, shot=5, transductive=True),
        few_shot([], "smooth", way=10, failed=True),
        optimized([0.5, 0.6, 0.7]),
        optimized([0.6, 0.7, 0.7], "smooth"),
        optimized([0.1, 0.1, 0.1], "orthogonal", diverged={0, 1, 2}),
        optimized([0.4, 0.5, 0.6], optimizer="adam"),
        optimized([0.6, 0.5, 0.5], "smooth", transfer=source(0)),
        optimized([None, None], task="quadratic", dataset="digits"),
        optimized([None, None], "smooth", task="quadratic", dataset="digits", diverged={1}),
    ]


def write_all(folder, records):
    for i, record in enumerate(records):
        record.write(folder / f"{i}" / "record.json")


def test_golden_tables(tmp_path, capsys):
    """By hand: 30 and 38 of 75 are 40.00 and 50.67 %, ± 12.706 times 5.333; smoothing adds 4 points to each."""
    write_all(tmp_path / "runs", golden_records())
    main([str(tmp_path / "runs"), "--out", str(tmp_path)])
    assert (tmp_path / "tables.md").read_text() == (GOLDEN / "tables.md").read_text()
    assert (tmp_path / "tables.tex").read_text() == (GOLDEN / "tables.tex").read_text()
    frames = [pd.read_csv(folder / "tables.csv") for folder in (tmp_path, GOLDEN)]
    pd.testing.assert_frame_equal(frames[0], frames[1])
    text = (tmp_path / "tables.md").read_text()
    assert "45.33 ± 67.77" in text
    assert "+4.00 (+4.00 to +4.00)" in text
    assert "38.20 ± 0.73" in text
    assert "nan" not in text
    assert text.rstrip() in capsys.readouterr().out


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(14)))
def test_the_order_of_records_never_matters(order):
    records = golden_records()
    expected = to_frame(rows_of(records))
    shuffled = to_frame(rows_of([records[i] for i in order]))
    pd.testing.assert_frame_equal(shuffled, expected)
    assert to_text(shuffled) == to_text(expected)


def test_bold_is_what_beats_every_other_row():
    rows = [optimized([0.5, 0.6, 0.7]), optimized([0.61, 0.7, 0.8], "smooth")]
    assert list(to_frame(rows_of(rows))["best"]) == [False, True]
    rows.append(optimized([0.6, 0.71, 0.79], "l2"))
    assert not to_frame(rows_of(rows))["best"].any()  # ahead of l2, but not clearly
    assert not to_frame(rows_of([optimized([0.5, 0.6, 0.7])]))["best"].any()
    diverged = [optimized([0.5, 0.6, 0.7]), optimized([0.61, 0.7, 0.8, 0.9][:3], "smooth", diverged={2})]
    assert not to_frame(rows_of(diverged))["best"].any()


def test_of_losses_the_smallest_is_best():
    lines = to_frame(rows_of([optimized([None] * 3), optimized([None] * 3, "smooth", offset=-0.5)]))
    assert list(lines["best"]) == [False, True]
    assert lines["difference"][1] == pytest.approx(-0.5)


def test_every_published_number_is_found_by_its_row():
    for (method, regularizer, dataset, way, shot), value in FEW_SHOT.items():
        (row,) = rows_of([few_shot(counts(0), regularizer, method=method, dataset=dataset, way=way, shot=shot)])
        assert published(row) is value
    for regularizer, value in TABLE1.items():
        record = optimized(draw(0), regularizer, task="cifar10_cnn", steps=10_000)
        assert published(rows_of([record])[0]) is value
    assert published(rows_of([optimized(draw(0), task="cifar10_cnn")])[0]) is None
    assert published(rows_of([few_shot(counts(0))])[0]) is None


def test_published_numbers_show_the_improvements_the_paper_speaks_of():
    gains = {key: FEW_SHOT[key].mean - FEW_SHOT[(key[0], "none", *key[2:])].mean for key in FEW_SHOT}
    smooth = [round(gain, 2) for key, gain in gains.items() if key[1] == "smooth"]
    assert smooth == [2.22, 2.34, 0.31, 1.69, 0.4, 1.9, 0.8, 0.8]


def test_rows_are_selected_without_changing_their_numbers():
    frame = to_frame(rows_of(golden_records()))
    chosen = select(frame, ["dataset=mini_imagenet", "regularizer=smooth"])
    (line,) = chosen.to_dict("records")
    assert line["difference"] == pytest.approx(4)
    assert len(select(frame, ["regularizer=smooth", "regularizer=none"])) == len(frame) - 1
    assert len(select(frame, ["shot=5"])) == 3
    for condition, message in (("shot", "is no condition"), ("shots=1", "unknown column"), ("shot=7", "choose one of")):
        with pytest.raises(InputError, match=message):
            select(frame, [condition])


def test_rows_are_sorted_within_their_table():
    frame = to_frame(rows_of(golden_records()))
    values = sort(frame, "value", reverse=True)["value"].dropna()
    assert (np.diff(values) <= 0).all()
    assert sort(frame, "value")["value"].isna().iloc[-1]
    assert list(sort(frame, "way")["way"].astype(str))[-1] == "10"
    with pytest.raises(InputError, match="unknown column of --sort"):
        sort(frame, "speed")


def test_the_command_filters_and_writes_only_what_is_asked_for(tmp_path, capsys):
    write_all(tmp_path / "runs", golden_records())
    main([str(tmp_path / "runs"), "--out", str(tmp_path), "--where", "track=few_shot", "--format", "csv", "tex"])
    assert not (tmp_path / "tables.md").exists()
    assert set(pd.read_csv(tmp_path / "tables.csv")["track"]) == {"few_shot"}
    printed = capsys.readouterr().out
    assert "SIB" not in printed
    assert "Simple" not in printed
    assert "Smoothed Meta-LSTM is better" in printed


HOSTILE = r"a|b <script>x</script> & % $ # _ { } ~ ^ \input{x} \n`*[l](u)" + "\nnext ± × é"


def test_names_are_shown_and_never_run():
    frame = to_frame(rows_of([few_shot(counts(0), dataset=HOSTILE)]))
    text = to_text(frame)
    assert "<script>" not in text
    assert len(text.splitlines()) == 5
    assert {line.replace("\\|", "").count("|") for line in text.splitlines()[2:]} == {8}
    latex = to_latex(frame)
    assert r"\input" not in latex
    assert r"\textbackslash{}input\{x\}" in latex
    pd.testing.assert_frame_equal(
        pd.read_csv(io.StringIO(frame.to_csv(index=False)))[["dataset"]], frame[["dataset"]], check_dtype=False
    )


@given(st.text())
def test_escaped_text_has_no_markup_left(text):
    escaped = escape_latex(text)
    for command in ("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar"):
        escaped = escaped.replace(f"\\{command}{{}}", "")
    for command in ("textquotedbl", "textasciigrave"):
        escaped = escaped.replace(f"\\{command}{{}}", "")
    escaped = escaped.replace(r"$\pm$", "").replace(r"$\times$", "")
    for character in "&%$#_{}":
        escaped = escaped.replace(f"\\{character}", "")
    assert not set(escaped) & set("&%$#_{}\\~^\n")
    markdown = escape_markdown(text)
    assert not set(markdown) & set("<>\n\r")
    assert "|" not in markdown.replace("\\\\", "").replace("\\|", "")


def everything_in_latex():
    return to_latex(to_frame(rows_of([*golden_records(), few_shot(counts(0), dataset=HOSTILE)])))


TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[{}&$^_#~%]|[^\\{}&$^_#~%]+", re.DOTALL)
KNOWN = {"begin", "end", "caption", "hline", "textbf", "pm", "times", "textbackslash", "textasciitilde"} | {
    f"text{name}" for name in ("asciicircum", "less", "greater", "bar", "quotedbl", "asciigrave")
}


def check_latex(text):
    """What a compiler would stumble over: braces, environments, mathematics, unknown commands, cells of each line."""
    tokens = TOKEN.findall(text)
    assert "".join(tokens) == text
    groups, environments, columns, cells, mathematics = [], [], None, 1, False
    stream = iter(tokens)
    for token in stream:
        if token in ("\\begin", "\\end"):
            assert next(stream) == "{"
            name = next(stream)
            assert next(stream) == "}"
            if token == "\\begin":
                environments.append((name, len(groups)))
            else:
                assert environments.pop() == (name, len(groups))
            if (token, name) == ("\\begin", "tabular"):
                assert next(stream) == "{"
                specification = next(stream)
                assert set(specification) == {"l"}
                assert next(stream) == "}"
                columns, cells = len(specification), 1
        elif token == "{":
            groups.append(token)
        elif token == "}":
            groups.pop()
        elif token == "$":
            mathematics = not mathematics
        elif token == "&":
            assert not groups
            assert environments[-1][0] == "tabular"
            cells += 1
        elif token == r"\\":
            assert cells == columns
            assert not groups
            assert not mathematics
            cells = 1
        elif token.startswith("\\") and token[1].isalpha():
            assert token[1:] in KNOWN
            assert mathematics == (token[1:] in ("pm", "times"))
        else:
            assert token not in set("^_#~%")
            assert token.isascii()
    assert not groups
    assert not environments
    assert not mathematics


def test_latex_is_well_formed():
    """As far as can be told without a LaTeX."""
    text = everything_in_latex()
    check_latex(text)
    assert text.count(r"\begin{tabular}") == len(to_frame(rows_of(golden_records())).groupby("table"))
    for broken in (
        text.replace("}", "", 1),
        text.replace(" & ", " ", 1),
        text.replace("$", "", 1),
        text.replace(r"\end{table}", "", 1),
        text.replace(r"\hline", r"\toprule", 1),
        text.replace(r"\_", "_", 1),
    ):
        assert broken != text
        with pytest.raises((AssertionError, IndexError)):
            check_latex(broken)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs a LaTeX; its structure is checked without one")
def test_latex_compiles(tmp_path):
    document = (
        rf"\documentclass{{article}}\usepackage[T1]{{fontenc}}\begin{{document}}{everything_in_latex()}\end{{document}}"
    )
    (tmp_path / "tables.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0


def test_a_million_episodes():
    frame = to_frame(rows_of([few_shot(counts(0, 10**6)), few_shot(counts(1, 10**6), "smooth")]))
    assert list(frame["over"]) == ["1,000,000 episodes, one trained model"] * 2
    assert frame["difference_over"][1] == "1,000,000 episodes, one trained model"


def test_code_versions_are_no_configurations():
    environments = [msgspec.structs.replace(ENVIRONMENT, commit=str(s), versions={"torch": str(s)}) for s in (0, 1)]
    records = [few_shot(counts(s), seed=s, environment=environment) for s, environment in enumerate(environments)]
    for order in itertools.permutations(records):
        (row,) = rows_of(order)
        assert [record.facts.environment.commit for record in row.records.values()] == ["0", "1"]


def test_no_nan_anywhere(tmp_path, capsys):
    """Of a single seed and initialization, of failures, of divergence."""
    records = [
        *(optimized([0.5], r) for r in ("none", "smooth")),
        *(optimized([None], r, task="quadratic") for r in ("none", "smooth")),
        *(few_shot([40], r) for r in ("none", "smooth")),
        optimized([0.5], "l2", diverged={0}),
        few_shot([], failed=True, shot=5),
    ]
    write_all(tmp_path / "runs", records)
    main([str(tmp_path / "runs"), "--out", str(tmp_path)])
    texts = {
        path.name: path.read_text() for path in tmp_path.rglob("*") if path.suffix in (".md", ".tex", ".csv", ".svg")
    }
    page = (tmp_path / "report.html").read_text()
    texts["page"] = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    texts["printed"] = capsys.readouterr().out
    assert {"tables.md", "tables.tex", "tables.csv", "differences-accuracy.svg", "differences-loss.svg"} < set(texts)
    for name, text in texts.items():
        assert not re.search(r"\bnan\b", text, re.IGNORECASE), name
    assert "± ?" in texts["tables.md"]


def test_rows_of_unknown_methods_have_a_table_of_their_own():
    records = [
        *(few_shot(counts(i), r, method="mine") for i, r in enumerate(("none", "smooth"))),
        few_shot(counts(0), method="protonet"),
        *(optimized(draw(i), r, optimizer="a|b") for i, r in enumerate(("none", "theirs"))),
        optimized(draw(0), optimizer="dm"),
    ]
    rows = rows_of(records)
    frame = to_frame(rows)
    text = to_text(frame)
    titles = [line[4:] for line in text.splitlines() if line.startswith("### ")]
    assert titles == [
        "Few-shot learning, other methods",
        "General training, other optimizers",
        "Few-shot learning: mine",
        "General training: a\\|b",
    ]
    assert sum(line.startswith("| ") for line in text.splitlines()) == len(rows) + len(titles)
    latex = to_latex(frame)
    check_latex(latex)
    assert r"\caption{Few-shot learning: mine}" in latex
    assert [published(row) for row in rows] == [None] * len(rows)


def test_every_row_of_every_table_is_shown():
    frame = to_frame(rows_of([*golden_records(), few_shot(counts(0), method="new")]))
    text = to_text(frame)
    assert sum(line.startswith("| ") for line in text.splitlines()) == len(frame) + frame["table"].nunique()


def test_a_table_of_a_plug_in_holds_its_rows_and_shows_its_values():
    TABLES["mine"] = Table("Mine", lambda row: row.method == "mine", lambda row: Published(12.34, 0.56))
    try:
        text = to_text(to_frame(rows_of([few_shot(counts(0), method="mine"), few_shot(counts(0))])))
    finally:
        del TABLES["mine"]
    assert text.index("### Table 2") < text.index("### Mine")
    assert "12.34 ± 0.56" in text
