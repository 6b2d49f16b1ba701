"""What is looked for in a video, and what of it is found on a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from masklet.errors import InputError, PromptError
from masklet.inference.questions import Question, answers, exemplar_tokens
from masklet.inference.text_cache import TextCache
from masklet.model.detector import Detector
from masklet.types import VISUAL, Detections, Exemplar, ImageFeatures


@dataclass(frozen=True, kw_only=True)
class VideoConcept:
    """Something to be looked for.

    Attributes:
        text: a phrase; `VISUAL` where exemplars alone say what is meant, which is looked for on their frames only.
        threshold: 0..1, detections must score more.
        exemplars: by frame; they act on that frame alone.

    Raises:
        InputError: the threshold is not in 0..1.
    """

    text: str
    threshold: float
    exemplars: Mapping[int, tuple[Exemplar, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:  # false for NaN as well
            raise InputError(f"threshold must be in 0..1, got {self.threshold!r}")

    def is_sought_on(self, frame_idx: int) -> bool:
        """Whether the detector is asked for it there."""
        return self.text != VISUAL or frame_idx in self.exemplars

    def with_exemplar(self, frame_idx: int, exemplar: Exemplar) -> Self:
        """With one more."""
        given = (*self.exemplars.get(frame_idx, ()), exemplar)
        return replace(self, exemplars={**self.exemplars, frame_idx: given})


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found of one concept on one frame.

    Attributes:
        presence: 0..1, is the concept anywhere on the frame.
        detections: best first, duplicates not yet removed.
    """

    presence: float
    detections: Detections


def with_exemplar(
    concepts: Sequence[VideoConcept], frame_idx: int, exemplar: Exemplar, *, concept: int | None, threshold: float
) -> tuple[list[VideoConcept], int]:
    """The concepts of a video with an exemplar more, and the number of the one that it belongs to.

    Args:
        concepts: that are looked for.
        frame_idx: of the frame on which the exemplar lies.
        exemplar: what is shown.
        concept: number of its concept; None: one without a name, a new one unless one was given on this frame.
        threshold: of a new concept.

    Raises:
        InputError: there is no such concept.
        PromptError: the first exemplar of a concept without a name is negative.
    """
    if concept is None:
        nameless = (i for i, one in enumerate(concepts) if one.text == VISUAL and frame_idx in one.exemplars)
        concept = next(nameless, None)
    elif not 0 <= concept < len(concepts):
        raise InputError(f"concept must be the number of one of {len(concepts)} concepts, got {concept}")
    if concept is not None:
        changed = concepts[concept].with_exemplar(frame_idx, exemplar)
        return [*concepts[:concept], changed, *concepts[concept + 1 :]], concept
    if not exemplar.positive:
        raise PromptError("what is meant begins with a positive exemplar; a negative one only says what is not")
    begun = VideoConcept(text=VISUAL, threshold=threshold, exemplars={frame_idx: (exemplar,)})
    return [*concepts, begun], len(concepts)


def find_concepts(
    model: Detector, texts: TextCache, features: ImageFeatures, frame_idx: int, concepts: Sequence[VideoConcept]
) -> dict[int, Found]:
    """The answers for all concepts that are looked for on a frame, by their place in `concepts`.

    Concepts that exemplars go with are asked one by one, the others together.

    Raises:
        PromptError: an exemplar lies outside the frame.
    """
    sought = [place for place, concept in enumerate(concepts) if concept.is_sought_on(frame_idx)]
    alone = [[place] for place in sought if frame_idx in concepts[place].exemplars]
    together = [place for place in sought if frame_idx not in concepts[place].exemplars]
    found: dict[int, Found] = {}
    for group in [*alone, *([together] if together else [])]:
        question = Question(
            concepts=tuple(concepts[place].text for place in group),
            thresholds=tuple(concepts[place].threshold for place in group),
            nms_iou=None,
            nms_across=False,
        )
        shown = exemplar_tokens(model, features, [concepts[group[0]].exemplars.get(frame_idx, ())])
        for answer in answers(model, texts, features, question, shown):
            found[group[answer.concept_idx]] = Found(presence=answer.presence, detections=answer.detections)
    return found
