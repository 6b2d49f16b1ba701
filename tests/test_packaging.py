"""What is installed: every file of the package, and weights as soon as they are there."""

from __future__ import annotations

import shutil
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]


def in_wheel(root: Path) -> set[str]:
    return {Path(file.distribution_path).as_posix() for file in WheelBuilder(str(root)).recurse_included_files()}


def test_every_file_of_the_package_is_in_the_wheel() -> None:
    files = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/masklet").rglob("*") if path.is_file()}
    expected = {name for name in files if "__pycache__" not in name}
    assert in_wheel(ROOT) == expected
    assert {Path(name).suffix for name in expected} >= {".py", ".typed", ".json", ".gz", ".txt", ".tsv"}


def test_no_rule_keeps_weights_out(tmp_path: Path) -> None:
    for name in ("pyproject.toml", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "src/masklet/weights").mkdir(parents=True)
    (tmp_path / "src/masklet/weights/default.safetensors").write_bytes(b"weights")
    assert in_wheel(tmp_path) == {"masklet/weights/default.safetensors"}
