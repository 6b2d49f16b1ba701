"""`python -m masklet.compat SCRIPT [ARGUMENT...]`: runs a script in which `import sam3` means masklet."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from masklet.compat import install


def main(arguments: list[str]) -> int:
    """Runs the script as Python itself would; gives back the exit code where there was nothing to run."""
    if not arguments or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m masklet.compat SCRIPT [ARGUMENT...]\n")
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    script = Path(arguments[0])
    if not script.is_file():
        sys.stderr.write(f"masklet.compat: error: {script}: expected a Python script, there is no such file\n")
        return 2
    sys.argv[:] = arguments
    if not sys.flags.safe_path:
        sys.path[0] = str(script.resolve().parent)  # what Python does for a script
    # Whoever runs a script in this way wants masklet, whatever else is installed.
    install(replace=True)
    runpy.run_path(str(script), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
