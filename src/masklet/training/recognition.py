"""Learning to recognise from dense pictures: hundreds of labelled patches instead of a handful of objects.

A detector that starts at random learns to name things very slowly, since few queries find few objects. Here every
patch of the feature grid answers directly, through the very weights that the detector reads later:

    name       the patch's neck feature resembles the end token of its symbol's noun, among the nouns of all symbols
    phrase     the first fusion layer's prompt attention looks at the end token rather than at the start token where
               the phrase is true of the patch ("pre-wired fusion": it knows the words when the decoder starts)
    shown      the same for exemplar boxes: the token of a box attracts the patches of its symbol on all pictures, that
               of a counter-example none
    symbol, colour, box, foreground    by linear heads that are thrown away after training
    mask       the mask head, given a patch's feature as if it were a query, paints the patch's sprite

docs/decisions/0007-default-model-training.md has the measurements behind this.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklet.layers.attention import split_heads
from masklet.layers.position import position_map
from masklet.losses.focal import dice_loss, focal_loss
from masklet.model.detector import Detector
from masklet.model.fusion_encoder import FusionLayer
from masklet.ops.boxes import cxcywh_to_xyxy, giou_xyxy
from masklet.training.batches import BACKGROUND, MIXED, DenseBatch
from masklet.types import ExemplarBatch, PromptTokens

_LABEL_SMOOTHING = 0.05
_FIRST_SHARPNESS = 10.0  # of the cosine between patch and noun
_MASKS_PER_IMAGE = 8
WEIGHTS = {
    "name": 1.0,
    "phrase": 1.0,
    "shown": 1.0,
    "symbol": 1.0,
    "colour": 0.5,
    "box": 1.0,
    "foreground": 0.5,
    "mask_focal": 20.0,
    "mask_dice": 1.0,
}


class RecognitionHeads(nn.Module):
    """Layers that exist during training only.

    Args:
        vision_width: channels of the vision encoder.
        width: channels behind the neck.
        symbols: number of named symbols.
        colours: number of colour words.
    """

    def __init__(self, *, vision_width: int, width: int, symbols: int, colours: int) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(_FIRST_SHARPNESS))
        self.phrase_bias = nn.Parameter(torch.tensor(-2.0))  # most phrases are false of most patches
        self.symbol = nn.Linear(vision_width, symbols)
        self.colour = nn.Linear(vision_width, colours)
        self.box = nn.Linear(width, 4)
        self.foreground = nn.Linear(width, 1)
        self.mask_query = nn.Linear(width, width)
        self.relevance = nn.Linear(width, 1)


def recognition_loss(
    model: Detector,
    heads: RecognitionHeads,
    batch: DenseBatch,
    *,
    masks: bool,
    exemplars: int = 0,
    counter_examples: float = 0.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted sum of the losses above, and the parts without their weights; adds the naming accuracy "named".

    Args:
        model: vision encoder, neck, text encoder and the first fusion layer are trained; with `masks` the mask head,
            with `exemplars` the exemplar encoder.
        heads: of the same training run.
        batch: dense pictures.
        masks: also paint masks.
        exemplars: boxes shown on each picture; 0 leaves "shown" out.
        counter_examples: share of these boxes that are negative.
    """
    trunk = model.vision_encoder(batch.pixels)  # (B, Cv, h, w)
    levels = model.neck(trunk) if masks else (model.neck.levels[-1](trunk),)
    features = levels[-1].flatten(2).transpose(1, 2)  # (B, N, C)
    instances = batch.patch_instances.flatten(1)  # (B, N)
    labelled = instances > BACKGROUND
    image_idx, patch_idx = labelled.nonzero(as_tuple=True)
    instance_idx = instances[image_idx, patch_idx] - 1
    symbols = batch.symbols[image_idx, instance_idx]

    of_patches = features[image_idx, patch_idx]  # (K, C)
    trunk_of_patches = trunk.flatten(2).transpose(1, 2)[image_idx, patch_idx]
    terms: dict[str, Tensor] = {}
    naming = _naming_logits(model, heads, of_patches, batch.noun_ids)
    terms["name"] = F.cross_entropy(naming, symbols, label_smoothing=_LABEL_SMOOTHING)
    terms["symbol"] = F.cross_entropy(heads.symbol(trunk_of_patches).float(), symbols)
    colours = batch.colours[image_idx, instance_idx]
    terms["colour"] = F.cross_entropy(
        heads.colour(trunk_of_patches).float(), colours, ignore_index=-1, reduction="sum"
    ) / (colours >= 0).sum().clamp(min=1)
    terms["foreground"] = F.binary_cross_entropy_with_logits(
        heads.foreground(features)[..., 0].float(), batch.coverage.flatten(1)
    )
    boxes = heads.box(of_patches).float().sigmoid()
    wanted = batch.boxes_cxcywh_norm[image_idx, instance_idx]
    overlap = giou_xyxy(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(wanted))
    terms["box"] = (1 - overlap).mean() + 4 * (boxes - wanted).abs().sum(-1).mean()
    phrases = model.encode_text(batch.phrase_ids)
    start = phrases.tokens[0, 0]  # the same in all phrases, as the text encoder is causal
    queries = _patch_queries(model, levels[-1])
    attraction = _attraction(model, heads, queries, _end_tokens(phrases) - start)
    terms["phrase"] = _attraction_loss(attraction, instances, batch.truths)
    if masks:
        terms["mask_focal"], terms["mask_dice"] = _mask_losses(model, heads, levels, batch)
    if exemplars:
        tokens, truths = _shown(model, levels[-1], batch, exemplars, counter_examples)
        terms["shown"] = _attraction_loss(_attraction(model, heads, queries, tokens - start), instances, truths)
    total = torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()
    with torch.no_grad():
        terms["named"] = (naming.argmax(-1) == symbols).float().mean()
    return total, {name: term.detach() for name, term in terms.items()}


