"""Stands for the original's `sam3.visualization_utils`: drawing with matplotlib, which is imported when it is needed.

The helpers for answers of the video predictor take its `outputs`, or what `prepare_masks_for_visualization` makes of
them. Those that give pixels, not a figure, need no matplotlib.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from masklet.errors import InputError, MissingExtraError
from masklet.media.film_writer import FilmWriter
from masklet.media.images import ImageSource, Pixels, read_image
from masklet.ops.boxes import cxcywh_to_xyxy, xywh_to_xyxy
from masklet.render.overlay import colour_of

Colour: TypeAlias = str | tuple[float, float, float]
ArrayLike: TypeAlias = Tensor | npt.NDArray[Any] | Sequence[Any]
Outputs: TypeAlias = Mapping[str, Any]
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


# --- videos -----------------------------------------------------------------------------------------------------------


def prepare_masks_for_visualization(frame_to_output: dict[int, Any]) -> dict[int, Any]:
    """Outputs by frame -> masks by frame and object, those without a pixel left out.

    Args:
        frame_to_output: frame -> outputs of the video predictor; is changed.

    Returns:
        The same dictionary, frame -> {object: (H, W) bool}.
    """
    for frame_idx, outputs in frame_to_output.items():
        pairs = zip(_numbers(outputs["out_obj_ids"]).tolist(), outputs["out_binary_masks"], strict=True)
        frame_to_output[frame_idx] = {object_id: mask for object_id, mask in pairs if mask.any()}
    return frame_to_output


def render_masklet_frame(
    img: ImageSource, outputs: Outputs, frame_idx: int | None = None, alpha: float = 0.5
) -> Pixels:
    """(H, W, 3) uint8: a frame with the masks, boxes, ids and scores of its objects.

    Args:
        img: the frame; one of another size than the masks is shown at theirs.
        outputs: of the video predictor for this frame.
        frame_idx: written into the corner; None: nothing is.
        alpha: 0..1, opacity of the masks.
    """
    masks = _numbers(outputs["out_binary_masks"]).astype(bool)
    image = Image.fromarray(load_frame(img))
    height, width = masks.shape[1:]
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    levels = np.asarray(image, dtype=np.float32).copy()
    ids = _numbers(outputs["out_obj_ids"]).tolist()
    for object_id, mask in zip(ids, masks, strict=True):
        levels[mask] += alpha * (np.array(colour_of(object_id), dtype=np.float32) - levels[mask])
    canvas = Image.fromarray(levels.round().astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    rows = zip(ids, _numbers(outputs["out_probs"]), _numbers(outputs["out_boxes_xywh"]), strict=True)
    for object_id, score, (x, y, box_width, box_height) in rows:
        left, top = x * width, y * height
        right, bottom = left + box_width * width, top + box_height * height  # the last pixels inside
        draw.rectangle((left, top, right, bottom), outline=colour_of(object_id))
        draw.text((left + 2, top + 1), f"id={object_id}, p={score:.2f}", fill=colour_of(object_id))
    if frame_idx is not None:
        draw.text((3, 3), f"Frame {frame_idx}", fill="white", stroke_width=1, stroke_fill="black")
    return np.array(canvas)


def save_masklet_image(
    frame: ImageSource, outputs: Outputs, out_path: str | Path, alpha: float = 0.5, frame_idx: int | None = None
) -> None:
    """Writes what `render_masklet_frame` gives to a picture file."""
    Image.fromarray(render_masklet_frame(frame, outputs, frame_idx, alpha)).save(out_path)


def save_masklet_video(
    video_frames: Sequence[ImageSource],
    outputs: Mapping[int, Outputs],
    out_path: str | Path,
    alpha: float = 0.5,
    fps: float = 10,
) -> None:
    """Writes the frames that there are outputs of, ascending, as `render_masklet_frame` gives them, to a film.

    Args:
        video_frames: all frames of the video.
        outputs: frame -> outputs of the video predictor.
        out_path: .mp4 or another kind that `FilmWriter` knows.
        alpha: 0..1, opacity of the masks.
        fps: frames a second.

    Raises:
        MissingExtraError: PyAV is not installed.
        InputError: there are no outputs, or the file is of another kind.
        OutputError: the film cannot be written.
    """
    if not outputs:
        raise InputError("outputs must have at least one frame to be a film, got none")
    with FilmWriter(out_path, rate=fps) as film:
        for frame_idx in sorted(outputs):
            film.write(render_masklet_frame(video_frames[frame_idx], outputs[frame_idx], frame_idx, alpha))


def visualize_formatted_frame_output(
    frame_idx: int,
    video_frames: Sequence[ImageSource],
    outputs_list: Sequence[Mapping[int, Any]] | Mapping[int, Any],
    titles: Sequence[str] | None = None,
    points_list: Sequence[ArrayLike | None] | None = None,
    points_labels_list: Sequence[ArrayLike | None] | None = None,
    figsize: tuple[float, float] = (12, 8),
    title_suffix: str = "",
    prompt_info: Mapping[str, Any] | None = None,
) -> None:
    """A new figure with a frame side by side, once for each of several answers.

    Args:
        frame_idx: of the frame.
        video_frames: all frames of the video.
        outputs_list: what `prepare_masks_for_visualization` gave, one or several.
        titles: of the panels.
        points_list: for each panel (P, 2) x, y in pixels, or None.
        points_labels_list: for each panel (P,) 1 or 0, or None: all 1.
        figsize: of a panel, inches.
        title_suffix: behind each title.
        prompt_info: "boxes" (N, 4) left, top, width, height as fractions with "box_labels" (N,) are drawn into each
            panel, "text" is put before each title.

    Raises:
        InputError: titles or points are not as many as answers.
    """
    answers = [outputs_list] if isinstance(outputs_list, Mapping) else list(outputs_list)
    for name, values in (("titles", titles), ("points_list", points_list), ("points_labels_list", points_labels_list)):
        if values is not None and len(values) != len(answers):
            raise InputError(f"{name} must be one for each of {len(answers)} answers, got {len(values)}")
    pixels = load_frame(video_frames[frame_idx])
    prompt = prompt_info or {}
    pyplot = _pyplot()
    width, height = figsize
    _, panels = pyplot.subplots(1, len(answers), figsize=(width * len(answers), height), squeeze=False)
    for index, (ax, masks) in enumerate(zip(panels[0], answers, strict=True)):
        ax.imshow(pixels)
        ax.axis("off")
        title = f"Frame {frame_idx}" if titles is None else titles[index]
        ax.set_title(": ".join(filter(None, (prompt.get("text"), title + title_suffix))))
        for object_id, mask in masks.get(frame_idx, {}).items():
            show_mask(mask, ax, obj_id=object_id)
        points = None if points_list is None else points_list[index]
        if points is not None:
            kinds = None if points_labels_list is None else points_labels_list[index]
            show_points(points, np.ones(len(points)) if kinds is None else kinds, ax)
        _draw_prompt_boxes(prompt, pixels.shape[:2], ax)


def _draw_prompt_boxes(prompt: Mapping[str, Any], size_hw: tuple[int, int], ax: Any) -> None:
    """Examples in green, counter-examples in red."""
    boxes = prompt.get("boxes")
    if boxes is None:
        return
    labels = prompt.get("box_labels")
    for box, label in zip(boxes, [1] * len(boxes) if labels is None else labels, strict=True):
        plot_bbox(*size_hw, box, box_format="XYWH", color="green" if label else "red", ax=ax)


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
