"""How well predicted masks cover their targets: instances and the semantic map (spec/training.md 6.4, 6.5).

Three ways to compare a prediction of h x w with a target of H x W, by falling cost per matched pair:

    resolution="target"      prediction upsampled to H x W, as published. Peak 40 bytes per pixel of each pair: 40 MB a
                             pair at 1008 px. Beyond `pixels_at_once`, pairs are worked off in chunks that are
                             computed again in the backward pass: 60 pairs take 1.4 GB instead of 2.4, and 300 no more.
    resolution="prediction"  targets averaged down to h x w once per batch; they become soft (an edge pixel counts by
                             its covered share). 2.7 MB a pair at 288 px.
    points=K                 K points per pair (PointRend), most of them where the prediction is unsure; targets read
                             bilinearly from H x W without a copy. 0.8 MB a pair at 12,544 points on 288 px.

Masks of unknown objects (`masks_valid` False) teach nothing, but still count in the normaliser, as published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from masklet.errors import ConfigError
from masklet.losses.focal import at_least_float32, dice_loss, focal_loss
from masklet.losses.matcher import Match
from masklet.types import MaskMaker, SemanticMaker


@dataclass(frozen=True, kw_only=True)
class MaskSettings:
    """How masks are compared.

    Attributes:
        resolution: where dense masks are compared, see the top of this file; "target" is the published way.
        pixels_at_once: dense instance masks are compared in chunks of pairs of at most this many pixels together (but
            at least one pair); it bounds memory and does not change the result.
        points: compare at this many points per pair instead of densely (instances only); None for dense.
        oversample_ratio: random candidates per point, >= 1.
        importance_ratio: share of the points taken where the prediction is least sure, 0..1; the rest is uniform.
        focal_alpha: balance of the instance focal loss, 0..1.
        focal_gamma: its exponent.
        semantic_alpha: balance of the semantic focal loss, 0..1.
        semantic_gamma: its exponent.
    """

    resolution: Literal["target", "prediction"] = "target"
    pixels_at_once: int = 2**25
    points: int | None = None
    oversample_ratio: float = 3.0
    importance_ratio: float = 0.75
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    semantic_alpha: float = 0.6
    semantic_gamma: float = 2.0

    def __post_init__(self) -> None:
        if self.resolution not in ("target", "prediction"):
            raise ConfigError(f"resolution must be 'target' or 'prediction', got {self.resolution!r}: choose one")
        if self.pixels_at_once < 1:
            raise ConfigError(f"pixels_at_once must be at least 1, got {self.pixels_at_once}: 2**25 takes about 1.4 GB")
        if self.points is not None and self.points < 1:
            raise ConfigError(f"points must be at least 1, or None for dense masks, got {self.points}")
        if self.oversample_ratio < 1 or not 0 <= self.importance_ratio <= 1:
            raise ConfigError(
                f"oversample_ratio must be >= 1 and importance_ratio in 0..1, got {self.oversample_ratio} and "
                f"{self.importance_ratio}: 3 and 0.75 are usual"
            )


def downsample_masks(masks: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(M, h, w) float32 share of each cell that (M, H, W) bool or float masks cover; exact where h, w divide H, W."""
    if tuple(masks.shape[-2:]) == size_hw:
        return at_least_float32(masks)
    if masks.shape[0] == 0:
        return masks.new_zeros((0, *size_hw), dtype=torch.float32)
    return F.interpolate(at_least_float32(masks)[:, None], size_hw, mode="area")[:, 0]


