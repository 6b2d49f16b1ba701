"""The mistakes that `tracker_mutations.py` puts into masklet, one at a time: those of spec/tracker.md 14 and 15.4.

`PEER` are seen beside transformers; `OWN` are mistakes in what transformers does otherwise or not at all, and are seen
by tests with numbers of their own. Those in what is remembered are in `tracker_memory_mistakes.py`.
"""

from __future__ import annotations

from mistakes import Mistake, in_file
from tracker_memory_mistakes import BANK, READING, SELECTION, WRITING

PROMPTS = (
    *in_file(
        "model/prompt_encoder.py",
        ("cosines before sines", "(angles.sin(), angles.cos())", "(angles.cos(), angles.sin())"),
        (
            "cells: y before x",
            "(x.expand(height, width), y[:, None].expand(height, width))",
            "(y[:, None].expand(height, width), x.expand(height, width))",
        ),
        ("points: y before x", "points.xy_px.float() + 0.5", "points.xy_px.float().flip(-1) + 0.5"),
        ("no half pixel on points", "(points.xy_px.float() + 0.5)", "points.xy_px.float()"),
        ("no half cell, down", "device=device) + 0.5) / height", "device=device) + 0.0) / height"),
        ("no half cell, across", "device=device) + 0.5) / width", "device=device) + 0.0) / width"),
        ("places from 0 to 1", "(2 * xy_norm - 1)", "xy_norm"),
        ("places not times 2 pi", " * (2 * math.pi)", ""),
        ("no padding point", "torch.cat((tokens, nothing.expand(len(points), 1, -1)), dim=1)", "tokens"),
        ("two padding points", "nothing.expand(len(points), 1, -1)", "nothing.expand(len(points), 2, -1)"),
        ("place kept where there is no point", "[..., None], nothing, tokens)", "[..., None], nothing + code, tokens)"),
        (
            "label left on where there is no point",
            "tokens = torch.where((points.labels == -1)[..., None], nothing, tokens)",
            "tokens = tokens + 0 * nothing",
        ),
        (
            "clicks on the object and beside it exchanged",
            "points.labels.clamp(min=0)",
            "torch.where(points.labels < 2, 1 - points.labels, points.labels).clamp(min=0, max=3)",
        ),
        (
            "corners exchanged",
            "points.labels.clamp(min=0)",
            "torch.where(points.labels > 1, 5 - points.labels, points.labels).clamp(min=0)",
        ),
        ("mask prompt: first norm left out", "gelu(self.mask_norm1(self.mask_conv1(x)))", "gelu(self.mask_conv1(x))"),
        ("mask prompt: second norm left out", "gelu(self.mask_norm2(self.mask_conv2(x)))", "gelu(self.mask_conv2(x))"),
        (
            "mask prompt: no activation",
            "gelu(self.mask_norm1(self.mask_conv1(x)))",
            "self.mask_norm1(self.mask_conv1(x))",
        ),
    ),
    *in_file(
        "model/tracker.py",
        ("no vector where there is no mask", "encoder.without_mask() if", "0 * encoder.without_mask() if"),
        (
            "vector of no mask beside a mask",
            "else encoder.mask(mask_logits, grid_hw)",
            "else encoder.mask(mask_logits, grid_hw) + encoder.without_mask()",
        ),
    ),
)

