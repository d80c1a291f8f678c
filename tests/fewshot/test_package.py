"""What `import fewshot` gives, and what it does not cost."""

import subprocess
import sys

import pytest


def run(code: str) -> str:
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def test_importing_it_imports_no_torch() -> None:
    assert run("import sys, fewshot; print('torch' in sys.modules)") == "False"


def test_what_is_offered_is_there_without_further_imports() -> None:
    code = "import fewshot; print(fewshot.read_card('simple').optimizer, fewshot.LearnedOptimizer.__name__)"
    assert run(code) == "simple LearnedOptimizer"


def test_packages_are_attributes() -> None:
    assert run("import fewshot; print(fewshot.optimizers.Simple.__name__, fewshot.errors.one_of.__name__)") == (
        "Simple one_of"
    )


def test_what_is_not_there_is_an_attribute_error() -> None:
    import fewshot

    with pytest.raises(AttributeError, match="module 'fewshot' has no attribute 'nothing'"):
        _ = fewshot.nothing
