"""Inputs for the tests of the losses: the cases of spec/training.md 6.9, random ones, and losses as plain loops."""

import math
from dataclasses import dataclass

import torch

from masklet.types import LayerOutputs, Targets, TrainingOutputs

LOGITS = torch.tensor([[2.0, 0.5, -1.0, -3.0], [1.0, -2.0, 0.0, -0.5]])  # prompts A and B
BOXES = torch.tensor(
    [
        [(0.30, 0.30, 0.20, 0.20), (0.70, 0.70, 0.20, 0.30), (0.32, 0.31, 0.22, 0.20), (0.50, 0.50, 0.90, 0.90)],
        [(0.5, 0.5, 0.2, 0.2), (0.2, 0.2, 0.1, 0.1), (0.8, 0.8, 0.1, 0.1), (0.5, 0.2, 0.3, 0.3)],
    ]
)
PRESENCE = torch.tensor([1.5, -0.5])
TARGET_BOXES_A = [(0.31, 0.30, 0.20, 0.22), (0.70, 0.68, 0.22, 0.30)]
TARGET_BOX_B = (0.21, 0.20, 0.12, 0.10)


@dataclass(frozen=True)
class Dense:
    """All masks (P, Q, h, w) or all semantic maps (P, h, w), of which the losses ask for some: the slow way."""

    logits: torch.Tensor

    def __call__(self, *idx):
        return self.logits[idx]


def layer(logits=LOGITS, presence=None, boxes=BOXES, masks=None):
    return LayerOutputs(class_logits=logits, boxes_cxcywh_norm=boxes, presence_logits=presence, masks=masks)


def first_targets():
    """A has two targets, B none."""
    return Targets(counts=torch.tensor([2, 0]), boxes_cxcywh_norm=torch.tensor(TARGET_BOXES_A))


def second_targets():
    """A has two targets, B one."""
    boxes = torch.tensor([*TARGET_BOXES_A, TARGET_BOX_B])
    return Targets(counts=torch.tensor([2, 1]), boxes_cxcywh_norm=boxes)


def no_targets(prompts=2):
    return Targets(counts=torch.zeros(prompts, dtype=torch.int64), boxes_cxcywh_norm=torch.zeros(0, 4))


def first_outputs():
    """One layer; the one-to-many queries predict the same."""
    return TrainingOutputs(one_to_one=(layer(presence=PRESENCE),), one_to_many=(layer(),))


def second_outputs():
    """Two layers, all four sets of queries different."""
    return TrainingOutputs(
        one_to_one=(layer(0.5 * LOGITS, torch.tensor([0.5, 0.5])), layer(presence=PRESENCE)),
        one_to_many=(layer(-LOGITS), layer(0.5 * LOGITS.flip(0) + 0.25)),
    )


def random_boxes(*shape, generator):
    centre = 0.2 + 0.6 * torch.rand(*shape, 2, generator=generator)
    size = 0.05 + 0.4 * torch.rand(*shape, 2, generator=generator)
    return torch.cat((centre, size), dim=-1)


def random_case(seed, *, counts=(3, 0, 1, 7, 2), queries=6, layers=1, dtype=torch.float32):
    """Layers and targets whose boxes often overlap; by default a prompt without and one with too many targets."""
    generator = torch.Generator().manual_seed(seed)
    prompts = len(counts)
    boxes = random_boxes(sum(counts), generator=generator)
    predictions = [random_boxes(prompts, queries, generator=generator) for _ in range(layers)]
    start = 0
    for prompt, count in enumerate(counts):  # half of the targets have a query near them
        near = boxes[start : start + (count + 1) // 2][:queries]
        for each in predictions:
            each[prompt, : len(near)] = near + 0.02 * torch.rand(near.shape, generator=generator)
        start += count
    return (
        [
            layer(
                2 * torch.randn(prompts, queries, generator=generator).to(dtype),
                torch.randn(prompts, generator=generator).to(dtype),
                each.to(dtype),
            )
            for each in predictions
        ],
        Targets(counts=torch.tensor(counts), boxes_cxcywh_norm=boxes.to(dtype)),
    )


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def overlap(a, b):
    """(IoU, GIoU) of two cxcywh boxes of four numbers."""
    a, b = ((x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in (a.tolist(), b.tolist()))
    inside = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return inside / union, inside / union - (hull - union) / hull


def target_ranges(targets):
    """(first, last + 1) of the packed targets of each prompt."""
    ends = targets.counts.cumsum(0).tolist()
    return [(end - count, end) for end, count in zip(ends, targets.counts.tolist(), strict=True)]


def loop_cost(logit, box, target_box):
    """Cost of one pair, spec/training.md 5.1 as it is written there."""
    p = sigmoid(logit)
    class_cost = -0.25 * (1 - p) ** 2 * math.log(p) + 0.75 * p**2 * math.log(1 - p)
    l1 = sum(abs(x - y) for x, y in zip(box.tolist(), target_box.tolist(), strict=True))
    return 5 * l1 + 2 * class_cost - 2 * overlap(box, target_box)[1]


def loop_one_to_many(prediction, targets, topk):
    """Pairs of spec/training.md 5.2 with the interpolated quantile of the published matcher."""
    pairs = []
    for prompt, (start, end) in enumerate(target_ranges(targets)):
        for target in range(start, end):
            scores = torch.tensor(
                [
                    0.3 * sigmoid(logit) + 0.7 * overlap(box, targets.boxes_cxcywh_norm[target])[0]
                    for logit, box in zip(
                        prediction.class_logits[prompt].tolist(), prediction.boxes_cxcywh_norm[prompt], strict=True
                    )
                ],
                dtype=torch.float64,
            )
            edge = scores.quantile(1 - topk / len(scores))
            chosen = [q for q, s in enumerate(scores.tolist()) if s > edge and s > 0.4]
            pairs += [(prompt, query, target) for query in chosen]
    return sorted(pairs)


def pairs_of(match):
    return list(zip(match.prompt_idx.tolist(), match.query_idx.tolist(), match.target_idx.tolist(), strict=True))


def loop_classification(prediction, targets, match, *, pos_weight=10.0, pad_n_queries=200):
    """Spec/training.md 6.2 for the released settings, one query after the other."""
    logits, boxes = prediction.class_logits, prediction.boxes_cxcywh_norm
    prompts, queries = logits.shape
    best = {}
    for prompt, query, target in pairs_of(match):
        iou = overlap(boxes[prompt, query], targets.boxes_cxcywh_norm[target])[0]
        best[prompt, query] = max(iou, best.get((prompt, query), 0.0))
    total = 0.0
    for prompt in range(prompts):
        if targets.counts[prompt] == 0:
            continue
        for query in range(queries):
            p = sigmoid(logits[prompt, query].item())
            if (prompt, query) in best:
                t = max(0.01, p**0.25 * best[prompt, query] ** 0.75)
                total += pos_weight * -(t * math.log(p) + (1 - t) * math.log(1 - p))
            else:
                total += p**2 * -math.log(1 - p)
    return total / (prompts * max(queries, pad_n_queries))