DECODER = (
    *in_file(
        "model/mask_decoder.py",
        (
            "first self-attention adds to the tokens",
            "tokens = self.self_attention(tokens, tokens, tokens)",
            "tokens = tokens + self.self_attention(tokens, tokens, tokens)",
        ),
        (
            "first self-attention sees positions",
            "tokens = self.self_attention(tokens, tokens, tokens)",
            "tokens = self.self_attention(tokens + first, tokens + first, tokens)",
        ),
        ("every self-attention replaces the tokens", "replaces=index == 0", "replaces=True"),
        ("no self-attention replaces the tokens", "replaces=index == 0", "replaces=False"),
        (
            "later self-attention without positions",
            "self.self_attention(placed, placed, tokens)",
            "self.self_attention(tokens, tokens, tokens)",
        ),
        (
            "later self-attention: positions on values",
            "self.self_attention(placed, placed, tokens)",
            "self.self_attention(placed, placed, placed)",
        ),
        (
            "tokens read the image without their positions",
            "self.image_attention(tokens + first, placed_image, image)",
            "self.image_attention(tokens, placed_image, image)",
        ),
        (
            "image keys without positions",
            "self.image_attention(tokens + first, placed_image, image)",
            "self.image_attention(tokens + first, image + 0 * position, image)",
        ),
        (
            "image values with positions",
            "self.image_attention(tokens + first, placed_image, image)",
            "self.image_attention(tokens + first, placed_image, placed_image)",
        ),
        (
            "image reads tokens without their positions",
            "self.token_attention(placed_image, tokens + first, tokens)",
            "self.token_attention(placed_image, tokens, tokens)",
        ),
        (
            "image reads without its positions",
            "self.token_attention(placed_image, tokens + first, tokens)",
            "self.token_attention(image, tokens + first, tokens)",
        ),
        (
            "image reads the tokens before the MLP",
            "        tokens = self.norm_mlp(tokens + self.mlp(tokens))\n"
            "        image = self.norm_token(image + self.token_attention(placed_image, tokens + first, tokens))\n",
            "        image = self.norm_token(image + self.token_attention(placed_image, tokens + first, tokens))\n"
            "        tokens = self.norm_mlp(tokens + self.mlp(tokens))\n",
        ),
        ("two-way: first norm left out", "tokens = self.norm_self(tokens)", "tokens = tokens + 0"),
        (
            "two-way: norm of the image left out",
            "image = self.norm_token(image + self.token_attention(placed_image, tokens + first, tokens))",
            "image = image + self.token_attention(placed_image, tokens + first, tokens)",
        ),
        (
            "two-way: GELU in the MLP",
            "Mlp(width=width, hidden=mlp_width)",
            "Mlp(width=width, hidden=mlp_width, activation=gelu)",
        ),
        (
            "last attention without the tokens' positions",
            "self.image_attention(tokens + first, pixels + position, pixels)",
            "self.image_attention(tokens, pixels + position, pixels)",
        ),
        (
            "last attention without the image's positions",
            "self.image_attention(tokens + first, pixels + position, pixels)",
            "self.image_attention(tokens + first, pixels, pixels)",
        ),
        ("last norm left out", "self.norm_out(tokens + self", "(tokens + self"),
        (
            "middle level left out",
            "self.upsample1(image) + features.middle",
            "self.upsample1(image) + 0 * features.middle",
        ),
        ("fine level left out", "self.upsample2(x) + features.fine", "self.upsample2(x) + 0 * features.fine"),
        (
            "middle level after the norm",
            "self.upsample_norm(self.upsample1(image) + features.middle)",
            "self.upsample_norm(self.upsample1(image)) + features.middle",
        ),
        (
            "fine level after the activation",
            "gelu(self.upsample2(x) + features.fine)",
            "gelu(self.upsample2(x)) + features.fine",
        ),
        (
            "no activation after the last upsampling",
            "gelu(self.upsample2(x) + features.fine)",
            "self.upsample2(x) + features.fine",
        ),
        (
            "tokens of quality and sight exchanged",
            "(self.sight_token.weight, self.quality_token.weight,",
            "(self.quality_token.weight, self.sight_token.weight,",
        ),
        ("sight read from the token of quality", "self.sight_head(tokens[:, 0])", "self.sight_head(tokens[:, 1])"),
        ("quality without sigmoid", ".float().sigmoid()[:, chosen.start :]", ".float()[:, chosen.start :]"),
        ("quality of the wrong masks", "[:, chosen.start :]", "[:, : len(chosen)]"),
        ("candidates are masks 0 to 2", "range(1, len(self.mask_heads)) if", "range(len(self.mask_heads) - 1) if"),
        ("pointers of the wrong candidates", "tokens=mask_tokens[:, 1:]", "tokens=mask_tokens[:, :-1]"),
        ("mask heads all read one token", "(mask_tokens[:, index])", "(mask_tokens[:, 0])"),
        ("a single mask is always kept", "_STABILITY_MARGIN) >= _STABLE", "_STABILITY_MARGIN) >= 0.0"),
        ("a single mask is never kept", "_STABILITY_MARGIN) >= _STABLE", "_STABILITY_MARGIN) >= 2.0"),
        ("margin 0.01 of stability", "_STABILITY_MARGIN = 0.05", "_STABILITY_MARGIN = 0.01"),
        ("quality not that of the stand-in", "quality[rows, best][:, None]", "quality[:, :1]"),
    ),
    Mistake(
        "pointer from the token of the stand-in",
        tuple(
            ("model/mask_decoder.py", old, new)
            for old, new in (
                (
                    '-> tuple[Tensor, Tensor]:\n    """The first of',
                    '-> tuple[Tensor, Tensor, Tensor]:\n    """The first of',
                ),
                ("quality[rows, best][:, None]", "quality[rows, best][:, None], best"),
                (
                    "logits, quality = (logits[:, :1], quality[:, :1]) if self.training else _stable_or_best",
                    "logits, quality, best = _stable_or_best",
                ),
                ("tokens=mask_tokens[:, :1]", "tokens=mask_tokens[torch.arange(len(best)), best][:, None]"),
            )
        ),
    ),
    Mistake(
        "epsilon 1e-6 in the two-way norms",
        (("model/mask_decoder.py", "nn.LayerNorm(width)", "nn.LayerNorm(width, eps=1e-6)"),),
        everywhere=True,
    ),
    Mistake(
        "GELU by tanh in the mask decoder",
        (
            ("model/mask_decoder.py", "import torch\n", "import torch\nimport torch.nn.functional as F\n"),
            (
                "model/mask_decoder.py",
                "x = gelu(self.upsample2(x) + features.fine)",
                "x = F.gelu(self.upsample2(x) + features.fine, approximate='tanh')",
            ),
        ),
    ),
    *in_file("layers/norm.py", ("epsilon 1e-5 in the norms of pixels", "eps=1e-6", "eps=1e-5")),
)

