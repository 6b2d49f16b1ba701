"""The detector: composes the parts. Pixels and prompts in, raw detections out; no thresholds, no pictures.

    pixels ─ vision_encoder ─ neck ─▶ ImageFeatures ─┐
    token ids ─ text_encoder ──────▶ PromptTokens ───┤
    boxes, points ─ geometry_encoder ▶ PromptTokens ─┴─ fusion_encoder ─ decoder ─ scoring ─▶ RawDetections
                                                                             chosen queries ─ mask_head ─▶ masks

The image is encoded once; everything after the neck runs once per prompt; masks are made for chosen queries only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from masklet.config import ModelConfig
from masklet.errors import InputError
from masklet.layers.position import position_map
from masklet.model.decoder import Decoder, DecoderOutputs
from masklet.model.fusion_encoder import FusionEncoder
from masklet.model.geometry_encoder import GeometryEncoder
from masklet.model.mask_head import Laterals, MaskHead
from masklet.model.neck import Neck
from masklet.model.scoring import Scoring
from masklet.model.text_encoder import TextEncoder
from masklet.model.tracker import Tracker
from masklet.model.vision_encoder import VisionEncoder
from masklet.types import (
    ExemplarBatch,
    ImageFeatures,
    LayerOutputs,
    MaskMaker,
    PromptTokens,
    RawDetections,
    TrackerFeatures,
    TrainingOutputs,
)


def concat_prompts(first: PromptTokens, second: PromptTokens) -> PromptTokens:
    """The tokens of `first`, then those of `second`, prompt by prompt; padding stays where it is."""
    return PromptTokens(
        tokens=torch.cat((first.tokens, second.tokens.to(first.tokens.dtype)), dim=1),
        valid=torch.cat((first.valid, second.valid), dim=1),
    )


@dataclass(frozen=True, kw_only=True)
class DetectorParts:
    """The modules that a `Detector` composes; `model/build.py` makes them from a configuration."""

    vision_encoder: VisionEncoder
    neck: Neck
    tracker_neck: Neck | None
    text_encoder: TextEncoder
    geometry_encoder: GeometryEncoder
    fusion_encoder: FusionEncoder
    decoder: Decoder
    scoring: Scoring
    mask_head: MaskHead
    tracker: Tracker | None


class Detector(nn.Module):
    """The image model of SAM 3, and the tracker that shares its vision encoder.

    Attributes:
        config: what it was built from; other modules read sizes there, this one does not.
        tracker: reads `ImageFeatures.tracker_levels`; None when the model has none. The detector never calls it.
    """

    def __init__(self, config: ModelConfig, parts: DetectorParts) -> None:
        super().__init__()
        self.config = config
        self.vision_encoder = parts.vision_encoder
        self.neck = parts.neck
        self.tracker_neck = parts.tracker_neck
        self.text_encoder = parts.text_encoder
        self.geometry_encoder = parts.geometry_encoder
        self.fusion_encoder = parts.fusion_encoder
        self.decoder = parts.decoder
        self.scoring = parts.scoring
        self.mask_head = parts.mask_head
        self.tracker = parts.tracker

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.decoder.query_embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the parameters."""
        return self.decoder.query_embedding.weight.dtype

    def encode_image(
        self, pixels: Tensor, image_sizes_hw: Sequence[tuple[int, int]] | None = None, *, tracker: bool = False
    ) -> ImageFeatures:
        """Runs the vision encoder and the neck.

        Args:
            pixels: (B, 3, R, R) in -1..1; R a multiple of the patch size.
            image_sizes_hw: original sizes in pixels; the input's size when not given.
            tracker: also compute the tracker's pyramid (needs a tracker neck).
        """
        if tracker and self.tracker_neck is None:
            raise ValueError(f"model {self.config.name!r} has no tracker neck: tracker features cannot be computed")
        trunk = self.encode_patches(pixels)
        height, width = pixels.shape[-2:]
        sizes = tuple(image_sizes_hw) if image_sizes_hw is not None else ((height, width),) * len(pixels)
        features = self.detector_features(trunk, sizes)
        if tracker and self.tracker_neck is not None:
            features = replace(features, tracker_levels=self.tracker_neck(trunk))
        return features

    def encode_patches(self, pixels: Tensor) -> Tensor:
        """(B, 3, R, R) in -1..1 -> (B, Cv, h, w), what both pyramids are made of: most of the work on a picture."""
        trunk: Tensor = self.vision_encoder(pixels.to(device=self.device, dtype=self.dtype))
        return trunk

    def detector_features(self, trunk: Tensor, image_sizes_hw: Sequence[tuple[int, int]]) -> ImageFeatures:
        """What the detector reads of `encode_patches` (B, Cv, h, w) of B pictures that had these sizes in pixels."""
        return ImageFeatures(levels=self.neck(trunk), tracker_levels=None, image_sizes_hw=tuple(image_sizes_hw))

    def tracker_features(self, trunk: Tensor, tracker: Tracker | None = None) -> TrackerFeatures:
        """What the tracker, or another one of its shape, reads of `encode_patches`; a row for each picture.

        The same as `Tracker.features` of a wide pyramid, which is not made: the largest convolution, that of the finest
        level, has an eighth of its channels.

        Args:
            trunk: (B, Cv, h, w).
            tracker: whose; None is the model's own.

        Raises:
            ValueError: there is no tracker, or the model has no neck for one.
        """
        tracker = self.tracker if tracker is None else tracker
        if tracker is None or self.tracker_neck is None:
            raise ValueError(f"model {self.config.name!r} has no tracker: tracker features cannot be computed")
        fine, middle, coarse = self.tracker_neck(trunk, tracker.mask_decoder.narrow)
        return TrackerFeatures(fine=fine, middle=middle, coarse=coarse)

    def encode_text(self, token_ids: Tensor) -> PromptTokens:
        """(P, T) int64 token ids, padded with 0 -> prompt tokens (P, T, C)."""
        tokens: PromptTokens = self.text_encoder(token_ids.to(self.device))
        return tokens

    def encode_exemplars(self, features: ImageFeatures, image_idx: Tensor, exemplars: ExemplarBatch) -> PromptTokens:
        """Exemplars of P prompts, each on image `image_idx` (P,) -> prompt tokens.

        Needed without exemplars too: the summary token is part of every prompt.
        """
        tokens: PromptTokens = self.geometry_encoder(features.levels[-1], image_idx, exemplars)
        return tokens

    def detect(self, features: ImageFeatures, image_idx: Tensor, prompt: PromptTokens) -> RawDetections:
        """Looks for P prompts, each in image `image_idx` (P,)."""
        memory, decoded = self._decode(features, image_idx, prompt)
        queries = decoded.queries[-1]
        return RawDetections(
            class_logits=self.scoring(queries, prompt).float(),
            boxes_cxcywh_norm=decoded.boxes_cxcywh_norm[-1],
            presence_logits=decoded.presence_logits[-1],
            queries=queries,
            memory=memory,
        )

    def laterals(self, features: ImageFeatures) -> Laterals:
        """What masks of all concepts on pictures have in common; see `decode_masks`."""
        return self.mask_head.laterals(features.levels)

    def decode_masks(
        self,
        features: ImageFeatures,
        image_idx: Tensor,
        prompt: PromptTokens,
        raw: RawDetections,
        keep: Tensor,
        *,
        laterals: Callable[[int], Laterals] | None = None,
    ) -> list[Tensor]:
        """Masks of the queries marked in `keep` (P, Q) bool.

        Args:
            features: of B images.
            image_idx: (P,) the image of each prompt.
            prompt: tokens of the P prompts.
            raw: what `detect` gave for them.
            keep: which queries.
            laterals: gives `laterals` of one of the images, and has to keep them for its other prompts: less work from
                two prompts on an image on, more for one. None: none are made.

        Returns:
            P tensors (n_p, 4h, 4w) of logits in query order. Prompts with nothing kept cost nothing.
        """
        size = features.levels[0].shape[-2:]
        masks = [raw.queries.new_zeros(0, *size)] * len(keep)
        for index in keep.any(1).nonzero()[:, 0].tolist():
            one = slice(index, index + 1)
            image, own = image_idx[one], _rows(prompt, one)
            if laterals is None:
                pixels = self._pixels(features, image, own, raw.memory[one])
            else:
                shared = laterals(int(image))
                pixels = self.mask_head.pixel_features(
                    raw.memory[one], own, features.levels, torch.zeros_like(image), shared
                )
            masks[index] = self.mask_head.masks(raw.queries[one, keep[index]], pixels)[0]
        return masks

    def decode_semantic(
        self, features: ImageFeatures, image_idx: Tensor, prompt: PromptTokens, raw: RawDetections
    ) -> Tensor:
        """Logits of the union of all instances: (P, 1, 4h, 4w)."""
        return self.mask_head.semantic(self._pixels(features, image_idx, prompt, raw.memory))

    def forward_training(
        self,
        features: ImageFeatures,
        image_idx: Tensor,
        prompt: PromptTokens,
        *,
        masks: bool | Tensor = True,
        one_to_many: bool = True,
    ) -> TrainingOutputs:
        """Predictions of every decoder layer, as the losses want them (spec/training.md section 4).

        Args:
            features: of B images.
            image_idx: (P,) the image of each prompt.
            prompt: tokens of the P prompts.
            masks: whether masks can be asked for; (P,) bool for some prompts only. The others cost nothing, and if
                there are none, that is False.
            one_to_many: also run the duplicated queries.
        """
        memory, decoded = self._decode(features, image_idx, prompt, one_to_many=one_to_many)
        class_logits = self.scoring(decoded.queries, prompt).float()
        wanted = masks if isinstance(masks, Tensor) else torch.full_like(image_idx, masks, dtype=torch.bool)
        source = self._mask_source(features, image_idx, prompt, memory, wanted)
        count = self.decoder.query_embedding.num_embeddings

        def split(part: slice, presence: bool) -> tuple[LayerOutputs, ...]:
            last = len(class_logits) - 1
            return tuple(
                LayerOutputs(
                    class_logits=class_logits[layer, :, part],
                    boxes_cxcywh_norm=decoded.boxes_cxcywh_norm[layer, :, part],
                    presence_logits=decoded.presence_logits[layer] if presence else None,
                    masks=source.of_queries(decoded.queries[-1, :, part]) if source and layer == last else None,
                )
                for layer in range(len(class_logits))
            )

        return TrainingOutputs(
            one_to_one=split(slice(0, count), presence=True),
            one_to_many=split(slice(count, 2 * count), presence=False) if one_to_many else (),
            semantic=source.semantic if source else None,
            mask_size_hw=(features.levels[0].shape[-2], features.levels[0].shape[-1]) if source else None,
            memory=memory,
        )

    def _decode(
        self, features: ImageFeatures, image_idx: Tensor, prompt: PromptTokens, *, one_to_many: bool = False
    ) -> tuple[Tensor, DecoderOutputs]:
        """Fused memory (P, h*w, C) and what the decoder reads from it."""
        level = features.levels[-1]
        height, width = level.shape[-2:]
        position = position_map(
            height=height, width=width, channels=level.shape[1], device=level.device, dtype=level.dtype
        )
        memory = self.fusion_encoder(level.flatten(2).transpose(1, 2), image_idx, position, prompt)
        decoded = self.decoder(memory, position, prompt, grid_hw=(height, width), one_to_many=one_to_many)
        return memory, decoded

    def _mask_source(
        self, features: ImageFeatures, image_idx: Tensor, prompt: PromptTokens, memory: Tensor, wanted: Tensor
    ) -> _MaskSource | None:
        """For masks of the prompts marked in `wanted` (P,) bool; None if there are none."""
        prompt_idx = wanted.nonzero()[:, 0]
        if not len(prompt_idx):
            return None
        own_memory = memory.index_select(0, prompt_idx)
        pixels = self._pixels(features, image_idx[prompt_idx], prompt.select(prompt_idx), own_memory)
        return _MaskSource(self.mask_head, pixels.permute(0, 2, 3, 1).unbind(), prompt_idx, len(memory))

    def _pixels(self, features: ImageFeatures, image_idx: Tensor, prompt: PromptTokens, memory: Tensor) -> Tensor:
        return self.mask_head.pixel_features(memory, prompt, features.levels, image_idx)


