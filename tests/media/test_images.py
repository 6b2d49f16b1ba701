"""Pictures of every kind to pixels, errors that name the file, and the original's exact resize."""

from __future__ import annotations

import os
import re
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from masklet.errors import ImageError
from masklet.media.images import image_name, read_image, read_image_size, to_pixels

RNG = np.random.default_rng(7)
PICTURE = RNG.integers(0, 256, (5, 9, 3), dtype=np.uint8)  # (H, W, 3), another size on each axis


def written(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


# --- what a viewer would show -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".ppm"])
@pytest.mark.parametrize("kind", [str, Path])
def test_lossless_files_keep_every_pixel(tmp_path: Path, suffix: str, kind: type) -> None:
    path = written(tmp_path / f"a{suffix}", Image.fromarray(PICTURE))
    pixels = read_image(kind(path))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, PICTURE)


def test_jpeg_is_decoded_at_full_size(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(600), np.arange(800)).astype(np.float64)
    path = written(tmp_path / "a.jpg", Image.fromarray((smooth / 6).astype(np.uint8)).convert("RGB"), quality=95)
    with Image.open(path) as image:
        expected = np.array(image.convert("RGB"))
    assert np.array_equal(read_image(path), expected)
    assert expected.shape == (600, 800, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_files_are_turned_as_exif_says(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = written(tmp_path / f"a{suffix}", Image.fromarray(PICTURE), exif=exif)
    with Image.open(path) as image:
        turned = ImageOps.exif_transpose(image)
        expected = np.array(turned.convert("RGB"))
    assert expected.shape == ((9, 5, 3) if orientation >= 5 else (5, 9, 3))
    assert np.array_equal(read_image(path), expected)


def test_a_pil_image_keeps_the_size_that_its_owner_sees(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = written(tmp_path / "a.png", Image.fromarray(PICTURE), exif=exif)
    with Image.open(path) as image:
        assert np.array_equal(read_image(image), PICTURE)


def test_damaged_exif_does_not_spoil_the_picture(tmp_path: Path) -> None:
    path = written(tmp_path / "a.png", Image.fromarray(PICTURE), exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff\xff")
    assert np.array_equal(read_image(path), PICTURE)


@pytest.mark.parametrize(("suffix", "options"), [(".gif", {}), (".png", {}), (".webp", {"lossless": True})])
def test_the_first_frame_of_an_animation(tmp_path: Path, suffix: str, options: dict[str, Any]) -> None:
    frames = [Image.new("RGB", (9, 5), colour) for colour in ((200, 30, 40), (10, 220, 30), (5, 6, 250))]
    path = written(tmp_path / f"a{suffix}", frames[0], save_all=True, append_images=frames[1:], duration=50, **options)
    assert np.array_equal(read_image(path), np.array(frames[0]))


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257, 32896], [65535, 65407, 65406, 1, 40000]], dtype=np.uint16)
    path = written(tmp_path / "a.png", Image.fromarray(values))
    expected = np.array([[0, 0, 1, 1, 128], [255, 255, 254, 0, 156]], dtype=np.uint8)  # value / 257, rounded
    assert np.array_equal(read_image(path), np.repeat(expected[:, :, None], 3, axis=2))


def test_sixteen_bits_of_colour(tmp_path: Path) -> None:
    values = RNG.integers(0, 65536, (5, 9, 3), dtype=np.uint16)
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 5, 16, 2, 0, 0, 0))
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))
    pixels = read_image(path)
    assert pixels.shape == (5, 9, 3)
    assert np.abs(pixels - values / 257).max() <= 1  # Pillow takes the high byte


@pytest.mark.parametrize("values", [[[0.0, 0.5, 1.0]], [[-3.0, float("nan"), 3.0]], [[0.0, 1e6, 2e6]]])
def test_floats_are_stretched(tmp_path: Path, values: list[list[float]]) -> None:
    path = written(tmp_path / "a.tiff", Image.fromarray(np.array(values, dtype=np.float32)))
    assert read_image(path)[0, :, 0].tolist() == [0, 128, 255]


