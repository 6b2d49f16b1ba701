"""The script behind `make eval-tracker`: with the truth in the place of a model, and on a tiny model."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path

import eval_tracker
import numpy as np
import pytest
import record
from eval_tracker import Scores
from joined_by_iou import PATIENCE, detect_phrases, join_by_iou

from masklet.checkpoint import load_model, save_native
from masklet.errors import ConfigError
from masklet.evaluation.clip_scores import Click, FrameMasks
from masklet.inference.image_predictor import ImagePredictor
from masklet.inference.policy import VideoPolicy
from masklet.inference.video_predictor import VideoPredictor
from masklet.model.build import build_model
from masklet.ops.masks import Rle, encode_rle
from masklet.synthetic.clips import KINDS, Clip
from masklet.synthetic.phrases import Question
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import EVALUATION, EVALUATION_SIZE_HW, TRAIN, evaluation_clip, make_clip
from video_cases import BoxXywh, filled

SIZE_HW = (60, 80)


def small_clip(index: int, *, sheet: SpriteSheet, frames: int = 5) -> tuple[Clip, list[Question]]:
    """As `evaluation_clip`, shorter and smaller."""
    return make_clip(EVALUATION, index, SIZE_HW, frames, questions=2, kind=KINDS[index % len(KINDS)], sheet=sheet)


# --- the other tracker ------------------------------------------------------------------------------------------------


def joined(*frames: Sequence[BoxXywh]) -> list[list[int]]:
    """The frames on which each object is, of detections that are filled boxes."""
    found = join_by_iou([[encode_rle(filled(box)) for box in boxes] for boxes in frames])
    return [[frame for frame, rle in enumerate(masks) if rle is not None] for masks in found]


def test_what_overlaps_by_half_is_the_same() -> None:
    # Shifted by 3 of 9 columns the overlap is 6 of 12, by 4 it is 5 of 13.
    assert joined([(0, 0, 9, 10)], [(3, 0, 9, 10)]) == [[0, 1]]
    assert joined([(0, 0, 9, 10)], [(4, 0, 9, 10)]) == [[0], [1]]


def test_the_pairing_is_of_all_at_once() -> None:
    # Both detections of the second frame overlap the first object, 10/14 and 12/13; the second object only one of them.
    objects = join_by_iou(
        [
            [encode_rle(filled((0, 0, 12, 10))), encode_rle(filled((3, 0, 14, 10)))],
            [encode_rle(filled((1, 0, 12, 10))), encode_rle(filled((0, 0, 10, 10)))],
        ]
    )
    assert len(objects) == 2
    assert [masks[1] for masks in objects] == [encode_rle(filled((0, 0, 10, 10))), encode_rle(filled((1, 0, 12, 10)))]


def test_an_identity_dies_after_some_frames() -> None:
    box = (5, 5, 8, 8)
    still_there = [[box], *[[]] * PATIENCE, [box]]
    assert joined(*still_there) == [[0, PATIENCE + 1]]
    assert joined(*still_there[:-1], [], [box]) == [[0], [PATIENCE + 2]]
    assert joined([], []) == [] and joined() == []


def test_it_gets_the_detections_that_the_tracker_gets(sheet: SpriteSheet) -> None:
    clip, _ = small_clip(0, sheet=sheet, frames=2)
    # Every detection of the first frame becomes an object there, as it is.
    at_once = {"hotstart_delay": 0, "unmatched_frames": 0, "shared_detections": 0}
    policy = VideoPolicy(detection_score=0.05, clean_area=0, masks_apart=False, **at_once)
    model = build_model("test", seed=3)
    found = detect_phrases(ImagePredictor(model), policy, clip, ["dog", "cat"])
    with VideoPredictor(model, policy=policy).open(clip.frames) as video:
        video.add_concept("dog")
        video.add_concept("cat")
        first = next(video.propagate())
    expected: dict[str, list[str]] = {"dog": [], "cat": []}
    for concept, rle in zip(first.concepts, first.rle(), strict=True):
        expected[concept].append(str(rle))
    assert all(expected.values())
    assert [sorted(map(str, frames[0])) for frames in found] == [sorted(each) for each in expected.values()]


# --- the scores -------------------------------------------------------------------------------------------------------


def coded(clip: Clip, instance_idx: int) -> FrameMasks:
    return [encode_rle(mask) if mask.any() else None for mask in clip.masks(instance_idx)]


def test_the_truth_has_full_marks(sheet: SpriteSheet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the difficulty; and what overlap alone makes of it has every mask, but not every identity."""
    clips = [small_clip(index, sheet=sheet, frames=32) for index in range(len(KINDS))]
    truth = {id(clip): asked for clip, asked in clips}

    def named(_: object, clip: Clip, phrases: Sequence[str]) -> list[list[FrameMasks]]:
        assert [question.phrase for question in truth[id(clip)]] == phrases
        return [[coded(clip, idx) for idx in question.instances] for question in truth[id(clip)]]

    def detected(_: object, policy: VideoPolicy, clip: Clip, phrases: Sequence[str]) -> list[list[list[Rle]]]:
        return [
            [[rle for masks in objects if (rle := masks[frame]) is not None] for frame in range(len(clip))]
            for objects in named(None, clip, phrases)
        ]

    def clicked(_: object, clip: Clip, clicks: Sequence[Click], *, corrections: int) -> list[FrameMasks]:
        assert corrections == 0
        first = clip.visible.argmax(axis=0)
        for idx, click in enumerate(clicks):
            x, y = click.point_xy
            assert click.frame_idx == first[idx] and clip.masks(idx)[click.frame_idx, int(y), int(x)]
        return [coded(clip, idx) for idx in range(len(clicks))]

    monkeypatch.setattr(eval_tracker, "follow_phrases", named)
    monkeypatch.setattr(eval_tracker, "detect_phrases", detected)
    monkeypatch.setattr(eval_tracker, "follow_clicks", clicked)
    model = build_model("test", seed=0)
    predictors = VideoPredictor(model), ImagePredictor(model)
    rows = eval_tracker.added_up(
        (clip.kind, eval_tracker.score_clip(clip, asked, *predictors)) for clip, asked in clips
    )
    assert list(rows) == ["all", *KINDS, "crossing + leaving"]
    figures = {name: scores.figures() for name, scores in rows.items()}
    for name in rows:
        assert figures[name]["J&F"] == 1
        assert figures[name]["HOTA"] in (None, pytest.approx(1))
    assert rows["all"].clips == 6 and rows["all"].phrases == 12
    assert rows["crossing + leaving"].clips == 2
    given, named_bar, gain = eval_tracker.bars_of(rows)
    assert given.met and named_bar.met and named_bar.value == pytest.approx(1)
    assert figures["all"]["IoU DetA"] == pytest.approx(1) and figures["all"]["IoU AssA"] < 0.99
    assert gain.value == pytest.approx(1 - figures["crossing + leaving"]["IoU HOTA"])


