"""The name tables against the key lists of the published files, which were made without them."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from checkpoint.stand_in import assert_same_bits, key_list, meta_keys, meta_state
from masklet.checkpoint.keymaps import (
    HF_IMAGE_LAYOUT,
    HF_TRACKER_LAYOUT,
    HF_VIDEO_LAYOUT,
    HUGGING_FACE,
    META,
    META_BARE_LAYOUT,
    META_LAYOUT,
    from_hf,
    from_meta,
    hf_layout,
    meta_layout,
    name_list,
)
from masklet.config import SAM3, preset
from masklet.errors import CheckpointError
from masklet.model.build import build_detector

LISTS = {
    META_LAYOUT: meta_keys,
    HF_IMAGE_LAYOUT: lambda: key_list("hf-image"),
    HF_VIDEO_LAYOUT: lambda: key_list("hf-video"),
    HF_TRACKER_LAYOUT: lambda: key_list("hf-tracker"),
}


def _ours(layout):
    """Shapes under our names of a whole list."""
    blanks = {layout.to_table(name): torch.empty(shape, device="meta") for name, shape in LISTS[layout]().items()}
    links = layout.keymap.decode(blanks)
    assert links.unknown == links.partial == ()
    found = {}
    for link in links.complete:
        decoded = link.operation.decode([blanks[name] for name in link.foreign])
        for name, blank in zip(link.ours, decoded, strict=True):
            assert name not in found, "two entries with one name"
            found[name] = tuple(blank.shape)
    return found


@pytest.mark.parametrize("layout", LISTS, ids=lambda layout: layout.name)
def test_every_name_of_a_list_is_linked_and_comes_back(layout):
    names = LISTS[layout]()
    links = layout.keymap.decode(layout.to_table(name) for name in names)
    stored = [layout.from_table(name) for link in links.complete for name in link.foreign]
    assert sorted(stored) == sorted(names)
    ours = [name for link in links.complete for name in link.ours]
    back = layout.keymap.encode(ours)
    assert back.unknown == back.partial == ()
    assert set(back.complete) == set(links.complete)


def test_both_formats_meet_under_our_names():
    meta, hf = _ours(META_LAYOUT), _ours(HF_VIDEO_LAYOUT)
    assert hf.items() <= meta.items()
    only_meta = Counter(name.rpartition(".")[2] for name in meta.keys() - hf.keys())
    assert only_meta == {"freqs_cis": 32, "class_row": 1, "weight": 3, "bias": 3}


def test_the_public_model_takes_exactly_what_is_not_carried():
    with torch.device("meta"):
        model = build_detector(SAM3)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert {name: shape for name, shape in _ours(META_LAYOUT).items() if not name.startswith("carried.")} == expected


def test_counts_of_the_specification():
    """spec/image-model.md section 16: 908 one to one, 186 fused, 1 transposed, 1 cropped."""
    links = HUGGING_FACE.decode(HF_IMAGE_LAYOUT.to_table(name) for name in key_list("hf-image"))
    kinds = Counter(link.operation.name for link in links.complete)
    assert kinds == {"same": 908, "q, k, v fused": 186, "transpose": 1, "leading axis": 1}


def test_layouts_are_told_apart():
    assert hf_layout(key_list("hf-image")) is HF_IMAGE_LAYOUT
    assert hf_layout(key_list("hf-video")) is HF_VIDEO_LAYOUT
    assert hf_layout(key_list("hf-tracker")) is HF_TRACKER_LAYOUT
    assert meta_layout(meta_keys()) is META_LAYOUT
    bare = [name.removeprefix("detector.") for name in key_list("meta-detector")]
    assert meta_layout(bare) is META_BARE_LAYOUT


@pytest.mark.parametrize(
    "name",
    [
        "xdetector.transformer.decoder.norm.weight",
        "detector.transformer.decoder.norm.weight.x",
        "detector.transformer.decoder.layers.01.norm1.weight",
        "detector.transformer.decoder.layers.0.norm1.weights",
        "detector.transformer.decoder.norm",
        "norm.weight",
        "",
    ],
)
def test_names_match_as_a_whole_only(name):
    assert META.decode([name]).unknown == (name,)


def _blank_hf():
    return {name: torch.zeros(shape, device="meta") for name, shape in key_list("hf-image").items()}


def test_unknown_and_incomplete_entries_are_named():
    state = _blank_hf()
    del state["detr_decoder.layers.3.self_attn.k_proj.bias"]
    state["detr_decoder.surprise.weight"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"1 unknown \(.*surprise.*1 missing \(.*layers\.3\.self_attn\.k_proj"):
        from_hf(state, SAM3)


def test_fused_projections_are_stacked_q_k_v():
    state = _blank_hf()
    for number, part in enumerate("qkv"):
        shape = state[f"detr_encoder.layers.2.cross_attn.{part}_proj.weight"].shape
        state[f"detr_encoder.layers.2.cross_attn.{part}_proj.weight"] = torch.full(shape, float(number))
    fused = from_hf(state, SAM3)["fusion_encoder.layers.2.prompt_attention.qkv.weight"]
    assert fused.shape == (768, 256)
    assert fused.unflatten(0, (3, 256)).mean((1, 2)).tolist() == [0, 1, 2]


def test_parts_that_a_configuration_lacks_are_left_out():
    blanks = {name: torch.zeros(shape, device="meta") for name, shape in meta_keys().items()}
    assert len(from_meta(blanks, replace(SAM3, tracker=None))) == 1111
    assert len(from_meta(blanks, SAM3)) == 1111 + 309 - 3 - 1  # points' labels joined, one entry dead
    small = from_meta(blanks, replace(preset("default"), tracker=None, tracker_neck=False))
    assert not any(name.startswith("tracker") for name in small)


def test_names_without_the_prefix_read_the_same():
    from checkpoint.stand_in import SMALL

    state = meta_state()
    bare = {name.removeprefix("detector."): tensor for name, tensor in state.items() if name.startswith("detector.")}
    alone = replace(SMALL, tracker=None)
    assert_same_bits(from_meta(bare, alone), from_meta(state, alone))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "0 extra"),
        (["b", "a"], "2 extra (a, b)"),
        ([f"n{k:02}" for k in range(12)], "12 extra (n00, n01, n02, n03, n04, n05, n06, n07, n08, n09, ...)"),
    ],
)
def test_messages_have_a_count_and_ten_names(names, expected):
    assert name_list("extra", names) == expected
