"""The site of the documentation is built without a warning, and holds what it should."""

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def build(root, out):
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    return subprocess.run(words, cwd=root, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True)


def words_of(page):
    text = re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8"))
    return " ".join(html.unescape(text).split())


def test_the_site_is_built_and_holds_readme_notebooks_and_docstrings(tmp_path):
    ran = build(ROOT, tmp_path / "site")
    assert ran.returncode == 0, ran.stderr
    for page, phrase in {
        "index.html": "Does a neural optimizer get better when it is made smooth?",
        "changes/index.html": "Changed results",
        "tables/index.html": "How to read the tables",
        "notebooks/my_own_optimizer/index.html": "A learned multiple of the squashed gradient.",
        "api/trained/index.html": "Learn from a few labelled images, and classify others.",
        "api/optimizers/index.html": "max_gap",
    }.items():
        assert phrase in words_of(tmp_path / "site" / page), page
    for place in ("docs", "notebooks"):
        for path in (ROOT / place).rglob("[a-z]*.md"):
            page = path.relative_to(ROOT / place).with_suffix("") / "index.html"
            assert (tmp_path / "site" / page).is_file(), path


def test_a_broken_link_is_an_error(tmp_path):
    for name in ("docs", "notebooks", "fewshot", "mkdocs.yml", "README.md", "CHANGELOG.md"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    page = tmp_path / "docs" / "tables.md"
    page.write_text(page.read_text(encoding="utf-8") + "\n[broken](nowhere.md)\n", encoding="utf-8")
    ran = build(tmp_path, tmp_path / "site")
    assert ran.returncode != 0
    assert "nowhere.md" in ran.stderr