def test_table_json_and_record(
    sheet: SpriteSheet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, log, out = tmp_path / "tiny.safetensors", tmp_path / "results.jsonl", tmp_path / "scores.json"
    save_native(build_model("test", seed=8), model)
    monkeypatch.setattr(record, "RESULTS", log)
    monkeypatch.setattr(eval_tracker, "evaluation_clip", small_clip)
    words = ["--model", str(model), "--clips", "2", "--dtype", "fp32", "--device", "cpu", "--json", str(out)]
    eval_tracker.main(words, sheet)
    printed = capsys.readouterr()
    assert printed.err == ""  # no progress where nobody looks
    assert max(map(len, printed.out.splitlines())) <= 100
    assert "detector + IoU" in printed.out and "clips 2 (evaluation), rules own, 84 px, float32 on cpu" in printed.out
    assert str(tmp_path) not in printed.out
    assert not log.exists()  # only when asked
    values = json.loads(out.read_text(encoding="utf-8"))
    assert values["model"] == "tiny.safetensors" and values["sprites"] == sheet.source_hash[:16]
    rows = values["rows"]
    assert rows["all"]["clips"] == 2 and rows["gentle"]["clips"] == rows["crossing"]["clips"] == 1
    assert rows["all"]["objects"] == rows["gentle"]["objects"] + rows["crossing"]["objects"] > 0
    assert rows["turning"] == rows["turning"] | {"clips": 0, "J&F": None, "HOTA": None, "IoU HOTA": None}
    assert rows["all"]["phrases"] == 4 and 0 <= rows["all"]["J&F"] < 0.8
    assert [bar["least"] for bar in values["bars"]] == [0.80, 0.60, 0.05] and values["bars"][0]["met"] is False

    eval_tracker.main([*words, "--record"], sheet)
    (line,) = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    assert line["benchmark"] == "eval_tracker" and line["rows"] == rows


def test_processes_share_the_clips(sheet: SpriteSheet, tmp_path: Path) -> None:
    model = tmp_path / "tiny.safetensors"
    save_native(build_model("test", seed=8), model)
    load = functools.partial(load_model, model, device="cpu", dtype="float32")
    shared = list(eval_tracker.score_in_processes(2, 2, load, eval_tracker.Wanted(sheet=sheet)))
    alone = [eval_tracker.Scorer(load(), eval_tracker.Wanted(sheet=sheet))(number) for number in range(2)]
    assert [kind for kind, _ in shared] == [kind for kind, _ in alone] == list(KINDS[:2])
    for (_, ours), (_, theirs) in zip(shared, alone, strict=True):
        assert ours.figures() == theirs.figures() and ours.given


def test_rules_are_chosen_on_other_clips(sheet: SpriteSheet, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Clip] = []

    def looked_at(
        clip: Clip, questions: Sequence[Question], video: VideoPredictor, image: ImagePredictor, *, clicks: int
    ) -> Scores:
        shown.append(clip)
        assert video.policy == VideoPolicy(near_iou=0.3, confirm=True) and clicks == 3
        return Scores()

    monkeypatch.setattr(eval_tracker, "score_clip", looked_at)
    model = build_model("default", seed=0)
    changed = dict(map(eval_tracker.rule, ["near_iou=0.3", "confirm=True"]))
    wanted = eval_tracker.Wanted(sheet=sheet, validation=True, original=True, changed=changed, clicks=3)
    assert wanted.rules == "original near_iou=0.3 confirm=True"
    assert eval_tracker.Scorer(model, wanted)(3)[0] == KINDS[3]
    other = evaluation_clip(3, sheet=sheet)[0]
    trained = make_clip(TRAIN, 3, EVALUATION_SIZE_HW, len(other), kind=KINDS[3], sheet=sheet)[0]
    for clip in (other, trained):
        assert len(shown[0]) == len(clip) and not np.array_equal(shown[0].frames, clip.frames)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("far_iou=0.3", "expected NAME=VALUE with a field of VideoPolicy, got 'far_iou=0.3'"),
        ("near_iou=far", "expected a float for near_iou, got 'far'"),
        ("confirm=1", "expected a bool for confirm, got '1'"),
    ],
)
def test_rules_that_are_not_there(
    sheet: SpriteSheet, word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        eval_tracker.main(["--rule", word], sheet)
    assert message in capsys.readouterr().err


def test_a_rule_out_of_range_is_refused_before_anything_is_scored(sheet: SpriteSheet, tmp_path: Path) -> None:
    save_native(build_model("test", seed=8), tmp_path / "tiny.safetensors")
    words = ["--model", str(tmp_path / "tiny.safetensors"), "--processes", "2", "--rule", "near_iou=2"]
    with pytest.raises(ConfigError, match=r"^near_iou must be in 0\.\.1, got 2\.0$"):
        eval_tracker.main(words, sheet)


@pytest.mark.parametrize("count", ["0", "121"])
def test_clips_beyond_the_fixed_ones_are_refused(
    sheet: SpriteSheet, count: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        eval_tracker.main(["--clips", count], sheet)
    assert f"--clips must be 1..120, got {count}" in capsys.readouterr().err
