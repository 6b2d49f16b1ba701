"""The demo as `make demo` runs it, with a tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageOps

from confident import confident_file
from masklet.media.video import open_video

EXAMPLES = Path(__file__).parents[2] / "examples"
PROMPTS = json.loads((EXAMPLES / "images/prompts.json").read_text(encoding="utf-8"))


def demo(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, EXAMPLES / "demo.py", *arguments]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False, timeout=600)


def test_a_table_that_fits_and_files_of_every_answer(tmp_path: Path) -> None:
    done = demo(tmp_path, confident_file(tmp_path))
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    for name, prompt in PROMPTS.items():
        assert done.stdout.count(name) == 1
        for concept in prompt["concepts"]:
            assert f" {concept} " in done.stdout
        folder = tmp_path / "out/demo" / Path(name).stem
        answers = sorted(path.name for path in folder.iterdir() if path.is_dir())
        assert answers == sorted([*(concept.replace(" ", "-") for concept in prompt["concepts"]), "visual"])
        with Image.open(EXAMPLES / "images" / name) as photo:
            upright = ImageOps.exif_transpose(photo).size
        for overlay in (folder / "overlay.png", *(folder / answer / "overlay.png" for answer in answers)):
            with Image.open(overlay) as drawn:
                assert drawn.size == upright
    for stage in ("load", "decode", "encode", "text", "detect", "masks", "write"):
        assert f"{stage} " in done.stdout.splitlines()[-2]


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = demo(tmp_path, "nothing.safetensors")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("demo: nothing.safetensors: there is no such file")
    assert done.stderr.count("\n") == 1


def test_the_film_is_there() -> None:
    with open_video(EXAMPLES / "clips/grapes.mp4") as film, film.frames() as frames:
        assert [frame.pixels.shape for frame in frames] == [(360, 480, 3)] * 64


def test_pictures_and_prompts_belong_together() -> None:
    assert sorted(PROMPTS) == sorted(path.name for path in (EXAMPLES / "images").glob("*.jpg"))
    turned = 0
    for name, prompt in PROMPTS.items():
        with Image.open(EXAMPLES / "images" / name) as photo:
            turned += photo.getexif().get(0x0112, 1) != 1
            width, height = ImageOps.exif_transpose(photo).size
        x0, y0, x1, y1 = prompt["exemplar_xyxy"]
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
    assert turned == 1
