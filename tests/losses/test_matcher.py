"""Matching against the numbers of spec/training.md 6.9, brute force and plain loops."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loss_cases import (
    LOGITS,
    first_targets,
    layer,
    loop_cost,
    loop_one_to_many,
    no_targets,
    pairs_of,
    random_case,
    second_outputs,
    second_targets,
    target_ranges,
)
from masklet.errors import InputError
from masklet.losses.matcher import (
    Match,
    MatchSettings,
    match_one_to_many,
    match_one_to_one,
    one_to_one_costs,
    prompt_of_targets,
)
from masklet.types import Targets

TOP_2 = MatchSettings(topk=2)


def test_cost_matrix_of_the_specification():
    expected = torch.tensor([[-3.9677, 3.4741], [5.2835, -1.9210], [-1.0332, 5.9755], [10.1243, 9.5200]])
    costs = one_to_one_costs([layer()], first_targets(), MatchSettings())
    torch.testing.assert_close(costs[0].T, expected, rtol=0, atol=6e-5)  # four decimals are printed


def test_one_to_one_of_the_specification():
    (match,) = match_one_to_one([layer()], first_targets())
    assert pairs_of(match) == [(0, 0, 0), (0, 1, 1)]


def test_one_to_many_of_the_specification():
    (match,) = match_one_to_many([layer()], first_targets(), TOP_2)
    assert pairs_of(match) == [(0, 0, 0), (0, 1, 1), (0, 2, 0)]


def test_packed_indices_of_the_second_case():
    outputs, targets = second_outputs(), second_targets()
    aux, final, aux_many = match_one_to_one([*outputs.one_to_one, outputs.one_to_many[0]], targets)
    assert pairs_of(final) == pairs_of(aux) == [(0, 0, 0), (0, 1, 1), (1, 1, 2)]
    assert pairs_of(aux_many) == [(0, 2, 0), (0, 1, 1), (1, 1, 2)]
    (many,) = match_one_to_many([outputs.one_to_many[1]], targets, TOP_2)
    assert pairs_of(many) == [(0, 0, 0), (0, 1, 1), (0, 2, 0), (1, 1, 2)]


@pytest.mark.parametrize("seed", range(8))
def test_costs_equal_a_loop(seed):
    layers, targets = random_case(seed, layers=2, dtype=torch.float64)
    costs = one_to_one_costs(layers, targets, MatchSettings())
    for each, prediction in zip(costs, layers, strict=True):
        for prompt, (start, end) in enumerate(target_ranges(targets)):
            for target, query in itertools.product(range(start, end), range(6)):
                logit = prediction.class_logits[prompt, query].item()
                box = prediction.boxes_cxcywh_norm[prompt, query]
                assert abs(each[target, query] - loop_cost(logit, box, targets.boxes_cxcywh_norm[target])) < 1e-9


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("counts", [(3, 0, 1, 2), (0, 5), (6, 4)])
def test_one_to_one_is_the_cheapest_of_all_assignments(seed, counts):
    """Also with more targets (6 or 5) than queries (4)."""
    (prediction,), targets = random_case(seed, counts=counts, queries=4)
    costs = one_to_one_costs([prediction], targets, MatchSettings())[0]
    found = pairs_of(match_one_to_one([prediction], targets)[0])
    for prompt, (start, end) in enumerate(target_ranges(targets)):
        mine = [(query, target) for owner, query, target in found if owner == prompt]
        if end - start <= 4:
            assignments = [
                list(zip(q, range(start, end), strict=True)) for q in itertools.permutations(range(4), end - start)
            ]
        else:
            assignments = [list(zip(range(4), t, strict=True)) for t in itertools.permutations(range(start, end), 4)]
        cheapest = min(sum(costs[t, q].item() for q, t in pairs) for pairs in assignments)
        assert len(mine) == min(4, end - start)
        assert len({q for q, _ in mine}) == len({t for _, t in mine}) == len(mine)
        assert abs(sum(costs[t, q].item() for q, t in mine) - cheapest) < 1e-5  # sums of float32 costs of order 10
        assert [t for _, t in mine] == sorted(t for _, t in mine)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("topk", [1, 2, 4, 5, 6])
def test_one_to_many_equals_the_published_quantile(seed, topk):
    (prediction,), targets = random_case(seed, dtype=torch.float64)
    expected = loop_one_to_many(prediction, targets, topk)
    assert pairs_of(match_one_to_many([prediction], targets, MatchSettings(topk=topk))[0]) == expected


def test_random_cases_contain_what_is_special_about_one_to_many():
    found = [pairs_of(match_one_to_many(*random_case(seed))[0]) for seed in range(12)]
    served = [[pair[:2] for pair in pairs] for pairs in found]
    assert any(len(set(queries)) < len(queries) for queries in served)  # one query, several targets
    assert any(len({pair[2] for pair in pairs}) < 13 for pairs in found)  # a target without any query


def test_one_to_many_leaves_out_equal_scores_at_the_edge():
    boxes = torch.tensor([[(0.5, 0.5, 0.2, 0.2)] * 4])
    targets = Targets(counts=torch.tensor([1]), boxes_cxcywh_norm=boxes[0, :1])
    (none,) = match_one_to_many([layer(torch.zeros(1, 4), boxes=boxes)], targets, TOP_2)
    assert len(none) == 0
    (one,) = match_one_to_many([layer(torch.tensor([[0.0, 0.0, 3.0, 0.0]]), boxes=boxes)], targets, TOP_2)
    assert pairs_of(one) == [(0, 2, 0)]


def test_layers_matched_together_equal_layers_matched_alone():
    layers, targets = random_case(3, layers=4)
    for matcher in (match_one_to_one, match_one_to_many):
        together = [pairs_of(match) for match in matcher(layers, targets)]
        assert together == [pairs_of(matcher([each], targets)[0]) for each in layers]
        assert len({tuple(pairs) for pairs in together}) > 1  # the layers do differ


@settings(derandomize=True, max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.integers(1, 5), st.integers(0, 99))
def test_indices_belong_together(counts, queries, seed):
    layers, targets = random_case(seed, counts=tuple(counts), queries=queries)
    owner = prompt_of_targets(targets)
    for matcher in (match_one_to_one, match_one_to_many):
        (match,) = matcher(layers, targets)
        assert torch.equal(owner[match.target_idx], match.prompt_idx)
        assert len(set(pairs_of(match))) == len(match)
        assert (match.query_idx < queries).all()
        assert match.query_idx.dtype == torch.int64


@pytest.mark.parametrize("matcher", [match_one_to_one, match_one_to_many])
def test_nothing_to_match(matcher):
    assert matcher([], first_targets()) == []
    matches = matcher([layer(), layer()], no_targets())
    assert [len(match) for match in matches] == [0, 0]
    assert isinstance(matches[0], Match)
    no_queries = layer(torch.zeros(2, 0), boxes=torch.zeros(2, 0, 4))
    assert len(matcher([no_queries], first_targets())[0]) == 0
    no_prompts = layer(torch.zeros(0, 4), boxes=torch.zeros(0, 4, 4))
    assert len(matcher([no_prompts], no_targets(0))[0]) == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_diverged_model_is_matched_all_the_same(bad):
    logits, boxes = LOGITS.clone(), layer().boxes_cxcywh_norm.clone()
    logits[0, 0] = bad
    boxes[0, 1, 2] = bad
    (match,) = match_one_to_one([layer(logits, boxes=boxes)], first_targets())
    assert match.target_idx.tolist() == [0, 1]


@pytest.mark.parametrize("matcher", [match_one_to_one, match_one_to_many])
def test_what_does_not_fit_is_named(matcher):
    with pytest.raises(InputError, match=r"boxes_cxcywh_norm must be \(3, 4\).*got \(2, 4\)"):
        matcher([layer()], Targets(counts=torch.tensor([2, 1]), boxes_cxcywh_norm=torch.zeros(2, 4)))
    with pytest.raises(InputError, match="class_logits of every layer must be"):
        matcher([layer()], no_targets(3))
    with pytest.raises(InputError, match="class_logits of every layer must be"):
        matcher([layer(), layer(LOGITS[:, :3], boxes=layer().boxes_cxcywh_norm[:, :3])], first_targets())