def test_a_float_picture_of_one_value_and_wide_integers(tmp_path: Path) -> None:
    constant = written(tmp_path / "a.tiff", Image.fromarray(np.full((2, 3), 7, dtype=np.float32)))
    assert np.array_equal(read_image(constant), np.zeros((2, 3, 3)))
    wide = written(tmp_path / "b.tiff", Image.fromarray(np.array([[0, 2**30]], dtype=np.int32)))
    assert read_image(wide)[0, :, 1].tolist() == [0, 255]


def test_cmyk_and_grey_and_one_bit(tmp_path: Path) -> None:
    cmyk = written(tmp_path / "a.tiff", Image.new("CMYK", (9, 5), (0, 255, 255, 0)))
    assert np.array_equal(read_image(cmyk), np.full((5, 9, 3), (255, 0, 0)))
    grey = written(tmp_path / "b.png", Image.fromarray(PICTURE[:, :, 0]))
    assert np.array_equal(read_image(grey), np.repeat(PICTURE[:, :, :1], 3, axis=2))
    bits = PICTURE[:, :, 0] > 127
    one = written(tmp_path / "c.png", Image.fromarray(bits))
    assert np.array_equal(read_image(one), np.repeat(bits[:, :, None], 3, axis=2) * 255)


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    colours = np.array([[200, 30, 40], [10, 220, 30], [5, 6, 250]], dtype=np.uint8)
    pixels = colours[RNG.integers(0, 3, (5, 9))]
    path = written(tmp_path / "a.png", Image.fromarray(pixels).quantize(3))
    with Image.open(path) as image:
        assert image.mode == "P"
    assert np.array_equal(read_image(path), pixels)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_alpha_lies_on_white(tmp_path: Path, suffix: str) -> None:
    rgba = np.zeros((5, 9, 4), dtype=np.uint8)
    rgba[:, :, 0] = 200
    rgba[:, 3:, 3] = 255
    rgba[:, 6:, 3] = 51
    path = written(tmp_path / f"a{suffix}", Image.fromarray(rgba), **({"lossless": True} if suffix == ".webp" else {}))
    row = read_image(path)[2]
    assert row[0].tolist() == [255, 255, 255]
    assert row[4].tolist() == [200, 0, 0]
    assert np.abs(row[8].astype(int) - [244, 204, 204]).max() <= 1  # 0.2 of the colour, 0.8 of white
    assert np.array_equal(read_image(rgba), read_image(path))


def test_transparent_palette_and_transparent_grey_and_grey_with_alpha(tmp_path: Path) -> None:
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "L").convert("P")
    palette.putpalette([200, 30, 40, 10, 220, 30])
    path = written(tmp_path / "a.gif", palette, transparency=0)
    assert read_image(path)[0].tolist() == [[255, 255, 255], [10, 220, 30]]
    grey = written(tmp_path / "b.png", Image.fromarray(np.array([[9, 70]], dtype=np.uint8)), transparency=9)
    assert read_image(grey)[0, :, 0].tolist() == [255, 70]
    both = written(tmp_path / "c.png", Image.fromarray(np.array([[[9, 0], [70, 255]]], dtype=np.uint8), "LA"))
    assert read_image(both)[0, :, 0].tolist() == [255, 70]


# --- errors -----------------------------------------------------------------------------------------------------------


