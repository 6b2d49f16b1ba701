"""Whatever comes in: nothing is lost, nothing hangs, one clear line says what is wrong; through predictor and command.

Here are the rows as a user meets them. What a single part does with them, case by case, is tested beside it: decoding
in media/test_images.py, exemplars in test_types.py and inference/test_exemplars.py, tokens in model/test_tokenizer.py,
checkpoints in checkpoint/test_load.py, bad usage and Ctrl-C in cli/test_segment.py.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

from command import masklet
from confident import CONFIDENT, confident_file, confident_model, picture
from full_disk import full_disk
from masklet import Exemplar, FrameResult, ImagePredictor, build_model, inference
from masklet.config import SAM3
from masklet.errors import ImageError, PromptError

SCHEMA = json.loads((Path(inference.__path__[0]) / "result.schema.json").read_text())
PICTURE = picture(60, 90)
GREY = np.repeat(PICTURE[:, :, :1], 3, axis=2)
HALF_WHITE = np.concatenate((PICTURE[:, :45], np.full((60, 45, 3), 255, np.uint8)), axis=1)

Segment = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def predictor() -> ImagePredictor:
    return ImagePredictor(confident_model())


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return confident_file(tmp_path_factory.mktemp("model"))


@pytest.fixture
def segment(
    capsys: pytest.CaptureFixture[str], model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Segment:
    """`masklet segment ARGUMENTS` in an empty folder: exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        return masklet(capsys, "segment", *arguments, "--model", model_file, "--dtype", "float32")

    return run


def answer(result: FrameResult) -> dict[str, Any]:
    """The result without the name of the picture; valid, whatever the input was."""
    document = result.to_dict()
    jsonschema.validate(document, SCHEMA)
    return document | {"image": ""}


# --- picture files ----------------------------------------------------------------------------------------------------


def bad_pictures(folder: Path) -> dict[Path, str]:
    """Files that are no pictures, and what is said of them."""
    Image.fromarray(PICTURE).save(folder / "whole.jpg")
    (folder / "truncated.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:900])
    (folder / "whole.jpg").unlink()
    (folder / "empty.jpg").touch()
    (folder / "letter.jpg").write_text("Dear Sir or Madam,")
    # 500 megapixels, of which only the header exists.
    header = struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, 25_000, 20_000, 1, 24, *[0] * 6)
    (folder / "vast.bmp").write_bytes(header)
    said = {
        "empty.jpg": "expected a picture, the file is empty",
        "letter.jpg": "expected a picture (JPEG, PNG, WebP, TIFF, GIF, BMP ...), got a file of another kind",
        "truncated.jpg": "the picture cannot be decoded",
        "vast.bmp": "expected at most 200 megapixels, got 25000 x 20000 (500)",
        "missing.jpg": "expected a picture, there is no such file",
    }
    return {folder / name: message for name, message in said.items()}


def test_files_that_are_no_pictures(predictor: ImagePredictor, tmp_path: Path) -> None:
    for path, message in bad_pictures(tmp_path).items():
        with pytest.raises(ImageError) as caught:
            predictor.segment(path, "dog")
        assert str(caught.value).startswith(f"{path}: {message}")
        assert "\n" not in str(caught.value)


