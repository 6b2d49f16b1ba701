"""Clips: sprites that move over a background, with the exact mask of each on every frame.

Every clip has one difficulty, so that a score says what a tracker cannot do:

    gentle    sprites wander, and rarely meet
    crossing  two meet, and one passes behind the other
    leaving   one leaves the picture and comes back
    turning   they turn and change their size a lot
    shaking   the camera shakes and pans
    alike     several sprites that look the same

A sprite is the same instance on all frames. Where it is hidden, outside or all but gone, its mask is empty there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from masklet.errors import InputError
from masklet.ops.masks import BoolArray
from masklet.synthetic.backgrounds import TRAIN_FAMILIES, paint_background
from masklet.synthetic.camera import blurred, lit, noisy
from masklet.synthetic.cast import Actor, CastSettings, draw_cast, weighted_choice
from masklet.synthetic.drawing import MASK_ALPHA, Patch, Placement, compose, draw_sprite
from masklet.synthetic.motion import Course, crossing, leaving, shaking, wander
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.symbols import Symbol

UInt8Array = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]

KINDS = ("gentle", "crossing", "leaving", "turning", "shaking", "alike")
_COUNT_WEIGHTS = (0.0, 0.15, 0.3, 0.3, 0.15, 0.1)  # chance of 0, 1 ... 5 sprites
_MIN_VISIBLE_PX = 24  # pixels; less than that is no mask


@dataclass(frozen=True, kw_only=True)
class ClipSettings(CastSettings):
    """What clips look like.

    Attributes:
        kinds: difficulties, one of which is drawn for a clip.
        families: background families, see backgrounds.py.
        side_range: longest side of a sprite in the beginning, as a fraction of the picture's shorter side.
    """

    kinds: tuple[str, ...] = KINDS
    families: tuple[str, ...] = TRAIN_FAMILIES
    side_range: tuple[float, float] = (0.15, 0.4)


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """F frames and everything that is true about them.

    Attributes:
        frames: (F, H, W, 3) uint8 RGB.
        label_maps: (F, H, W) uint8, 0 background, i + 1 where instance i is visible.
        instances: the sprites, each visible on some frame; later ones lie in front.
        kind: one of `KINDS`.
        symbols: the table that `symbol_idx` points into.
    """

    frames: UInt8Array
    label_maps: UInt8Array
    instances: tuple[Actor, ...]
    kind: str
    symbols: tuple[Symbol, ...]

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def visible(self) -> BoolArray:
        """(F, N) whether each instance has a mask on each frame."""
        count = len(self.instances) + 1
        return np.array([np.bincount(labels.ravel(), minlength=count)[1:] > 0 for labels in self.label_maps])

    def masks(self, instance_idx: int) -> BoolArray:
        """(F, H, W) visible masks of one instance."""
        return self.label_maps == np.uint8(instance_idx + 1)


def render_clip(
    sheet: SpriteSheet,
    rng: np.random.Generator,
    size_hw: tuple[int, int],
    count: int,
    settings: ClipSettings,
    *,
    stride: int = 1,
) -> Clip:
    """A clip drawn from `rng` alone: the same state gives the same clip.

    Args:
        sheet: the sprites.
        rng: source of all choices.
        size_hw: height and width of the frames, pixels, at least 32.
        count: frames, at least 1.
        settings: what may appear.
        stride: draw every so many-th frame of a clip that is as many times as long: faster motion.

    Raises:
        InputError: a side is below 32 pixels, or there is no frame to draw.
    """
    if min(size_hw) < 32 or count < 1:
        raise InputError(f"expected 1 frame or more of at least 32 pixels along each side, got {count} of {size_hw}")
    kind = settings.kinds[int(rng.integers(len(settings.kinds)))]
    actors = _draw_actors(sheet, rng, kind, settings)
    courses = _draw_courses(rng, size_hw, count * stride, kind, len(actors), settings)
    mirrored = rng.random(len(actors)) < 0.5
    shift_xy = _camera_way(rng, size_hw, count * stride, kind)[::stride]
    backgrounds = _moving_background(rng, size_hw, shift_xy, settings.families)
    shoot = _Shooting.draw(rng)
    frames, label_maps = np.empty((count, *size_hw, 3), np.uint8), np.empty((count, *size_hw), np.uint8)
    for frame_idx in range(count):
        canvas = backgrounds[frame_idx].copy()
        patches = [
            draw_sprite(sheet, _placement(actor, course, bool(flip), frame_idx * stride, shift_xy[frame_idx]), size_hw)
            for actor, course, flip in zip(actors, courses, mirrored, strict=True)
        ]
        for patch in patches:
            if patch is not None:
                compose(canvas, patch)
        frames[frame_idx] = shoot.frame(canvas, rng)
        label_maps[frame_idx] = _label_map(patches, size_hw)
    seen = np.bincount(label_maps.ravel(), minlength=len(actors) + 1)[1:] > 0
    return Clip(
        frames=frames,
        label_maps=_renumbered(label_maps, seen),
        instances=tuple(actor for actor, shown in zip(actors, seen, strict=True) if shown),
        kind=kind,
        symbols=sheet.symbols,
    )


def _draw_actors(sheet: SpriteSheet, rng: np.random.Generator, kind: str, settings: ClipSettings) -> list[Actor]:
    if kind == "alike":
        copies = int(rng.integers(2, 5))
        (chosen,) = draw_cast(sheet, rng, 1, settings)
        return [*draw_cast(sheet, rng, int(rng.integers(2)), settings), *[chosen] * copies]
    least = 2 if kind == "crossing" else 1
    return draw_cast(sheet, rng, max(least, weighted_choice(rng, _COUNT_WEIGHTS)), settings)


def _draw_courses(
    rng: np.random.Generator, size_hw: tuple[int, int], count: int, kind: str, actors: int, settings: ClipSettings
) -> list[Course]:
    low, high = np.log(settings.side_range[0]), np.log(settings.side_range[1])
    sides = np.exp(rng.uniform(low, high, actors)) * min(size_hw)
    if kind == "alike":
        sides[:] = sides[0] * rng.uniform(0.85, 1.15, actors)
    pace = {"growth": 0.7, "turn": 1.5} if kind == "turning" else {}
    speeds = rng.uniform(0.008, 0.03, actors)
    courses = [
        wander(rng, size_hw, count, side_px=float(side), speed=float(speed), **pace)
        for side, speed in zip(sides, speeds, strict=True)
    ]
    if kind == "crossing":
        # The last of all lies in front of everything, so that nothing else hides who passes.
        courses[-2:] = crossing(rng, size_hw, *courses[-2:])
    elif kind == "leaving":
        courses[-1] = leaving(rng, size_hw, courses[-1])
    return courses


def _camera_way(rng: np.random.Generator, size_hw: tuple[int, int], count: int, kind: str) -> IntArray:
    """(F, 2) x, y in pixels; zeros for a camera on a stand, as most are."""
    short = min(size_hw)
    if kind == "shaking":
        return shaking(rng, count, amplitude_px=rng.uniform(0.008, 0.02) * short, pan_px=rng.uniform(0, 0.3) * short)
    if rng.random() < 0.3:
        return shaking(rng, count, amplitude_px=0.003 * short, pan_px=rng.uniform(0, 0.1) * short)
    return np.zeros((count, 2), dtype=np.int64)


def _moving_background(
    rng: np.random.Generator, size_hw: tuple[int, int], shift_xy: IntArray, families: tuple[str, ...]
) -> list[UInt8Array]:
    """What the camera sees of one large background on each frame; views, not copies."""
    height, width = size_hw
    low, high = shift_xy.min(0), shift_xy.max(0)
    spare_x, spare_y = (int(value) for value in high - low)
    whole = paint_background(rng, (height + spare_y, width + spare_x), families)
    # The world moves by `shift_xy`, so what is seen of it moves the other way.
    corners = high - shift_xy
    return [whole[y : y + height, x : x + width] for x, y in corners]


def _placement(actor: Actor, course: Course, mirrored: bool, frame_idx: int, shift_xy: IntArray) -> Placement:
    x, y = course.centre_xy[frame_idx] + shift_xy
    return Placement(
        actor=actor,
        centre_xy=(float(x), float(y)),
        side_px=float(course.side_px[frame_idx]),
        angle=float(course.angle[frame_idx]),
        mirrored=mirrored,
    )


def _label_map(patches: list[Patch | None], size_hw: tuple[int, int]) -> UInt8Array:
    label_map = np.zeros(size_hw, dtype=np.uint8)
    for idx, patch in enumerate(patches):
        if patch is not None:
            label_map[patch.rows, patch.columns][patch.alpha >= MASK_ALPHA] = idx + 1
    areas = np.bincount(label_map.ravel(), minlength=len(patches) + 1)
    areas[0] = _MIN_VISIBLE_PX
    return np.where(areas < _MIN_VISIBLE_PX, 0, np.arange(len(areas))).astype(np.uint8)[label_map]


def _renumbered(label_maps: UInt8Array, seen: BoolArray) -> UInt8Array:
    """Labels of the instances that are seen at all, 1 ... without a gap."""
    numbers = np.zeros(len(seen) + 1, dtype=np.uint8)
    numbers[1:][seen] = np.arange(1, int(seen.sum()) + 1)
    return numbers[label_maps]


@dataclass(frozen=True, kw_only=True)
class _Shooting:
    """How a whole clip is filmed: one light and one lens, the noise anew on every frame."""

    light: tuple[float, float, float] | None
    blur: float
    noise: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Shooting:
        lit_otherwise, out_of_focus, grainy = rng.random(3) < (0.5, 0.1, 0.3)
        light = (rng.uniform(0.7, 1.25), rng.uniform(0.8, 1.25), rng.uniform(-18, 18))
        blur, noise = rng.uniform(0.3, 0.9), rng.uniform(2, 10)
        return cls(
            light=light if lit_otherwise else None,
            blur=blur if out_of_focus else 0.0,
            noise=noise if grainy else 0.0,
        )

    def frame(self, canvas: UInt8Array, rng: np.random.Generator) -> UInt8Array:
        if self.light is not None:
            gain, gamma, offset = self.light
            canvas = lit(canvas, gain=gain, gamma=gamma, offset=offset)
        if self.blur:
            canvas = blurred(canvas, self.blur)
        if self.noise:
            canvas = noisy(canvas, self.noise, rng)
        return canvas


def of_kind(settings: ClipSettings, kind: str) -> ClipSettings:
    """The same clips, all of one difficulty."""
    return replace(settings, kinds=(kind,))
