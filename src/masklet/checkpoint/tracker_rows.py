"""The tracker's parameter names: ours, Meta's, Hugging Face's (spec/tracker.md 11.3)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from masklet.checkpoint.rows import Row, carried, modules, row
from masklet.checkpoint.rules import COLUMN, LEADING_AXIS, ROWS, TWINS


def tracker_rows() -> Iterator[Row]:
    """All rows of the tracker; the neck that it reads is in `keymaps.py`."""
    yield from itertools.chain(_own(), _memory_attention(), _memory_encoder(), _prompts(), _decoder())


def _projections(ours: str, meta: str, hf: str) -> Iterator[Row]:
    """A tracker attention, whose projections are apart in both formats."""
    names = [(part, f"{part}_proj", f"{part}_proj") for part in "qkv"]
    yield from modules(ours + ".", meta + ".", hf + ".", [*names, ("out", "out_proj", "o_proj")])


def _head(ours: str, meta: str, hf: str) -> Iterator[Row]:
    """A tracker head of three linear layers."""
    names = [("layers.0", "layers.0", "proj_in"), ("layers.1", "layers.1", "layers.0")]
    yield from modules(ours + ".", meta + ".", hf + ".", [*names, ("layers.2", "layers.2", "proj_out")])


def _own() -> Iterator[Row]:
    ours, meta, hf = "tracker.", "tracker.", "tracker_model."
    yield Row(
        (ours + "no_memory.weight",),
        (meta + "no_mem_embed",),
        (hf + "no_memory_embedding",),
        meta_op=LEADING_AXIS,
        hf_op=LEADING_AXIS,
    )
    yield carried(meta + "no_mem_pos_enc", hf + "no_memory_positional_encoding")  # never takes part
    yield row(ours + "no_pointer.weight", meta + "no_obj_ptr", hf + "no_object_pointer")
    yield from modules(ours, meta, hf, [("mask_downsample",) * 3])
    yield from _head(ours + "pointer_head", meta + "obj_ptr_proj", hf + "object_pointer_proj")


def _memory_attention() -> Iterator[Row]:
    ours, meta, hf = "tracker.memory_attention.", "tracker.", "tracker_model."
    yield Row(
        (ours + "time_embedding.weight",),
        (meta + "maskmem_tpos_enc",),
        (hf + "memory_temporal_positional_encoding",),
        meta_op=COLUMN,
        hf_op=COLUMN,
    )
    names = [
        ("pointer_time", "obj_ptr_tpos_proj", "temporal_positional_encoding_projection_layer"),
        ("norm_out", "transformer.encoder.norm", "memory_attention.layer_norm"),
    ]
    yield from modules(ours, meta, hf, names)
    layer = (ours + "layers.{i}.", meta + "transformer.encoder.layers.{i}.", hf + "memory_attention.layers.{i}.")
    for our_name, their_name in (("self_attention", "self_attn"), ("memory_attention", "cross_attn_image")):
        yield from _projections(layer[0] + our_name, layer[1] + their_name, layer[2] + their_name)
    names = [(f"norm_{part}", f"norm{k}", f"layer_norm{k}") for k, part in enumerate(("self", "memory", "mlp"), 1)]
    names += [(f"mlp.fc{k}", f"linear{k}", f"linear{k}") for k in (1, 2)]
    yield from modules(*layer, names)


def _memory_encoder() -> Iterator[Row]:
    ours, meta, hf = "tracker.memory_encoder.", "tracker.maskmem_backbone.", "tracker_model.memory_encoder."
    yield row(
        ours + "out_of_sight.weight",
        "tracker.no_obj_embed_spatial",
        "tracker_model.occlusion_spatial_embedding_parameter",
    )
    names = [
        ("mask_downsampler.project", "mask_downsampler.encoder.12", "mask_downsampler.final_conv"),
        ("image_project", "pix_feat_proj", "feature_projection"),
        ("project", "out_proj", "projection"),
    ]
    for k in range(4):  # Meta counts convolution, norm and activation as one sequence
        for place, part, hf_part in ((3 * k, "convs", "conv"), (3 * k + 1, "norms", "layer_norm")):
            down = "mask_downsampler."
            names.append((f"{down}{part}.{k}", f"{down}encoder.{place}", f"{down}layers.{k}.{hf_part}"))
    yield from modules(ours, meta, hf, names)
    block = (ours + "fuser.{i}.", meta + "fuser.layers.{i}.", hf + "memory_fuser.layers.{i}.")
    names = [("spatial", "dwconv", "depthwise_conv"), ("norm", "norm", "layer_norm")]
    names += [(f"mlp.fc{k}", f"pwconv{k}", f"pointwise_conv{k}") for k in (1, 2)]
    yield from modules(*block, names)
    yield row(block[0] + "scale", block[1] + "gamma", block[2] + "scale")


def _prompts() -> Iterator[Row]:
    ours, meta, hf = "tracker.prompt_encoder.", "tracker.sam_prompt_encoder.", "tracker_model.prompt_encoder."
    yield Row(
        (ours + "frequencies",),
        (meta + "pe_layer.positional_encoding_gaussian_matrix",),
        ("tracker_model.shared_image_embedding.positional_embedding", hf + "shared_embedding.positional_embedding"),
        hf_op=TWINS,
    )
    yield Row(
        (ours + "label_embedding.weight",),
        tuple(f"{meta}point_embeddings.{k}.weight" for k in range(4)),
        (hf + "point_embed.weight",),
        meta_op=ROWS,
    )
    names = [("no_point", "not_a_point_embed", "not_a_point_embed"), ("no_mask", "no_mask_embed", "no_mask_embed")]
    for k, our_name, hf_name in (
        (0, "conv1", "conv1"),
        (1, "norm1", "layer_norm1"),
        (3, "conv2", "conv2"),
        (4, "norm2", "layer_norm2"),
        (6, "project", "conv3"),
    ):
        names.append((f"mask_{our_name}", f"mask_downscaling.{k}", f"mask_embed.{hf_name}"))
    yield from modules(ours, meta, hf, names)


def _decoder() -> Iterator[Row]:
    ours, meta, hf = "tracker.mask_decoder.", "tracker.sam_mask_decoder.", "tracker_model.mask_decoder."
    names = [
        ("quality_token", "iou_token", "iou_token"),
        ("mask_tokens", "mask_tokens", "mask_tokens"),
        ("sight_token", "obj_score_token", "obj_score_token"),
        ("fine_project", "conv_s0", "conv_s0"),
        ("middle_project", "conv_s1", "conv_s1"),
        ("upsample1", "output_upscaling.0", "upscale_conv1"),
        ("upsample_norm", "output_upscaling.1", "upscale_layer_norm"),
        ("upsample2", "output_upscaling.3", "upscale_conv2"),
        ("norm_out", "transformer.norm_final_attn", "transformer.layer_norm_final_attn"),
    ]
    yield from modules(ours, meta, hf, names)
    for our_head, their_head in (
        ("mask_heads.{i}", "output_hypernetworks_mlps.{i}"),
        ("quality_head", "iou_prediction_head"),
        ("sight_head", "pred_obj_score_head"),
    ):
        yield from _head(ours + our_head, meta + their_head, hf + their_head)
    last = "transformer.final_attn_token_to_image"
    yield from _projections(ours + "image_attention", meta + last, hf + last)
    layer = (ours + "layers.{i}.", meta + "transformer.layers.{i}.", hf + "transformer.layers.{i}.")
    for our_name, their_name in (
        ("self_attention", "self_attn"),
        ("image_attention", "cross_attn_token_to_image"),
        ("token_attention", "cross_attn_image_to_token"),
    ):
        yield from _projections(layer[0] + our_name, layer[1] + their_name, layer[2] + their_name)
    parts = enumerate(("self", "image", "mlp", "token"), 1)
    names = [(f"norm_{part}", f"norm{k}", f"layer_norm{k}") for k, part in parts]
    names += [("mlp.fc1", "mlp.lin1", "mlp.proj_in"), ("mlp.fc2", "mlp.lin2", "mlp.proj_out")]
    yield from modules(*layer, names)