@dataclass(frozen=True)
class _MaskSource:
    """What masks of K among P prompts are made from when a loss asks for them.

    Attributes:
        head: makes them.
        pixels: features (4h, 4w, C) of the K prompts. One tensor each, so that gradients of several requests are added
            up prompt by prompt.
        prompt_idx: (K,) int64 which prompts, ascending.
        prompts: P.
    """

    head: MaskHead
    pixels: Sequence[Tensor]
    prompt_idx: Tensor
    prompts: int

    def of_queries(self, queries: Tensor) -> MaskMaker:
        """Makes masks of queries (P, Q, C)."""

        def masks(prompt_idx: Tensor, query_idx: Tensor) -> Tensor:
            return self.head.packed_masks(queries[prompt_idx, query_idx], self.pixels, self._counts(prompt_idx))

        return masks

    def semantic(self, prompt_idx: Tensor) -> Tensor:
        """See `SemanticMaker`."""
        return self.head.packed_semantic(self.pixels, self._counts(prompt_idx))

    def _counts(self, prompt_idx: Tensor) -> list[int]:
        """How often each of the K prompts is among `prompt_idx`, (N,) int64 ascending."""
        counts: list[int] = torch.bincount(prompt_idx, minlength=self.prompts)[self.prompt_idx].tolist()
        if sum(counts) != len(prompt_idx):
            raise InputError(
                f"masks were asked of prompts {prompt_idx.unique().tolist()}, but can be of {self.prompt_idx.tolist()} "
                "only: choose all of them in `masks` of forward_training, or mark the targets of the others as without "
                "mask in `masks_valid`"
            )
        return counts


def _rows(prompt: PromptTokens, rows: slice) -> PromptTokens:
    return PromptTokens(tokens=prompt.tokens[rows], valid=prompt.valid[rows])