STEPS = in_file(
    "model/tracker.py",
    ("two points are ambiguous", "_AMBIGUOUS_POINTS = 1", "_AMBIGUOUS_POINTS = 2"),
    ("one click is clear", "_AMBIGUOUS_POINTS = 1", "_AMBIGUOUS_POINTS = 0"),
    (
        "tracked frames are clear",
        "self.chosen(self.proposals(features, points, memory=memory))",
        "self.chosen(self._decode(features, self._with_memory(features, memory), points, None, ambiguous=False))",
    ),
    ("first candidate instead of the best", "candidates.quality.argmax(1)", "0 * candidates.quality.argmax(1)"),
    (
        "masks of what is out of sight kept",
        "candidates.mask_logits[rows, best].float(), OUT_OF_SIGHT)",
        "candidates.mask_logits[rows, best].float(), candidates.mask_logits[rows, best].float())",
    ),
    (
        "pointers of what is out of sight kept",
        "torch.where(seen[:, None], pointers, self.no_pointer.weight)",
        "pointers",
    ),
    (
        "missing memory not told",
        "features.coarse + self.no_memory.weight[..., None, None]",
        "features.coarse + 0 * self.no_memory.weight[..., None, None]",
    ),
    (
        "missing memory told beside memory",
        "image: Tensor = self.memory_attention(features.coarse, memory)",
        "image: Tensor = self.memory_attention(self._without_memory(features), memory)",
    ),
    (
        "missing memory told to given masks",
        "self._decode(features, features.coarse, points, prompt,",
        "self._decode(features, self._without_memory(features), points, prompt,",
    ),
    (
        "pointer of a given mask from the wrong token",
        "points, prompt, ambiguous=ambiguous,",
        "points, prompt, ambiguous=not ambiguous,",
    ),
    (
        "pointer of an empty mask kept",
        "torch.where(seen[:, None], chosen.pointers, self.no_pointer.weight)",
        "chosen.pointers",
    ),
    (
        "an empty mask is in sight",
        "torch.where(seen, _GIVEN_SIGHT, -_GIVEN_SIGHT)",
        "torch.where(seen, _GIVEN_SIGHT, _GIVEN_SIGHT)",
    ),
    (
        "given masks not scaled to plus and minus 10",
        "_MASK_SCALE, _MASK_BIAS = 20.0, -10.0",
        "_MASK_SCALE, _MASK_BIAS = 20.0, -20.0",
    ),
    (
        "masks not brought to the size of the input",
        "return resized(mask_logits, self.input_size_hw(features))",
        "return mask_logits",
    ),
    (
        "prompts lost beside memory",
        "self._without_memory(features) if memory is None else",
        "self._without_memory(features) if True else",
    ),
    (
        "memory is written of the frame without memory",
        "self.memory_encoder(features.coarse,",
        "self.memory_encoder(self._without_memory(features),",
    ),
)

