"""The mistakes that `mutations.py` puts into masklet, one at a time: what spec/image-model.md section 18 warns of.

A mistake is a change of source text; each old text must stand exactly once in its file, so that a change of the source
that makes a mistake meaningless is noticed (`tests/test_mutations.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

Edit = tuple[str, str, str]  # file below src/masklet, old text, new text


@dataclass(frozen=True)
class Mistake:
    """What is wrong, and the edits that make it so; `everywhere`: at all places of the old text."""

    name: str
    edits: tuple[Edit, ...]
    everywhere: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it changes."""
        return tuple(dict.fromkeys(file for file, _, _ in self.edits))

    def applied(self, file: str, source: str) -> str:
        """`source` of `file` with the mistake in it.

        Raises:
            ValueError: an old text is not there, or not once.
        """
        for place, old, new in self.edits:
            if place != file:
                continue
            count = source.count(old)
            if count == 0 or (count > 1 and not self.everywhere):
                raise ValueError(
                    f"mistake {self.name!r}: expected its text once in {file}, found it {count} times: {old}"
                )
            source = source.replace(old, new)
        return source


def in_file(file: str, *mistakes: tuple[str, str, str]) -> tuple[Mistake, ...]:
    """Mistakes of one edit each in one file: (name, old text, new text)."""
    return tuple(Mistake(name, ((file, old, new),)) for name, old, new in mistakes)


VISION = (
    *in_file(
        "model/vision_encoder.py",
        ("position table left out", " + self._tiled_position(height, width))  #", ")  #"),
        (
            "position table stretched instead of tiled",
            "tiled = table.repeat(-(-height // side), -(-width // side), 1)",
            "tiled = F.interpolate(table.permute(2, 0, 1)[None], (height, width), mode='bicubic')[0].permute(1, 2, 0)",
        ),
        (
            "first norm left out",
            "self.norm_in(patches.flatten(2).transpose(1, 2) + self._tiled_position(height, width))",
            "(patches.flatten(2).transpose(1, 2) + self._tiled_position(height, width))",
        ),
        (
            "first norm before the positions",
            "self.norm_in(patches.flatten(2).transpose(1, 2) + self._tiled_position(height, width))",
            "self.norm_in(patches.flatten(2).transpose(1, 2)) + self._tiled_position(height, width)",
        ),
        ("windows padded before the norm", "        if inside is not None:\n", "        if False:\n"),
        (
            "window padding at the top",
            "F.pad(grid, (0, 0, 0, self.columns * self.side - self.width, 0, self.rows * self.side - self.height))",
            "F.pad(grid, (0, 0, 0, self.columns * self.side - self.width, self.rows * self.side - self.height, 0))",
        ),
        ("rotary positions of global blocks not scaled", "self.window / height)", "1.0)"),
        (
            "rotary positions on values too",
            "attend_and_merge(q, k, v, scale=1.0)",
            "attend_and_merge(q, k, turned(v, turns[1]), scale=1.0)",
        ),
        (
            "rotary positions on queries only",
            "turned(q, turns[0]), turned(k, turns[1])",
            "turned(q, turns[0]), k",
        ),
        (
            "queries and keys exchanged",
            "attend_and_merge(q, k, v, scale=1.0)",
            "attend_and_merge(k, q, v, scale=1.0)",
        ),
        ("second norm left out", "self.mlp(self.norm2(x))", "self.mlp(x)"),
        (
            "GELU by tanh in the vision encoder",
            "activation=gelu",
            "activation=lambda x: F.gelu(x, approximate='tanh')",
        ),
        ("all blocks global", "is_global = index in self.global_blocks", "is_global = True"),
    ),
    Mistake(
        "window padding hidden from attention",
        (
            (
                "model/vision_encoder.py",
                "turns: Turns) -> Tensor:\n",
                "turns: Turns, seen: Tensor | None = None) -> Tensor:\n",
            ),
            (
                "model/vision_encoder.py",
                "attend_and_merge(q, k, v, scale=1.0)",
                "merge_heads(attend(q, k, v, scale=1.0, mask=seen))",
            ),
            ("model/vision_encoder.py", "import attend_and_merge", "import attend, merge_heads"),
            (
                "model/vision_encoder.py",
                "self.attention(normed, turns)",
                "self.attention(normed, turns, None if inside is None else"
                " inside[:, None, None, :, 0].repeat(len(x) // len(inside), 1, 1, 1))",
            ),
        ),
    ),
    *in_file(
        "layers/rope.py",
        (
            "rotary axes exchanged",
            "torch.cat((torch.outer(columns, frequencies), torch.outer(rows, frequencies)), dim=-1)",
            "torch.cat((torch.outer(rows, frequencies), torch.outer(columns, frequencies)), dim=-1)",
        ),
        ("rotary frequencies halved in the exponent", "(steps / head_width)", "(steps / head_width / 2)"),
        ("rotation backwards", "angles.cos(), angles.sin()", "angles.cos(), -angles.sin()"),
    ),
    Mistake(
        "rotary pairs half a head apart",
        (
            ("layers/rope.py", "unflatten(-1, (-1, 2))", "unflatten(-1, (2, -1)).transpose(-1, -2).contiguous()"),
            (
                "layers/rope.py",
                "* turns).flatten",
                "* turns).transpose(-1, -2).flatten",
            ),
        ),
    ),
    *in_file("model/build.py", ("epsilon 1e-5 in the vision encoder", "norm_eps=vision.norm_eps", "norm_eps=1e-5")),
)

