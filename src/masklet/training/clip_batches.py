"""Batches of clips for the tracker: every batch is a function of its seed alone, so a run can be cut anywhere."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from masklet.media.images import to_pixels
from masklet.synthetic.clips import Clip, UInt8Array
from masklet.synthetic.sprites import SpriteSheet, default_sheet
from masklet.synthetic.world import TRAIN, make_clip
from masklet.training.drawn import drawn_box

MASK_SCALE = 8  # true masks have this many cells per patch side, twice those of the masks that are found

_SEEDS_PER_CLIP = 1_000  # a clip whose first frame shows nothing gives way to the next seed
_STRIDES = (1, 2, 3)
_BOX_JITTER, _BOX_MOST = 0.06, 0.15  # as a fraction of the box's side
_SHARE = 0.5  # of a cell that an object must cover
_LEAST_CELLS = 16  # of an object on the first frame


@dataclass(frozen=True, kw_only=True)
class ClipBatch:
    """B clips of F frames, and O objects to follow through them, all visible on the first frame.

    Attributes:
        pixels: (F, B, 3, R, R) in -1..1.
        clip_idx: (O,) int64 the clip of each object.
        instance_idx: (O,) int64 which of its clip's objects it is.
        masks: (F, O, 8h, 8w) bool, the cells that are mostly the object's. Cells of the size of those that are found
            would cost: such a mask, enlarged to the picture, has an overlap of 0.92 with the object, a finer one 0.96.
        visible: (F, O) bool.
        boxes_xyxy_px: (O, 4) on the first frame, as a hand would draw them, pixels of the input.
        seed: that it was made from.
    """

    pixels: Tensor
    clip_idx: Tensor
    instance_idx: Tensor
    masks: Tensor
    visible: Tensor
    boxes_xyxy_px: Tensor
    seed: int


class ClipBatchMaker:
    """Turns seeds into batches.

    Args:
        patch_size: pixels of the square input along a cell of the grid.
        sheet: sprites; None takes the installed font's.
    """

    def __init__(self, patch_size: int, sheet: SpriteSheet | None = None) -> None:
        self.patch_size = patch_size
        self.sheet = default_sheet() if sheet is None else sheet

    def clips(
        self, seed: int, *, clips: int, frames: int, objects: int, size: int, repeats: int = 1, meeting: bool = False
    ) -> ClipBatch:
        """`clips` training clips of `size` pixels, and `objects` objects of each `repeats` times.

        Of a clip with fewer, some are there more often. The number of rows never changes: kernels are made for each.
        With `meeting` two objects of each clip touch each other on some frame.
        """
        rng = np.random.default_rng([21, seed])
        cells = size // self.patch_size * MASK_SCALE
        pixels, clip_idx, instance_idx, masks, boxes = [], [], [], [], []
        for place in range(clips):
            clip, shown = self._clip(seed * clips + place, rng, frames, size, meeting)
            chosen = np.resize(rng.permutation(shown)[:objects], objects)
            pixels.append(torch.cat([to_pixels(frame, size) for frame in clip.frames]))
            for chosen_idx in chosen:
                own = torch.from_numpy(clip.masks(int(chosen_idx)))
                clip_idx += [place] * repeats
                instance_idx += [int(chosen_idx)] * repeats
                masks += [F.interpolate(own[:, None].float(), (cells, cells), mode="area")[:, 0] >= _SHARE] * repeats
                boxes += [_drawn_box_px(own[0], rng, size) for _ in range(repeats)]
        every = torch.stack(masks, dim=1)
        return ClipBatch(
            pixels=torch.stack(pixels, dim=1),
            clip_idx=torch.tensor(clip_idx),
            instance_idx=torch.tensor(instance_idx),
            masks=every,
            visible=every.flatten(2).any(2),
            boxes_xyxy_px=torch.stack(boxes),
            seed=seed,
        )

    def _clip(
        self, seed: int, rng: np.random.Generator, frames: int, size: int, meeting: bool
    ) -> tuple[Clip, list[int]]:
        """A clip with the objects that cover a cell of its first frame."""
        stride = _STRIDES[int(rng.integers(len(_STRIDES)))]
        for attempt in itertools.count():
            number = seed * _SEEDS_PER_CLIP + attempt
            clip, _ = make_clip(TRAIN, number, (size, size), frames, stride=stride, sheet=self.sheet)
            least = _LEAST_CELLS * (self.patch_size / MASK_SCALE) ** 2  # pixels
            areas = np.bincount(clip.label_maps[0].ravel(), minlength=len(clip.instances) + 1)[1:]
            shown = np.flatnonzero(areas >= least).tolist()
            if shown and (not meeting or _meet(clip.label_maps)):
                return clip, shown
        raise AssertionError("itertools.count has no end")


def _meet(label_maps: UInt8Array) -> bool:
    """Whether pixels of two objects are neighbours on one of the (F, H, W) maps; 0 is no object."""
    beside = ((label_maps[:, 1:], label_maps[:, :-1]), (label_maps[:, :, 1:], label_maps[:, :, :-1]))
    return any(bool(((one != other) & (one > 0) & (other > 0)).any()) for one, other in beside)


def _drawn_box_px(mask: Tensor, rng: np.random.Generator, size: int) -> Tensor:
    """(4,) xyxy of a (H, W) mask that is not empty, each edge a little off, in pixels of the input."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    height, width = mask.shape
    x0, y0 = float(columns[0]) / width, float(rows[0]) / height
    x1, y1 = float(columns[-1] + 1) / width, float(rows[-1] + 1) / height
    exact = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0])
    cx, cy, w, h = drawn_box(exact, rng, std=_BOX_JITTER, most=_BOX_MOST).tolist()
    return torch.tensor([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]) * size
