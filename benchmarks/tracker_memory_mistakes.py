"""The mistakes of `tracker_mistakes.py` in what is remembered: memory encoder and attention, which frames are read."""

from __future__ import annotations

from mistakes import Mistake, in_file

WRITING = (
    *in_file(
        "model/memory_encoder.py",
        ("memory: binary and probabilities exchanged", ".float() if binary else", ".float() if not binary else"),
        ("memory: scale 10", "_SCALE, _BIAS = 20.0, -10.0", "_SCALE, _BIAS = 10.0, -10.0"),
        ("memory: no bias", "_SCALE, _BIAS = 20.0, -10.0", "_SCALE, _BIAS = 20.0, 0.0"),
        ("memory: norm of the mask left out", "gelu(norm(conv(x)))", "gelu(conv(x))"),
        ("memory: image left out", "self.image_project(coarse) + self", "0 * self.image_project(coarse) + self"),
        ("memory: mask left out", "+ self.mask_downsampler(", "+ 0 * self.mask_downsampler("),
        ("memory: image not projected", "self.image_project(coarse) +", "coarse +"),
        ("fuser: scale left out", "(self.scale * self.mlp(pixels))", "(self.mlp(pixels))"),
        ("fuser: norm left out", "self.norm(self.spatial(x))", "self.spatial(x)"),
        ("fuser: residual left out", "return x + (self.scale", "return (self.scale"),
        ("fuser: ReLU", ", activation=gelu)", ")"),
        ("fuser: one block only", "for block in self.fuser:", "for block in self.fuser[:1]:"),
        ("vector of what is out of sight left out", "tokens, tokens + self.out_of_sight.weight)", "tokens, tokens)"),
        (
            "vector of what is out of sight for all",
            "(sight_logits > 0)[:, None, None]",
            "(sight_logits > 1e9)[:, None, None]",
        ),
    ),
    Mistake(
        "memory: GELU by tanh",
        (
            ("model/memory_encoder.py", "import torch\n", "import torch\nimport torch.nn.functional as F\n"),
            ("model/memory_encoder.py", "gelu(norm(conv(x)))", "F.gelu(norm(conv(x)), approximate='tanh')"),
        ),
    ),
)

READING = (
    *in_file(
        "model/memory_attention.py",
        ("the frame's queries not turned", "rotate(attention.q(x), *table), attention", "attention.q(x), attention"),
        ("maps not turned", "pairs *= torch.complex(*table)", "pairs = pairs.clone()"),
        (
            "pointers turned too",
            "        if x.device.type",
            "        _turn(k[:, -pointer_tokens:], [one[:pointer_tokens] for one in table])\n        if x.device.type",
        ),
        ("self-attention not turned", "rotate(q, *table), rotate(k, *table), v)", "q, k, v)"),
        (
            "self-attention: values turned too",
            "rotate(q, *table), rotate(k, *table), v)",
            "rotate(q, *table), rotate(k, *table), rotate(v, *table))",
        ),
        ("memory: positions on values", "expand(len(k), -1, -1), k, values)", "expand(len(k), -1, -1), k, keys)"),
        ("memory: no positions on keys", "keys = values + positions", "keys = values + 0 * positions"),
        ("the frame's positions in full", "_POSITION_SHARE = 0.1", "_POSITION_SHARE = 1.0"),
        ("the frame's positions left out", "_POSITION_SHARE = 0.1", "_POSITION_SHARE = 0.0"),
        ("table of other frequencies", "_THETA = 10000.0", "_THETA = 1000.0"),
        ("table of another scale", "scale=1.0", "scale=0.5"),
        ("memory attention: last norm left out", "self.norm_out(x).transpose", "x.transpose"),
        (
            "memory attention: first norm left out",
            "self._read_itself(self.norm_self(x), table)",
            "self._read_itself(x, table)",
        ),
        ("memory attention: second norm left out", "self._read_memory(self.norm_memory(x),", "self._read_memory(x,"),
        ("memory attention: third norm left out", "self.mlp(self.norm_mlp(x))", "self.mlp(x)"),
        ("memory attention: one layer too few", "for layer in self.layers:", "for layer in self.layers[:-1]:"),
        (
            "pointers cut across",
            "unflatten(2, (pieces, -1)).flatten(1, 2)",
            "unflatten(2, (-1, pieces)).transpose(2, 3).flatten(1, 2)",
        ),
        ("positions of pointers in turns", "repeat_interleave(pieces, dim=-2)", "repeat(pieces, 1)"),
        (
            "pointers without positions",
            "torch.cat((of_maps, of_pointers), dim=-2)",
            "torch.cat((of_maps, 0 * of_pointers), dim=-2)",
        ),
        ("offsets divided by the horizon", "(memory.horizon - 1)", "memory.horizon"),
        (
            "maps without their distance in time",
            "(self.time_embedding(memory.rows)[..., None, :] + place)",
            "(0 * self.time_embedding(memory.rows)[..., None, :] + place)",
        ),
        ("maps without their place", "[..., None, :] + place)", "[..., None, :] + 0 * place)"),
        ("rows of time reversed", "self.time_embedding(memory.rows)", "self.time_embedding(6 - memory.rows)"),
    ),
    Mistake(
        "epsilon 1e-6 in the norms of memory attention",
        (("model/memory_attention.py", "nn.LayerNorm(width)", "nn.LayerNorm(width, eps=1e-6)"),),
        everywhere=True,
    ),
    *in_file(
        "layers/position.py",
        (
            "distances: sines and cosines in turns",
            "return torch.cat((phases.sin(), phases.cos()), dim=-1)\n\n\n@functools",
            "return torch.stack((phases.sin(), phases.cos()), dim=-1).flatten(-2)\n\n\n@functools",
        ),
        (
            "distances: cosines first",
            "torch.cat((phases.sin(), phases.cos()), dim=-1)",
            "torch.cat((phases.cos(), phases.sin()), dim=-1)",
        ),
        (
            "distances: wavelengths over all channels",
            "_wavelengths(channels // 2, distances.device)",
            "_wavelengths(channels, distances.device)[: channels // 2]",
        ),
    ),
)

