from dataclasses import asdict
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet.evaluation.matching import Comparison
from masklet.evaluation.tally import SIZES, Tally, tally_prompt, tally_sizes


def comparison(
    predicted_areas: list[int], true_areas: list[int], pairs: list[tuple[int, int, float, float]]
) -> Comparison:
    """Pairs are (prediction, true instance, mask IoU, box IoU)."""
    columns = list(zip(*pairs, strict=True)) or [(), (), (), ()]
    return Comparison(
        predicted_areas=np.array(predicted_areas, dtype=np.int64),
        true_areas=np.array(true_areas, dtype=np.int64),
        predicted_idx=np.array(columns[0], dtype=np.int64),
        true_idx=np.array(columns[1], dtype=np.int64),
        mask_ious=np.array(columns[2], dtype=np.float64),
        box_ious=np.array(columns[3], dtype=np.float64),
    )


def test_a_prompt_with_a_hit_a_miss_and_two_wrong_predictions() -> None:
    # Prediction 1 overlaps object 0 too little: wrong, and the object is missed. Prediction 2 has no partner.
    one = comparison([900, 500, 400], [1000, 700], [(0, 1, 0.75, 0.5), (1, 0, 0.25, 0.25)])
    tally = tally_prompt(one, presence=0.7)
    assert tally == Tally(
        prompts=1,
        presence_right=1,
        true_positives=1,
        false_positives=2,
        false_negatives=1,
        mask_iou_sum=0.75,
        box_iou_sum=0.5,
    )
    assert tally.objects == 2
    assert tally.precision == pytest.approx(1 / 3)
    assert tally.recall == 0.5
    assert tally.f1 == pytest.approx(2 * (1 / 3) * 0.5 / (1 / 3 + 0.5))
    assert tally.mask_iou == 0.75 and tally.box_iou == 0.5
    assert tally.rejection is None


def test_half_an_overlap_is_a_match() -> None:
    assert tally_prompt(comparison([9], [9], [(0, 0, 0.5, 1.0)]), 1.0).true_positives == 1
    assert tally_prompt(comparison([9], [9], [(0, 0, np.nextafter(0.5, 0), 1.0)]), 1.0).true_positives == 0


@pytest.mark.parametrize(
    ("predictions", "presence", "rejected", "right"), [(0, 0.4, 1, 1), (0, 0.6, 1, 0), (2, 0.4, 0, 1), (2, 0.6, 0, 0)]
)
def test_absent_concepts(predictions: int, presence: float, rejected: int, right: int) -> None:
    tally = tally_prompt(comparison([50] * predictions, [], []), presence)
    assert tally == Tally(prompts=1, presence_right=right, absent=1, rejected=rejected, false_positives=predictions)
    assert tally.rejection == rejected
    assert tally.f1 is None and tally.precision is None and tally.recall is None


def test_nothing_found_where_there_is_something() -> None:
    tally = tally_prompt(comparison([], [50, 60], []), presence=0.5)  # 0.5 is not above 0.5: said to be absent
    assert tally == Tally(prompts=1, false_negatives=2)
    assert tally.f1 == tally.recall == 0
    assert tally.precision is None and tally.mask_iou is None and tally.box_iou is None


def test_wrong_predictions_on_absent_concepts_lower_the_sum() -> None:
    present = tally_prompt(comparison([9, 9], [9, 9], [(0, 0, 1.0, 1.0), (1, 1, 0.5, 1.0)]), 0.9)
    absent = tally_prompt(comparison([9, 9], [], []), 0.9)
    both = present + absent
    assert present.f1 == 1
    assert both.precision == 0.5 and both.recall == 1 and both.f1 == pytest.approx(2 / 3)
    assert both.presence_accuracy == 0.5 and both.rejection == 0
    assert both.mask_iou == 0.75


def test_the_tally_of_no_prompts() -> None:
    nothing = Tally()
    rates = (nothing.f1, nothing.precision, nothing.recall, nothing.mask_iou, nothing.box_iou)
    assert (*rates, nothing.presence_accuracy, nothing.rejection) == (None,) * 7
    some = tally_prompt(comparison([9], [9], [(0, 0, 0.75, 0.5)]), 0.9)
    assert nothing + some == some + nothing == some


def test_sizes_follow_the_true_mask_and_for_wrong_predictions_their_own() -> None:
    # Sides 31.98, 32, 96, 96.005: small, medium, medium, large.
    true_areas = [1023, 1024, 9216, 9217]
    predicted_areas = [5000, 1023, 9217, 20_000]
    # A medium prediction hits the small object; the other three overlap too little or nothing.
    one = comparison(
        predicted_areas,
        true_areas,
        [(0, 0, 0.625, 0.5), (1, 1, 0.25, 0.5), (2, 2, 0.0, 0.5), (3, 3, 0.125, 0.5)],
    )
    small, medium, large = (tally_sizes(one)[size] for size in SIZES)
    assert small == Tally(true_positives=1, false_positives=1, mask_iou_sum=0.625, box_iou_sum=0.5)
    assert medium == Tally(false_negatives=2)
    assert large == Tally(false_negatives=1, false_positives=2)


def test_sizes_of_nothing() -> None:
    assert tally_sizes(comparison([], [], [])) == {size: Tally() for size in SIZES}


areas = st.lists(st.sampled_from([1, 900, 1023, 1024, 3000, 9216, 9217, 50_000]), max_size=5)


@given(areas, areas, st.integers(0, 10_000))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_counts_are_those_of_a_plain_loop(predicted_areas: list[int], true_areas: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = min(len(predicted_areas), len(true_areas))
    predicted, true = rng.permutation(len(predicted_areas))[:count], rng.permutation(len(true_areas))[:count]
    ious = rng.integers(0, 9, (count, 2)) / 8  # sums are exact
    pairs = [(int(p), int(t), float(m), float(b)) for p, t, (m, b) in zip(predicted, true, ious, strict=True)]
    one = comparison(predicted_areas, true_areas, pairs)

    expected = {size: dict.fromkeys(asdict(Tally()), 0.0) for size in SIZES}
    partner = {t: (p, m, b) for p, t, m, b in pairs if m >= 0.5}
    used = {p for p, _, _ in partner.values()}
    for idx, area in enumerate(true_areas):
        row = expected[SIZES[0 if area < 32 * 32 else 2 if area > 96 * 96 else 1]]
        if idx in partner:
            row["true_positives"] += 1
            row["mask_iou_sum"] += partner[idx][1]
            row["box_iou_sum"] += partner[idx][2]
        else:
            row["false_negatives"] += 1
    for idx, area in enumerate(predicted_areas):
        if idx not in used:
            expected[SIZES[0 if area < 32 * 32 else 2 if area > 96 * 96 else 1]]["false_positives"] += 1

    sizes = tally_sizes(one)
    assert {size: asdict(tally) for size, tally in sizes.items()} == expected
    # What a prompt counts is what its sizes count, and what prompts are counted for besides.
    whole = asdict(tally_prompt(one, 0.9))
    parts = asdict(reduce(lambda a, b: a + b, sizes.values()))
    instance_counts = [name for name in whole if name not in ("prompts", "presence_right", "absent", "rejected")]
    assert {name: whole[name] for name in instance_counts} == {name: parts[name] for name in instance_counts}