NAMES = in_file(
    "checkpoint/tracker_rows.py",
    (
        "names: norms of the two-way layers exchanged",
        '("self", "image", "mlp", "token")',
        '("self", "mlp", "image", "token")',
    ),
    ("names: norms of memory attention exchanged", '("self", "memory", "mlp")', '("memory", "self", "mlp")'),
)

TYPES = in_file(
    "types.py", ("corners of boxes exchanged", "torch.tensor([2, 3], device", "torch.tensor([3, 2], device")
)

PEER = (*PROMPTS, *DECODER, *STEPS, *WRITING, *READING, *BANK, *NAMES, *TYPES)

OWN = (
    *in_file(
        "model/prompt_encoder.py",
        ("width and height of the input exchanged", "torch.tensor([width, height]", "torch.tensor([height, width]"),
    ),
    *in_file(
        "model/tracker.py",
        ("in sight at 0", "seen = candidates.sight_logits > 0", "seen = candidates.sight_logits >= 0"),
        (
            "given masks are ambiguous",
            "masks: Tensor, *, ambiguous: bool = False",
            "masks: Tensor, *, ambiguous: bool = True",
        ),
        ("given masks must be half there", "seen = (masks > 0)", "seen = (masks > 0.5)"),
        (
            "a mask alone has a point that is none",
            "tokens = image.new_zeros(max(len(image), len(dense)), 0, image.shape[1])",
            "tokens = encoder.points(PointPrompts.none(max(len(image), len(dense))), self.input_size_hw(features))",
        ),
    ),
    *in_file(
        "model/memory_encoder.py",
        (
            "masks resized before they are made binary",
            "logits = mask_logits.float()",
            "logits = resized(mask_logits, (_STRIDE * height, _STRIDE * width))",
        ),
        ("in sight at 0, in memory", "(sight_logits > 0)[:, None, None]", "(sight_logits >= 0)[:, None, None]"),
    ),
    *in_file(
        "model/mask_decoder.py",
        ("stand-in may be the single mask itself", "1 + quality[:, 1:].argmax(1)", "quality.argmax(1)"),
        ("stable at more than 0.98 only", ">= _STABLE", "> _STABLE"),
    ),
    *in_file(
        "ops/masks.py",
        ("margin reached from above", "(mask_logits > -margin)", "(mask_logits >= -margin)"),
        ("nothing is not stable", "smaller / larger.clamp(min=1), 1.0)", "smaller / larger.clamp(min=1), 0.0)"),
    ),
    *SELECTION,
)
