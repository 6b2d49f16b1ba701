"""Programs written for the original SAM 3 (`import sam3`) run on masklet.

The package `sam3` beside this file has the modules and names that the notebooks of the original use, as thin adapters:
no model code lives here. `install` makes `import sam3` find it, and `python -m masklet.compat SCRIPT` runs a script so.
Names, signatures, shapes and state keys are those of spec/compat.md.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

from masklet.errors import InputError

MODULES = (
    "sam3",
    "sam3.model",
    "sam3.model.box_ops",
    "sam3.model.sam1_task_predictor",
    "sam3.model.sam3_image",
    "sam3.model.sam3_image_processor",
    "sam3.model.sam3_tracking_predictor",
    "sam3.model.sam3_video_inference",
    "sam3.model.sam3_video_predictor",
    "sam3.model_builder",
    "sam3.visualization_utils",
)
"""What can be imported after `install`; parents first."""


def install(*, replace: bool = False) -> None:
    """Makes `import sam3` and its modules find masklet's adapters, in this process; a second call changes nothing.

    Args:
        replace: also where the original package is installed or already imported, which is hidden then.

    Raises:
        InputError: there is an original package and `replace` is off.
    """
    ours = {name: importlib.import_module(f"{__name__}.{name}") for name in MODULES}
    if sys.modules.get("sam3") is not ours["sam3"]:
        original = _original()
        if original is not None and not replace:
            raise InputError(
                f"a package sam3 is installed already ({original}), masklet.compat would hide it; "
                "call masklet.compat.install(replace=True) if that is wanted"
            )
        for name in [name for name in sys.modules if name == "sam3" or name.startswith("sam3.")]:
            del sys.modules[name]
    sys.modules.update(ours)


def _original() -> str | None:
    """Where another package called sam3 comes from; a mere folder of that name is none."""
    if "sam3" in sys.modules:
        return getattr(sys.modules["sam3"], "__file__", None) or "already imported"
    spec = importlib.util.find_spec("sam3")
    return None if spec is None else spec.origin
