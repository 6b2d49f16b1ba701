"""Stands for the original's `sam3.visualization_utils`: drawing with matplotlib, which is imported when it is needed.

The helpers for the answers of the video predictor come with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from masklet.errors import InputError, MissingExtraError
from masklet.media.images import ImageSource, Pixels, read_image
from masklet.ops.boxes import cxcywh_to_xyxy, xywh_to_xyxy

Colour: TypeAlias = str | tuple[float, float, float]
ArrayLike: TypeAlias = Tensor | npt.NDArray[Any] | Sequence[Any]
Boxes = TypeVar("Boxes", list[float], Tensor, npt.NDArray[Any])

_MASK_BLUE = (30 / 255, 144 / 255, 1.0)  # the colour of masks in all notebooks of SAM
_OPACITY = 0.6
_BOX_LINE = 3  # pixels


def load_frame(frame: ImageSource) -> Pixels:
    """(H, W, 3) uint8 pixels of an array, a PIL image or a file."""
    return read_image(frame)


def normalize_bbox(bbox_xywh: Boxes, img_w: float, img_h: float) -> Boxes:
    """Pixels to fractions of a picture: x and width by its width, y and height by its height.

    Args:
        bbox_xywh: list of 4, or tensor or array (..., 4); not changed.
        img_w: width of the picture, pixels.
        img_h: height of the picture, pixels.

    Returns:
        Of the same kind.
    """
    scale = (img_w, img_h, img_w, img_h)
    if isinstance(bbox_xywh, Tensor):
        return bbox_xywh / bbox_xywh.new_tensor(scale)
    if isinstance(bbox_xywh, np.ndarray):
        return bbox_xywh / np.asarray(scale)
    if len(bbox_xywh) != 4:
        raise InputError(f"bbox_xywh must have 4 numbers, got {len(bbox_xywh)}")
    return [value / size for value, size in zip(bbox_xywh, scale, strict=True)]


def draw_box_on_image(image: ImageSource, box: ArrayLike, color: tuple[int, int, int] = (0, 255, 0)) -> Image.Image:
    """An RGB copy of a picture with a box drawn on it, whose parts outside the picture are not seen.

    Args:
        image: PIL image, array or path.
        box: left, top, width, height, pixels.
        color: red, green, blue, 0..255.
    """
    canvas = Image.fromarray(read_image(image))
    x, y, width, height = (round(value) for value in _numbers(box).flatten().tolist())
    right, bottom = x + max(width, 1) - 1, y + max(height, 1) - 1  # the last pixels inside
    ImageDraw.Draw(canvas).rectangle((x, y, right, bottom), outline=color, width=_BOX_LINE)
    return canvas


# --- matplotlib -------------------------------------------------------------------------------------------------------


def plot_results(img: ImageSource, results: Mapping[str, Any]) -> None:
    """A new figure with the picture, masks and labelled boxes of a processor's state; prints how many there are.

    Args:
        img: the picture.
        results: has `masks` (N, 1, H, W), `boxes` (N, 4) xyxy pixels and `scores` (N,).
    """
    pyplot = _pyplot()
    pixels = read_image(img)
    height, width = pixels.shape[:2]
    _, ax = pyplot.subplots(figsize=(12, 8))
    ax.imshow(pixels)
    count = len(results["scores"])
    print(f"found {count} object(s)")  # noqa: T201  # the original's notebooks show it
    for index in range(count):
        colour = _colour(index)
        score = float(results["scores"][index])
        plot_mask(results["masks"][index], color=colour, ax=ax)
        plot_bbox(
            height,
            width,
            results["boxes"][index],
            relative_coords=False,
            color=colour,
            text=f"(id={index}, {score=:.2f})",
            ax=ax,
        )


def plot_bbox(
    img_height: int,
    img_width: int,
    box: ArrayLike,
    box_format: str = "XYXY",
    relative_coords: bool = True,
    color: Colour = "r",
    linestyle: str = "solid",
    text: str | None = None,
    ax: Any = None,
) -> None:
    """Draws a box.

    Args:
        img_height: of the picture, pixels.
        img_width: of the picture, pixels.
        box: four numbers.
        box_format: "XYXY", "XYWH" or "CxCyWH".
        relative_coords: the numbers are fractions of the picture, not pixels.
        color: any that matplotlib knows.
        linestyle: any that matplotlib knows.
        text: written at the box.
        ax: where to; None takes the current axes.
    """
    pyplot = _pyplot()
    convert = {"xyxy": lambda boxes: boxes, "xywh": xywh_to_xyxy, "cxcywh": cxcywh_to_xyxy}.get(box_format.lower())
    if convert is None:
        raise InputError(f"box_format must be XYXY, XYWH or CxCyWH, got {box_format!r}")
    x0, y0, x1, y1 = convert(torch.from_numpy(_numbers(box)).flatten()).tolist()
    if relative_coords:
        x0, y0, x1, y1 = x0 * img_width, y0 * img_height, x1 * img_width, y1 * img_height
    ax = pyplot.gca() if ax is None else ax
    ax.add_patch(
        pyplot.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, linestyle=linestyle, linewidth=2)
    )
    if text is not None:
        ax.text(x0, y0 - 5, text, color="white", fontsize=8, bbox={"facecolor": color, "alpha": 0.75, "pad": 1})


def plot_mask(mask: ArrayLike, color: Colour = "r", ax: Any = None) -> None:
    """Lays a mask (H, W) or (1, H, W) over the axes, half transparent; None takes the current axes."""
    pyplot = _pyplot()
    from matplotlib.colors import to_rgb

    (pyplot.gca() if ax is None else ax).imshow(_tinted(mask, to_rgb(color), 0.5))


def show_mask(mask: ArrayLike, ax: Any, obj_id: int | None = None, random_color: bool = False) -> None:
    """Lays a mask over the axes: in the colour of its object, a random one, or blue."""
    if random_color:
        colour: tuple[float, ...] = tuple(np.random.default_rng().random(3).tolist())
    else:
        colour = _MASK_BLUE if obj_id is None else _colour(obj_id)
    ax.imshow(_tinted(mask, colour, _OPACITY))


def show_box(box: ArrayLike, ax: Any) -> None:
    """Draws a box, xyxy in pixels, in green."""
    x0, y0, x1, y1 = _numbers(box).flatten().tolist()
    ax.add_patch(_pyplot().Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="green", linewidth=2))


def show_points(coords: ArrayLike, labels: ArrayLike, ax: Any, marker_size: float = 375) -> None:
    """Draws clicks as stars: green where the label is 1, red where it is 0.

    Args:
        coords: (P, 2) x, y, pixels.
        labels: (P,) 1 or 0.
        ax: where to.
        marker_size: area in square points.
    """
    points, kinds = _numbers(coords).reshape(-1, 2), _numbers(labels).flatten()
    for label, colour in ((1, "green"), (0, "red")):
        x, y = points[kinds == label].T
        ax.scatter(x, y, color=colour, marker="*", s=marker_size, edgecolor="white", linewidth=1.25)


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise MissingExtraError("matplotlib", "viz") from error
    return pyplot


def _colour(index: int) -> tuple[float, float, float]:
    """One of matplotlib's ten, by turns."""
    red, green, blue, _ = _pyplot().get_cmap("tab10")(index % 10)
    return red, green, blue


def _numbers(values: ArrayLike) -> npt.NDArray[Any]:
    return np.asarray(values.detach().float().cpu().numpy() if isinstance(values, Tensor) else values)


def _tinted(mask: ArrayLike, colour: tuple[float, ...], opacity: float) -> npt.NDArray[np.float32]:
    """(H, W, 4) colour and opacity on the mask, nothing beside it."""
    inside = _numbers(mask) > 0
    inside = inside.reshape(inside.shape[-2:])
    return (inside[..., None] * np.array([*colour, opacity])).astype(np.float32)
