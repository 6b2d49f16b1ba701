"""Which past frames feed the tracker: rules on frame numbers (spec/tracker.md 7). No state, and hardly any tensors.

A frame is remembered as *prompted* (a user or the detector said where the objects are) or as *tracked*. Maps are read
of a few prompted frames, however far, and of the frames just passed; pointers reach farther. With `select` the frames
just passed are those on which the objects were seen well, by rank instead of distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from masklet.config import TrackerConfig
from masklet.types import Memory, MemoryEntry


@dataclass(frozen=True, kw_only=True)
class BankRules:
    """How much is read, and of which frames.

    Attributes:
        select: read tracked frames on which the objects were seen well; False: the frames just passed, good or bad.
        maps: distances in time that a map may have: prompted, or 1 to `maps` - 1 frames away.
        pointers: how many frames back tracked pointers are looked for, this frame counted.
        conditioning_maps: prompted frames whose maps are read at most.
        stride: tracked frames beyond the neighbour are taken from every `stride`-th frame.
        least_score: frames with this score (`frame_score`) or less are not selected.
        huggingface: as Hugging Face's implementation, which reads the pointers of all past prompted frames; needed to
            compare with it. It has no selection.
    """

    select: bool
    maps: int = TrackerConfig.maps
    pointers: int = TrackerConfig.pointers
    conditioning_maps: int = TrackerConfig.conditioning_maps
    stride: int = 1
    least_score: float = 0.01
    huggingface: bool = False

    @classmethod
    def of(cls, config: TrackerConfig, *, select: bool) -> Self:
        """The rules for a model's sizes."""
        return cls(
            select=select, maps=config.maps, pointers=config.pointers, conditioning_maps=config.conditioning_maps
        )


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """The frames whose memory there is.

    Attributes:
        prompted: prompted frames, in the order in which they came to be.
        tracked: score (`frame_score`) of each tracked frame.
        frames: length of the video; None where it is not known.
    """

    prompted: Sequence[int]
    tracked: Mapping[int, float]
    frames: int | None = None


class MapRead(NamedTuple):
    """A map to read: of which frame, and its row in `Memory.rows`."""

    frame_idx: int
    row: int


class PointerRead(NamedTuple):
    """A pointer to read: of which frame, and its distance in frames (or rank) as the network is told."""

    frame_idx: int
    offset: int


@dataclass(frozen=True)
class Recall:
    """What a frame reads.

    Attributes:
        maps: at least one, prompted frames first.
        pointers: prompted frames first.
        horizon: see `Memory`.
    """

    maps: tuple[MapRead, ...]
    pointers: tuple[PointerRead, ...]
    horizon: int

    @property
    def frames(self) -> set[int]:
        """The frames of which anything is read."""
        return {one.frame_idx for one in self.maps} | {one.frame_idx for one in self.pointers}


def recall(frame_idx: int, remembered: Remembered, rules: BankRules, *, backwards: bool = False) -> Recall:
    """What frame `frame_idx` reads when the video is followed forwards, or backwards."""
    sign = -1 if backwards else 1
    chosen = nearest_prompted(frame_idx, remembered.prompted, rules.conditioning_maps)
    others = set(remembered.prompted) - set(chosen)
    horizon = _horizon(remembered.frames, rules)
    if rules.select:
        ranked = seen_well(frame_idx, remembered, rules, backwards=backwards)[::-1]  # nearest first
        map_frames = list(enumerate(ranked, 1))[: rules.maps - 1]
        pointer_frames = list(enumerate(ranked, 1))[: min(len(ranked) - 1, horizon - 1)]  # never the oldest of them
    else:
        map_frames = [(away, _frame_away(frame_idx, away, rules.stride, backwards)) for away in range(1, rules.maps)]
        pointer_frames = [(away, frame_idx - sign * away) for away in range(1, horizon)]
    maps = [MapRead(t, rules.maps - 1) for t in chosen]
    maps += [MapRead(t, away - 1) for away, t in map_frames if t in remembered.tracked or t in others]
    prompts = remembered.prompted if rules.huggingface else chosen
    past = [t for t in prompts if sign * (frame_idx - t) >= 0]
    readable = set() if rules.huggingface else others
    pointers = [PointerRead(t, abs(frame_idx - t)) for t in past]
    pointers += [PointerRead(t, away) for away, t in pointer_frames if t in remembered.tracked or t in readable]
    return Recall(tuple(maps), tuple(pointers), horizon)