def mask_losses(
    masks: MaskMaker,
    target_masks: Tensor,
    match: Match,
    normalizer: Tensor | float,
    *,
    masks_valid: Tensor | None = None,
    settings: MaskSettings | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Focal and dice loss of the matched instances, summed over pairs, divided by the normaliser.

    Args:
        masks: asked for the matched pairs whose target has a mask, and no others.
        target_masks: (M, H, W) bool, or float 0..1, packed. The comparison happens at H x W: for
            `resolution="prediction"` hand in `downsample_masks(masks, (h, w))`, made once per batch.
        match: which prediction answers for which target.
        normalizer: number of objects of the step (spec/training.md 7.1), > 0.
        masks_valid: (M,) bool, False for instances without a mask; None for all valid.
        settings: all but `resolution` and the semantic numbers are used here.
        generator: of the random points; None for the global one.

    Returns:
        Focal loss (mean over pixels per pair) and dice loss. Scalars; 0 without pairs.
    """
    settings = settings or MaskSettings()
    prompt_idx, query_idx, target_idx = match.prompt_idx, match.query_idx, match.target_idx
    if masks_valid is not None:
        kept = masks_valid[target_idx]
        prompt_idx, query_idx, target_idx = prompt_idx[kept], query_idx[kept], target_idx[kept]
    logits = at_least_float32(masks(prompt_idx, query_idx))  # (N, h, w)

    if settings.points is not None:
        points = _choose_points(logits.detach(), settings.points, settings, generator)
        targets = _sample_masks(target_masks, target_idx, points)
        focal, dice = _pair_sums(_sample_logits(logits, points), targets, settings)
    else:
        focal, dice = _dense_sums(logits, target_masks, target_idx, settings)
    return focal / normalizer, dice / normalizer


def semantic_losses(
    semantic: SemanticMaker,
    target_masks: Tensor,
    counts: Sequence[int],
    *,
    masks_valid: Tensor | None = None,
    settings: MaskSettings | None = None,
) -> tuple[Tensor, Tensor]:
    """Focal and dice loss of the union of all instances, averaged over prompts whose union is not empty.

    A prompt with an instance of unknown mask is left out: its union is unknown (the published code takes such an
    instance as background).

    Args:
        semantic: asked for the prompts that have instances, all of known mask.
        target_masks: (M, H, W) bool or float 0..1, packed; compared at H x W, see `mask_losses`.
        counts: instances of each of the P prompts.
        masks_valid: (M,) bool; None for all valid.
        settings: the semantic focal numbers are used here.

    Returns:
        Focal loss (mean over pixels per prompt) and dice loss. Scalars; 0 when nothing is there to learn from.
    """
    settings = settings or MaskSettings()
    known = [True] * len(target_masks) if masks_valid is None else masks_valid.tolist()
    chosen, unions, start = [], [], 0
    for prompt, count in enumerate(counts):
        mine = slice(start, start + count)
        if count and all(known[mine]):
            chosen.append(prompt)
            unions.append(target_masks[mine].amax(0))
        start += count
    logits = at_least_float32(semantic(torch.tensor(chosen, dtype=torch.int64, device=target_masks.device)))
    if not chosen:
        nothing = logits.sum()  # a zero that still belongs to the graph
        return nothing, nothing

    logits = _resize(logits, tuple(target_masks.shape[-2:])).flatten(1)
    targets = torch.stack(unions).to(logits.dtype).flatten(1)
    weight = (targets > 0).any(-1).to(logits)  # (N,) 1 where there is something to see
    number = weight.sum() + 1e-6
    focal = focal_loss(logits, targets, alpha=settings.semantic_alpha, gamma=settings.semantic_gamma).mean(-1)
    return (focal * weight).sum() / number, (dice_loss(logits, targets) * weight).sum() / number


def _pair_sums(logits: Tensor, targets: Tensor, settings: MaskSettings) -> tuple[Tensor, Tensor]:
    """Sums over N pairs of the focal (mean of K) and dice losses of (N, K) logits and targets."""
    focal = focal_loss(logits, targets, alpha=settings.focal_alpha, gamma=settings.focal_gamma)
    return focal.mean(-1).sum(), dice_loss(logits, targets).sum()


def _dense_sums(
    logits: Tensor, target_masks: Tensor, target_idx: Tensor, settings: MaskSettings
) -> tuple[Tensor, Tensor]:
    """`_pair_sums` of (N, h, w) logits at the size of the (M, H, W) targets, in chunks of bounded memory."""
    size_hw = tuple(target_masks.shape[-2:])

    def compare(chunk: Tensor, chunk_target_idx: Tensor) -> tuple[Tensor, Tensor]:
        targets = target_masks[chunk_target_idx].to(chunk.dtype).flatten(1)
        return _pair_sums(_resize(chunk, size_hw).flatten(1), targets, settings)

    pairs_at_once = max(1, settings.pixels_at_once // max(1, size_hw[0] * size_hw[1]))
    if logits.shape[0] <= pairs_at_once:
        return compare(logits, target_idx)
    sums = [
        checkpoint(compare, *chunk, use_reentrant=False, preserve_rng_state=False)
        for chunk in zip(logits.split(pairs_at_once), target_idx.split(pairs_at_once), strict=True)
    ]
    return torch.stack([focal for focal, _ in sums]).sum(), torch.stack([dice for _, dice in sums]).sum()


def _resize(logits: Tensor, size_hw: tuple[int, ...]) -> Tensor:
    """(N, H, W) bilinear resize of (N, h, w)."""
    if tuple(logits.shape[-2:]) == size_hw:
        return logits
    if logits.shape[0] == 0:  # interpolate refuses an empty batch; this keeps it in the graph
        return logits.sum() + logits.new_zeros((0, *size_hw))
    return F.interpolate(logits[:, None], size_hw, mode="bilinear", align_corners=False)[:, 0]


def _choose_points(logits: Tensor, number: int, settings: MaskSettings, generator: torch.Generator | None) -> Tensor:
    """(N, K, 2) x, y in 0..1: the least sure of many random candidates, and uniform ones (PointRend, CVPR 2020)."""

    def random(count: int) -> Tensor:
        return torch.rand((masks, count, 2), generator=generator, device=logits.device, dtype=logits.dtype)

    masks = logits.shape[0]
    important = int(settings.importance_ratio * number)
    candidates = random(int(settings.oversample_ratio * number))
    unsure = -_sample_logits(logits, candidates).abs()
    best_idx = unsure.topk(important, dim=1).indices  # (N, important)
    best = candidates.gather(1, best_idx[..., None].expand(-1, -1, 2))
    return torch.cat((best, random(number - important)), dim=1)


def _sample_logits(logits: Tensor, points: Tensor) -> Tensor:
    """(N, K) bilinear values of (N, h, w) maps at (N, K, 2) x, y in 0..1.

    The half pixel outside the outermost centres repeats them: with zeros there, the rim would look unsure.
    """
    if logits.shape[0] == 0:
        return logits.sum() + points[..., 0]
    grid = (2 * points - 1)[:, :, None]  # (N, K, 1, 2)
    return F.grid_sample(logits[:, None], grid, mode="bilinear", padding_mode="border", align_corners=False)[:, 0, :, 0]


def _sample_masks(masks: Tensor, mask_idx: Tensor, points: Tensor) -> Tensor:
    """(N, K) the same of masks[mask_idx]; four gathers, because a float copy of N large masks is what costs."""
    height, width = masks.shape[-2:]
    x = (points[..., 0] * width - 0.5).clamp(0, width - 1)
    y = (points[..., 1] * height - 0.5).clamp(0, height - 1)
    left, top = x.floor(), y.floor()
    total = torch.zeros_like(x)
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        weight = (1 - (x - column).abs()) * (1 - (y - row).abs())  # 0 for a neighbour beyond the edge
        column_idx, row_idx = column.clamp(max=width - 1).long(), row.clamp(max=height - 1).long()
        total += weight * masks[mask_idx[:, None], row_idx, column_idx]
    return total
