"""`import masklet` stays light and without side effects, and the layer table is enforced by `make check`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Behind an extra, or an oracle of tests and benchmarks: importing any module of masklet must not need them.
NOT_IN_THE_CORE = (
    "accelerate",
    "av",
    "cv2",
    "faster_coco_eval",
    "fastapi",
    "jsonschema",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pandas",
    "peft",
    "psutil",
    "ray",
    "regex",
    "requests",
    "supervision",
    "tensorboardX",
    "torchvision",
    "transformers",
    "uvicorn",
)


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_loads_nothing_but_torch_and_numpy() -> None:
    loaded = json.loads(
        run_python(
            "import json, sys, torch, numpy\n"
            "before = set(sys.modules)\n"
            "import masklet\n"
            "print(json.dumps(sorted(set(sys.modules) - before)))"
        )
    )
    foreign = {name.partition(".")[0] for name in loaded} - {"masklet", "torch", "numpy"} - sys.stdlib_module_names
    assert "masklet" in loaded
    assert not foreign


def test_import_changes_nothing_in_the_process() -> None:
    state = (
        "(torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.initial_seed(),"
        " torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark, logging.root.handlers[:],"
        " logging.root.level, warnings.filters[:], sorted(os.environ), sys.path[:])"
    )
    code = f"import logging, os, sys, warnings, torch\nbefore = {state}\nimport masklet\nprint(before == {state})"
    assert run_python(code).strip() == "True"


def test_every_module_is_importable_without_optional_packages() -> None:
    code = f"""
import importlib, pkgutil, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {NOT_IN_THE_CORE!r}:
            raise ModuleNotFoundError(f"hidden: {{name}}", name=name)

sys.meta_path.insert(0, Hidden())
import masklet
names = [module.name for module in pkgutil.walk_packages(masklet.__path__, "masklet.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names))
"""
    assert int(run_python(code)) > 20


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(root / 'src')!r}); from importlinter.cli import lint_imports_command"
    return subprocess.run(
        [sys.executable, "-c", f"{code}; lint_imports_command(['--no-cache'])"],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
    )


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("ops/boxes.py", "import masklet.layers.mlp"),
        ("layers/mlp.py", "import masklet.model.detector"),
        ("model/neck.py", "from PIL import Image"),
        ("losses/box.py", "import masklet.config"),
        ("errors.py", "import masklet.ops"),
        ("unlisted/__init__.py", "import torch"),
    ],
)
def test_a_broken_layer_is_noticed(tmp_path: Path, file: str, line: str) -> None:
    shutil.copytree(
        ROOT / "src/masklet", tmp_path / "src/masklet", ignore=shutil.ignore_patterns("__pycache__", "*.safetensors")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert lint_imports(tmp_path).returncode == 0
    target = tmp_path / "src/masklet" / file
    target.parent.mkdir(exist_ok=True)
    target.write_text((target.read_text() if target.exists() else "") + f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert "BROKEN" in done.stdout
    assert "masklet." + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") in done.stdout