NECK = (
    *in_file(
        "model/neck.py",
        ("GELU of the neck left out", "gelu(self.upsample1(x))", "self.upsample1(x)"),
        ("GELU before the middle level too", "project(x, self.upsample1,", "project(gelu(x), self.upsample1,"),
        ("GELU by tanh in the neck", "gelu(self.upsample1(x))", "F.gelu(self.upsample1(x), approximate='tanh')"),
        ("bias of the upsampling not projected", "matrix @ upsample.bias", "upsample.bias[: len(matrix)]"),
        ("bias of the neck's projection left out", " + self.project.bias.float()", ""),
    ),
    *in_file(
        "layers/position.py",
        (
            "position map counts from 0",
            "(torch.arange(width, device=device) + 1)",
            "torch.arange(width, device=device)",
        ),
        ("position map: x before y", "torch.cat((code_y, code_x), dim=-1)", "torch.cat((code_x, code_y), dim=-1)"),
        ("every channel its own wavelength", 'torch.div(k, 2, rounding_mode="floor")', "(k / 2)"),
        (
            "sines before cosines, not alternating",
            "torch.stack((phases[..., 0::2].sin(), phases[..., 1::2].cos()), dim=-1).flatten(-2)",
            "torch.cat((phases[..., 0::2].sin(), phases[..., 1::2].cos()), dim=-1)",
        ),
        ("coordinate codes not times 2 pi", "coordinates.float() * (2 * math.pi)", "coordinates.float()"),
    ),
)

TEXT = in_file(
    "model/text_encoder.py",
    ("no causal mask", "device=x.device).tril()", "device=x.device)"),
    ("text positions left out", " + self.position[:length]", ""),
    ("last norm of the text left out", "self.project(self.norm_out(x))", "self.project(x)"),
    ("quick GELU in the text encoder", "activation=gelu", "activation=lambda x: x * (1.702 * x).sigmoid()"),
    ("padding counted as text", "valid=valid)", "valid=torch.ones_like(valid))"),
)

