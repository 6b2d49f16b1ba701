"""Pictures to pixels: any file that Pillow reads, a PIL image or an array, decoded as a viewer would show it.

Unusual: a size limit is checked before anything is decoded; JPEGs are never decoded at reduced size, which would
change results; and the resize to the model's square runs on uint8 on the CPU whatever the model's device, because that
is what the original does and every other way differs from it by up to one level (spec/image-model.md 1).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from masklet.errors import ImageError
from masklet.media.readable_file import check_file

Pixels = npt.NDArray[np.uint8]
"""(H, W, 3) RGB, 0..255."""

ImageSource = str | Path | Image.Image | npt.NDArray[np.uint8]
"""A path, a PIL image, or an array of pixels."""

MAX_PIXELS = 200_000_000
"""Pictures with more pixels are refused unless the caller allows them: 0.6 GB decoded, several times that at work."""

_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation. Not `ImageOps.exif_transpose`: it writes the EXIF data anew and fails where that is damaged."""

_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that exchange height and width."""

_pillow_limit_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class ImageSize:
    """The size of a picture file, by its header.

    Attributes:
        stored_hw: height and width of the rows in the file, pixels.
        shown_hw: height and width as `read_image` gives it, turned as the EXIF orientation says.
        turned: a viewer turns or mirrors it; the two sizes may still be equal.
    """

    stored_hw: tuple[int, int]
    shown_hw: tuple[int, int]
    turned: bool


def read_image_size(path: Path) -> ImageSize:
    """The size of a picture file; only its header is read, so a truncated one may go unnoticed.

    Raises:
        ImageError: the file is missing, empty or no picture.
    """
    with _opened(path) as image:
        stored_hw = (image.height, image.width)
        orientation = _orientation(image)
    shown_hw = stored_hw[::-1] if orientation in _SIDEWAYS else stored_hw
    return ImageSize(stored_hw=stored_hw, shown_hw=shown_hw, turned=orientation in _TURNS)


def read_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS, turn: bool = True) -> Pixels:
    """The pixels of a picture as a viewer would show them.

    Args:
        source: one of
            a path: the first frame, turned as its EXIF orientation says, 16 bit scaled to 8, palettes and CMYK
            converted, transparent parts on white;
            a PIL image: converted in the same way, but *not* turned and at its current frame, so that results have
            the size that the caller sees;
            an (H, W, 3) uint8 array in RGB order; (H, W) and (H, W, 1) count as grey, (H, W, 4) as RGB with alpha.
        max_pixels: most pixels that are accepted; checked before the picture is decoded.
        turn: whether a file's EXIF orientation is followed.

    Returns:
        (H, W, 3) uint8, RGB. Shares memory with `source` if that is such an array.

    Raises:
        ImageError: the file is missing, empty, truncated, no picture or too large, or the array has another shape or
            type.
    """
    if isinstance(source, str | Path):
        return _read_file(Path(source), max_pixels, turn)
    if isinstance(source, Image.Image):
        _check_size(source.size, "the PIL image", max_pixels)
        return _decoded(source, "the PIL image", turned=False)
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    raise _other_type(type(source))


def image_name(source: ImageSource) -> str:
    """What results call this picture: its path as given, the file of a PIL image, or "image"."""
    if isinstance(source, str | Path):
        return str(source)
    return str(getattr(source, "filename", "")) or "image"


def to_pixels(image: Pixels, size: int, device: torch.device | str = "cpu") -> Tensor:
    """A picture as the network takes it: stretched to a square, -1..1.

    Bit for bit what the original computes on a CPU: bilinear with antialias on uint8, aspect ratio not kept, skipped
    where the size fits (spec/image-model.md 1).

    Args:
        image: (H, W, 3) uint8, as `read_image` gives it.
        size: side R of the square, pixels.
        device: where the result goes.

    Returns:
        (1, 3, R, R) float32.
    """
    # A read-only array is copied: PyTorch warns of sharing it. Negative strides need a copy as well.
    array = np.ascontiguousarray(image) if image.flags.writeable else image.copy()
    levels = torch.from_numpy(array).permute(2, 0, 1)[None]  # (1, 3, H, W), channels last in memory
    if levels.shape[-2:] != (size, size):
        levels = F.interpolate(levels, (size, size), mode="bilinear", antialias=True, align_corners=False)
    # Times 1/255 rather than over 255: that is how the original's transform scales, and 111 of the 256 levels differ
    # in the last bit.
    scaled = _moved(levels, torch.device(device)).contiguous().float().mul_(1 / 255)
    return scaled.sub_(0.5).div_(0.5)


def _moved(levels: Tensor, device: torch.device) -> Tensor:
    """On the device; to CUDA while this thread goes on, which takes memory that stays in its place."""
    if device.type != "cuda":
        return levels.to(device)
    return levels.pin_memory().to(device, non_blocking=True)


def _other_type(kind: type) -> ImageError:
    return ImageError(
        "a picture must be a path, a PIL image or an (H, W, 3) uint8 array, "
        f"got {kind.__module__}.{kind.__qualname__}; convert it first"
    )


# --- files ------------------------------------------------------------------------------------------------------------


def _read_file(path: Path, max_pixels: int, turn: bool) -> Pixels:
    with _opened(path) as image:
        _check_size(image.size, str(path), max_pixels)
        return _decoded(image, str(path), turned=turn)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A file whose header was read; what goes wrong inside the block is an ImageError as well."""
    check_file(path, "a picture", ImageError)
    try:
        with path.open("rb") as file:
            with _no_pillow_limit():  # ours is checked instead
                image = Image.open(file)
            with image:
                yield image
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path}: expected a picture (JPEG, PNG, WebP, TIFF, GIF, BMP ...), got a file of another kind or a "
            "damaged one; convert it first"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # decoders of 40 formats raise what they like on a damaged header
        raise ImageError(f"{path}: the picture cannot be opened ({error}); is the file whole?") from error


