import numpy as np
import pytest

from masklet.errors import InputError
from masklet.synthetic import clips
from masklet.synthetic.clips import KINDS, Clip, ClipSettings, of_kind, render_clip
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import EVALUATION, TRAIN, evaluation_clip, make_clip

SIZE_HW = (96, 128)
FRAMES = 16


def _clips(sheet: SpriteSheet, kind: str, count: int = 12) -> list[Clip]:
    settings = of_kind(ClipSettings(), kind)
    return [render_clip(sheet, np.random.default_rng(seed), SIZE_HW, FRAMES, settings) for seed in range(count)]


@pytest.fixture(scope="module")
def by_kind(sheet: SpriteSheet) -> dict[str, list[Clip]]:
    return {kind: _clips(sheet, kind) for kind in KINDS}


def test_shapes_types_and_numbers_without_a_gap(by_kind: dict[str, list[Clip]]) -> None:
    for kind, made in by_kind.items():
        for clip in made:
            assert clip.kind == kind and len(clip) == FRAMES
            assert clip.frames.shape == (FRAMES, *SIZE_HW, 3) and clip.frames.dtype == np.uint8
            assert clip.label_maps.shape == (FRAMES, *SIZE_HW) and clip.label_maps.dtype == np.uint8
            assert set(np.unique(clip.label_maps)) - {0} == set(range(1, len(clip.instances) + 1))
            assert clip.visible.shape == (FRAMES, len(clip.instances))
            for idx in range(len(clip.instances)):
                areas = clip.masks(idx).sum((1, 2))
                assert np.array_equal(areas > 0, clip.visible[:, idx])
                assert areas[areas > 0].min() >= 24


def test_what_is_behind_loses_pixels_and_gets_them_back(by_kind: dict[str, list[Clip]]) -> None:
    lost = []
    for clip in by_kind["crossing"]:
        areas = clip.masks(len(clip.instances) - 2).sum((1, 2))
        middle = areas[FRAMES // 4 : -FRAMES // 4].min()
        lost.append(middle / max(areas[0], areas[-1]))
    # Sizes change by themselves, but nothing shrinks to a third in half a clip.
    assert np.median(lost) < 0.33


def test_who_leaves_is_not_seen_for_a_while(by_kind: dict[str, list[Clip]]) -> None:
    gaps = 0
    for clip in by_kind["leaving"]:
        seen = clip.visible[:, -1]
        gaps += bool(seen[0] and not seen.all() and seen[-1])
    assert gaps >= 10


def test_a_shaking_camera_moves_the_ground_and_a_stand_does_not(
    sheet: SpriteSheet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips._Shooting, "frame", lambda self, canvas, rng: canvas)

    def ground_changes(clip: Clip) -> float:
        ground = (clip.label_maps == 0).all(0)
        return float(np.abs(np.diff(clip.frames.astype(int)[:, ground], axis=0)).mean())

    shaking, gentle = ([ground_changes(clip) for clip in _clips(sheet, kind)] for kind in ("shaking", "gentle"))
    # A plain background does not show it; on some gentle clips the camera is in a hand.
    assert np.mean(np.array(shaking) > 1) > 0.6 and np.mean(np.array(gentle) < 0.5) > 0.5


def test_alike_means_the_same_symbol_and_colour(by_kind: dict[str, list[Clip]]) -> None:
    for clip in by_kind["alike"]:
        counts = [clip.instances.count(actor) for actor in clip.instances]
        assert max(counts) >= 2


def test_pixels_of_a_mask_come_from_its_sprite(sheet: SpriteSheet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn over black and over white: opaque inside the masks, background where nothing is, on every frame."""
    # Two half-transparent edges over each other let a quarter through.
    monkeypatch.setattr(clips._Shooting, "frame", lambda self, canvas, rng: canvas)
    monkeypatch.setattr(clips, "_MIN_VISIBLE_PX", 1)
    made = []
    for shade in (0, 255):
        monkeypatch.setattr(
            clips, "paint_background", lambda rng, size_hw, families, s=shade: np.full((*size_hw, 3), s, np.uint8)
        )
        made.append(render_clip(sheet, np.random.default_rng(5), SIZE_HW, 6, of_kind(ClipSettings(), "shaking")))
    black, white = made
    assert np.array_equal(black.label_maps, white.label_maps)
    seen_through = white.frames.astype(int) - black.frames
    inside = black.label_maps > 0
    assert inside.any() and seen_through[inside].max() <= 128 and seen_through[~inside].min() >= 62


def test_the_halves_of_the_world_differ_and_each_clip_comes_again(sheet: SpriteSheet) -> None:
    first, asked = make_clip(TRAIN, 3, SIZE_HW, 4, questions=3, sheet=sheet)
    again, asked_again = make_clip(TRAIN, 3, SIZE_HW, 4, questions=3, sheet=sheet)
    other, _ = make_clip(EVALUATION, 3, SIZE_HW, 4, questions=3, sheet=sheet)
    assert np.array_equal(first.frames, again.frames) and asked == asked_again
    assert not np.array_equal(first.frames, other.frames)


def test_questions_are_in_words_and_answered_by_instances(sheet: SpriteSheet) -> None:
    kinds, answers = set(), 0
    for seed in range(30):
        clip, asked = make_clip(TRAIN, seed, SIZE_HW, 2, questions=3, sheet=sheet)
        for question in asked:
            kinds.add(question.kind)
            answers += len(question.instances)
            assert question.phrase != "visual" and not question.positives
            assert all(idx < len(clip.instances) for idx in question.instances)
    assert answers > 20 and {"name", "colour", "absent_word"} <= kinds


def test_evaluation_has_as_many_clips_of_each_difficulty(sheet: SpriteSheet) -> None:
    made = [evaluation_clip(index, (40, 40), sheet=sheet)[0] for index in range(2 * len(KINDS))]
    assert [clip.kind for clip in made] == list(KINDS) * 2
    assert {len(clip) for clip in made} == {32}


def test_clips_that_cannot_be_drawn(sheet: SpriteSheet) -> None:
    for size_hw, count in (((31, 64), 4), ((64, 64), 0)):
        with pytest.raises(InputError, match="1 frame or more of at least 32"):
            render_clip(sheet, np.random.default_rng(0), size_hw, count, ClipSettings())


def test_a_stride_leaves_frames_out(sheet: SpriteSheet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips._Shooting, "frame", lambda self, canvas, rng: canvas)
    whole = render_clip(sheet, np.random.default_rng(4), SIZE_HW, 12, of_kind(ClipSettings(), "turning"))
    thirds = render_clip(sheet, np.random.default_rng(4), SIZE_HW, 4, of_kind(ClipSettings(), "turning"), stride=3)
    assert len(thirds) == 4 and np.array_equal(thirds.label_maps > 0, whole.label_maps[::3] > 0)
