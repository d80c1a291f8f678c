"""What `mkdocs` needs beside `mkdocs.yml`: pages that are kept elsewhere in the project."""

from __future__ import annotations

import re
from pathlib import Path

import jupytext
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {"index.md": "README.md", "changes.md": "CHANGELOG.md"}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#:\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README, changes and notebooks; links to files that are no pages become plain text."""
    for name, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=_LINK.sub(_from_root, text)))
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        notebook = jupytext.read(path)
        notebook.metadata.clear()
        page = jupytext.writes(notebook, fmt="md").partition("---\n\n")[2]
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links out of `docs` are no pages of the site."""
    return _LINK.sub(lambda link: link[1] if link[2].startswith("../") else link[0], markdown)


def _from_root(link: re.Match[str]) -> str:
    target = link[2].removeprefix("docs/")
    return f"[{link[1]}]({target})" if target != link[2] and (ROOT / link[2]).is_file() else link[1]