def _check_size(size_wh: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size_wh
    if width < 1 or height < 1:
        raise ImageError(f"{name}: expected a picture of at least 1 x 1 pixel, got {width} x {height}")
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: expected at most {max_pixels / 1e6:g} megapixels, got {width} x {height} "
            f"({width * height / 1e6:.0f}); make it smaller, or allow more with max_pixels (--max-megapixels)"
        )


@contextmanager
def _no_pillow_limit() -> Iterator[None]:
    """Lets Pillow open a picture of any size: its own limit is a global, lower than ours, and warns at half of it."""
    with _pillow_limit_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


# --- pixels -----------------------------------------------------------------------------------------------------------


def _decoded(image: Image.Image, name: str, *, turned: bool) -> Pixels:
    try:
        image.load()  # here a truncated file shows
        turn = _TURNS.get(_orientation(image)) if turned else None
        return np.array(_to_rgb(image if turn is None else image.transpose(turn)))
    except MemoryError:
        raise
    except Exception as error:  # see _read_file
        raise ImageError(f"{name}: the picture cannot be decoded ({error}); is the file whole?") from error


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF data does not spoil the picture; a viewer shows it as it is
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image  # `convert` would copy it
    if image.mode.startswith("I") or image.mode == "F":
        return _wide_to_rgb(image)
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGBA", image.size, "white")
    canvas.alpha_composite(image)
    return canvas.convert("RGB")


def _wide_to_rgb(image: Image.Image) -> Image.Image:
    """Grey of 16 bit, 32 bit or float. Only 16 bit has a known white; the others are stretched to what is in them."""
    values = np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = 0.0, 65535.0
    if image.mode == "F" or values.min() < low or values.max() > high:
        low, high = float(values.min()), float(values.max())
    grey = np.rint((values - low) * (255.0 / ((high - low) or 1.0)))
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _from_array(array: npt.NDArray[np.uint8], max_pixels: int) -> Pixels:
    expected = "a picture as an array must be (H, W, 3) uint8 in RGB order"
    if array.dtype != np.uint8:
        hint = "scale it to 0..255 and use .astype(np.uint8)"
        raise ImageError(f"{expected}, got {array.dtype} of shape {array.shape}; {hint}")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        hint = "; move the channels last with np.moveaxis(array, 0, -1)" if first else ""
        raise ImageError(f"{expected}, got shape {array.shape}{hint}")
    _check_size((array.shape[1], array.shape[0]), "the array", max_pixels)
    if array.ndim == 2:
        return np.repeat(array[:, :, None], 3, axis=2)
    if array.shape[2] == 1:
        return np.repeat(array, 3, axis=2)
    if array.shape[2] == 4:
        return np.array(_on_white(Image.fromarray(np.ascontiguousarray(array))))
    return array
