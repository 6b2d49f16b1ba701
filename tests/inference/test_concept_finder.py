"""What is looked for on which frame of a video, and what the network is shown of the frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from film_cases import painted, write_film
from follow_cases import clip, model
from masklet.errors import InputError, PromptError
from masklet.inference.concept_finder import Found, VideoConcept, find_concepts, with_exemplar
from masklet.inference.image_predictor import ImagePredictor
from masklet.inference.text_cache import TextCache
from masklet.inference.video_frames import VideoFrames
from masklet.media.images import to_pixels
from masklet.media.span import Span
from masklet.media.video import open_video
from masklet.types import VISUAL, Exemplar

BOX, OTHER = Exemplar((10.0, 10.0, 60.0, 50.0)), Exemplar((0.0, 5.0, 20.0, 30.0), positive=False)
DOG, CAT = VideoConcept(text="dog", threshold=0.0), VideoConcept(text="cat", threshold=0.0)
SHOWN = VideoConcept(text=VISUAL, threshold=0.0, exemplars={3: (BOX,)})


def found(frame_idx: int, *concepts: VideoConcept) -> dict[int, Found]:
    """On the same picture, whatever the frame's number."""
    features = ImagePredictor(model()).encode(clip(1)[0])
    return find_concepts(model(), TextCache(model()), features, frame_idx, concepts)


def test_an_exemplar_acts_on_its_frame_alone() -> None:
    """Spec/video.md 3, "look-ahead", on purpose otherwise: there a box acts on the next frame, too."""
    told = replace(DOG, exemplars={3: (BOX,)})
    scores = {frame_idx: found(frame_idx, told)[0].detections.scores for frame_idx in (2, 3, 4)}
    plain = found(4, DOG)[0].detections.scores
    assert torch.equal(scores[2], plain) and torch.equal(scores[4], plain)
    assert not torch.equal(scores[3], plain)
    assert {frame_idx: set(found(frame_idx, DOG, SHOWN)) for frame_idx in (2, 3, 4)} == {2: {0}, 3: {0, 1}, 4: {0}}


def test_concepts_are_numbered_as_they_were_given() -> None:
    """Those with exemplars are asked alone, the others together: the numbers stay."""
    concepts = (DOG, replace(CAT, exemplars={3: (BOX,)}), SHOWN, VideoConcept(text="bird", threshold=0.0))
    together = found(3, *concepts)
    assert sorted(together) == [0, 1, 2, 3]
    for place, concept in enumerate(concepts):
        torch.testing.assert_close(
            together[place].detections.scores, found(3, concept)[0].detections.scores, rtol=1e-5, atol=1e-6
        )


def test_where_an_exemplar_belongs() -> None:
    concepts, number = with_exemplar([DOG, CAT], 3, BOX, concept=1, threshold=0.4)
    assert (concepts, number) == ([DOG, replace(CAT, exemplars={3: (BOX,)})], 1)
    concepts, number = with_exemplar([DOG], 3, BOX, concept=None, threshold=0.4)
    assert (concepts, number) == ([DOG, replace(SHOWN, threshold=0.4)], 1)
    concepts, number = with_exemplar([SHOWN, DOG], 3, OTHER, concept=None, threshold=0.4)  # says more of the first
    assert (concepts, number) == ([replace(SHOWN, exemplars={3: (BOX, OTHER)}), DOG], 0)
    concepts, number = with_exemplar([SHOWN], 4, BOX, concept=None, threshold=0.0)  # another frame, another concept
    assert (concepts, number) == ([SHOWN, replace(SHOWN, exemplars={4: (BOX,)})], 1)


def test_exemplars_that_belong_nowhere() -> None:
    with pytest.raises(InputError, match="one of 1 concepts, got 1"):
        with_exemplar([DOG], 3, BOX, concept=1, threshold=0.4)
    with pytest.raises(PromptError, match="begins with a positive exemplar"):
        with_exemplar([DOG], 3, OTHER, concept=None, threshold=0.4)
    with pytest.raises(InputError, match=r"threshold must be in 0\.\.1, got 1\.5"):
        with_exemplar([], 3, BOX, concept=None, threshold=1.5)


def test_frames_of_films_are_scaled_as_pictures(tmp_path: Path) -> None:
    """Spec/video.md 10, "OpenCV quirk", on purpose otherwise: there white is 509 instead of 1."""
    path = write_film(tmp_path / "clip.mp4", count=3)
    with open_video(path) as source:
        frames = VideoFrames(model(), source, Span(), image_size=model().config.vision.image_size)
        pixels = source.frame(1).pixels
        assert np.abs(pixels.astype(int) - painted(1)).mean() < 20  # a frame as it was written
        expected = ImagePredictor(model()).encode(pixels)
        for ours, theirs in zip(frames.image(1).levels, expected.levels, strict=True):
            assert torch.equal(ours, theirs)


def test_each_reader_of_a_frame_has_its_own_pyramid(tmp_path: Path) -> None:
    """Both come of one encoding; a film in which only clicks are followed never makes the detector's."""
    own = model()
    assert own.tracker is not None
    path = write_film(tmp_path / "clip.mp4", count=3)
    work: list[str] = []
    parts = {"vision": own.vision_encoder, "detector": own.neck, "tracker": own.tracker_neck}
    hooks = [
        part.register_forward_hook(lambda *_, name=name: work.append(name)) for name, part in parts.items() if part
    ]
    with open_video(path) as source:
        frames = VideoFrames(own, source, Span(), image_size=own.config.vision.image_size)
        seen = frames.tracker(1)
        assert work == ["vision", "tracker"]
        assert frames.tracker(1) is seen
        assert frames.image(1) is frames.image(1)
        assert work == ["vision", "tracker", "detector"]
        for hook in hooks:
            hook.remove()
        pixels = to_pixels(source.frame(1).pixels, own.config.vision.image_size)
    levels = own.encode_image(pixels, tracker=True).tracker_levels
    assert levels is not None
    expected = own.tracker.features(levels)  # of the wide pyramid
    torch.testing.assert_close(seen.fine, expected.fine, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(seen.middle, expected.middle, rtol=1e-5, atol=1e-5)
    assert torch.equal(seen.coarse, expected.coarse)