EXEMPLARS = (
    *in_file(
        "model/geometry_encoder.py",
        (
            "labels exchanged",
            "self.label_embedding(exemplars.box_labels)",
            "self.label_embedding(1 - exemplars.box_labels)",
        ),
        ("box code: w before h", "h[..., None], w[..., None]", "w[..., None], h[..., None]"),
        (
            "box code: x before y",
            "coordinate_code(cy, half), coordinate_code(cx, half)",
            "coordinate_code(cx, half), coordinate_code(cy, half)",
        ),
        ("four numbers of the box left out", "self.box_direct(boxes.to(dtype)) + ", ""),
        ("pooled picture left out", "        tokens = tokens + self._box_pictures(pooled, image_idx, boxes)\n", ""),
        (
            "pooled from the map before its norm",
            "pooled = self.pool_norm(level.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)",
            "pooled = level",
        ),
        (
            "exemplars read the map after the norm",
            "values = level.flatten(2).transpose(1, 2)",
            "values = self.pool_norm(level.flatten(2).transpose(1, 2))",
        ),
        ("exemplars' keys without positions", "keys = (values + position).", "keys = values."),
        ("exemplars' values with positions", " values = values.", " values = (values + position)."),
        ("exemplars' padding not hidden", "mask = padding_mask(valid)", "mask = padding_mask(torch.ones_like(valid))"),
        (
            "exemplars: projection left out",
            "self.norm_in(self.project(torch.cat(parts, dim=1)))",
            "self.norm_in(torch.cat(parts, dim=1))",
        ),
        (
            "exemplars: first norm left out",
            "self.norm_in(self.project(torch.cat(parts, dim=1)))",
            "self.project(torch.cat(parts, dim=1))",
        ),
        ("exemplars: last norm left out", "return self.norm_out(tokens), valid", "return tokens, valid"),
        ("exemplars all on the first image", "roi_align(pooled[image],", "roi_align(pooled[0],"),
    ),
    *in_file(
        "model/build.py",
        ("no summary token without exemplars", "=geometry.cls_without_exemplars", "=False"),
    ),
    *in_file(
        "ops/roi_align.py",
        (
            "RoIAlign shifted by half a cell",
            "    position = position.clamp(min=0.0)",
            "    position = (position - 0.5).clamp(min=0.0)",
        ),
        ("RoIAlign without the least size", ".clamp(min=1.0)", ".clamp(min=1e-6)"),
        (
            "RoIAlign with two samples per bin",
            "samples = bin_length.ceil()",
            "samples = torch.full_like(bin_length, 2)",
        ),
        ("RoIAlign counts samples outside", " & (position >= -1.0) & (position <= cells)", ""),
    ),
    Mistake(
        "RoIAlign with sizes in float64",
        (
            (
                "model/geometry_encoder.py",
                "cxcywh_to_xyxy(boxes) * scale",
                "cxcywh_to_xyxy(boxes.double()) * scale",
            ),
            ("ops/roi_align.py", "boxes = boxes_xyxy.float()", "boxes = boxes_xyxy"),
            (
                "ops/roi_align.py",
                "samples = bin_length.ceil()  # per bin",
                "samples = bin_length.ceil().float()\n    start, bin_length = start.float(), bin_length.float()",
            ),
        ),
    ),
)

FUSION = (
    *in_file(
        "model/fusion_encoder.py",
        ("fusion: no positions", "placed = normed + position", "placed = normed + 0 * position"),
        ("fusion: positions on values", "(placed, placed, normed)", "(placed, placed, placed)"),
        (
            "fusion: positions on the queries of the prompt",
            "self.prompt_attention(self.norm2(x), ",
            "self.prompt_attention(self.norm2(x) + position, ",
        ),
        ("fusion: prompt padding not hidden", "prompt, prompt, mask=prompt_mask", "prompt, prompt"),
        (
            "fusion: residual after the norm",
            "x = x + self.self_attention(placed",
            "x = normed + self.self_attention(placed",
        ),
        (
            "fusion: positions stay in the residual",
            "x = x + self.self_attention(placed",
            "x = x + position + self.self_attention(placed",
        ),
        (
            "fusion: prompt attention left out",
            "        x = x + self.prompt_attention(self.norm2(x), prompt, prompt, mask=prompt_mask)\n",
            "",
        ),
        ("fusion: third norm left out", "self.mlp(self.norm3(x))", "self.mlp(x)"),
    ),
    *in_file("layers/mlp.py", ("GELU for ReLU in the 256-wide layers", "Tensor] = relu", "Tensor] = gelu")),
    *in_file(
        "layers/attention.py",
        ("attention without its scale", "attn_mask=mask, scale=scale)", "attn_mask=mask, scale=1.0)"),
        (
            "keys and values exchanged in the fused weights",
            "q, k, v = self._project(query, 0, 3)",
            "q, v, k = self._project(query, 0, 3)",
        ),
    ),
)

_PROMPT_STEP = (
    "        z = self.norm_prompt(z + self.prompt_attention(z + position, prompt, prompt, mask=prompt_mask))\n"
)
_IMAGE_STEP = (
    "        z = self.norm_image(z + self.image_attention(z + position, image_keys, memory, mask=image_bias))\n"
)
_FIRST_BOXES = "self.reference_boxes.weight.sigmoid().expand(prompts, -1, -1)"

