"""The tracker: composes the parts into steps on one frame. Features, prompts and memory in, masks and pointers out.

    levels ─ features ─▶ TrackerFeatures ─┬─ prompt ──────▶ MaskletMasks   a frame with clicks, boxes or a logit mask
                                          ├─ prompt_mask ─▶ MaskletMasks   a frame whose mask is given
                     Memory ──────────────┼─ track ───────▶ MaskletMasks   a frame without a prompt
                     points, a mask ──────┼─ candidates ──▶ MaskCandidates a picture: nothing is chosen
                     masks ───────────────┴─ encode_memory ▶ map tokens of a `MemoryEntry`

There is no state: what is remembered of which frame is the business of `model/memory_bank.py`. All O masklets of a
frame go through together, and a frame's features are not copied for them (spec/tracker.md 4.5, 4.6 and 12.1). Owns
`tracker.`
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from masklet.layers.mlp import MlpHead
from masklet.model.mask_decoder import MaskDecoder
from masklet.model.memory_attention import MemoryAttention
from masklet.model.memory_encoder import MemoryEncoder
from masklet.model.prompt_encoder import PromptEncoder
from masklet.ops.resize import resized
from masklet.types import MaskCandidates, MaskletMasks, Memory, PointPrompts, TrackerFeatures

OUT_OF_SIGHT = -1024.0
"""Mask logit everywhere on a frame where an object is not to be seen."""

_MASK_SCALE, _MASK_BIAS = 20.0, -10.0  # a given mask 0..1 as logits
_GIVEN_SIGHT = 10.0  # logit of sight of a given mask; negative for an empty one
_AMBIGUOUS_POINTS = 1  # with more points than this a prompt is clear; a box counts as two
_LOW = 4  # masks have this many times the grid's resolution


@dataclass(frozen=True, kw_only=True)
class TrackerParts:
    """The modules that a `Tracker` composes; `model/build.py` makes them from a configuration."""

    prompt_encoder: PromptEncoder
    mask_decoder: MaskDecoder
    memory_encoder: MemoryEncoder
    memory_attention: MemoryAttention


class Tracker(nn.Module):
    """The network that answers clicks and follows objects.

    Args:
        width: channels C of the neck.
        patch_size: pixels of the square input along a cell of the grid.
        parts: the modules.
    """

    def __init__(self, *, width: int, patch_size: int, parts: TrackerParts) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.prompt_encoder = parts.prompt_encoder
        self.mask_decoder = parts.mask_decoder
        self.memory_encoder = parts.memory_encoder
        self.memory_attention = parts.memory_attention
        self.no_memory = nn.Embedding(1, width)
        self.no_pointer = nn.Embedding(1, width)
        self.pointer_head = MlpHead(width, width, width, width)
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)

    def features(self, levels: tuple[Tensor, ...]) -> TrackerFeatures:
        """What every step reads of a frame, from `ImageFeatures.tracker_levels` of one image; once per frame."""
        return self.mask_decoder.features(levels)

    def candidates(
        self,
        features: TrackerFeatures,
        points: PointPrompts | None,
        *,
        mask_logits: Tensor | None = None,
        ambiguous: bool,
    ) -> MaskCandidates:
        """What prompts on a picture may mean; neither sight nor pointers are looked at.

        Args:
            features: of the picture.
            points: on O objects; None: there are none, and a mask alone is the prompt.
            mask_logits: (1 or O, H, W) of any size, positive inside; None: no mask.
            ambiguous: give the candidates for a prompt of several meanings, else one mask.
        """
        return self._decode(features, self._without_memory(features), points, mask_logits, ambiguous=ambiguous)

    def prompt(
        self,
        features: TrackerFeatures,
        points: PointPrompts,
        *,
        mask_logits: Tensor | None = None,
        memory: Memory | None = None,
    ) -> MaskletMasks:
        """O masklets on a frame where they are clicked or boxed.

        Args:
            features: of the frame.
            points: `PointPrompts.none` where a mask alone is the prompt. At most one point: the best of the candidates
                for ambiguous prompts is taken.
            mask_logits: (1 or O, H, W) what is refined, at any size; None: nothing.
            memory: what the masklets bring; None where they begin.
        """
        return self.chosen(self.proposals(features, points, mask_logits=mask_logits, memory=memory))

    def proposals(
        self,
        features: TrackerFeatures,
        points: PointPrompts,
        *,
        mask_logits: Tensor | None = None,
        memory: Memory | None = None,
    ) -> MaskCandidates:
        """What `prompt` and `track` choose from; see there. Losses look at all of it."""
        image = self._without_memory(features) if memory is None else self._with_memory(features, memory)
        ambiguous = points.labels.shape[1] <= _AMBIGUOUS_POINTS
        return self._decode(features, image, points, mask_logits, ambiguous=ambiguous)

    def chosen(self, candidates: MaskCandidates) -> MaskletMasks:
        """The best candidate of each masklet, hidden where it is out of sight, and its pointer."""
        rows = torch.arange(len(candidates.quality), device=candidates.quality.device)
        best = candidates.quality.argmax(1)
        seen = candidates.sight_logits > 0
        pointers = self.pointer_head(candidates.tokens[rows, best])
        return MaskletMasks(
            mask_logits=torch.where(seen[:, None, None], candidates.mask_logits[rows, best].float(), OUT_OF_SIGHT),
            quality=candidates.quality[rows, best],
            sight_logits=candidates.sight_logits,
            pointers=torch.where(seen[:, None], pointers, self.no_pointer.weight),
        )

    def track(self, features: TrackerFeatures, memory: Memory) -> MaskletMasks:
        """O masklets on a frame without a prompt, by what is remembered of them."""
        points = PointPrompts.none(len(memory.pointers), device=features.coarse.device)
        return self.chosen(self.proposals(features, points, memory=memory))

    def prompt_mask(self, features: TrackerFeatures, masks: Tensor, *, ambiguous: bool = False) -> MaskletMasks:
        """O masklets on a frame where their masks are given: those masks, with the pointers that belong to them.

        Args:
            features: of the frame.
            masks: (O, 16h, 16w) 0..1; not made binary.
            ambiguous: the pointer comes from the best of the candidates for ambiguous prompts, as in Hugging Face's
                implementation, which also gives masks at the size of the input.
        """
        height, width = features.grid_hw
        logits = self.given_logits(masks)
        kernel = self.mask_downsample.weight
        prompt = self.mask_downsample(masks[:, None].to(kernel.dtype))[:, 0]
        points = PointPrompts.none(len(masks), device=masks.device)
        # Neither memory nor the lack of it: the image is the neck's own.
        chosen = self.chosen(self._decode(features, features.coarse, points, prompt, ambiguous=ambiguous, masks=False))
        seen = (masks > 0).flatten(1).any(1)
        return MaskletMasks(
            mask_logits=resized(logits, (_LOW * height, _LOW * width)),
            quality=torch.ones_like(chosen.quality),
            sight_logits=torch.where(seen, _GIVEN_SIGHT, -_GIVEN_SIGHT),
            pointers=torch.where(seen[:, None], chosen.pointers, self.no_pointer.weight),
        )

    @staticmethod
    def given_logits(masks: Tensor) -> Tensor:
        """Logits of masks 0..1 that were given, float32."""
        return masks.float() * _MASK_SCALE + _MASK_BIAS

    def encode_memory(
        self, features: TrackerFeatures, mask_logits: Tensor, sight_logits: Tensor, *, binary: bool
    ) -> Tensor:
        """Map tokens of O masklets (O, h*w, Cm), to be remembered.

        Args:
            features: of the frame.
            mask_logits: (O, H, W); masks of a step are brought to the size of the input first (`at_input_size`), which
                is where masks of several objects are kept apart.
            sight_logits: (O,).
            binary: True on frames with a prompt of any kind, also when they are remembered again; False where the
                masks come from `track`.
        """
        tokens: Tensor = self.memory_encoder(features.coarse, mask_logits, sight_logits, binary=binary)
        return tokens

    def at_input_size(self, features: TrackerFeatures, mask_logits: Tensor) -> Tensor:
        """Masks (O, 4h, 4w) at the size of the square input: (O, R, R) float32."""
        return resized(mask_logits, self.input_size_hw(features))

    def input_size_hw(self, features: TrackerFeatures) -> tuple[int, int]:
        """Height and width in pixels of the square input that a frame's features come of."""
        height, width = features.grid_hw
        return self.patch_size * height, self.patch_size * width

    def _without_memory(self, features: TrackerFeatures) -> Tensor:
        return features.coarse + self.no_memory.weight[..., None, None]

    def _with_memory(self, features: TrackerFeatures, memory: Memory) -> Tensor:
        image: Tensor = self.memory_attention(features.coarse, memory)
        return image

    def _decode(
        self,
        features: TrackerFeatures,
        image: Tensor,
        points: PointPrompts | None,
        mask_logits: Tensor | None,
        *,
        ambiguous: bool,
        masks: bool = True,
    ) -> MaskCandidates:
        """What the mask decoder sees in `image` (1 or O, C, h, w); empty masks unless `masks` are wanted."""
        encoder = self.prompt_encoder
        grid_hw = features.grid_hw
        dense = encoder.without_mask() if mask_logits is None else encoder.mask(mask_logits, grid_hw)
        if points is None:
            tokens = image.new_zeros(max(len(image), len(dense)), 0, image.shape[1])
        else:
            tokens = encoder.points(points, self.input_size_hw(features))
        decoded: MaskCandidates = self.mask_decoder(
            features, image + dense, encoder.position(grid_hw), tokens, ambiguous=ambiguous, masks=masks
        )
        return decoded
