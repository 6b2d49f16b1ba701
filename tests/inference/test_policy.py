"""The rules' defaults and what they refuse."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest

from masklet.config import DEFAULT, SAM3
from masklet.errors import ConfigError
from masklet.inference.policy import VideoPolicy

# Spec/video.md 1: our name, the name there, the builder's value, the value with temporal disambiguation off.
TABLE = [
    ("detection_score", "score_threshold_detection", 0.5, 0.5),
    ("detection_iou", "det_nms_thresh", 0.1, 0.1),
    ("near_iou", "assoc_iou_thresh", 0.1, 0.1),
    ("match_iou", "trk_assoc_iou_thresh", 0.5, 0.5),
    ("birth_score", "new_det_thresh", 0.7, 0.7),
    ("hotstart_delay", "hotstart_delay", 15, 0),
    ("unmatched_frames", "hotstart_unmatch_thresh", 8, 0),
    ("shared_detections", "hotstart_dup_thresh", 8, 0),
    ("keep_alive_hides", "not suppress_unmatched_only_within_hotstart", False, False),
    ("keep_alive_start", "init_trk_keep_alive", 30, 30),
    ("keep_alive_max", "max_trk_keep_alive", 30, 30),
    ("keep_alive_min", "min_trk_keep_alive", -1, -1),
    ("occlusion_iou", "suppress_overlapping_based_on_recent_occlusion_threshold", 0.7, 0.7),
    ("keep_alive_counts_empty", "decrease_trk_keep_alive_for_empty_masklets", False, False),
    ("match_once", "o2o_matching_masklets_enable", False, False),
    ("birth_margin", "suppress_det_close_to_boundary: its margin, 0 for off", 0.0, 0.0),
    ("clean_area", "fill_hole_area", 16, 16),
    ("max_masklets", "max_num_objects", 10000, 10000),
    ("recondition_every", "recondition_every_nth_frame", 16, 0),
    ("confirm", "masklet_confirmation_enable", False, False),
    ("confirm_frames", "masklet_confirmation_consecutive_det_thresh", 3, 3),
    ("recondition_box_iou", "reconstruction_bbox_iou_thresh", 0.0, 0.0),
    ("recondition_box_score", "reconstruction_bbox_det_score", 0.0, 0.0),
    ("recondition_score", "HIGH_CONF_THRESH", 0.8, 0.8),
    ("recondition_sight_logit", "HIGH_CONF_THRESH", 0.8, 0.8),
    ("recondition_iou", "HIGH_IOU_THRESH", 0.8, 0.8),
    ("shrink_share", "shrink threshold before memory encoding", 0.3, 0.3),
    ("refine_with_memory", "use_prev_mem_frame", False, False),
    ("refine_afresh", "use_stateless_refinement", False, False),
    ("refine_window", "refinement_detector_cond_frame_removal_window", 16, 16),
    ("memory_selection", "use_memory_selection", True, False),
    ("masks_apart", "7.1: object-wise non-overlap of what is given out", True, True),
    ("masks_compete", "non_overlap_masks_for_mem_enc, non_overlap_masks_for_output (spec/tracker.md 1)", False, False),
]

# Section 12, and `shared_start`, which section 5 says in passing: ours, the original's, transformers'.
CHOICES = {
    "births_upsampled": (True, False),
    "births_cut": (True, False),
    "shared_start": (False, True),
    "recondition_bucket": (True, False),
    "recondition_shown": (False, True),
    "recondition_remembered": (False, False),
    "shrink_upsampled": (True, False),
    "memory_selection": (True, False),
    "detection_iou": (0.1, 0.0),
    "clean_area": (16, 0),
}


def test_the_defaults_are_those_of_the_builder() -> None:
    """Spec/video.md 1, both columns of the builder; no rule is missing."""
    on, off = VideoPolicy(), VideoPolicy.without_disambiguation()
    assert {name: getattr(on, name) for name, *_ in TABLE} == {name: value for name, _, value, _ in TABLE}
    assert {name: getattr(off, name) for name, *_ in TABLE} == {name: value for name, _, _, value in TABLE}
    assert {field.name for field in fields(VideoPolicy)} == {name for name, *_ in TABLE} | set(CHOICES)


def test_where_the_two_implementations_differ() -> None:
    """Spec/video.md 12: the original's choice is the default."""
    ours, theirs = VideoPolicy(), VideoPolicy.as_transformers()
    differ = {field.name for field in fields(VideoPolicy) if getattr(ours, field.name) != getattr(theirs, field.name)}
    assert differ == {name for name, (one, other) in CHOICES.items() if one != other}
    for name, values in CHOICES.items():
        assert (getattr(ours, name), getattr(theirs, name)) == values
    with_kernels = VideoPolicy.as_transformers(kernels=True)
    assert (with_kernels.detection_iou, with_kernels.clean_area) == (0.1, 16)


def test_a_model_has_the_originals_rules_unless_its_configuration_says_otherwise() -> None:
    assert VideoPolicy.of(SAM3) == VideoPolicy()
    own, original, led = VideoPolicy.of(DEFAULT), VideoPolicy(), VideoPolicy.led_by_detections()
    assert own == replace(led, masks_compete=True)
    differ = {field.name for field in fields(VideoPolicy) if getattr(led, field.name) != getattr(original, field.name)}
    assert differ == {
        *("near_iou", "keep_alive_start", "keep_alive_max", "keep_alive_hides"),
        *(f"recondition_{name}" for name in ("every", "score", "iou", "sight_logit", "shown")),
    }


@pytest.mark.parametrize("name", ["unmatched_frames", "shared_detections"])
def test_counts_fit_the_delay(name: str) -> None:
    """Section 1, "constraint checked at construction"."""
    VideoPolicy(**{name: 15})
    VideoPolicy(hotstart_delay=0, **{name: 100})
    with pytest.raises(ConfigError, match=rf"^{name} must be at most hotstart_delay \(15\), .* got 16$"):
        VideoPolicy(**{name: 16})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"near_iou": -0.1}, "near_iou must be in 0..1, got -0.1"),
        ({"birth_score": math.nan}, "birth_score must be in 0..1, got nan"),
        ({"shrink_share": 1.5}, "shrink_share must be in 0..1, got 1.5"),
        ({"hotstart_delay": -1}, "hotstart_delay must be 0 or more, got -1"),
        ({"birth_margin": 0.5}, "birth_margin must be 0 or more and below 0.5, got 0.5"),
        ({"max_masklets": 0}, "max_masklets must be 1 or more, got 0"),
        ({"confirm_frames": 0}, "confirm_frames must be 1 or more, got 0"),
        (
            {"keep_alive_start": 31},
            r"keep_alive_start must be from keep_alive_min \(-1\) to keep_alive_max \(30\), got 31",
        ),
    ],
)
def test_values_out_of_range(values: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        VideoPolicy(**values)  # type: ignore[arg-type]
