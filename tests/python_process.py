"""Python in a process of its own, without a GPU; warnings are errors."""

from __future__ import annotations

import os
import subprocess
import sys

# pycocotools speaks to NumPy 1; its masks are right.
_WARNINGS = "error,ignore:__array__ implementation:DeprecationWarning"


def python(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": _WARNINGS, "CUDA_VISIBLE_DEVICES": "", **variables},
    )
