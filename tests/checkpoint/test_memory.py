"""Weights stay mapped to the file, what was copied is given back, and tables follow the formula."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from masklet.checkpoint import convert, save_native
from masklet.checkpoint.formats import open_checkpoint
from masklet.checkpoint.load import assign, build_blank
from masklet.checkpoint.rotary import rotary_table
from masklet.config import SAM3, preset
from masklet.model.build import build_model

HF_FILE = "huggingface/model.safetensors"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    # Without a tracker, whose many small tensors would bring most of the file in with the pages around a fault.
    save_native(build_model(replace(preset("default"), tracker=None, tracker_neck=False), seed=0), folder / "native")
    for kind in ("meta", "huggingface"):
        convert(folder / "native", folder / kind, kind)
    return folder


def _resident(path):
    """Bytes of a mapped file that are in this process's memory."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


def _load(path, dtype):
    checkpoint = open_checkpoint(path)
    model = build_blank(checkpoint.config)
    assign(checkpoint, model, CPU, dtype)
    return checkpoint, model


@pytest.mark.parametrize(("kind", "file"), [("native", "native"), ("meta", "meta"), ("huggingface", HF_FILE)])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_pages_that_were_copied_are_given_back(files, kind, file, dtype):
    checkpoint, model = _load(files / kind, dtype)
    weights = (files / file).stat().st_size
    # A fault maps the pages around it too (64 KiB), which for tensors as small as these is a good share.
    assert _resident(files / file) < 0.25 * weights
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sum()
    used = _resident(files / file)
    if dtype is None:
        assert used > 0.4 * weights, "the model reads the file itself, not a copy"
    else:
        assert used < 0.25 * weights
    assert checkpoint.files[0] == files / file  # still open, so that the mapping was there to be counted


@pytest.mark.parametrize(
    ("kind", "file", "dtype"), [("native", "native", torch.bfloat16), ("huggingface", HF_FILE, None)]
)
def test_without_release_they_would_stay(files, monkeypatch, kind, file, dtype):
    monkeypatch.setattr("masklet.checkpoint.containers._release_pages", lambda tensor: None)
    checkpoint, _ = _load(files / kind, dtype)
    assert _resident(files / file) > 0.35 * (files / file).stat().st_size
    assert checkpoint.files[0] == files / file


def test_released_tensors_can_be_read_again(files):
    checkpoint, model = _load(files / "native", torch.float64)
    for name, parameter in model.named_parameters():
        assert torch.equal(checkpoint.read(name).double(), parameter)


@pytest.mark.parametrize(("block", "side", "scale"), [(0, 24, 1.0), (7, 72, 1 / 3)])
def test_rotary_tables_of_the_public_model(block, side, scale):
    """The formula of spec/image-model.md section 2 in float64."""
    table = rotary_table(SAM3.vision, block)
    assert table.shape == (side * side, 32) and table.dtype == torch.complex64
    y, x = np.divmod(np.arange(side * side), side)
    frequencies = 10000.0 ** (-4 * np.arange(16) / 64)
    angles = np.concatenate([np.outer(x * scale, frequencies), np.outer(y * scale, frequencies)], 1)
    # float32 angles up to 24 are rounded at 1e-6
    np.testing.assert_allclose(table.numpy(), np.exp(1j * angles), atol=4e-6, rtol=0)


def test_loading_does_not_import_the_compiler(files):
    """It takes most of a second, and tensors without memory import it unasked."""
    script = (
        "import sys, masklet.checkpoint as c\n"
        f"for kind in ('native', 'meta', 'huggingface'): c.load_detector({str(files)!r} + '/' + kind)\n"
        "print([name for name in ('sympy', 'torch._dynamo') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
