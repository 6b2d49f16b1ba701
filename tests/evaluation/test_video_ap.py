import numpy as np
import pytest

from masklet.evaluation.matching import FloatArray
from masklet.evaluation.video_ap import RankedPair, mean_ap, phrase_ap_values
from masklet.evaluation.video_files import Pair

ABSENT = {"50_95": -1.0, "50": -1.0, "75": -1.0}


def ranked(iou: object, scores: list[float], crowd: list[bool] | None = None) -> RankedPair:
    """`iou` may have no rows or columns only as an array."""
    overlaps = np.array(iou, dtype=np.float64)
    flags = np.zeros(overlaps.shape[1], dtype=np.bool_) if crowd is None else np.array(crowd)
    return RankedPair(volume_iou=overlaps, scores=np.array(scores), is_crowd=flags)


def slow_ap(pairs: list[RankedPair], tau: float) -> float:
    """COCO's rule in plain loops: greedy by score, precision made monotone, read at 101 recalls; no crowd."""
    objects = sum(pair.volume_iou.shape[1] for pair in pairs)
    marks = []
    for pair in pairs:
        taken: set[int] = set()
        for d in sorted(range(len(pair.scores)), key=lambda d, scores=pair.scores: -scores[d])[:100]:
            free = [g for g in range(pair.volume_iou.shape[1]) if g not in taken and pair.volume_iou[d, g] >= tau]
            if free:
                taken.add(max(free, key=lambda g, row=pair.volume_iou[d]: row[g]))
            marks.append((pair.scores[d], bool(free)))
    if not objects:
        return -1.0
    marks.sort(key=lambda mark: -mark[0])
    right = np.cumsum([mark[1] for mark in marks])
    recalls, precisions = right / objects, right / np.arange(1, len(marks) + 1)
    reached = [precisions[recalls >= recall].max(initial=0.0) for recall in np.linspace(0, 1, 101)]
    return float(np.mean(reached))


def random_pairs(rng: np.random.Generator) -> dict[Pair, RankedPair]:
    pairs = {}
    for pair in [(video, category) for video in range(1, 4) for category in range(1, 4)]:
        predictions, objects = rng.integers(0, 4, 2).tolist()
        pairs[pair] = ranked(rng.random((predictions, objects)) ** 0.5, rng.random(predictions).tolist())
    return pairs


@pytest.mark.parametrize("seed", range(60))
def test_against_the_loop(seed: int) -> None:
    pairs = random_pairs(np.random.default_rng(seed))
    values, taus = phrase_ap_values(pairs), np.linspace(0.5, 0.95, 10)
    together = [slow_ap(list(pairs.values()), tau) for tau in taus]
    assert values == pytest.approx({"50_95": np.mean(together), "50": together[0], "75": together[5]})
    per_phrase = [
        np.mean([slow_ap([one for pair, one in pairs.items() if pair[1] == category], tau) for tau in taus])
        for category in (1, 2, 3)
    ]
    assert mean_ap(pairs) == pytest.approx(np.mean([ap for ap in per_phrase if ap > -1]))


def test_example_d() -> None:
    # spec/evaluation.md 7.5
    pairs = {
        (1, 1): ranked([[0.9, 0.0], [0.0, 0.5], [0.0, 0.5]], [0.9, 0.8, 0.7]),
        (1, 2): ranked(np.zeros((1, 0)), [0.6]),
        (1, 3): ranked(np.zeros((1, 0)), [0.4]),
    }
    assert phrase_ap_values(pairs) == pytest.approx({"50_95": 0.50396, "50": 1.0, "75": 0.50495}, abs=5e-6)
    assert mean_ap(pairs) == pytest.approx(0.50396, abs=5e-6)  # phrases with nothing to find have no AP


def test_a_confident_mistake_elsewhere_lowers_phrase_ap_but_not_map() -> None:
    pairs = {(1, 1): ranked([[1.0]], [0.6]), (1, 2): ranked(np.zeros((1, 0)), [0.9])}
    assert phrase_ap_values(pairs)["50"] == pytest.approx(0.5)
    assert mean_ap(pairs) == pytest.approx(1.0)


def test_nothing_to_find_nothing_found() -> None:
    assert phrase_ap_values({}) == ABSENT and mean_ap({}) == -1
    only_wrong = {(1, 1): ranked(np.zeros((2, 0)), [0.9, 0.8])}
    assert phrase_ap_values(only_wrong) == ABSENT and mean_ap(only_wrong) == -1
    only_missed = {(1, 1): ranked(np.zeros((0, 2)), [])}
    assert phrase_ap_values(only_missed) == dict.fromkeys(ABSENT, 0.0) and mean_ap(only_missed) == 0


def test_crowds_neither_have_to_be_found_nor_make_wrong() -> None:
    # The second prediction lies on the crowd; without the flag it would find the second of two objects.
    iou: FloatArray = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.96]])
    crowd = {(1, 1): ranked(iou, [0.5, 0.9, 0.8], [False, True])}
    assert phrase_ap_values(crowd) == dict.fromkeys(ABSENT, pytest.approx(1.0))
    assert phrase_ap_values({(1, 1): ranked(iou[:, ::-1], [0.5, 0.9, 0.8], [True, False])})["50"] == pytest.approx(1.0)
    assert phrase_ap_values({(1, 1): ranked(np.ones((1, 1)), [0.9], [True])}) == ABSENT


def test_the_same_masklet_twice_is_once_wrong() -> None:
    twice = {(1, 1): ranked([[1.0], [1.0]], [0.9, 0.9]), (2, 1): ranked([[1.0]], [0.8])}
    assert phrase_ap_values(twice)["50"] == pytest.approx((51 + 50 * 2 / 3) / 101)  # recall 0.5 at 1, then 2 of 3


def test_only_the_best_hundred_of_a_pair_count() -> None:
    scores = np.linspace(1, 0.5, 101)
    iou = np.zeros((101, 1))
    iou[-1] = 1.0
    assert phrase_ap_values({(1, 1): ranked(iou, scores.tolist())})["50"] == 0
    assert phrase_ap_values({(1, 1): ranked(iou[1:], scores[1:].tolist())})["50"] > 0


def test_the_order_of_pairs_and_predictions_is_of_no_matter(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = random_pairs(np.random.default_rng(7))
    turned = {
        pair: ranked(one.volume_iou[::-1, ::-1], one.scores[::-1].tolist())
        for pair, one in reversed(list(pairs.items()))
    }
    assert phrase_ap_values(turned) == phrase_ap_values(pairs) and mean_ap(turned) == mean_ap(pairs)
    assert capsys.readouterr().out == ""