def _end_tokens(prompt: PromptTokens) -> Tensor:
    """(P, C) token of the end of each phrase."""
    last = prompt.valid.sum(1) - 1
    return prompt.tokens[torch.arange(len(last), device=last.device), last]


def _naming_logits(model: Detector, heads: RecognitionHeads, of_patches: Tensor, noun_ids: Tensor) -> Tensor:
    """(K, S) sharpened cosine of each patch with each noun."""
    nouns = F.normalize(_end_tokens(model.encode_text(noun_ids)).float(), dim=-1)
    return heads.sharpness * (F.normalize(of_patches.float(), dim=-1) @ nouns.T)


def _patch_queries(model: Detector, level: Tensor) -> Tensor:
    """What every patch asks the prompt for in the first fusion layer: (B, C, h, w) -> (B, heads, N, C / heads)."""
    height, width = level.shape[-2:]
    position = position_map(height=height, width=width, channels=level.shape[1], device=level.device, dtype=level.dtype)
    layer = cast(FusionLayer, model.fusion_encoder.layers[0])
    x = level.flatten(2).transpose(1, 2)
    normed = layer.norm1(x)
    placed = normed + position
    x = x + layer.self_attention(placed, placed, normed)
    qkv = layer.prompt_attention.qkv
    return split_heads(
        F.linear(layer.norm2(x), qkv.weight.chunk(3)[0], qkv.bias.chunk(3)[0]), layer.prompt_attention.heads
    )


def _attraction(model: Detector, heads: RecognitionHeads, queries: Tensor, difference: Tensor) -> Tensor:
    """How much more the patches look at a token than at the start of a phrase.

    Args:
        model: its first fusion layer is asked.
        heads: have the bias.
        queries: `_patch_queries`.
        difference: (K, C) tokens less the start token.

    Returns:
        (B, N, K, heads) logits.
    """
    attention = cast(FusionLayer, model.fusion_encoder.layers[0]).prompt_attention
    keys = F.linear(difference, attention.qkv.weight.chunk(3)[1])  # the bias cancels
    keys = keys.unflatten(-1, (attention.heads, -1))
    logits = torch.einsum("bhnd,khd->bnkh", queries, keys) * queries.shape[-1] ** -0.5
    return logits.float() + heads.phrase_bias