BANK = in_file(
    "model/memory_bank.py",
    (
        "maps always from before",
        "_frame_away(frame_idx, away, rules.stride, backwards))",
        "_frame_away(frame_idx, away, rules.stride, False))",
    ),
    (
        "pointers always from before",
        "frame_idx - sign * away) for away in range(1, horizon)",
        "frame_idx - away) for away in range(1, horizon)",
    ),
    ("pointers of prompts ahead", "if sign * (frame_idx - t) >= 0]", "if sign * (frame_idx - t) >= -99]"),
    (
        "no pointers of prompts",
        "pointers = [PointerRead(t, abs(frame_idx - t)) for t in past]",
        "pointers = [PointerRead(t, abs(frame_idx - t)) for t in past[:0]]",
    ),
    (
        "three prompted maps",
        "remembered.prompted, rules.conditioning_maps)",
        "remembered.prompted, rules.conditioning_maps - 1)",
    ),
    ("all prompted maps", "remembered.prompted, rules.conditioning_maps)", "remembered.prompted, 99)"),
    (
        "the nearest four prompted frames",
        "chosen = [t for t in (before, after) if t is not None]",
        "chosen = [t for t in (before, after) if t is None]",
    ),
    (
        "prompted frames that were not chosen are lost",
        "for away, t in map_frames if t in remembered.tracked or t in others]",
        "for away, t in map_frames if t in remembered.tracked]",
    ),
    (
        "pointers of chosen prompts only",
        "prompts = remembered.prompted if rules.huggingface else chosen",
        "prompts = chosen",
    ),
    ("horizon always 16", "max(2, min(frames, rules.pointers))", "rules.pointers"),
    ("pointers of prompts at distance 0", "PointerRead(t, abs(frame_idx - t))", "PointerRead(t, 0)"),
    (
        "pointers by rank",
        "    pointers += [PointerRead(t, away) for away, t in pointer_frames if",
        "    pointer_frames = list(enumerate((t for _, t in pointer_frames if t in remembered.tracked), 1))\n"
        "    pointers += [PointerRead(t, away) for away, t in pointer_frames if",
    ),
    ("one pointer too few", "for away in range(1, horizon)]", "for away in range(1, horizon - 1)]"),
    ("one map too few", "for away in range(1, rules.maps)]", "for away in range(1, rules.maps - 1)]"),
    ("prompted maps by the first row", "MapRead(t, rules.maps - 1) for t in chosen", "MapRead(t, 0) for t in chosen"),
    ("rows counted from the oldest", "MapRead(t, away - 1)", "MapRead(t, rules.maps - 1 - away)"),
)

SELECTION = in_file(
    "model/memory_bank.py",
    (
        "selection: frame 0 is looked at",
        "farthest + 1 if backwards else 0, step)",
        "farthest + 1 if backwards else -1, step)",
    ),
    ("selection: the last frame is not looked at", "neighbour, farthest + 1 if", "neighbour, farthest if"),
    ("selection: the oldest gives a pointer", "min(len(ranked) - 1, horizon - 1)", "min(len(ranked), horizon - 1)"),
    (
        "selection: a bad neighbour is left out",
        "return well if neighbour in well else [*well, neighbour]",
        "return well",
    ),
    ("selection: the neighbour first", "[*well, neighbour]", "[neighbour, *well]"),
    ("selection: the least score is enough", "score > rules.least_score", "score >= rules.least_score"),
    ("selection: one frame more", "_horizon(remembered.frames, rules) - 1", "_horizon(remembered.frames, rules)"),
    (
        "selection: by distance",
        "map_frames = list(enumerate(ranked, 1))[",
        "map_frames = [(abs(frame_idx - t), t) for t in ranked][",
    ),
    (
        "score: mean of products",
        "float(certainty.mean() * quality.float().mean())",
        "float((certainty * quality.float()).mean())",
    ),
    (
        "score: sight as a probability",
        "2 * sight_logits.float().sigmoid() - 1, 0.0)",
        "sight_logits.float().sigmoid(), 0.0)",
    ),
    (
        "stride: from the neighbour on",
        "(frame_idx - 2) // stride * stride - (away - 2) * stride",
        "frame_idx - 1 - (away - 1) * stride",
    ),
    (
        "a prompt here counts as before",
        "(t for t in prompted if t < frame_idx)",
        "(t for t in prompted if t <= frame_idx)",
    ),
)