def error_of(source: Any, **options: Any) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_missing_empty_folder_pipe_and_impossible_names(tmp_path: Path) -> None:
    missing = error_of(tmp_path / "missing.jpg")
    assert "missing.jpg" in missing
    assert "no such file" in missing
    (tmp_path / "empty.jpg").touch()
    assert "the file is empty" in error_of(tmp_path / "empty.jpg")
    assert "a folder" in error_of(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "no ordinary file" in error_of(tmp_path / "pipe.jpg")  # and does not wait for a writer
    assert "NUL" not in error_of("nul\0.jpg")
    assert "cannot be read" in error_of("x" * 5000) or "no such file" in error_of("x" * 5000)


def test_a_file_that_is_no_picture(tmp_path: Path) -> None:
    for name, content in (("a.jpg", b"hello, I am text"), ("b.png", b"\x89PNG\r\n\x1a\n"), ("c.jpg", b"\xff\xd8\xff")):
        path = tmp_path / name
        path.write_bytes(content)
        message = error_of(path)
        assert name in message
        assert "picture" in message


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".gif", ".tiff", ".ppm", ".jp2"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_file(tmp_path: Path, suffix: str, kept: float) -> None:
    noise = RNG.integers(0, 256, (64, 80, 3), dtype=np.uint8)
    whole = written(tmp_path / f"whole{suffix}", Image.fromarray(noise)).read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: int(len(whole) * kept)])
    assert f"cut{suffix}" in error_of(path)


def test_damaged_bytes_are_our_error_or_a_picture(tmp_path: Path) -> None:
    """Whatever a decoder raises is caught: 200 random damages of four formats."""
    errors = 0
    for suffix in (".png", ".jpg", ".gif", ".tiff"):
        whole = written(tmp_path / f"whole{suffix}", Image.fromarray(PICTURE)).read_bytes()
        for _ in range(50):
            data = bytearray(whole)
            for place in RNG.integers(0, len(data), 4):
                data[place] = RNG.integers(0, 256)
            path = tmp_path / f"damaged{suffix}"
            path.write_bytes(data)
            try:
                assert read_image(path).shape[2] == 3
            except ImageError:
                errors += 1
    assert errors > 20


def test_the_size_limit_is_checked_before_decoding(tmp_path: Path) -> None:
    header = struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54) + struct.pack(
        "<IiiHHIIiiII", 40, 25_000, 20_000, 1, 24, *[0] * 6
    )
    path = tmp_path / "huge.bmp"  # 500 megapixels, of which only the header exists
    path.write_bytes(header)
    message = error_of(path)
    assert "at most 200 megapixels" in message
    assert "25000 x 20000" in message
    assert "whole" in error_of(path, max_pixels=600_000_000)  # the limit can be raised: now the missing pixels show


def test_the_size_limit_of_arrays_and_pil_images() -> None:
    assert "9 x 5" in error_of(PICTURE, max_pixels=44)
    assert "9 x 5" in error_of(Image.fromarray(PICTURE), max_pixels=44)
    assert read_image(PICTURE, max_pixels=45).shape == (5, 9, 3)


