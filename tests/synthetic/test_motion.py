import numpy as np
import pytest

from masklet.synthetic.motion import Course, crossing, leaving, shaking, through, wander

SIZE_HW = (100, 160)


def _courses(count: int = 40, **options: float) -> list[Course]:
    return [wander(np.random.default_rng(seed), SIZE_HW, count, side_px=30, **options) for seed in range(20)]


def test_a_way_goes_through_its_places_stays_between_them_and_rests_outside() -> None:
    places = np.array([[0.0, 5.0], [10.0, 5.0], [4.0, 9.0]])
    way = through(places, np.array([2.0, 6.0, 10.0]), 14)
    assert np.allclose(way[[2, 6, 10]], places)
    assert way.min() >= 0 and way[:, 0].max() <= 10 and way[:, 1].max() <= 9
    assert np.allclose(way[:2], places[0]) and np.allclose(way[11:], places[2])
    assert (np.diff(way[2:7, 0]) > 0).all() and (np.diff(way[6:11, 0]) < 0).all()
    assert np.allclose(through(places[:1], np.zeros(1), 3), places[[0, 0, 0]])


def test_wandering_sprites_stay_inside_and_keep_their_pace() -> None:
    slow, fast = ([np.diff(course.centre_xy, axis=0) for course in _courses(speed=speed)] for speed in (0.005, 0.03))
    for course in _courses(speed=0.05):
        assert (course.centre_xy >= 12 - 1e-9).all()
        assert (course.centre_xy <= np.array([148, 88]) + 1e-9).all()
        assert course.side_px[0] == 30 and course.side_px.min() >= 30 / 4 and course.side_px.max() <= 30 * 4
    slow_px, fast_px = (np.linalg.norm(np.concatenate(steps), axis=1).mean() for steps in (slow, fast))
    # Reflected ways are shorter than the stride, never longer.
    assert 0.25 < slow_px <= 0.005 * 100 * 1.5 * 40 / 39
    assert 3 < fast_px / slow_px < 8


def test_what_does_not_grow_or_turn_keeps_its_size_and_angle() -> None:
    for course in _courses(growth=0.0, turn=0.0):
        assert np.allclose(course.side_px, 30) and np.ptp(course.angle) < 1e-9


@pytest.mark.parametrize("count", [1, 2, 3, 8, 32])
def test_two_meet_in_the_middle_and_the_front_one_is_larger(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(20):
        behind, front = crossing(rng, SIZE_HW, *(wander(rng, SIZE_HW, count, side_px=side) for side in (30.0, 20.0)))
        apart = np.linalg.norm(behind.centre_xy - front.centre_xy, axis=1)
        assert behind.centre_xy.shape == front.centre_xy.shape == (count, 2)
        assert front.side_px.min() >= 1.2 * behind.side_px.max()
        if count >= 8:
            middle = slice(round(0.3 * count), round(0.7 * count) + 1)
            assert apart[middle].min() < 100 * 0.8 / (0.35 * count) and apart[0] > 15 and apart[-1] > 15


@pytest.mark.parametrize("count", [8, 32])
def test_who_leaves_is_wholly_outside_for_a_while_and_comes_back(count: int) -> None:
    for seed, course in enumerate(_courses(count)):
        gone = leaving(np.random.default_rng(seed), SIZE_HW, course)
        side = gone.side_px.max()
        inside = ((gone.centre_xy > -side * 0.7) & (gone.centre_xy < np.array([160, 100]) + side * 0.7)).all(1)
        away = np.flatnonzero(~inside)
        assert np.allclose(gone.centre_xy[0], course.centre_xy[0]) and inside[0]
        assert len(away) >= (4 if count == 32 else 1) and (np.diff(away) == 1).all()
        if count == 32:
            assert inside[-1]


def test_a_camera_shakes_as_much_as_it_is_told_and_pans_a_straight_way() -> None:
    rng = np.random.default_rng(0)
    shake = np.concatenate([shaking(rng, 100, amplitude_px=5, pan_px=0)[20:] for _ in range(20)])
    assert 4 < shake.std() < 6
    pan = shaking(rng, 50, amplitude_px=0, pan_px=60)
    assert np.linalg.norm(pan[-1] - pan[0]) == pytest.approx(60, abs=1.5)
    assert np.abs(pan[25] - (pan[0] + pan[-1]) / 2).max() <= 1.5