def test_bad_files_are_reported_and_the_rest_are_done(segment: Segment, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    said = bad_pictures(tmp_path / "photos")
    for name in ("a.png", "z.png"):
        Image.fromarray(PICTURE).save(tmp_path / "photos" / name)
    code, out, err = segment("photos", "photos/missing.jpg", "-c", "dog")
    assert code == 1
    assert [line.split(":")[0] for line in out.splitlines()] == ["photos/a.png", "photos/z.png"]
    *errors, summary, last = err.splitlines()
    assert [line[: line.find(message) + len(message)] for line, message in zip(errors, said.values(), strict=True)] == [
        f"masklet: error: photos/{path.name}: {message}" for path, message in said.items()
    ]
    assert summary.startswith("2 pictures in ")
    assert last == "masklet: error: 5 of 7 pictures failed"
    assert len(json.loads(Path("out/annotations.json").read_text())["images"]) == 2


def save_animation(path: Path) -> None:
    Image.fromarray(PICTURE).save(path, save_all=True, append_images=[Image.fromarray(255 - PICTURE)], lossless=True)


def save_turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # hold the camera upright: a quarter turn clockwise
    Image.fromarray(PICTURE).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def save_transparent(path: Path) -> None:
    alpha = np.repeat(np.array([255, 0], np.uint8), 45)[None].repeat(60, axis=0)
    Image.fromarray(np.dstack((PICTURE, alpha))).save(path)


@pytest.mark.parametrize(
    ("name", "save", "shown"),
    [
        ("animated.webp", save_animation, PICTURE),
        ("turned.png", save_turned, PICTURE),
        ("sixteen.png", lambda path: Image.fromarray(PICTURE[:, :, 0].astype(np.uint16) * 257).save(path), GREY),
        ("palette.png", lambda path: Image.fromarray(PICTURE).quantize(48).save(path), PICTURE),
        ("alpha.png", save_transparent, HALF_WHITE),
        ("grey.png", lambda path: Image.fromarray(PICTURE[:, :, 0]).save(path), GREY),
    ],
)
def test_pictures_of_all_kinds_are_seen_as_in_a_viewer(
    predictor: ImagePredictor, tmp_path: Path, name: str, save: Callable[[Path], None], shown: Any
) -> None:
    save(tmp_path / name)
    result = predictor.segment(tmp_path / name, "dog")
    assert answer(result) == answer(predictor.segment(shown, "dog"))
    assert len(result)
    assert result.overlay().size == predictor.segment(shown, "dog").overlay().size


def test_cmyk(predictor: ImagePredictor, tmp_path: Path) -> None:
    ink = np.zeros((60, 90, 4), dtype=np.uint8)
    ink[:, 45:, 0] = 255  # cyan beside bare paper, where JPEG loses nothing
    Image.fromarray(ink, mode="CMYK").save(tmp_path / "ink.jpg", quality=100, subsampling=0)
    shown = np.full((60, 90, 3), 255, np.uint8)
    shown[:, 45:, 0] = 0
    found, expected = predictor.segment(tmp_path / "ink.jpg", "dog"), predictor.segment(shown, "dog")
    assert found.presence == pytest.approx(expected.presence, abs=1e-3)  # JPEG changes some pixels by a level
    assert found.presence != pytest.approx(predictor.segment(255 - shown, "dog").presence, abs=1e-3)


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 20_000), (20_000, 1), (2, 3)])
def test_odd_sizes_work(segment: Segment, size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    Image.fromarray(picture(height, width)).save("odd.png")
    code, out, err = segment("odd.png", "-c", "dog", "--box", f"0,0,{width},{height}", "--json", "--out", "out")
    assert (code, err) == (0, "")
    document = json.loads(out)
    jsonschema.validate(document, SCHEMA)
    assert document["size_wh"] == [width, height]
    assert document["detections"]
    with Image.open("out/odd/dog/labels.png") as labels, Image.open("out/odd/dog/overlay.png") as overlay:
        assert labels.size == size_wh
        assert overlay.width / overlay.height == width / height


# --- concepts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "concept", ["🚌", "👩‍🚀", "كلب أسود", "\u202edog", "dog\0cat", "狗", "NULL", "dog;rm -rf /", "../../x"]
)
def test_any_text_is_a_concept(predictor: ImagePredictor, tmp_path: Path, concept: str) -> None:
    result = predictor.segment(PICTURE, concept, threshold=0)
    assert answer(result)["concept"] == concept
    folder = result.save(tmp_path / "out", name="a")
    assert folder.parent == tmp_path / "out/a"
    assert json.loads((folder / "result.json").read_text())["concept"] == concept


@pytest.mark.parametrize("concept", ["", " ", "\t\n", "\0"])
def test_no_text_is_none(predictor: ImagePredictor, segment: Segment, concept: str) -> None:
    with pytest.raises(PromptError, match="at least one visible character") as caught:
        predictor.segment(PICTURE, concept)
    assert repr(concept) in str(caught.value)
    if concept != "\0":  # which no system lets through
        Image.fromarray(PICTURE).save("a.png")
        code, out, err = segment("a.png", "-c", concept)
        assert (code, out, err.count("\n")) == (1, "", 1)


def test_long_text_is_cut_at_32_tokens_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert SAM3.text.context == 32
    config = replace(CONFIDENT, text=replace(CONFIDENT.text, context=32))
    predictor = ImagePredictor(build_model(config, seed=0))
    # The small vocabulary has no merges for words: one token for each letter.
    fitting = predictor.segment(PICTURE, " ".join("d" * 30))
    assert not caplog.records
    with caplog.at_level(logging.WARNING, logger="masklet"):
        cut = predictor.segment(PICTURE, " ".join("d" * 500))
    assert answer(cut) == answer(fitting) | {"concept": cut.concept}
    assert [record.getMessage().count("\n") for record in caplog.records] == [0]
    assert "has 500 tokens, the model reads 30: the rest is ignored" in caplog.text


def test_the_command_warns_of_long_text_on_one_line(segment: Segment) -> None:
    Image.fromarray(PICTURE).save("a.png")
    code, out, err = segment("a.png", "-c", "dog " * 500, "--json")
    assert (code, out.count("\n"), err.count("\n")) == (0, 1, 1)
    assert err.startswith("masklet: warning: concept 'dog dog ")


def test_a_concept_that_is_not_there_is_an_answer(segment: Segment) -> None:
    Image.fromarray(PICTURE).save("a.png")
    code, out, err = segment("a.png", "-c", "dog", "--threshold", "1", "--json", "--out", "out")
    assert (code, err) == (0, "")
    document = json.loads(out)
    jsonschema.validate(document, SCHEMA)
    assert document["detections"] == []
    assert 0 < document["presence"] < 1
    assert not list(Path("out/a/dog/masks").iterdir())