def test_pillows_own_limit_is_left_as_it_was(tmp_path: Path) -> None:
    path = written(tmp_path / "a.png", Image.fromarray(PICTURE))
    before = Image.MAX_IMAGE_PIXELS
    threads = [threading.Thread(target=read_image, args=(path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    error_of(tmp_path / "missing.png")
    assert before == Image.MAX_IMAGE_PIXELS
    assert before is not None


@pytest.mark.parametrize(
    ("array", "pattern"),
    [
        (PICTURE.astype(np.float32) / 255, r"got float32 of shape \(5, 9, 3\); scale it"),
        (PICTURE.astype(np.uint16), "uint16"),
        (PICTURE > 3, "bool"),
        (np.moveaxis(PICTURE, -1, 0), r"\(3, 5, 9\); move the channels last"),
        (PICTURE[None], r"\(1, 5, 9, 3\)"),
        (PICTURE[:, :, :2], r"\(5, 9, 2\)"),
        (PICTURE[0, :, 0], r"\(9,\)"),
        (PICTURE[:0], "9 x 0"),
        (PICTURE[:, :0], "0 x 5"),
        (torch.from_numpy(PICTURE), "torch.Tensor"),
        (None, "NoneType"),
        (b"bytes", "bytes"),
    ],
)
def test_arrays_that_are_no_picture(array: Any, pattern: str) -> None:
    assert re.search(pattern, error_of(array))


def test_arrays_that_are(tmp_path: Path) -> None:
    assert read_image(PICTURE) is PICTURE
    grey = np.repeat(PICTURE[:, :, :1], 3, axis=2)
    assert np.array_equal(read_image(PICTURE[:, :, 0]), grey)
    assert np.array_equal(read_image(PICTURE[:, :, :1]), grey)


def test_names(tmp_path: Path) -> None:
    assert image_name("folder/a.jpg") == "folder/a.jpg"
    assert image_name(Path("a.jpg")) == "a.jpg"
    assert image_name(PICTURE) == "image"
    assert image_name(Image.fromarray(PICTURE)) == "image"
    with Image.open(written(tmp_path / "b.png", Image.fromarray(PICTURE))) as image:
        assert image_name(image) == str(tmp_path / "b.png")


# --- the model's input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_hw", [(1, 1), (5, 9), (1, 2000), (70, 33), (200, 300), (56, 56)])
@pytest.mark.parametrize("layout", ["plain", "read-only", "reversed", "cut"])
def test_the_resize_is_the_originals(size_hw: tuple[int, int], layout: str) -> None:
    image = RNG.integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    if layout == "reversed":
        image = image[::-1, :, ::-1]
    elif layout == "cut":
        image = RNG.integers(0, 256, (size_hw[0] + 3, size_hw[1] + 2, 3), dtype=np.uint8)[1:-2, 2:]
    expected = reference_pixels(image.copy(), 56)
    image.flags.writeable = layout != "read-only"
    pixels = to_pixels(image, 56)
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous()
    assert torch.equal(pixels, expected)
    assert pixels.min() >= -1
    assert pixels.max() <= 1


def reference_pixels(image: np.ndarray, size: int) -> torch.Tensor:
    """The steps of the original's transform, each on its own (spec/image-model.md 1), channels first in memory."""
    levels = torch.from_numpy(image).permute(2, 0, 1).contiguous()[None]
    if levels.shape[-2:] != (size, size):
        levels = F.interpolate(levels, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return (levels.to(torch.float32) * (1.0 / 255) - 0.5) / 0.5


def test_the_resize_rounds_to_levels_and_antialiases() -> None:
    image = RNG.integers(0, 256, (112, 112, 3), dtype=np.uint8)
    levels = (to_pixels(image, 56) * 0.5 + 0.5) * 255
    assert (levels - levels.round()).abs().max() < 1e-4
    stripes = np.zeros((112, 112, 3), dtype=np.uint8)
    stripes[::2] = 254
    assert to_pixels(stripes, 56)[..., 2:-2, :].abs().max() < 0.05  # without antialias: -1 or 1


def test_black_and_white() -> None:
    assert to_pixels(np.zeros((3, 4, 3), dtype=np.uint8), 14).unique().tolist() == [-1.0]
    assert to_pixels(np.full((3, 4, 3), 255, dtype=np.uint8), 14).unique().tolist() == [1.0]


def test_the_picture_is_not_changed() -> None:
    image = RNG.integers(0, 256, (14, 14, 3), dtype=np.uint8)
    before = image.copy()
    to_pixels(image, 14)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("orientation", [None, 1, 2, 3, 4, 5, 6, 7, 8])
def test_size_is_that_of_the_pixels_turned_or_not(tmp_path: Path, orientation: int | None) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.new("RGB", (7, 4)).save(tmp_path / "a.jpg", exif=exif)
    size = read_image_size(tmp_path / "a.jpg")
    assert size.stored_hw == read_image(tmp_path / "a.jpg", turn=False).shape[:2] == (4, 7)
    assert size.shown_hw == read_image(tmp_path / "a.jpg").shape[:2]
    assert size.turned == (orientation not in (None, 1))


def test_size_of_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("text")
    for name in ("a.jpg", "none.jpg"):
        with pytest.raises(ImageError, match="expected a picture"):
            read_image_size(tmp_path / name)