DECODER = in_file(
    "model/decoder.py",
    ("decoder: image before prompt", _PROMPT_STEP + _IMAGE_STEP, _IMAGE_STEP + _PROMPT_STEP),
    ("decoder: no positions in self-attention", "placed = rows + position[:, :attending]", "placed = rows"),
    (
        "decoder: positions on values",
        "self.self_attention(placed, placed, rows)",
        "self.self_attention(placed, placed, placed)",
    ),
    ("decoder: no positions in prompt attention", "self.prompt_attention(z + position,", "self.prompt_attention(z,"),
    ("decoder: no positions in image attention", "self.image_attention(z + position,", "self.image_attention(z,"),
    (
        "position given to the presence token",
        "F.pad(self._query_position(reference), (0, 0, 1, 0))",
        "self._query_position(torch.cat((reference[:, :1], reference), 1))",
    ),
    (
        "bias given to the presence token",
        "return F.pad(bias, (0, 0, 1, 0))",
        "return torch.cat((bias[:, :, :1], bias), 2)",
    ),
    (
        "queries do not see the presence token",
        "self.self_attention(placed, placed, rows)",
        "self.self_attention(placed, placed, rows, mask=(torch.arange(attending) > 0).expand(1, 1, attending, -1))",
    ),
    (
        "normed states go on to the next layer",
        "            step = self",
        "            z = torch.cat((z[:, :1], normed), 1)\n            step = self",
    ),
    ("box steps from states before the norm", "self.box_head(normed)", "self.box_head(z[:, 1:])"),
    (
        "box bias from the first boxes",
        "self._image_bias(reference, grid_hw)",
        f"self._image_bias({_FIRST_BOXES}, grid_hw)",
    ),
    (
        "query positions from the first boxes",
        "self._query_position(reference)",
        f"self._query_position({_FIRST_BOXES})",
    ),
    ("inverse sigmoid ends at 1e-5", "_LOGIT_EPS = 1e-3", "_LOGIT_EPS = 1e-5"),
    ("box bias with half a cell of offset", "dtype=torch.float32) / cells", "dtype=torch.float32).add(0.5) / cells"),
    ("box bias not divided by log2(8)", " / math.log2(8)", ""),
    ("box bias by the natural logarithm", "torch.log2(offsets", "torch.log(offsets"),
    ("box bias without the factor 8", "dim=-1) * 8", "dim=-1)"),
    (
        "box bias: axes exchanged",
        "self._offset_bias(self.bias_x, x0, x1, width)",
        "self._offset_bias(self.bias_y, x0, x1, width)",
    ),
    (
        "box bias: grid turned",
        "(by_row[..., :, None] + by_column[..., None, :])",
        "(by_row[..., None, :] + by_column[..., :, None])",
    ),
    (
        "box bias: edges exchanged",
        "(places - low[..., None], places - high[..., None])",
        "(places - high[..., None], places - low[..., None])",
    ),
    ("query code: x before y", "boxes[..., [1, 0, 2, 3]]", "boxes"),
    ("query code: h before w", "[1, 0, 2, 3]", "[1, 0, 3, 2]"),
    ("decoder: image keys without positions", "image_keys = memory + position", "image_keys = memory.clone()"),
    ("decoder: image values with positions", "image_keys, memory, mask=", "image_keys, image_keys, mask="),
    ("decoder: prompt padding not hidden", "padding_mask(prompt.valid)", "padding_mask(torch.ones_like(prompt.valid))"),
    (
        "norm of the presence token left out",
        "self.presence_head(self.presence_norm(z[:, 0]))",
        "self.presence_head(z[:, 0])",
    ),
    (
        "norm of the presence token shared with the queries",
        "self.presence_head(self.presence_norm(z[:, 0]))",
        "self.presence_head(self.norm_out(z[:, 0]))",
    ),
    ("decoder's norms exchanged", "z = self.norm_image(", "z = self.norm_mlp("),
    ("boxes never refined", "            boxes = refine(reference, step)\n", ""),
)