def nearest_prompted(frame_idx: int, prompted: Sequence[int], limit: int) -> tuple[int, ...]:
    """At most `limit` prompted frames: the last one before, the first one from here on, then the nearest.

    Of equally near ones the earlier in `prompted` is taken.
    """
    if len(prompted) <= limit:
        return tuple(prompted)
    before = max((t for t in prompted if t < frame_idx), default=None)
    after = min((t for t in prompted if t >= frame_idx), default=None)
    chosen = [t for t in (before, after) if t is not None]
    rest = sorted((t for t in prompted if t not in chosen), key=lambda t: abs(t - frame_idx))
    return tuple([*chosen, *rest][:limit])


def seen_well(frame_idx: int, remembered: Remembered, rules: BankRules, *, backwards: bool = False) -> list[int]:
    """The tracked frames that are selected, in the order in which they were passed, the neighbour always last.

    Frame 0 is never looked at in a forward pass, and the neighbour is there even when it is bad or not tracked.
    """
    last = None if remembered.frames is None else remembered.frames - 1
    if frame_idx == (last if backwards else 0):
        return []
    step = rules.stride if backwards else -rules.stride
    neighbour = frame_idx + (1 if backwards else -1)
    farthest = max(remembered.tracked, default=frame_idx) if last is None else last
    looked_at = range(neighbour, farthest + 1 if backwards else 0, step)
    most = _horizon(remembered.frames, rules) - 1
    # By what is remembered, not by number: a video may be endless, memory is not.
    found = [t for t, score in remembered.tracked.items() if score > rules.least_score and t in looked_at]
    well = sorted(found, reverse=backwards)[-most:]
    return well if neighbour in well else [*well, neighbour]


def within_reach(frame_idx: int, remembered: Remembered, rules: BankRules, *, backwards: bool = False) -> set[int]:
    """The remembered frames that frame `frame_idx` can read, or any frame that is passed after it.

    What is tracked from now on only pushes frames out of reach: what is not in this set is never read again on the way.
    Prompted frames that lie ahead are within reach.
    """
    sign = -1 if backwards else 1

    def away(t: int) -> int:
        return sign * (frame_idx - t)

    horizon = _horizon(remembered.frames, rules)
    farthest = max(horizon - 1, (rules.maps - 2) * rules.stride + 1)
    behind = sorted((t for t in remembered.prompted if away(t) > 0), key=away)
    kept = {t for t in remembered.prompted if away(t) <= farthest}
    kept.update(behind if rules.huggingface else behind[: rules.conditioning_maps])
    # Tracked frames ahead, of an earlier pass, are passed anew before they are read.
    passed = {t: score for t, score in remembered.tracked.items() if away(t) > 0}
    if not rules.select:
        return kept | {t for t in passed if away(t) <= farthest}
    remembered = replace(remembered, tracked=passed)
    for later in range(rules.stride):  # each frame looks at every `stride`-th frame behind it
        well = seen_well(frame_idx + sign * later, remembered, rules, backwards=backwards)
        kept.update(t for t in well if t in passed)
    return kept


def frame_score(sight_logits: Tensor, quality: Tensor) -> float:
    """How well O objects were seen on a frame, 0..1: mean certainty of sight times mean predicted quality.

    Args:
        sight_logits: (O,).
        quality: (O,) of the best candidates.
    """
    certainty = torch.where(sight_logits > 0, 2 * sight_logits.float().sigmoid() - 1, 0.0)
    return float(certainty.mean() * quality.float().mean())


def read(recalled: Recall, entries: Mapping[int, MemoryEntry]) -> Memory:
    """The memory that the tracker takes.

    Args:
        recalled: of the frame to be tracked.
        entries: what is remembered of every frame that it names, of the same O masklets.
    """
    assert recalled.maps, "a frame without memory cannot be tracked: there is no prompted frame"
    first = entries[recalled.maps[0].frame_idx]
    device = first.map_tokens.device
    pointers = [entries[one.frame_idx].pointers for one in recalled.pointers]
    return Memory(
        map_tokens=tuple(entries[one.frame_idx].map_tokens for one in recalled.maps),
        rows=torch.tensor([one.row for one in recalled.maps], device=device),
        pointers=torch.stack(pointers, dim=1) if pointers else first.pointers[:, None][:, :0],
        offsets=torch.tensor([one.offset for one in recalled.pointers], dtype=torch.float32, device=device),
        horizon=recalled.horizon,
    )


def _horizon(frames: int | None, rules: BankRules) -> int:
    return rules.pointers if frames is None else max(2, min(frames, rules.pointers))


def _frame_away(frame_idx: int, away: int, stride: int, backwards: bool) -> int:
    """The tracked frame that stands `away` places before this one on the way."""
    if away == 1:
        return frame_idx + (1 if backwards else -1)
    if backwards:
        return -(-(frame_idx + 2) // stride) * stride + (away - 2) * stride
    return (frame_idx - 2) // stride * stride - (away - 2) * stride
