"""docs/performance.md says what was measured last."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("performance_page", ROOT / "tools" / "performance_page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["performance_page"] = module
    spec.loader.exec_module(module)
    return module


def test_its_tables_are_of_the_newest_measurements(tool: ModuleType) -> None:
    text = tool.PAGE.read_text(encoding="utf-8")
    assert tool.page(text, tool.read_lines()) == text, "run `make performance`"


def test_a_new_measurement_changes_it(tool: ModuleType) -> None:
    lines, text = tool.read_lines(), tool.PAGE.read_text(encoding="utf-8")
    setting = {"benchmark": "speed", "preset": "sam3", "threads": 2, "dtype": "float32", "theirs": "float32"}
    figures = {tool.WHOLE: {"ours_s": 2.0, "theirs_s": 24.68, "ratio": 12.34}}
    changed = tool.page(text, [*lines, {**setting, "figures": figures}])
    assert "| float32 | float32 | 2.0 | 24.7 | 12.34 |" in changed
    assert changed.count("\n") == text.count("\n")


def test_every_plot_has_something_to_show(tool: ModuleType) -> None:
    for name, series in tool.growth(tool.read_lines()):
        for label, values in series.items():
            assert len(values) > 1, f"{name}, {label}"


def test_a_table_that_is_not_there_is_told(tool: ModuleType) -> None:
    with pytest.raises(SystemExit, match="expected one table 'machine', found 0"):
        tool.page("# Speed\n", tool.read_lines())
