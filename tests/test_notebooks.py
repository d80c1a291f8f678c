"""The notebooks run from their first to their last cell, with a smaller budget, and are notebooks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
BUDGETS = {
    "is_smoothing_better": {"SEEDS": "[0, 1]", "EPISODES": "4", "TEST_EPISODES": "6"},
    "my_own_optimizer": {"UNROLLS": "3", "STEPS": "20", "INITIALIZATIONS": "2"},
}
ENDS = {
    "is_smoothing_better": r"mean difference [+-]\d+\.\d\d points",
    "my_own_optimizer": r"loss of a model that it was never trained on: \d",
}


def test_every_notebook_has_a_budget():
    assert {path.stem for path in NOTEBOOKS.glob("*.py")} == set(BUDGETS)


@pytest.mark.parametrize("name", BUDGETS)
def test_it_is_a_notebook(name):
    cells = jupytext.read(NOTEBOOKS / f"{name}.py").cells
    assert {cell.cell_type for cell in cells} == {"markdown", "code"}
    assert cells[0].source.startswith("# ")


@pytest.mark.slow
@pytest.mark.parametrize("name", BUDGETS)
def test_it_runs_to_its_end(name, tmp_path):
    code = (NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8")
    for constant, value in BUDGETS[name].items():
        code, found = re.subn(rf"^{constant} = .*$", f"{constant} = {value}", code, flags=re.MULTILINE)
        assert found == 1, constant
    (tmp_path / "notebook.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    ran = subprocess.run([sys.executable, "notebook.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert re.search(ENDS[name], ran.stdout.splitlines()[-1])
