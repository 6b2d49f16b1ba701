"""The parameter names of the public checkpoints: Meta's `sam3.pt` and Hugging Face's `facebook/sam3`.

One table with three columns (ours, Meta's, Hugging Face's; spec/image-model.md section 16, spec/tracker.md section 11)
yields a `KeyMap` for each format. Our names are those of `Detector.state_dict()`. What our modules do not own is
*carried*: its name is `carried.` and Meta's name, whatever format it came from. Meta's names are written in full;
Hugging Face's as in the published file, which serves the video model too (`detector_model.` in front of the detector).

Three layouts of Hugging Face's names and two of Meta's differ in prefixes only (`Layout`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from masklet.checkpoint.rows import CARRIED, Row, carried, fused, modules, qkv, row
from masklet.checkpoint.rules import (
    CLASS_ROW,
    LEADING_AXIS,
    QKV,
    SAME,
    TABLE,
    TRANSPOSE,
    KeyMap,
    Links,
    Rule,
)
from masklet.checkpoint.tracker_rows import tracker_rows
from masklet.config import ModelConfig
from masklet.errors import CheckpointError

META_TRUNK: Final = "detector.backbone.vision_backbone.trunk."
META_CLASS_ROW: Final = f"{CARRIED}{META_TRUNK}pos_embed.class_row"
META_TABLE: Final = META_TRUNK + "blocks.{i}.attn.freqs_cis"
TEXT_PROJECTION: Final = f"{CARRIED}detector.backbone.language_backbone.encoder.text_projection"


def _vision() -> Iterator[Row]:
    ours, hf = "vision_encoder.", "detector_model.vision_encoder.backbone."
    yield Row(
        (ours + "position", META_CLASS_ROW),
        (META_TRUNK + "pos_embed",),
        (hf + "embeddings.position_embeddings",),
        meta_op=CLASS_ROW,
        hf_op=LEADING_AXIS,
    )
    patch = "patch_embed.proj.weight"
    yield row(ours + "patch_embed.weight", META_TRUNK + patch, hf + "embeddings.patch_embeddings.projection.weight")
    yield from modules(ours, META_TRUNK, hf, [("norm_in", "ln_pre", "layer_norm")])
    block = (ours + "blocks.{i}.", META_TRUNK + "blocks.{i}.", hf + "layers.{i}.")
    yield Row(
        (block[0] + "attention.qkv.{p}",),
        (block[1] + "attn.qkv.{p}",),
        qkv(block[2] + "attention"),
        hf_op=QKV,
    )
    names = [("attention.out", "attn.proj", "attention.o_proj")]
    names += [(f"norm{k}", f"norm{k}", f"layer_norm{k}") for k in (1, 2)]
    names += [(f"mlp.fc{k}",) * 3 for k in (1, 2)]
    yield from modules(*block, names)
    yield Row((CARRIED + META_TABLE,), (META_TABLE,), (), meta_op=TABLE)


def _necks() -> Iterator[Row]:
    for ours, meta_name, hf in (
        ("neck.", "convs", "detector_model.vision_encoder.neck."),
        ("tracker_neck.", "sam2_convs", "tracker_neck."),
    ):
        meta = f"detector.backbone.vision_backbone.{meta_name}."
        names = [
            ("levels.0.upsample1", "0.dconv_2x2_0", "fpn_layers.0.scale_layers.0"),
            ("levels.0.upsample2", "0.dconv_2x2_1", "fpn_layers.0.scale_layers.2"),  # 1 is the GELU
            ("levels.1.upsample1", "1.dconv_2x2", "fpn_layers.1.scale_layers.0"),
        ]
        for level in range(3):
            names.append((f"levels.{level}.project", f"{level}.conv_1x1", f"fpn_layers.{level}.proj1"))
            names.append((f"levels.{level}.smooth", f"{level}.conv_3x3", f"fpn_layers.{level}.proj2"))
        yield from modules(ours, meta, hf, names)
        for meta_conv, hf_conv in (("conv_1x1", "proj1"), ("conv_3x3", "proj2")):  # coarsest level: never used
            yield carried(f"{meta}3.{meta_conv}.{{p}}", f"{hf}fpn_layers.3.{hf_conv}.{{p}}")


def _text() -> Iterator[Row]:
    ours, meta, hf = "text_encoder.", "detector.backbone.language_backbone.", "detector_model.text_encoder."
    embeddings = hf + "text_model.embeddings."
    token = "token_embedding.weight"
    yield row(ours + token, f"{meta}encoder.{token}", embeddings + token)
    yield row(ours + "position", meta + "encoder.positional_embedding", embeddings + "position_embedding.weight")
    block = (ours + "blocks.{i}.", meta + "encoder.transformer.resblocks.{i}.", hf + "text_model.encoder.layers.{i}.")
    yield from fused(block[0] + "attention", block[1] + "attn", block[2] + "self_attn", hf_out="out_proj")
    names = [(f"norm{k}", f"ln_{k}", f"layer_norm{k}") for k in (1, 2)]
    names += [("mlp.fc1", "mlp.c_fc", "mlp.fc1"), ("mlp.fc2", "mlp.c_proj", "mlp.fc2")]
    yield from modules(*block, names)
    yield from modules(ours, meta, hf, [("norm_out", "encoder.ln_final", "text_model.final_layer_norm")])
    yield from modules(ours, meta, "detector_model.", [("project", "resizer", "text_projection")])
    meta_projection = meta + "encoder.text_projection"  # dead: only tokens are used, never the pooled sentence
    yield Row((TEXT_PROJECTION,), (meta_projection,), (hf + "text_projection.weight",), hf_op=TRANSPOSE)


def _pre_norm_layer(ours: str, meta: str, hf: str, second: str) -> Iterator[Row]:
    """A layer of the exemplar or fusion encoder; `second` is our name of its cross-attention."""
    yield from fused(ours + "self_attention", meta + "self_attn", hf + "self_attn")
    yield from fused(ours + second, meta + "cross_attn_image", hf + "cross_attn")
    names = [(f"norm{k}", f"norm{k}", f"layer_norm{k}") for k in (1, 2, 3)]
    names += [(f"mlp.fc{k}", f"linear{k}", f"mlp.fc{k}") for k in (1, 2)]
    yield from modules(ours, meta, hf, names)


def _geometry() -> Iterator[Row]:
    ours, meta, hf = "geometry_encoder.", "detector.geometry_encoder.", "detector_model.geometry_encoder."
    names = [
        ("label_embedding", "label_embed", "label_embed"),
        ("cls_embedding", "cls_embed", "cls_embed"),
        ("box_direct", "boxes_direct_project", "boxes_direct_project"),
        ("box_pool", "boxes_pool_project", "boxes_pool_project"),
        ("box_position", "boxes_pos_enc_project", "boxes_pos_enc_project"),
        ("project", "final_proj", "final_proj"),
        ("norm_in", "norm", "prompt_layer_norm"),
        ("pool_norm", "img_pre_norm", "vision_layer_norm"),
        ("norm_out", "encode_norm", "output_layer_norm"),
    ]
    yield from modules(ours, meta, hf, names)
    for part, meta_part in (("direct", "direct"), ("pool", "pool"), ("position", "pos_enc")):
        yield Row((f"{ours}point_{part}.{{p}}",), (f"{meta}points_{meta_part}_project.{{p}}",), ())
    yield from _pre_norm_layer(ours + "layers.{i}.", meta + "encode.{i}.", hf + "layers.{i}.", "image_attention")


def _heads(ours: str, meta: str, hf: str, count: int) -> Iterator[Row]:
    """A stack of linears, which Hugging Face counts from one."""
    for k in range(count):
        yield from modules(ours, meta, hf, [(f"layers.{k}", f"layers.{k}", f"layer{k + 1}")])


def _decoder() -> Iterator[Row]:
    ours, meta, hf = "decoder.", "detector.transformer.decoder.", "detector_model.detr_decoder."
    names = [
        ("query_embedding", "query_embed", "query_embed"),
        ("reference_boxes", "reference_points", "reference_points"),
        ("presence_embedding", "presence_token", "presence_token"),
        ("norm_out", "norm", "output_layer_norm"),
        ("presence_norm", "presence_token_out_norm", "presence_layer_norm"),
    ]
    yield from modules(ours, meta, hf, names)
    for our_head, meta_head, hf_head, count in (
        ("box_head", "bbox_embed", "box_head", 3),
        ("presence_head", "presence_token_head", "presence_head", 3),
        ("position_head", "ref_point_head", "ref_point_head", 2),
        ("bias_x", "boxRPB_embed_x", "box_rpb_embed_x", 2),
        ("bias_y", "boxRPB_embed_y", "box_rpb_embed_y", 2),
    ):
        yield from _heads(f"{ours}{our_head}.", f"{meta}{meta_head}.", f"{hf}{hf_head}.", count)
    layer = tuple(prefix + "layers.{i}." for prefix in (ours, meta, hf))
    for our_attention, meta_attention, hf_attention, our_norm, meta_norm in (
        ("self_attention", "self_attn", "self_attn", "norm_self", "norm2"),
        ("prompt_attention", "ca_text", "text_cross_attn", "norm_prompt", "catext_norm"),
        ("image_attention", "cross_attn", "vision_cross_attn", "norm_image", "norm1"),
    ):
        yield from fused(layer[0] + our_attention, layer[1] + meta_attention, layer[2] + hf_attention)
        yield from modules(layer[0], layer[1], layer[2], [(our_norm, meta_norm, hf_attention + "_layer_norm")])
    names = [("norm_mlp", "norm3", "mlp_layer_norm")]
    names += [(f"mlp.fc{k}", f"linear{k}", f"mlp.fc{k}") for k in (1, 2)]
    yield from modules(layer[0], layer[1], layer[2], names)


def _outputs() -> Iterator[Row]:
    """Fusion encoder, scoring, mask head."""
    yield from _pre_norm_layer(
        "fusion_encoder.layers.{i}.",
        "detector.transformer.encoder.layers.{i}.",
        "detector_model.detr_encoder.layers.{i}.",
        "prompt_attention",
    )
    names = [(f"prompt_mlp.fc{k}", f"prompt_mlp.layers.{k - 1}", f"text_mlp.layer{k}") for k in (1, 2)]
    names += [
        ("prompt_norm", "prompt_mlp.out_norm", "text_mlp_out_norm"),
        ("prompt_project", "prompt_proj", "text_proj"),
        ("query_project", "hs_proj", "query_proj"),
    ]
    yield from modules("scoring.", "detector.dot_prod_scoring.", "detector_model.dot_product_scoring.", names)
    ours, meta, hf = "mask_head.", "detector.segmentation_head.", "detector_model.mask_decoder."
    yield from fused(ours + "prompt_attention", meta + "cross_attend_prompt", hf + "prompt_cross_attn")
    names = [
        ("prompt_norm", "cross_attn_norm", "prompt_cross_attn_norm"),
        ("instance_project", "instance_seg_head", "instance_projection"),
        ("semantic_project", "semantic_seg_head", "semantic_projection"),
    ]
    names += [
        (f"mask_embedding.layers.{k}", f"mask_predictor.mask_embed.layers.{k}", f"mask_embedder.layers.{k}")
        for k in range(3)
    ]  # counted from zero in both
    for part, name in (("convs", "conv_layers"), ("norms", "norms")):
        names += [(f"{part}.{k}",) + (f"pixel_decoder.{name}.{k}",) * 2 for k in (0, 1)]
        unused = f"pixel_decoder.{name}.2.{{p}}"  # third stage: built, never run
        yield carried(meta + unused, hf + unused)
    yield from modules(ours, meta, hf, names)


_ROWS: Final = tuple(itertools.chain(_vision(), _necks(), _text(), _geometry(), _decoder(), _outputs(), tracker_rows()))
META: Final = KeyMap(
    rule
    for row in _ROWS
    for rule in (
        [Rule((ours,), (meta,)) for ours, meta in zip(row.ours, row.meta, strict=True)]
        if row.meta_op is SAME
        else [Rule(row.ours, row.meta, row.meta_op)]
    )
)
HUGGING_FACE: Final = KeyMap(
    # Hugging Face stores the position table without its class row, so there only the first of our two names is fed.
    Rule(row.ours[:1] if row.hf_op is LEADING_AXIS else row.ours, row.hf, row.hf_op)
    for row in _ROWS
    if row.hf
)


@dataclass(frozen=True)
class Layout:
    """A way of prefixing the names of a format.

    Attributes:
        name: how reports call it.
        keymap: the table of the format.
        prefixes: (prefix in the file, prefix in the table); the first that fits counts.
    """

    name: str
    keymap: KeyMap
    prefixes: tuple[tuple[str, str], ...]

    def to_table(self, name: str) -> str:
        """The name in the table for a name in the file."""
        for ours, table in self.prefixes:
            if name.startswith(ours):
                return table + name[len(ours) :]
        return name

    def from_table(self, name: str) -> str | None:
        """The name in the file for a name in the table; None where the layout has no place for it."""
        for ours, table in self.prefixes:
            if name.startswith(table):
                return ours + name[len(table) :]
        return None


META_LAYOUT: Final = Layout("Meta", META, (("", ""),))
META_BARE_LAYOUT: Final = Layout("Meta without the prefix 'detector.'", META, (("", "detector."),))
HF_VIDEO_LAYOUT: Final = Layout("Hugging Face Sam3VideoModel", HUGGING_FACE, (("", ""),))
HF_IMAGE_LAYOUT: Final = Layout("Hugging Face Sam3Model", HUGGING_FACE, (("", "detector_model."),))
HF_TRACKER_LAYOUT: Final = Layout(
    "Hugging Face Sam3TrackerModel",
    HUGGING_FACE,
    (
        ("vision_encoder.backbone.", "detector_model.vision_encoder.backbone."),
        ("vision_encoder.neck.", "tracker_neck."),
        ("", "tracker_model."),
    ),
)


def hf_layout(names: Iterable[str]) -> Layout:
    """Which of Hugging Face's models `names` belong to, told by their first parts."""
    heads = {name.partition(".")[0] for name in names}
    if heads & {"detector_model", "tracker_model", "tracker_neck"}:
        return HF_VIDEO_LAYOUT
    return HF_TRACKER_LAYOUT if heads & {"memory_attention", "prompt_encoder"} else HF_IMAGE_LAYOUT


