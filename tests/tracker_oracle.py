"""What the public trackers of `transformers` answer, frame by frame, in the scenarios of spec/tracker.md 15.2.

A video is followed once and recorded: for every frame and object what was remembered, what was asked and what came.
Ours is then asked each of these questions alone, with the memory that the oracle had (15.3): left to themselves even
two right implementations drift apart.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tracker_models import TRACKERS, image_model, memory_in_float32, video_model

# The relative limits of spec/tracker.md 15.3, for pictures and for videos; maps have a third of theirs, without which a
# GELU by tanh in the memory encoder would hardly show. "flipped" is one pixel of the small model's 128 x 128: a mask
# that is remembered as 0 and 1 may have it so near to 0 that rounding decides.
IMAGE_LIMITS = {"levels": 1e-5, "masks": 1e-5, "quality": 1e-6, "sight": 3e-5}
VIDEO_LIMITS = {"levels": 1e-5, "masks": 5e-5, "pointers": 5e-5, "sight": 3e-4, "maps": 1e-4, "flipped": 1e-4}


@dataclass(frozen=True, kw_only=True)
class ImageQuestion:
    """Prompts on one picture.

    Attributes:
        ambiguous: whether several masks are asked for.
        points_px: (O, P, 2) x, y in pixels of the input, or None.
        labels: (O, P) 1 or 0.
        boxes_px: (O, 4) corners, or None.
        mask_logits: (H, W) or None.
    """

    ambiguous: bool
    points_px: Tensor | None = None
    labels: Tensor | None = None
    boxes_px: Tensor | None = None
    mask_logits: Tensor | None = None


@dataclass(frozen=True)
class ImageAnswer:
    """Masks (O, M, 4h, 4w), qualities (O, M), logits of sight (O,)."""

    masks: Tensor
    quality: Tensor
    sight: Tensor


@dataclass(frozen=True)
class Record:
    """What the oracle keeps of one object on one frame.

    Attributes:
        mask: (4h, 4w) logits.
        pointer: (C,).
        sight: () logit.
        map_tokens: (h * w, Cm) memory map.
    """

    mask: Tensor
    pointer: Tensor
    sight: Tensor
    map_tokens: Tensor


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What an object is prompted with on a frame: points with labels as in `PointPrompts`, or a mask (R, R) of 0, 1."""

    points_px: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    mask: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One object on one frame.

    Attributes:
        object_idx: in the order in which objects were named.
        frame_idx: of the video.
        backwards: direction in which the video is followed.
        prompt: None on a tracked frame.
        initial: a prompted frame that takes no memory.
        binary: whether some object of the run has a prompt here, which decides how masks are remembered.
        prompted: what is remembered of prompted frames, in the oracle's order.
        tracked: the same of tracked frames.
        expected: the oracle's answer.
    """

    object_idx: int
    frame_idx: int
    backwards: bool
    prompt: Prompt | None
    initial: bool
    binary: bool
    prompted: Mapping[int, Record]
    tracked: Mapping[int, Record]
    expected: Record


@dataclass
class Film:
    """A video that is followed by a `Sam3TrackerVideoModel`.

    Attributes:
        pixels: (F, 3, R, R).
        kept_levels: of so many frames the oracle keeps what its vision encoder makes.
        steps: all that was done, in order.
    """

    model: Any
    pixels: Tensor
    kept_levels: int = 1
    steps: list[Step] = field(default_factory=list)
    _pending: dict[int, Prompt] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from transformers import Sam3TrackerVideoInferenceSession

        side = self.pixels.shape[-1]
        self._session = Sam3TrackerVideoInferenceSession(
            video=self.pixels,
            video_height=side,
            video_width=side,
            dtype=torch.float32,
            max_vision_features_cache_size=self.kept_levels,
        )

    def prompt(self, frame_idx: int, name: int, prompt: Prompt) -> None:
        """Prompts an object; the frame must be run next."""
        index = self._session.obj_id_to_idx(name)
        if prompt.mask is not None:
            self._session.add_mask_inputs(index, frame_idx, prompt.mask[None, None])
        else:
            inputs = {
                "point_coords": torch.tensor(prompt.points_px)[None, None],
                "point_labels": torch.tensor(prompt.labels)[None, None],
            }
            self._session.add_point_inputs(index, frame_idx, inputs)
        self._session.obj_with_new_inputs.append(name)
        self._pending[index] = prompt

    @torch.no_grad()
    def run(self, frames: Mapping[int, int] | range | list[int], *, backwards: bool = False) -> None:
        """Runs all objects on some frames."""
        for frame_idx in frames:
            before = self._records()
            with memory_in_float32():
                self.model(self._session, frame_idx=frame_idx, reverse=backwards)
            after = self._records()
            for index, (prompted, tracked) in after.items():
                earlier = before.get(index, ({}, {}))
                for kind, stored in enumerate((prompted, tracked)):
                    if stored.get(frame_idx) is earlier[kind].get(frame_idx):
                        continue
                    self.steps.append(
                        Step(
                            object_idx=index,
                            frame_idx=frame_idx,
                            backwards=backwards,
                            prompt=self._pending.get(index),
                            initial=kind == 0,
                            binary=bool(self._pending),
                            prompted={t: record_of(raw) for t, raw in earlier[0].items()},
                            tracked={t: record_of(raw) for t, raw in earlier[1].items()},
                            expected=record_of(stored[frame_idx]),
                        )
                    )
            self._pending = {}

    def _records(self) -> dict[int, tuple[dict[int, Any], dict[int, Any]]]:
        """Prompted and tracked frames by object, as the session keeps them."""
        return {
            index: (dict(kept["cond_frame_outputs"]), dict(kept["non_cond_frame_outputs"]))
            for index, kept in self._session.output_dict_per_obj.items()
        }


def record_of(raw: Mapping[str, Tensor]) -> Record:
    """What the oracle keeps of one object on one frame."""
    return Record(
        mask=raw["pred_masks"][0, 0],
        pointer=raw["object_pointer"].reshape(-1),
        sight=raw["object_score_logits"].reshape(()),
        map_tokens=raw["maskmem_features"][:, 0],
    )


# --- differences ------------------------------------------------------------------------------------------------------

_LEAST_SIZE = {"sight": 0.05}  # one number has no largest value of its own


def _relative(found: Tensor, expected: Tensor, least: float = 0.0) -> float:
    """Largest difference over the largest expected value."""
    assert found.shape == expected.shape, f"{tuple(found.shape)} against {tuple(expected.shape)}"
    if not expected.numel():
        return 0.0
    difference = float((found - expected).abs().max()) / max(float(expected.abs().max()), least)
    return difference if difference == difference else float("inf")


def level_difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Of the worst level of a pyramid."""
    return max(_relative(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def image_differences(found: ImageAnswer, expected: ImageAnswer) -> dict[str, float]:
    """By the names of `IMAGE_LIMITS`."""
    return {
        "masks": _relative(found.masks, expected.masks),
        "quality": _relative(found.quality, expected.quality),
        "sight": _relative(found.sight, expected.sight, _LEAST_SIZE["sight"]),
    }


def step_differences(found: Record, expected: Record) -> dict[str, float]:
    """By the names of `VIDEO_LIMITS`."""
    return {
        "masks": _relative(found.mask, expected.mask),
        "pointers": _relative(found.pointer, expected.pointer),
        "sight": _relative(found.sight, expected.sight, _LEAST_SIZE["sight"]),
        "maps": _relative(found.map_tokens, expected.map_tokens),
    }


def worst(differences: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The largest of each name."""
    largest: dict[str, float] = {}
    for each in differences:
        for name, value in each.items():
            largest[name] = max(largest.get(name, 0.0), value)
    return largest


def beyond(differences: Mapping[str, float], limits: Mapping[str, float]) -> dict[str, float]:
    """Those above their limits."""
    return {name: value for name, value in differences.items() if value > limits[name]}


# --- scenarios --------------------------------------------------------------------------------------------------------


def moving_blocks(frames: int, side: int, seed: int = 0) -> Tensor:
    """(F, 3, R, R) about -1..1: coarse blocks that drift over fine noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 7, 7, generator=generator).mul(2).sub(1)
    blocks = nn.functional.interpolate(coarse, (side, side), mode="nearest")[0]
    noise = torch.rand(frames, 3, side, side, generator=generator).mul(2).sub(1)
    moved = torch.stack([torch.roll(blocks, (3 * t, 5 * t), (-2, -1)) for t in range(frames)])
    return 0.6 * moved + 0.4 * noise


def disc(side: int, x: float, y: float, radius: float) -> Tensor:
    """(side, side) of 0 and 1; centre and radius as fractions of the side."""
    places = (torch.arange(side) + 0.5) / side
    return ((places[None] - x) ** 2 + (places[:, None] - y) ** 2 <= radius**2).float()


def _click(side: int, x: float, y: float, label: int = 1) -> Prompt:
    return Prompt(points_px=((x * side, y * side),), labels=(label,))


def _clicks(side: int, count: int, seed: int) -> Prompt:
    generator = torch.Generator().manual_seed(seed)
    places = (torch.rand(count, 2, generator=generator) * side).tolist()
    labels = [1, *torch.randint(0, 2, (count - 1,), generator=generator).tolist()]
    return Prompt(points_px=tuple((x, y) for x, y in places), labels=tuple(labels))


def _box(side: int, x0: float, y0: float, x1: float, y1: float) -> Prompt:
    return Prompt(points_px=((x0 * side, y0 * side), (x1 * side, y1 * side)), labels=(2, 3))


def _three_prompts(film: Film) -> None:
    """V1: three kinds of prompts on frame 2, followed both ways, one refined later. Fewer than 16 frames."""
    side = film.pixels.shape[-1]
    film.prompt(2, 0, Prompt(points_px=((0.3 * side, 0.4 * side), (0.8 * side, 0.2 * side)), labels=(1, 0)))
    film.prompt(2, 1, Prompt(mask=disc(side, 0.6, 0.5, 0.25)))
    film.prompt(2, 2, _box(side, 0.1, 0.3, 0.55, 0.9))
    film.run([2])
    film.run(range(3, len(film.pixels)))
    film.run([1, 0], backwards=True)
    film.prompt(5, 0, _click(side, 0.35, 0.45))
    film.run([5, 4, 3, 2, 1, 0], backwards=True)


def _many_prompted_frames(film: Film) -> None:
    """V2: one object, clicked on six frames, followed to the end and back."""
    side = film.pixels.shape[-1]
    for frame_idx in (0, 2, 4, 8, 12, 16):
        film.prompt(frame_idx, 0, _clicks(side, 1 + frame_idx // 2 % 3, seed=frame_idx))
        film.run([frame_idx])
    film.run(range(20))
    film.run(range(19, -1, -1), backwards=True)


def _crowded_prompts(film: Film) -> None:
    """V3: prompted frames close to each other and one far ahead; an empty mask of a second object."""
    side = film.pixels.shape[-1]
    for frame_idx in (0, 1, 2, 3, 4, 14):
        mask = Prompt(mask=disc(side, 0.5, 0.4, 0.3))
        film.prompt(frame_idx, 0, mask if frame_idx == 1 else _clicks(side, 1 + frame_idx % 3, seed=frame_idx))
        film.run([frame_idx])
    film.prompt(14, 1, Prompt(mask=torch.zeros(side, side)))
    film.run([14])
    film.run(range(5, 18))
    film.run(range(13, -1, -1), backwards=True)


@dataclass(frozen=True)
class Scenario:
    """Which model, which weights, how many frames, what is done."""

    variant: str
    draw: str
    frames: int
    play: Callable[[Film], None]


SCENARIOS: dict[str, Scenario] = {
    "V1": Scenario("small", "plain", 8, _three_prompts),
    "V1 wide": Scenario("wide", "plain", 8, _three_prompts),
    "V2": Scenario("small", "blinking", 20, _many_prompted_frames),
    "V3": Scenario("small", "present", 18, _crowded_prompts),
    "V4": Scenario("small", "faint", 6, _three_prompts),
}


@functools.cache
def film(name: str) -> Film:
    """A scenario, followed by the oracle; once per process."""
    scenario = SCENARIOS[name]
    side = TRACKERS[scenario.variant].vision.image_size
    made = Film(video_model(scenario.variant, scenario.draw), moving_blocks(scenario.frames, side))
    scenario.play(made)
    return made


@functools.cache
@torch.no_grad()
def film_levels(name: str) -> tuple[Tensor, ...]:
    """The oracle's pyramid of every frame, before the mask decoder makes its finer levels narrow."""
    made = film(name)
    return tuple(made.model.vision_encoder(made.pixels).fpn_hidden_states[:3])


def image_questions(side: int) -> dict[str, ImageQuestion]:
    """Scenario I."""
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(3, 2, 2, generator=generator) * side
    labels = torch.tensor([[1, 0], [1, 1], [0, 1]])
    boxes = torch.tensor([[0.1, 0.2, 0.5, 0.6], [0.4, 0.3, 0.9, 0.95]]) * side
    mask = torch.randn(side // 14 * 4, side // 14 * 4, generator=generator) * 4
    return {
        "three objects of two points": ImageQuestion(ambiguous=True, points_px=points, labels=labels),
        "the same, one mask": ImageQuestion(ambiguous=False, points_px=points, labels=labels),
        "two boxes": ImageQuestion(ambiguous=True, boxes_px=boxes),
        "two boxes, one mask": ImageQuestion(ambiguous=False, boxes_px=boxes),
        "a box and two points": ImageQuestion(
            ambiguous=False, points_px=points[:1], labels=labels[:1], boxes_px=boxes[:1]
        ),
        "a mask alone": ImageQuestion(ambiguous=True, mask_logits=mask),
        "a mask of another size": ImageQuestion(ambiguous=False, mask_logits=disc(side, 0.5, 0.5, 0.3) * 8 - 4),
        "a mask and a point": ImageQuestion(
            ambiguous=False, points_px=points[:1, :1], labels=labels[:1, :1], mask_logits=mask
        ),
    }


@functools.cache
def image_answers(variant: str, draw: str) -> dict[str, ImageAnswer]:
    """What the oracle says of scenario I on one picture."""
    side = TRACKERS[variant].vision.image_size
    return answers_of(image_model(variant, draw), pixel_values=moving_blocks(1, side, seed=5), side=side)


@torch.no_grad()
def answers_of(model: Any, *, side: int, **picture: Any) -> dict[str, ImageAnswer]:
    """What a `Sam3TrackerModel` says of scenario I on a picture of so many pixels a side."""
    answers = {}
    for name, question in image_questions(side).items():
        inputs = {
            "input_points": question.points_px,
            "input_labels": question.labels,
            "input_boxes": question.boxes_px,
        }
        inputs = {key: value[None] for key, value in inputs.items() if value is not None}
        if question.mask_logits is not None:
            inputs["input_masks"] = question.mask_logits[None, None]
        output = model(**picture, multimask_output=question.ambiguous, **inputs)
        answers[name] = ImageAnswer(
            output.pred_masks[0], output.iou_scores[0], output.object_score_logits[0].reshape(-1)
        )
    return answers
