"""How sprites and the camera move through a clip: smooth ways through a few places, as plain arrays over F frames."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

FloatArray = npt.NDArray[np.float64]

_FRAMES_PER_TURN = 12  # a sprite may change its direction so often
_MARGIN = 0.4  # of a sprite's side: centres keep so far from the edges, unless the sprite is leaving
_COVERING = 1.3  # what passes in front is at least this many times as large


@dataclass(frozen=True, kw_only=True, eq=False)
class Course:
    """A sprite's way through F frames.

    Attributes:
        centre_xy: (F, 2) pixels.
        side_px: (F,) longest side of the whole sprite, pixels.
        angle: (F,) radians.
    """

    centre_xy: FloatArray
    side_px: FloatArray
    angle: FloatArray


def through(places: FloatArray, frames: FloatArray, count: int) -> FloatArray:
    """A smooth way through (K, ...) places at K ascending frame numbers, for the frames 0 ... count - 1: (count, ...).

    It does not shoot over: between two places it stays between them, before the first and after the last it rests.
    """
    if len(frames) == 1:
        return np.repeat(places, count, axis=0)
    inside = np.clip(np.arange(count), frames[0], frames[-1])
    way: FloatArray = PchipInterpolator(frames, places, axis=0)(inside)
    return way


def wander(
    rng: np.random.Generator,
    size_hw: tuple[int, int],
    count: int,
    *,
    side_px: float,
    speed: float = 0.02,
    growth: float = 0.25,
    turn: float = 0.3,
) -> Course:
    """A course inside the picture.

    Args:
        rng: source of all choices.
        size_hw: of the picture, pixels.
        count: frames.
        side_px: longest side in the beginning, pixels.
        speed: mean way per frame as a fraction of the picture's shorter side.
        growth: log2 of how much larger or smaller it gets, standard deviation between two turns.
        turn: radians that it turns by, standard deviation between two turns.
    """
    height, width = size_hw
    places = 2 + count // _FRAMES_PER_TURN
    frames = np.linspace(0, count - 1, places) if count > 1 else np.zeros(1)
    margin = np.minimum(_MARGIN * side_px, np.array([width, height]) / 2)
    low, high = margin, np.array([width, height]) - margin
    stride = speed * min(size_hw) * count / max(len(frames) - 1, 1)
    centres = [rng.uniform(low, high)]
    while len(centres) < len(frames):
        heading, way = rng.uniform(0, 2 * np.pi), stride * rng.uniform(0.5, 1.5)
        step = way * np.array([np.cos(heading), np.sin(heading)])
        # Reflected at the edges, so that it keeps its pace.
        centres.append(_reflected(centres[-1] + step, low, high))
    sizes = np.clip(np.cumsum(rng.normal(0, growth, len(frames))), -1.0, 1.0)
    angles = rng.normal(0, 0.2) + np.cumsum(rng.normal(0, turn, len(frames)))
    return Course(
        centre_xy=through(np.array(centres), frames, count),
        side_px=side_px * 2 ** through(sizes - sizes[0], frames, count),
        angle=through(angles, frames, count),
    )


def crossing(
    rng: np.random.Generator, size_hw: tuple[int, int], behind: Course, front: Course
) -> tuple[Course, Course]:
    """The two courses changed so that they meet in the middle of the clip, coming from different sides.

    The one in front is made large enough to cover the other.
    """
    count = len(behind.side_px)
    height, width = size_hw
    short = min(size_hw)
    meeting_frame = rng.uniform(0.35, 0.65) * (count - 1)
    meeting = np.array([width, height]) * rng.uniform(0.35, 0.65, 2)
    heading = rng.uniform(0, 2 * np.pi)
    apart = rng.uniform(0.5, 1.0) * np.pi  # how different their directions are
    frames = np.array([0.0, meeting_frame, count - 1.0]) if count > 2 else np.arange(count, dtype=np.float64)
    courses = []
    for course, direction in ((behind, heading), (front, heading + apart)):
        reach = rng.uniform(0.25, 0.4) * short * np.array([np.cos(direction), np.sin(direction)])
        places = np.array([meeting - reach, meeting, meeting + reach])[: len(frames)]
        courses.append(replace(course, centre_xy=through(places, frames, count)))
    moved_behind, moved_front = courses
    least = _COVERING * float(behind.side_px.max())
    scale = max(1.0, least / float(front.side_px.min()))
    return moved_behind, replace(moved_front, side_px=front.side_px * scale)


def leaving(rng: np.random.Generator, size_hw: tuple[int, int], course: Course) -> Course:
    """The course changed so that the sprite leaves the picture and comes back, mostly at the same edge."""
    count = len(course.side_px)
    gone = max(1, round(rng.uniform(0.15, 0.3) * count))
    first = round(rng.uniform(0.25, 0.5) * count)
    last = min(first + gone, count - 1)
    out_edge = int(rng.integers(4))
    in_edge = out_edge if rng.random() < 0.7 else int(rng.integers(4))
    side = float(course.side_px.max())
    # As many frames to go out as to come in again.
    ramp = max(1, count // 8)
    before, after = max(first - ramp, 0), min(last + ramp, count - 1)
    way = course.centre_xy.copy()
    out_xy, in_xy = _beyond(size_hw, out_edge, way[before], side), _beyond(size_hw, in_edge, way[after], side)
    # From one edge to the other it goes where nobody looks.
    for start, stop, places in ((before, first, (way[before], out_xy)), (last, after, (in_xy, way[after]))):
        if stop > start:
            way[start : stop + 1] = through(np.array(places), np.array([0.0, stop - start]), stop - start + 1)
    turning = (first + last + 1) // 2
    way[first:turning], way[turning : last + 1] = out_xy, in_xy
    return replace(course, centre_xy=way)


def shaking(rng: np.random.Generator, count: int, *, amplitude_px: float, pan_px: float) -> npt.NDArray[np.int64]:
    """(F, 2) whole pixels by which the camera has moved: a shaking hand and a slow pan.

    Args:
        rng: source of all choices.
        count: frames.
        amplitude_px: standard deviation of the shaking.
        pan_px: way of the pan over the whole clip.
    """
    noise = rng.normal(0, amplitude_px, (count, 2))
    shake = np.zeros((count, 2))
    for frame in range(1, count):
        shake[frame] = 0.6 * shake[frame - 1] + 0.8 * noise[frame]  # keeps the standard deviation
    heading = rng.uniform(0, 2 * np.pi)
    pan = np.linspace(-0.5, 0.5, count)[:, None] * pan_px * np.array([np.cos(heading), np.sin(heading)])
    return np.rint(shake + pan).astype(np.int64)


def _reflected(place: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    span = np.maximum(high - low, 1e-6)
    phase = np.mod(place - low, 2 * span)
    reflected: FloatArray = low + np.where(phase > span, 2 * span - phase, phase)
    return reflected


def _beyond(size_hw: tuple[int, int], edge: int, place: FloatArray, side_px: float) -> FloatArray:
    """The place moved beyond the left, right, upper or lower edge, so that nothing of the sprite is left."""
    height, width = size_hw
    moved = place.copy()
    axis = edge // 2
    moved[axis] = (width, height)[axis] + 0.75 * side_px if edge % 2 else -0.75 * side_px
    return moved
