"""The one number that training minimises, and its parts (spec/training.md 6.7).

Every layer is matched and scored on its own; one-to-many queries count `LossWeights.one_to_many` times; masks and the
semantic map come once, from the last layer. All layers are matched together, with one copy to the processor.

Measured without masks on one core (forward + backward): 32 prompts x 40 queries x 4 objects, 3 layers and as many
one-to-many ones: 7 ms, 1.7 ms of it one-to-one matching; 1 prompt x 200 x 100, 6 + 6 layers: 21 ms, matching 14 ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from masklet.errors import InputError
from masklet.losses.box import box_losses
from masklet.losses.mask import MaskSettings, downsample_masks, mask_losses, semantic_losses
from masklet.losses.matcher import Match, MatchSettings, check_targets, match_one_to_many, match_one_to_one
from masklet.losses.score import ScoreSettings, classification_loss, presence_loss, visible_prompts
from masklet.types import LayerOutputs, Targets, TrainingOutputs

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """How much each part counts (spec/training.md 6.8); a part of weight 0 is not computed.

    Attributes:
        l1: L1 distance of boxes.
        giou: 1 - generalised IoU.
        classification: IoU-aware cross-entropy of the scores.
        pos_weight: weight of matched queries inside the classification loss; 10 in one released configuration, 5 in
            the other.
        presence: half the cross-entropy of presence.
        mask_focal: focal loss of instance masks.
        mask_dice: dice loss of instance masks.
        semantic_focal: focal loss of the semantic map.
        semantic_dice: dice loss of the semantic map.
        one_to_many: factor of everything that one-to-many queries predict.
    """

    l1: float = 5.0
    giou: float = 2.0
    classification: float = 20.0
    pos_weight: float = 10.0
    presence: float = 20.0
    mask_focal: float = 200.0
    mask_dice: float = 10.0
    semantic_focal: float = 20.0
    semantic_dice: float = 30.0
    one_to_many: float = 2.0


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Everything about the loss that is not a weight.

    Attributes:
        matching: costs and limits of the pairing.
        score: shape of the classification loss.
        masks: how masks are compared; mind its memory.
        scale_by_prompts: multiply the sum by the square root of the number of prompts, as released.
    """

    matching: MatchSettings = field(default_factory=MatchSettings)
    score: ScoreSettings = field(default_factory=ScoreSettings)
    masks: MaskSettings = field(default_factory=MaskSettings)
    scale_by_prompts: bool = True


@dataclass(frozen=True)
class DetectionLoss:
    """The loss of one step.

    Attributes:
        total: scalar to be differentiated.
        terms: each part as a detached scalar without its weight. Names are those of `LossWeights`; an earlier layer
            adds `_aux_0`, `_aux_1`, ..., one-to-many queries add `_one_to_many`. What was not computed is absent.
    """

    total: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True)
class _Context:
    """What all layers of one step share."""

    targets: Targets
    weights: LossWeights
    settings: LossSettings
    normalizer: Tensor
    visible: Tensor
    masks: Tensor | None
    generator: torch.Generator | None


def object_normalizer(counts: Tensor, process_group: ProcessGroup | None = None) -> Tensor:
    """Scalar float32, at least 1: the number of targets, averaged over the processes (spec/training.md 7.1).

    Args:
        counts: (P,) targets of each prompt of this process.
        process_group: whom to average with, for example `torch.distributed.group.WORLD`; every member must call.
            None for this process alone.
    """
    number = counts.sum().float()
    if process_group is not None:
        import torch.distributed as dist

        dist.all_reduce(number, group=process_group)
        number = number / dist.get_world_size(process_group)
    return number.clamp(min=1)