def test_names_that_are_no_text_or_cannot_be_shown(segment: Segment, model_file: Path) -> None:
    """A file name and a concept of bytes that are no UTF-8, on a terminal that has letters of English only."""
    name = b"caf\xe9.png"
    Image.fromarray(PICTURE).save("a.png")
    os.replace("a.png", name)
    line = [
        sys.executable,
        "-m",
        "masklet",
        "segment",
        name,
        "-c",
        "🚌",
        "-c",
        b"\xff",
        "--yolo",
        "--model",
        model_file,
    ]
    done = subprocess.run(
        line, capture_output=True, check=False, timeout=60, env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"caf\\udce9.png: ")
    assert b"\\U0001f68c" in done.stdout


# --- exemplars --------------------------------------------------------------------------------------------------------


def test_a_box_beyond_the_picture_is_clipped_with_a_warning(
    predictor: ImagePredictor, segment: Segment, caplog: pytest.LogCaptureFixture
) -> None:
    clipped = predictor.segment(PICTURE, "dog", exemplars=[Exemplar((60, 20, 90, 60))])
    assert not caplog.records
    result = predictor.segment(PICTURE, "dog", exemplars=[Exemplar((60, 20, 500, 61.5))])
    assert answer(result) == answer(clipped)
    assert "(60.0, 20.0, 500.0, 61.5) reaches beyond the picture of 90 x 60 pixels" in caplog.text
    Image.fromarray(PICTURE).save("a.png")
    code, out, err = segment("a.png", "-c", "dog", "--box", "60,20,500,61.5", "--json")
    assert (code, out.count("\n"), err.count("\n")) == (0, 1, 1)
    assert err.startswith("masklet: warning: an exemplar box (60.0, 20.0, 500.0, 61.5)")


@pytest.mark.parametrize(
    ("exemplar", "options", "message"),
    [
        (Exemplar((90, 0, 95, 5)), ["--box", "90,0,95,5"], "must overlap the picture of 90 x 60 pixels, got (90.0"),
        (Exemplar((-9, -9, 0, 5)), ["--box=-9,-9,0,5"], "must overlap the picture of 90 x 60 pixels, got (-9.0"),
        (Exemplar.point((9, 61)), ["--point", "9,61"], "must lie in the picture of 90 x 60 pixels, got (9.0, 61.0)"),
        (Exemplar.mask(np.ones((9, 9))), ["--mask", "small.png"], "(H, W) = (60, 90), got (9, 9)"),
    ],
)
def test_exemplars_outside_the_picture(
    predictor: ImagePredictor, segment: Segment, exemplar: Exemplar, options: list[str], message: str
) -> None:
    with pytest.raises(PromptError) as caught:
        predictor.segment(PICTURE, "dog", exemplars=[exemplar])
    assert message in str(caught.value)
    Image.fromarray(PICTURE).save("a.png")
    Image.new("1", (9, 9), 1).save("small.png")
    code, out, err = segment("a.png", "-c", "dog", *options)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("masklet: error: a.png: an exemplar")
    assert message in err


# --- disks ------------------------------------------------------------------------------------------------------------


def test_a_full_disk_stops_the_run_and_keeps_what_was_finished(segment: Segment, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    for name, pixels in (("a", PICTURE), ("b", noise), ("c", PICTURE)):
        Image.fromarray(pixels).save(tmp_path / f"photos/{name}.png")
    line = ("photos", "-c", "dog", "-c", "cat")
    with full_disk(40_000):  # room for all files but the overlay of noise
        code, out, err = segment(*line)
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("masklet: error: out/b/dog: cannot be written (File too large)")
    assert out.startswith("photos/a.png: ")
    found = sorted(path.as_posix() for path in Path("out").rglob("result.json"))
    assert found == ["out/a/cat/result.json", "out/a/dog/result.json"]
    for path in found:
        jsonschema.validate(json.loads(Path(path).read_text()), SCHEMA)
    assert not list(Path("out").rglob("*.partial"))
    code, out, _ = segment(*line)
    assert (code, ["[done before]" in one for one in out.splitlines()]) == (0, [True, False, False])


@pytest.mark.parametrize("closed", ["made", "written"])
def test_a_folder_that_is_closed_to_us_is_found_out_before_the_work(
    segment: Segment, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    """The system's answers are played: to its administrator, who may run this, no folder is closed."""
    Image.fromarray(PICTURE).save("a.png")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        if closed == "made":
            patch.setattr(Path, "mkdir", refused)
        else:
            patch.setattr(os, "access", lambda *_: False)
        code, out, err = segment("a.png", "-c", "dog", "--out", "elsewhere")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.lower().startswith("masklet: error: elsewhere: cannot be written (")
    assert err.endswith("; choose another --out\n")


def test_stdout_on_a_full_disk(model_file: Path, tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    line = [
        sys.executable,
        "-m",
        "masklet",
        "segment",
        tmp_path / "a.png",
        "-c",
        "dog",
        "--json",
        "--model",
        model_file,
    ]
    with open("/dev/full", "w") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "masklet: error: system: No space left on device\n"
