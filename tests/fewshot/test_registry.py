"""Registries, and the door through which plug-ins come."""

from __future__ import annotations

import hashlib
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fewshot import registry
from fewshot.errors import InputError
from fewshot.registry import Plugin, Registry, load_plugins

THINGS: Registry[int] = Registry("thing")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plug-in is loaded, and only one thing is there."""
    monkeypatch.setattr(registry, "_loaded", {})
    for name in list(THINGS):
        del THINGS[name]
    THINGS.register("one", 1)


def plugin(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(f"from test_registry import THINGS\n{text}\n")
    return path


def test_things_are_found_by_name_in_the_order_of_registration() -> None:
    THINGS["two"] = 2
    assert (THINGS.find("two"), list(THINGS), len(THINGS)) == (2, ["one", "two"], 2)
    with pytest.raises(InputError, match="unknown thing 'three'; choose one of: one, two"):
        THINGS.find("three")


def test_a_name_is_taken_once() -> None:
    THINGS.register("one", 1)  # the same again, as a module imported twice would
    with pytest.raises(InputError, match="thing 'one' exists already, built in; give yours another name"):
        THINGS.register("one", 11)


def test_a_file_brings_things_and_is_known_by_its_hash(tmp_path: Path) -> None:
    path = plugin(tmp_path, "mine", "THINGS.register('two', 2)")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_plugins([str(path)]) == [Plugin("mine.py", sha256=sha256)]
    assert THINGS.origin("two") == Plugin("mine.py", sha256=sha256)
    assert THINGS.origin("one") is None


def test_a_file_is_imported_once(tmp_path: Path) -> None:
    path = plugin(tmp_path, "counting", "THINGS.register(f'number {len(THINGS)}', 0)")
    load_plugins([str(path), str(path)])
    load_plugins([str(tmp_path / ".." / tmp_path.name / path.name)])
    assert len(THINGS) == 2


def test_a_module_is_known_by_its_package_or_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    path = plugin(tmp_path, "loose_module", "THINGS.register('two', 2)")
    monkeypatch.delitem(sys.modules, "loose_module", raising=False)
    assert load_plugins(["loose_module"])[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_plugins(["tabulate"])[0].version


def test_installed_packages_offer_plugins_by_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    plugin(tmp_path, "offered", "THINGS.register('two', 2)")
    point = EntryPoint("mine", "offered", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "fewshot.plugins" else [])
    assert load_plugins() == []
    assert THINGS["two"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "mine.py cannot be imported: ZeroDivisionError: division by zero, line 2 of"),
        ("def f(:", "mine.py cannot be imported: SyntaxError"),
        ("THINGS.register('one', 5)", "thing 'one' exists already"),
        ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
    ],
)
def test_a_plugin_that_fails_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = plugin(tmp_path, "mine", text)
    with pytest.raises(InputError, match="mine") as error:
        load_plugins([str(path)])
    assert message in str(error.value)
    path.write_text("from test_registry import THINGS\nTHINGS['two'] = 2\n")
    load_plugins([str(path)])  # mended, it loads
    assert THINGS["two"] == 2


@pytest.mark.parametrize("name", ["nowhere.py", "nowhere_to_be_found"])
def test_a_plugin_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load_plugins([name])
