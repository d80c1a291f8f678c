"""The table that a command ends with."""

import numpy as np
from makers import counts, few_shot, optimized

from benchmarks.reporting import read
from benchmarks.reporting.beside import rows_beside, table_beside
from benchmarks.reporting.claims import compare
from benchmarks.running.schema import FewShotFacts


def write(results, record):
    """Where the commands write it."""
    config = record.facts.config
    if isinstance(record.facts, FewShotFacts):
        name = "{method}-{regularizer}-{dataset}-{way}way-{shot}shot".format(**config)
    else:
        name = "general-{optimizer}-{regularizer}-{task}".format(**config)
    return record.write(
        results / f"{name}-{record.facts.config_sha256[:10]}" / f"seed{record.facts.seed}" / "record.json"
    )


def labels(rows):
    return [row.label for row in rows]


def test_a_plain_run_stands_beside_its_smoothed_partners(tmp_path):
    plain = write(tmp_path, few_shot(counts(0)))
    assert labels(rows_beside(tmp_path, [plain])) == ["meta_lstm"]
    smooth = [write(tmp_path, few_shot(counts(0) + 3, "smooth", penalty={"weight": w})) for w in (0.1, 1.0)]
    write(tmp_path, few_shot(counts(0), way=10))
    write(tmp_path, few_shot(counts(0), learner={"hidden_size": 7}))
    write(tmp_path, few_shot(counts(0), which="other", seed=1))
    write(tmp_path, few_shot(counts(0), method="sib"))
    expected = ["meta_lstm", "meta_lstm + smooth (λ = 0.1)", "meta_lstm + smooth (λ = 1)"]
    for record in (plain, *smooth):  # whichever was run last
        rows = rows_beside(tmp_path, [record])
        assert sorted(labels(rows)) == expected
        assert [c.mean for c in compare(rows)] == [4.0, 4.0]
    assert table_beside(tmp_path, [plain]).count("+4.00 (+4.00 to +4.00)") == 2


def test_all_seeds_of_a_partner_are_read(tmp_path):
    records = [write(tmp_path, few_shot(counts(s), r, seed=s)) for s in range(3) for r in ("none", "smooth")]
    assert [sorted(row.values) for row in rows_beside(tmp_path, records[:1])] == [[0, 1, 2]] * 2


def test_a_failed_run_is_shown(tmp_path):
    record = write(tmp_path, few_shot(failed=True))
    assert "1 failed" in table_beside(tmp_path, [record])


def test_only_folders_that_may_matter_are_read(tmp_path, monkeypatch):
    record = write(tmp_path, few_shot(counts(0), dataset="a[b]*"))
    write(tmp_path, few_shot(counts(0), "smooth", dataset="a[b]*"))
    for other in (few_shot(counts(0), dataset="ab"), few_shot(counts(0), shot=5), optimized([0.5])):
        write(tmp_path, other)
    paths = []
    original = read.read_record
    monkeypatch.setattr(read, "read_record", lambda path: paths.append(path) or original(path))
    assert len(rows_beside(tmp_path, [record])) == 2
    assert len(paths) == 2


def test_everything_tested_on_the_same_problems_is_sorted_by_its_number(tmp_path):
    """A mean loss of 10.1 is worse than one of 2.3, and a better accuracy stands first."""
    losses = {"dm": 8.1, "simple": 0.3, "rnnprop": 90.0}
    runs = [write(tmp_path, optimized([None] * 3, optimizer=o, offset=x)) for o, x in losses.items()]
    write(tmp_path, optimized([None] * 3, optimizer="adam", offset=-5.0, steps=9))
    text = table_beside(tmp_path, runs[:1])
    lines = [line.split("|") for line in text.splitlines() if "digits_mlp  " in line or "| digits_mlp" in line]
    assert [line[3].strip() for line in lines] == ["simple", "dm", "rnnprop"]
    assert text.startswith("### digits\\_mlp, 2 steps") or text.startswith("### digits_mlp, 2 steps")
    values = [0.5, 0.7, 0.6]
    runs = [write(tmp_path, optimized(np.full(3, v), core={"hidden_size": i}, steps=7)) for i, v in enumerate(values)]
    text = table_beside(tmp_path, runs[:1])
    assert [text.index(f"{100 * v:.2f} ±") for v in (0.7, 0.6, 0.5)] == sorted(
        text.index(f"{100 * v:.2f} ±") for v in values
    )


def test_settings_tell_apart_only_what_is_shown(tmp_path):
    shown = [write(tmp_path, optimized([0.5, 0.6], optimizer=o, steps=200)) for o in ("adam", "sgd")]
    write(tmp_path, optimized([0.5, 0.6], optimizer="adam", steps=1000))
    assert [row.settings for row in rows_beside(tmp_path, shown[:1])] == ["", ""]


def test_a_single_initialization_or_seed_has_no_interval(tmp_path):
    runs = [
        optimized([0.5]),
        optimized([0.6], "smooth"),
        optimized([0.5], optimizer="adam"),
        optimized([None], task="q"),
    ]
    runs.append(few_shot([40]))
    for record in runs:
        write(tmp_path, record)
    for record in runs:
        text = table_beside(tmp_path, [record])
        assert "nan" not in text
        assert "± ?" in text