def detection_loss(
    outputs: TrainingOutputs,
    targets: Targets,
    weights: LossWeights | None = None,
    settings: LossSettings | None = None,
    *,
    objects: float | None = None,
    process_group: ProcessGroup | None = None,
    generator: torch.Generator | None = None,
) -> DetectionLoss:
    """The weighted sum of all losses of all layers (spec/training.md 6.7).

    Args:
        outputs: of L decoder layers for P prompts.
        targets: of the same prompts, on the same device; without masks the mask and semantic parts are left out.
        weights: None for the released ones with masks.
        settings: None for the released ones.
        objects: number of targets that sums are divided by; for several batches a step the mean of theirs, so that
            their gradients average to those of one large batch. None is the number of these targets.
        process_group: averages that number over all its processes, see `object_normalizer`.
        generator: of the random points, if masks are compared at points.

    Returns:
        Total and parts; all finite for finite outputs, also for a batch without any target.

    Raises:
        InputError: outputs and targets do not fit each other.
    """
    weights, settings = weights or LossWeights(), settings or LossSettings()
    if not outputs.one_to_one or len(outputs.one_to_many) not in (0, len(outputs.one_to_one)):
        raise InputError(
            f"outputs must have 1 or more one_to_one layers and as many or no one_to_many layers, got "
            f"{len(outputs.one_to_one)} and {len(outputs.one_to_many)}"
        )
    counts = check_targets(outputs.one_to_one, targets)
    masks_wanted = any((weights.mask_focal, weights.mask_dice, weights.semantic_focal, weights.semantic_dice))
    context = _Context(
        targets=targets,
        weights=weights,
        settings=settings,
        normalizer=object_normalizer(
            targets.counts if objects is None else targets.boxes_cxcywh_norm.new_tensor([objects]), process_group
        ).to(targets.boxes_cxcywh_norm.device),
        visible=visible_prompts(targets),
        masks=_comparable_masks(outputs, targets, settings.masks) if masks_wanted else None,
        generator=generator,
    )

    terms: dict[str, Tensor] = {}
    matches = _match_all(outputs, targets, settings.matching, one_to_many=weights.one_to_many != 0)
    last = len(outputs.one_to_one) - 1
    for (layer_idx, is_one_to_many), match in matches.items():
        layers = outputs.one_to_many if is_one_to_many else outputs.one_to_one
        suffix = "" if layer_idx == last else f"_aux_{layer_idx}"
        suffix += "_one_to_many" if is_one_to_many else ""
        for name, term in _layer_terms(layers[layer_idx], match, context).items():
            terms[name + suffix] = term
    terms |= _semantic_terms(outputs, counts, context)

    total = outputs.one_to_one[-1].class_logits[:0].sum().float()  # a zero of the graph: there may be no terms at all
    total = torch.stack([total, *(_weight(name, weights) * term for name, term in terms.items())]).sum()
    if settings.scale_by_prompts:
        total = total * math.sqrt(len(counts))
    return DetectionLoss(total, {name: term.detach() for name, term in terms.items()})


def _match_all(
    outputs: TrainingOutputs, targets: Targets, settings: MatchSettings, *, one_to_many: bool
) -> dict[tuple[int, bool], Match]:
    """Match of each (layer, is one-to-many): who uses which matcher is spec/training.md 5.3."""
    last = len(outputs.one_to_one) - 1
    hungarian = [(layer, False) for layer in range(last + 1)]
    many = [(layer, True) for layer in range(last + 1)] if one_to_many and outputs.one_to_many else []
    if not settings.one_to_many_on_aux:
        hungarian += many[:-1]
        many = many[-1:]

    def layers_of(keys: list[tuple[int, bool]]) -> list[LayerOutputs]:
        return [(outputs.one_to_many if is_many else outputs.one_to_one)[layer] for layer, is_many in keys]

    matches = dict(zip(hungarian, match_one_to_one(layers_of(hungarian), targets, settings), strict=True))
    return matches | dict(zip(many, match_one_to_many(layers_of(many), targets, settings), strict=True))


def _layer_terms(layer: LayerOutputs, match: Match, context: _Context) -> dict[str, Tensor]:
    """All losses of one layer, by the names of their weights."""
    targets, weights, settings = context.targets, context.weights, context.settings
    terms: dict[str, Tensor] = {}
    if weights.l1 or weights.giou:
        boxes, target_boxes = layer.boxes_cxcywh_norm, targets.boxes_cxcywh_norm
        terms["l1"], terms["giou"] = box_losses(boxes, target_boxes, match, context.normalizer)
    if weights.classification:
        terms["classification"] = classification_loss(
            layer.class_logits,
            layer.boxes_cxcywh_norm,
            targets,
            match,
            pos_weight=weights.pos_weight,
            settings=settings.score,
            visible=context.visible,
        )
    if weights.presence and layer.presence_logits is not None:
        terms["presence"] = presence_loss(layer.presence_logits, context.visible)
    if (weights.mask_focal or weights.mask_dice) and layer.masks is not None and context.masks is not None:
        terms["mask_focal"], terms["mask_dice"] = mask_losses(
            layer.masks,
            context.masks,
            match,
            context.normalizer,
            masks_valid=targets.masks_valid,
            settings=settings.masks,
            generator=context.generator,
        )
    return terms


def _semantic_terms(outputs: TrainingOutputs, counts: list[int], context: _Context) -> dict[str, Tensor]:
    weights = context.weights
    wanted = weights.semantic_focal or weights.semantic_dice
    if not wanted or outputs.semantic is None or context.masks is None:
        return {}
    focal, dice = semantic_losses(
        outputs.semantic,
        context.masks,
        counts,
        masks_valid=context.targets.masks_valid,
        settings=context.settings.masks,
    )
    return {"semantic_focal": focal, "semantic_dice": dice}


def _comparable_masks(outputs: TrainingOutputs, targets: Targets, settings: MaskSettings) -> Tensor | None:
    """Target masks at the resolution of the comparison, made once for all uses."""
    if targets.masks is None or settings.resolution == "target":
        return targets.masks
    return None if outputs.mask_size_hw is None else downsample_masks(targets.masks, outputs.mask_size_hw)


def _weight(name: str, weights: LossWeights) -> float:
    """The factor of a term in the total, found from its name."""
    many = name.endswith("_one_to_many")
    base = name.removesuffix("_one_to_many").partition("_aux_")[0]
    return float(getattr(weights, base)) * (weights.one_to_many if many else 1.0)
