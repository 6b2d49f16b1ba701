"""The original's drawing helpers, drawn without a screen."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # behind the choice of the backend
from matplotlib.colors import to_rgb

from masklet.compat.sam3 import visualization_utils as helpers
from masklet.compat.sam3.model.sam3_image import Sam3Image
from masklet.compat.sam3.model.sam3_image_processor import Sam3Processor
from masklet.errors import InputError, MissingExtraError
from masklet.media.video import open_video


@pytest.fixture
def ax() -> Iterator[Any]:
    _, ax = plt.subplots()
    yield ax
    plt.close("all")


def test_load_frame(tmp_path: Path) -> None:
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    Image.fromarray(pixels).save(tmp_path / "frame.png")
    for frame in (pixels, Image.fromarray(pixels), tmp_path / "frame.png", str(tmp_path / "frame.png")):
        np.testing.assert_array_equal(helpers.load_frame(frame), pixels)


def test_normalize_bbox() -> None:
    box = [480.0, 290.0, 110.0, 360.0]
    expected = [480 / 1200, 290 / 800, 110 / 1200, 360 / 800]
    assert helpers.normalize_bbox(box, 1200, 800) == expected
    assert box == [480, 290, 110, 360]
    rows = torch.tensor(box).expand(2, 3, 4)
    torch.testing.assert_close(helpers.normalize_bbox(rows, 1200, 800), torch.tensor(expected).expand(2, 3, 4))
    torch.testing.assert_close(helpers.normalize_bbox(torch.tensor(box).int(), 1200, 800), torch.tensor(expected))
    np.testing.assert_allclose(helpers.normalize_bbox(np.array(box), 1200, 800), expected)
    assert helpers.normalize_bbox(torch.zeros(0, 4), 1200, 800).shape == (0, 4)
    with pytest.raises(InputError, match="4 numbers, got 3"):
        helpers.normalize_bbox([1.0, 2.0, 3.0], 10, 10)


def test_draw_box_on_image() -> None:
    image = Image.new("L", (40, 30))
    drawn = helpers.draw_box_on_image(image, [10, 5, 20, 15])
    assert (drawn.mode, drawn.size) == ("RGB", (40, 30))
    green = (np.asarray(drawn) == (0, 255, 0)).all(-1)
    rows, columns = np.nonzero(green)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (10, 29, 5, 19)
    assert not green[10:15, 20].any()  # only the outline
    assert np.asarray(image).max() == 0  # a copy


@pytest.mark.parametrize("box", [[0, 0, 40, 30], [-9, -9, 99, 99], [39, 29, 1, 1], [30, 20, 0, 0], [60, 60, 5, 5]])
def test_boxes_at_the_border(box: list[int]) -> None:
    pixels = np.zeros((30, 40, 3), dtype=np.uint8)
    drawn = helpers.draw_box_on_image(pixels, torch.tensor(box), color=(255, 0, 0))
    assert drawn.size == (40, 30)
    assert pixels.max() == 0
    inside = 0 <= box[0] < 40 or box == [-9, -9, 99, 99]
    assert (np.asarray(drawn).max() > 0) == (inside and box[0] >= 0)


@pytest.mark.parametrize(
    ("box_format", "relative", "box"),
    [
        ("XYXY", False, [20, 10, 50, 40]),
        ("XYWH", False, [20, 10, 30, 30]),
        ("CxCyWH", False, [35, 25, 30, 30]),
        ("XYXY", True, [0.2, 0.2, 0.5, 0.8]),
        ("xywh", True, [0.2, 0.2, 0.3, 0.6]),
        ("CxCyWH", True, [0.35, 0.5, 0.3, 0.6]),
    ],
)
def test_plot_bbox(ax: Any, box_format: str, relative: bool, box: list[float]) -> None:
    for kind in (list, np.array, torch.tensor):
        helpers.plot_bbox(
            50, 100, kind(box), box_format=box_format, relative_coords=relative, color="b", linestyle="dashed", ax=ax
        )
    assert len(ax.patches) == 3
    for patch in ax.patches:
        np.testing.assert_allclose(patch.get_bbox().extents, [20, 10, 50, 40], rtol=1e-6)
        assert patch.get_edgecolor()[:3] == to_rgb("b")
        assert patch.get_linestyle() in ("dashed", "--")
    assert not ax.texts


def test_plot_bbox_on_the_current_axes(ax: Any) -> None:
    helpers.plot_bbox(50, 100, [0, 0, 1, 1], text="whole")
    assert [text.get_text() for text in ax.texts] == ["whole"]
    with pytest.raises(InputError, match="XYXY, XYWH or CxCyWH, got 'YXYX'"):
        helpers.plot_bbox(50, 100, [0, 0, 1, 1], box_format="YXYX")


def test_masks(ax: Any) -> None:
    mask = np.zeros((6, 9), dtype=bool)
    mask[2, 3] = True
    helpers.plot_mask(torch.from_numpy(mask)[None], color="r", ax=ax)
    helpers.plot_mask(mask)  # on the current axes
    helpers.show_mask(mask.astype(np.float32), ax)
    helpers.show_mask(mask[None], ax, obj_id=12)  # by turns: the third colour
    helpers.show_mask(mask, ax, random_color=True)
    layers = [image.get_array() for image in ax.images]
    assert len(layers) == 5
    for layer in layers:
        assert layer.shape == (6, 9, 4)
        assert not layer[~mask].any()
        assert 0.4 < layer[2, 3, 3] < 0.7  # translucent
    expected = [to_rgb("r"), to_rgb("r"), (30 / 255, 144 / 255, 1.0), to_rgb("tab:green")]
    for layer, colour in zip(layers[:4], expected, strict=True):
        np.testing.assert_allclose(layer[2, 3, :3], colour, atol=1e-6)


def test_boxes_and_points(ax: Any) -> None:
    helpers.show_box([20, 10, 50, 40], ax)
    np.testing.assert_array_equal(ax.patches[0].get_bbox().extents, [20, 10, 50, 40])
    coords, labels = np.array([[1, 2], [3, 4], [5, 6]]), np.array([1, 0, 1])
    helpers.show_points(coords, labels, ax, marker_size=50)
    positive, negative = ax.collections
    np.testing.assert_array_equal(positive.get_offsets(), [[1, 2], [5, 6]])
    np.testing.assert_array_equal(negative.get_offsets(), [[3, 4]])
    assert (positive.get_sizes(), negative.get_sizes()) == ([50], [50])
    helpers.show_points(torch.zeros(0, 2), torch.zeros(0), ax)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_plot_results(
    model: Sam3Image, picture: Image.Image, threshold: float, capsys: pytest.CaptureFixture[str]
) -> None:
    processor = Sam3Processor(model, confidence_threshold=threshold)
    state = processor.set_text_prompt("shoe", processor.set_image(picture))
    before = plt.get_fignums()
    helpers.plot_results(picture, state)
    count = len(state["scores"])
    assert capsys.readouterr().out == f"found {count} object(s)\n"
    (figure,) = set(plt.get_fignums()) - set(before)
    (ax,) = plt.figure(figure).axes
    assert len(ax.images) == 1 + count
    np.testing.assert_array_equal(ax.images[0].get_array(), np.asarray(picture))
    assert len(ax.patches) == len(ax.texts) == count
    for patch, box, text in zip(ax.patches, state["boxes"], ax.texts, strict=True):
        np.testing.assert_allclose(patch.get_bbox().extents, box.numpy(), rtol=1e-5)
        assert re.fullmatch(r"\(id=\d+, score=0\.\d\d\)", text.get_text())
    plt.figure(figure).canvas.draw()
    plt.close("all")


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"masklet\[viz\]"):
        helpers.plot_mask(np.zeros((2, 3)))
    assert helpers.normalize_bbox([1.0, 1.0, 1.0, 1.0], 2, 4) == [0.5, 0.25, 0.5, 0.25]


# --- videos -----------------------------------------------------------------------------------------------------------


def outputs_of(*boxes: tuple[int, int, int, int], ids: tuple[int, ...] = (3, 12)) -> dict[str, Any]:
    """Outputs on a frame of 40 x 30 pixels, of objects that fill their boxes; left, top, width, height."""
    masks = np.zeros((len(boxes), 30, 40), dtype=bool)
    for mask, (x, y, width, height) in zip(masks, boxes, strict=True):
        mask[y : y + height, x : x + width] = True
    return {
        "out_obj_ids": np.array(ids[: len(boxes)], dtype=np.int64),
        "out_probs": np.linspace(0.9, 0.5, len(boxes), dtype=np.float32),
        "out_boxes_xywh": np.array(
            [(x / 40, y / 30, (width - 1) / 40, (height - 1) / 30) for x, y, width, height in boxes], dtype=np.float32
        ).reshape(-1, 4),
        "out_binary_masks": masks,
    }


def test_prepare_masks_for_visualization() -> None:
    outputs = {4: outputs_of((1, 2, 10, 8), (20, 5, 0, 0)), 5: outputs_of()}
    masks = outputs[4]["out_binary_masks"]
    prepared = helpers.prepare_masks_for_visualization(outputs)
    assert prepared is outputs
    assert prepared.keys() == {4, 5}
    assert list(prepared[4]) == [3]
    assert type(next(iter(prepared[4]))) is int
    np.testing.assert_array_equal(prepared[4][3], masks[0])
    assert prepared[5] == {}


def test_render_masklet_frame() -> None:
    grey = np.full((30, 40, 3), 100, dtype=np.uint8)
    outputs = outputs_of((1, 12, 20, 17), (30, 0, 10, 30))
    inside, beside = (15, 5 + 12), (25, 20)  # x, y, far from text and lines
    for alpha in (0.0, 0.5, 1.0):
        drawn = helpers.render_masklet_frame(grey, outputs, alpha=alpha)
        assert drawn.shape == (30, 40, 3)
        expected = np.round(100 + alpha * (np.array(helpers.colour_of(3)) - 100.0))
        assert np.abs(drawn[inside[1] + 6, inside[0]] - expected).max() <= 1  # a half may be rounded either way
        assert (drawn[beside[1], beside[0]] == 100).all()
        assert (drawn[12:29, 1] == helpers.colour_of(3)).all()  # the box lies on the last pixels inside
        assert (drawn[28, 1:21] == helpers.colour_of(3)).all()
        assert (drawn[:, 39] == helpers.colour_of(12)).all()
    assert (grey == 100).all()
    numbered = helpers.render_masklet_frame(grey, outputs_of(), frame_idx=7)
    assert (numbered != 100).any()
    assert (helpers.render_masklet_frame(grey, outputs_of()) == 100).all()
    small = helpers.render_masklet_frame(Image.fromarray(grey[:15, :20]), outputs)
    np.testing.assert_array_equal(small, helpers.render_masklet_frame(grey, outputs))


def test_saved_frames(tmp_path: Path) -> None:
    frames = [np.full((30, 40, 3), 40 * i, dtype=np.uint8) for i in range(6)]
    outputs = {i: outputs_of((2 * i, 3, 10, 20)) for i in (4, 1, 2)}
    helpers.save_masklet_image(frames[4], outputs[4], tmp_path / "frame.png", alpha=0.3, frame_idx=4)
    expected = helpers.render_masklet_frame(frames[4], outputs[4], 4, 0.3)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "frame.png")), expected)

    helpers.save_masklet_video(frames, outputs, tmp_path / "film.mp4", fps=5)
    with open_video(tmp_path / "film.mp4") as film:
        written = list(film.frames())
    assert [frame.time_s for frame in written] == pytest.approx([0, 0.2, 0.4])
    for frame, i in zip(written, (1, 2, 4), strict=True):
        # Compressed: of one colour in large parts only.
        assert np.abs(frame.pixels[25:, 30:].mean() - 40 * i) < 8
    with pytest.raises(InputError, match="at least one frame"):
        helpers.save_masklet_video(frames, {}, tmp_path / "none.mp4")
    assert not (tmp_path / "none.mp4").exists()


def test_visualize_formatted_frame_output(tmp_path: Path) -> None:
    frames = []
    for i in range(3):
        Image.new("RGB", (40, 30), (i, 50, 60)).save(tmp_path / f"{i}.png")
        frames.append(str(tmp_path / f"{i}.png"))
    prepared = helpers.prepare_masks_for_visualization({2: outputs_of((1, 2, 10, 8), (20, 5, 9, 9))})
    helpers.visualize_formatted_frame_output(
        2,
        frames,
        outputs_list=[prepared, {}],
        titles=["before", "after"],
        points_list=[np.array([[5.0, 6.0], [30.0, 20.0]]), None],
        points_labels_list=[np.array([1, 0]), None],
        figsize=(6, 4),
        title_suffix=" (1)",
        prompt_info={"text": "dog", "boxes": [[0.25, 0.5, 0.5, 0.25]], "box_labels": [0]},
    )
    panels = plt.gcf().axes
    assert plt.gcf().get_size_inches().tolist() == [12, 4]
    assert [ax.get_title() for ax in panels] == ["dog: before (1)", "dog: after (1)"]
    assert [len(ax.images) for ax in panels] == [3, 1]  # the frame, and its masks
    assert panels[0].images[0].get_array()[0, 0].tolist() == [2, 50, 60]
    assert [len(ax.collections) for ax in panels] == [2, 0]
    (box,) = panels[1].patches
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((10, 15), 20, 7.5)
    assert box.get_edgecolor()[:3] == to_rgb("red")
    helpers.visualize_formatted_frame_output(2, frames, prepared, points_list=[[[1, 2]]])
    (panel,) = plt.gcf().axes
    assert panel.get_title() == "Frame 2"
    with pytest.raises(InputError, match="titles must be one for each of 1 answers, got 2"):
        helpers.visualize_formatted_frame_output(2, frames, prepared, titles=["a", "b"])
    plt.close("all")