def meta_layout(names: Iterable[str]) -> Layout:
    """Whether Meta's `names` carry their prefixes; without them *every* name must be one of the detector's."""
    names = list(names)
    if any(name.startswith(("detector.", "tracker.")) for name in names):
        return META_LAYOUT
    links = META.decode(META_BARE_LAYOUT.to_table(name) for name in names)
    return META_BARE_LAYOUT if names and not links.unknown else META_LAYOUT


def owns(config: ModelConfig, name: str) -> bool:
    """Whether the model of `config` has a parameter that could be called `name` (one of our names)."""
    if name.startswith(CARRIED):
        return False
    if name.startswith("tracker_neck."):
        return config.tracker_neck
    if name.startswith("tracker."):
        return config.tracker is not None
    return config.geometry.points or not name.startswith("geometry_encoder.point_")


def from_hf(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """A state dict of transformers' `Sam3Model` (or video model) -> parameters of `Detector`.

    Args:
        state: names with or without `detector_model.`; entries that the model of `config` does not own are left out.
        config: of the detector that shall take them.

    Raises:
        CheckpointError: an entry is unknown, or a part of q, k, v is missing.
    """
    return _decoded(state, hf_layout(state), config)


def from_meta(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """A state dict in Meta's names, with or without `detector.`, -> parameters of `Detector`; see `from_hf`."""
    return _decoded(state, meta_layout(state), config)


def _decoded(state: Mapping[str, Tensor], layout: Layout, config: ModelConfig) -> dict[str, Tensor]:
    tensors = {layout.to_table(name): tensor for name, tensor in state.items()}
    links = layout.keymap.decode(tensors)
    check_links(links, layout)
    ours: dict[str, Tensor] = {}
    for link in links.complete:
        if any(owns(config, name) for name in link.ours):
            ours.update(zip(link.ours, link.operation.decode([tensors[n] for n in link.foreign]), strict=True))
    return {name: tensor for name, tensor in ours.items() if owns(config, name)}


def check_links(links: Links, layout: Layout) -> None:
    """Raises `CheckpointError` when names are unknown to the layout or a group of names is incomplete."""
    missing = [name for _, names in links.partial for name in names]
    if links.unknown or missing:
        raise CheckpointError(
            f"these are not the entries of a SAM 3 model in the layout {layout.name}: "
            f"{name_list('unknown', links.unknown)}; {name_list('missing', missing)}"
        )


def name_list(kind: str, names: Iterable[str], limit: int = 10) -> str:
    """Count and first names: `3 unknown (a, b, c)`."""
    names = sorted(names)
    if not names:
        return f"0 {kind}"
    more = ", ..." if len(names) > limit else ""
    return f"{len(names)} {kind} ({', '.join(names[:limit])}{more})"
