"""A name that begins with an underscore is used in its own folder alone. Directions of imports: `make lint`."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("fewshot", "data_prep", "benchmarks")


def private_uses(code: str, folder: str) -> list[str]:
    """Private names of other folders of this project that a module in `folder` (dotted) takes, as "line: name"."""
    tree, modules, uses = ast.parse(code), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and _ours(node.module):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                modules[alias.asname or alias.name] = full
                if _private(full) and not _beside(full, folder):
                    uses.append(f"{node.lineno}: {full}")
        elif isinstance(node, ast.Import):
            for alias in filter(lambda alias: _ours(alias.name), node.names):
                modules[alias.asname or alias.name] = alias.name
                if _private(alias.name) and not _beside(alias.name, folder):
                    uses.append(f"{node.lineno}: {alias.name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            full = modules.get(ast.unparse(node.value))
            if full is not None and not _beside(f"{full}.{node.attr}", folder):
                uses.append(f"{node.lineno}: {full}.{node.attr}")
    return uses


def _ours(module: str | None) -> bool:
    return (module or "").partition(".")[0] in ("fewshot", "data_prep", "benchmarks")


def _private(full: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in full.split("."))


def _beside(full: str, folder: str) -> bool:
    """Whether a private name, or the module that it is in, lies in `folder`: full is folder[.module].name."""
    return full.startswith(folder + ".") and full.removeprefix(folder + ".").count(".") <= 1


@pytest.mark.parametrize("package", PACKAGES)
def test_no_private_name_is_used_across_folders(package):
    uses = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        folder = ".".join(path.parent.relative_to(ROOT).parts)
        if found := private_uses(path.read_text(encoding="utf-8"), folder):
            uses[str(path.relative_to(ROOT))] = found
    assert not uses


@pytest.mark.parametrize(
    "line",
    [
        "from fewshot.regularizers.base import _check",
        "from fewshot.regularizers import _base",
        "import fewshot.regularizers._base",
        "from fewshot.regularizers import base\nbase._check()",
        "import fewshot.regularizers.base as b\nb._check()",
        "from fewshot.regularizers.base import Regularizer\nRegularizer._check()",
    ],
)
def test_uses_are_found_in_another_folder_and_allowed_in_their_own(line):
    assert private_uses(line, "fewshot.engine")
    if "Regularizer._check" not in line:
        assert not private_uses(line, "fewshot.regularizers")


@pytest.mark.parametrize("line", ["from torch import _C", "import fewshot.errors as e\ne.__name__", "self._x = 1"])
def test_other_names_are_nobodys_business(line):
    assert not private_uses(line, "fewshot.engine")