def _attraction_loss(logits: Tensor, instances: Tensor, truths: Tensor) -> Tensor:
    """Cross-entropy per true pair of patch and token; false pairs weigh by how wrong they are, open ones nothing.

    Args:
        logits: (B, N, K, heads).
        instances: (B, N) label of each patch, as in `DenseBatch.patch_instances`.
        truths: (K, B, I) is the token meant for the instance: 1, 0, or -1 for open.
    """
    # Column 0 answers for the background, column i + 1 for instance i.
    by_label = F.pad(truths, (1, 0)).permute(1, 2, 0)  # (B, 1 + I, K)
    truth = by_label.gather(1, instances.clamp(min=0)[..., None].expand(-1, -1, by_label.shape[-1]))  # (B, N, K)
    truth = truth.masked_fill((instances == MIXED)[..., None], -1)[..., None].expand_as(logits)
    wrong = logits.detach().sigmoid() ** 2
    weight = torch.where(truth == 1, 1.0, torch.where(truth == 0, wrong, 0.0))
    loss = F.binary_cross_entropy_with_logits(logits, (truth == 1).float(), weight=weight, reduction="sum")
    return loss / (truth == 1).sum().clamp(min=1)


def _shown(
    model: Detector, level: Tensor, batch: DenseBatch, most: int, counter_examples: float
) -> tuple[Tensor, Tensor]:
    """Tokens (K, C) of one box each around the first instances of every picture, and their truths (K, B, I)."""
    image_idx, instance_idx = (batch.symbols[:, :most] >= 0).nonzero(as_tuple=True)
    boxes = batch.boxes_cxcywh_norm[image_idx, instance_idx][:, None]  # (K, 1, 4): each is a prompt of its own
    positive = torch.rand_like(boxes[..., 0]) >= counter_examples
    shown = replace(
        ExemplarBatch.empty(len(boxes), device=boxes.device),
        boxes_cxcywh_norm=boxes,
        box_labels=positive.long(),
        box_valid=torch.ones_like(positive),
    )
    tokens = model.geometry_encoder(level, image_idx, shown).tokens[:, 0]
    symbols = batch.symbols[image_idx, instance_idx]
    alike = batch.symbols == symbols[:, None, None]
    return tokens, (alike & positive[:, :, None]).to(batch.truths)


def _mask_losses(
    model: Detector, heads: RecognitionHeads, levels: tuple[Tensor, ...], batch: DenseBatch
) -> tuple[Tensor, Tensor]:
    """Focal and dice loss of the sprites of the first patches met, up to a number per picture; no prompt is read."""
    mask_head = model.mask_head
    pixels = mask_head.upsample(levels[-1], levels, torch.arange(len(levels[-1]), device=levels[-1].device))
    features = levels[-1].flatten(2).transpose(1, 2)
    # One random labelled patch for each of up to _MASKS_PER_IMAGE instances of every picture.
    noise = torch.rand(batch.patch_instances.flatten(1).shape, device=features.device)
    count = min(_MASKS_PER_IMAGE, batch.symbols.shape[1])
    ids = torch.arange(1, count + 1, device=features.device)
    mine = batch.patch_instances.flatten(1)[:, None] == ids[:, None]  # (B, I, N)
    chosen = (noise[:, None] * mine).argmax(-1)  # (B, I)
    seen = mine.any(-1)
    queries = heads.mask_query(features.gather(1, chosen[..., None].expand(-1, -1, features.shape[-1])))
    logits = mask_head.masks(queries, pixels)[seen].float().flatten(1)  # (K, 16 h w)
    targets = batch.masks[:, :count][seen].float().flatten(1)
    normalizer = max(1, len(logits))
    focal = focal_loss(logits, targets, alpha=0.25, gamma=2).mean(-1).sum() / normalizer
    return focal, dice_loss(logits, targets).sum() / normalizer