HEADS = (
    *in_file("model/build.py", ("presence clamped to 10", "=decoder.presence_clamp", "=10.0")),
    *in_file(
        "model/scoring.py",
        (
            "scoring: padding in the mean",
            "valid = prompt.valid[..., None]",
            "valid = torch.ones_like(prompt.valid)[..., None]",
        ),
        (
            "scoring: start token not in the mean",
            "valid = prompt.valid[..., None]",
            "valid = (prompt.valid & (torch.arange(prompt.valid.shape[1]) > 0))[..., None]",
        ),
        ("scoring: residual left out", "prompt.tokens + self.prompt_mlp(", "self.prompt_mlp("),
        (
            "scoring: norm left out",
            "self.prompt_norm(prompt.tokens + self.prompt_mlp(prompt.tokens))",
            "prompt.tokens + self.prompt_mlp(prompt.tokens)",
        ),
        ("scoring: scale left out", "(logits * self.scale)", "logits"),
        ("scoring: clamp left out", ".clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT)", ""),
    ),
    *in_file(
        "model/mask_head.py",
        (
            "mask head: prompt attention left out",
            " + self.prompt_attention(self.prompt_norm(memory), prompt.tokens, prompt.tokens, mask=mask)",
            "",
        ),
        (
            "mask head: norm left out",
            "self.prompt_attention(self.prompt_norm(memory),",
            "self.prompt_attention(memory,",
        ),
        (
            "mask head: prompt padding not hidden",
            "prompt.tokens, prompt.tokens, mask=mask",
            "prompt.tokens, prompt.tokens",
        ),
        ("mask head: residual after the norm", "tokens = memory + self", "tokens = self.prompt_norm(memory) + self"),
        ("mask head: coarsest level not replaced", "pixels = coarse\n", "pixels = levels[-1][image_idx]\n"),
        ("mask head: bilinear upsampling", 'mode="nearest"', 'mode="bilinear"'),
        (
            "mask head: addition after the convolution",
            "relu(norm(conv(finer)))",
            "relu(norm(conv(finer - level[image_idx]) + level[image_idx]))",
        ),
        ("mask head: four groups", "_GROUPS = 8", "_GROUPS = 4"),
        ("mask head: ReLU left out", "relu(norm(conv(finer)))", "norm(conv(finer))"),
        ("mask head: bias of the projection left out", " + offset[:, None, None]", ""),
        ("mask head: projection left out", "(embedding @ weight).split", "embedding.split"),
        ("mask head: all prompts on the first image", "+ _gathered(level, image_idx)", "+ level[:1]"),
    ),
)

PROMPTS = (
    *in_file(
        "model/detector.py",
        ("masks from another layer's states", "queries = decoded.queries[-1]\n", "queries = decoded.queries[-2]\n"),
        (
            "boxes of another layer",
            "boxes_cxcywh_norm=decoded.boxes_cxcywh_norm[-1],",
            "boxes_cxcywh_norm=decoded.boxes_cxcywh_norm[-2],",
        ),
    ),
    Mistake(
        "scoring reads the text without the exemplars",
        (
            (
                "model/detector.py",
                "self.scoring(queries, prompt)",
                "self.scoring(queries, PromptTokens(tokens=prompt.tokens[:, :32], valid=prompt.valid[:, :32]))",
            ),
        ),
    ),
    *in_file(
        "model/mask_head.py",
        (
            "semantic map from the features of the instances",
            "self.semantic_project(pixels)",
            "self.semantic_project(self.instance_project(pixels))",
        ),
    ),
)

_EPSILONS = tuple(
    Mistake(
        f"epsilon 1e-6 in the norms of {part}",
        ((f"model/{part}.py", "nn.LayerNorm(width)", "nn.LayerNorm(width, eps=1e-6)"),),
        everywhere=True,
    )
    for part in ("text_encoder", "geometry_encoder", "fusion_encoder", "decoder", "scoring")
) + in_file(
    "model/mask_head.py",
    ("epsilon 1e-6 in the group norms", "GroupNorm(_GROUPS, width)", "GroupNorm(_GROUPS, width, 1e-6)"),
)

MISTAKES = (*VISION, *NECK, *TEXT, *EXEMPLARS, *FUSION, *DECODER, *HEADS, *PROMPTS, *_EPSILONS)
