"""What every measurement says beside its figures, and where it is kept: one JSON line per run in results.jsonl."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).with_name("results.jsonl")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def circumstances() -> dict[str, Any]:
    """Commit, versions and machine; nothing that tells one user's machine from another of its kind."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {
        "commit": commit,
        "torch": torch.__version__,
        "transformers": importlib.metadata.version("transformers"),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
    }


def append(line: dict[str, Any]) -> None:
    """Adds a run to results.jsonl."""
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
