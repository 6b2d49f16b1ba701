"""Round trips over the whole key lists, bit by bit, in every direction."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from checkpoint.stand_in import (
    SMALL,
    assert_same_bits,
    hf_state,
    key_list,
    meta_state,
    random_bits,
    write_hf,
)
from masklet.checkpoint import convert, describe, load_detector, save_native
from masklet.errors import CheckpointError, InputError, OutputError
from masklet.model.build import build_model

TABLES = 32
POINTS = 6


def _pickled(path):
    return torch.load(path, weights_only=True)["model"]


@pytest.fixture(scope="module")
def sam3_pt(tmp_path_factory):
    path = tmp_path_factory.mktemp("meta") / "sam3.pt"
    torch.save(meta_state(), path)
    return path


@pytest.fixture(scope="module")
def video_folder(tmp_path_factory):
    return write_hf(tmp_path_factory.mktemp("hf") / "sam3", "video")


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory):
    return write_hf(tmp_path_factory.mktemp("hf") / "image", "image")


@pytest.mark.parametrize("between", ["native", "huggingface", "meta"])
def test_meta_and_back(sam3_pt, tmp_path, between):
    there = convert(sam3_pt, tmp_path / "there", between, config=SMALL)
    back = convert(tmp_path / "there", tmp_path / "back.pt", "meta")
    assert_same_bits(_pickled(tmp_path / "back.pt"), meta_state())
    assert there.filled == back.filled == ()
    assert len(back.computed) == TABLES
    assert back.entries == len(meta_state())


@pytest.mark.parametrize("between", ["native", "huggingface", "meta"])
@pytest.mark.parametrize("kind", ["video", "image"])
def test_hugging_face_and_back(video_folder, image_folder, tmp_path, between, kind):
    source = video_folder if kind == "video" else image_folder
    there = convert(source, tmp_path / "there", between)
    back = convert(tmp_path / "there", tmp_path / "back", "huggingface")
    assert_same_bits(load_file(tmp_path / "back" / "model.safetensors"), hf_state(kind))
    assert load_file(tmp_path / "back" / "masklet_carried.safetensors") == {}
    assert len(there.filled) == (POINTS + 1 if between == "meta" else 0)  # point weights and the class row
    assert back.filled == ()


def test_chain_through_all_formats_keeps_meta_bits(sam3_pt, tmp_path):
    convert(sam3_pt, tmp_path / "a.safetensors", "native", config=SMALL)
    convert(tmp_path / "a.safetensors", tmp_path / "b", "huggingface", shard_bytes=500_000)
    convert(tmp_path / "b", tmp_path / "c.safetensors", "native")
    convert(tmp_path / "c.safetensors", tmp_path / "d.pt", "meta")
    assert_same_bits(_pickled(tmp_path / "d.pt"), meta_state())
    assert_same_bits(load_file(tmp_path / "c.safetensors"), load_file(tmp_path / "a.safetensors"))


def test_meta_and_hugging_face_agree_on_every_shared_entry(sam3_pt, tmp_path):
    report = convert(sam3_pt, tmp_path / "hf", "huggingface", config=SMALL)
    state, written = meta_state(), load_file(tmp_path / "hf" / "model.safetensors")
    assert written.keys() == hf_state("video").keys()
    fused = state["detector.transformer.decoder.layers.4.ca_text.in_proj_weight"]
    for part, name in enumerate("qkv"):
        found = written[f"detector_model.detr_decoder.layers.4.text_cross_attn.{name}_proj.weight"]
        assert_same_bits({"": found}, {"": fused[16 * part : 16 * part + 16]})
    projection = state["detector.backbone.language_backbone.encoder.text_projection"]
    assert_same_bits({"": written["detector_model.text_encoder.text_projection.weight"]}, {"": projection.t()})
    position = state["detector.backbone.vision_backbone.trunk.pos_embed"]
    name = "detector_model.vision_encoder.backbone.embeddings.position_embeddings"
    assert_same_bits({"": written[name]}, {"": position[:, 1:]})
    points = [state[f"tracker.sam_prompt_encoder.point_embeddings.{k}.weight"] for k in range(4)]
    assert_same_bits({"": written["tracker_model.prompt_encoder.point_embed.weight"]}, {"": torch.cat(points)})
    assert len(report.beside) == POINTS + 1
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["detector_config"]["vision_config"]["backbone_config"]["layer_norm_eps"] == 1e-5


def test_native_round_trips_from_a_model_of_our_own(tmp_path):
    model = build_model("test", seed=3)
    expected = model.state_dict()
    save_native(model, tmp_path / "model.safetensors")
    for between in ("meta", "huggingface"):
        there = convert(tmp_path / "model.safetensors", tmp_path / between, between)
        assert there.filled, "dead branches that a public format demands"
        convert(tmp_path / between, tmp_path / f"{between}.back", "native")
        assert_same_bits(load_file(tmp_path / f"{between}.back"), dict(expected))
        assert describe(tmp_path / f"{between}.back").config == model.config


def test_tables_that_differ_in_the_last_bit_are_carried(tmp_path):
    state = meta_state()
    name = "detector.backbone.vision_backbone.trunk.blocks.5.attn.freqs_cis"
    state[name] = torch.complex(state[name].real, torch.nextafter(state[name].imag, torch.tensor(2.0)))
    torch.save(state, tmp_path / "sam3.pt")
    report = convert(tmp_path / "sam3.pt", tmp_path / "a", "huggingface", config=SMALL)
    assert f"carried.{name}" in report.beside
    convert(tmp_path / "a", tmp_path / "b.pt", "meta")
    assert_same_bits(_pickled(tmp_path / "b.pt"), state)
    load_detector(tmp_path / "sam3.pt", config=SMALL)


def test_shards_have_an_index_and_load(image_folder, tmp_path):
    report = convert(image_folder, tmp_path / "many", "huggingface", shard_bytes=700_000)
    shards = [name for name in report.files if name.startswith("model-")]
    assert len(shards) > 5
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    merged = {}
    for shard in shards:
        merged |= load_file(tmp_path / "many" / shard)
    assert_same_bits(merged, hf_state("image"))
    assert index["weight_map"].keys() == merged.keys()
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in merged.values())
    one, many = load_detector(image_folder), load_detector(tmp_path / "many")
    assert_same_bits(dict(many.state_dict()), dict(one.state_dict()))


def test_dtype_casts_numbers_but_not_tables(sam3_pt, tmp_path):
    convert(sam3_pt, tmp_path / "half.pt", "meta", dtype="bf16", config=SMALL)
    state, expected = _pickled(tmp_path / "half.pt"), meta_state()
    for name, tensor in expected.items():
        if tensor.is_complex():
            assert state[name].dtype == torch.complex64
        else:
            same = torch.equal(state[name].view(torch.int16), tensor.to(torch.bfloat16).view(torch.int16))
            assert same and state[name].dtype == torch.bfloat16, name


def test_nested_bare_and_safetensors_files_of_meta_are_the_same(sam3_pt, tmp_path):
    state = meta_state()
    torch.save({"model": state, "epoch": 3, "optimizer": {"state": {}, "lr": 0.1}}, tmp_path / "nested.pt")
    save_file(state, tmp_path / "meta.safetensors")
    for name in ("nested.pt", "meta.safetensors"):
        convert(tmp_path / name, tmp_path / f"{name}.native", "native", config=SMALL)
        convert(sam3_pt, tmp_path / "plain.native", "native", config=SMALL, overwrite=True)
        assert (tmp_path / f"{name}.native").read_bytes() == (tmp_path / "plain.native").read_bytes()
    bare = {k.removeprefix("detector."): v for k, v in state.items() if k.startswith("detector.")}
    torch.save(bare, tmp_path / "bare.pt")
    report = convert(tmp_path / "bare.pt", tmp_path / "bare.back", "meta", config=replace(SMALL, tracker=None))
    detector_only = {k: v for k, v in state.items() if k.startswith("detector.")}
    assert_same_bits(_pickled(tmp_path / "bare.back"), detector_only)
    assert "detector." in report.notes[0]


def test_entries_that_the_model_leaves_out_are_carried(sam3_pt, tmp_path):
    config = replace(SMALL, tracker=None, tracker_neck=False, geometry=replace(SMALL.geometry, points=False))
    model = load_detector(sam3_pt, config=config)
    assert not any(name.startswith("tracker") or "point_" in name for name in model.state_dict())
    save_native(model, tmp_path / "model.safetensors", carried_from=sam3_pt)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert "carried.detector.backbone.vision_backbone.sam2_convs.0.dconv_2x2_0.weight" in names
    assert "carried.detector.geometry_encoder.points_pool_project.bias" in names
    assert {f"carried.{name}" for name in key_list("meta-tracker")} <= set(names)
    convert(tmp_path / "model.safetensors", tmp_path / "back.pt", "meta")
    assert_same_bits(_pickled(tmp_path / "back.pt"), meta_state())


def test_native_to_native_is_the_same_file(sam3_pt, tmp_path):
    convert(sam3_pt, tmp_path / "a.safetensors", "native", config=SMALL)
    convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "native")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("target", ["native", "meta"])
def test_what_exists_is_not_overwritten(image_folder, tmp_path, target):
    (tmp_path / "there").write_bytes(b"precious")
    with pytest.raises(InputError, match="must not exist"):
        convert(image_folder, tmp_path / "there", target)
    assert (tmp_path / "there").read_bytes() == b"precious"
    convert(image_folder, tmp_path / "there", target, overwrite=True)
    assert describe(tmp_path / "there").format == target


def test_bad_targets_are_refused(image_folder, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InputError, match="folder with content"):
        convert(image_folder, tmp_path / "full", "huggingface")
    with pytest.raises(InputError, match="native, meta, huggingface"):
        convert(image_folder, tmp_path / "y", "onnx")
    with pytest.raises(InputError, match="differ from src"):
        convert(image_folder, image_folder, "huggingface")
    with pytest.raises(InputError, match="auto"):
        convert(image_folder, tmp_path / "y", "native", dtype="auto")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        convert(image_folder, tmp_path / "file" / "y", "native")


def test_a_failure_leaves_nothing_behind(image_folder, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys.modules["masklet.checkpoint.convert"], "write_safetensors", full)
    with pytest.raises(OutputError, match="No space left"):
        convert(image_folder, tmp_path / "out", "huggingface")
    assert list(tmp_path.iterdir()) == []


def test_incomplete_tracker_is_refused(tmp_path):
    state = meta_state()
    del state["tracker.sam_prompt_encoder.point_embeddings.2.weight"]
    torch.save(state, tmp_path / "sam3.pt")
    for config in (SMALL, replace(SMALL, tracker=None)):
        with pytest.raises(CheckpointError, match=r"1 missing \(.*point_embeddings\.2"):
            convert(tmp_path / "sam3.pt", tmp_path / "native", "native", config=config)


def test_side_file_must_agree_with_the_configuration(sam3_pt, tmp_path):
    convert(sam3_pt, tmp_path / "hf", "huggingface", config=SMALL)
    path = tmp_path / "hf" / "config.json"
    path.write_text(path.read_text().replace('"num_attention_heads": 16', '"num_attention_heads": 8'))
    with pytest.raises(CheckpointError, match="describe different models"):
        load_detector(tmp_path / "hf")


def test_scoring_width_that_hugging_face_cannot_say_is_refused(tmp_path):
    model = build_model(replace(build_model("test").config, scoring_mlp_width=40), seed=0)
    save_native(model, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="scoring_mlp_width 40"):
        convert(tmp_path / "m.safetensors", tmp_path / "hf", "huggingface")


def test_random_bits_hold_every_kind_of_number():
    numbers = random_bits((100_000,), 0)
    assert numbers.isnan().any() and (numbers < 0).any() and (numbers.abs() < 1e-30).any()


# --- files written before there was a tracker -------------------------------------------------------------------------


def _as_before_trackers(source, target):
    """A native file as it was written when the tracker's entries were all carried and no configuration named one."""
    state = {name: tensor for name, tensor in load_file(source).items() if not name.startswith("tracker.")}
    state |= {f"carried.{name}": t for name, t in meta_state().items() if name.startswith("tracker.")}
    with safe_open(source, "pt") as file:
        metadata = file.metadata()
    config = json.loads(metadata["config"])
    del config["tracker"]
    save_file(state, target, metadata | {"config": json.dumps(config)})


@pytest.mark.parametrize("between", ["native", "huggingface", "meta"])
def test_native_file_from_before_trackers(sam3_pt, tmp_path, between):
    convert(sam3_pt, tmp_path / "new", "native", config=SMALL)
    _as_before_trackers(tmp_path / "new", tmp_path / "old")
    assert load_detector(tmp_path / "old").tracker is None
    report = convert(tmp_path / "old", tmp_path / "there", between)
    assert "tracker.no_memory.weight" in report.carried
    convert(tmp_path / "there", tmp_path / "back.pt", "meta")
    assert_same_bits(_pickled(tmp_path / "back.pt"), meta_state())


def test_folder_of_hugging_face_from_before_trackers(sam3_pt, tmp_path):
    """Its configuration says nothing of the tracker's sizes, and the side file's has no place for one."""
    convert(sam3_pt, tmp_path / "hf", "huggingface", config=SMALL)
    for says, expected in ((True, SMALL.tracker), (False, None)):
        values = json.loads((tmp_path / "hf" / "config.json").read_text())
        if not says:
            values["tracker_config"] = {"model_type": "sam3_tracker_video"}
        (tmp_path / "hf" / "config.json").write_text(json.dumps(values))
        side = tmp_path / "hf" / "masklet_carried.safetensors"
        with safe_open(side, "pt") as file:
            metadata, state = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config = json.loads(metadata["config"])
        config.pop("tracker", None)
        save_file(state, side, metadata | {"config": json.dumps(config)})
        assert load_detector(tmp_path / "hf").config.tracker == expected
        convert(tmp_path / "hf", tmp_path / f"back{says}.pt", "meta")
        assert_same_bits(_pickled(tmp_path / f"back{says}.pt"), meta_state())


def test_a_tracker_that_was_left_out_stays_out(sam3_pt, tmp_path):
    config = replace(SMALL, tracker=None)
    convert(sam3_pt, tmp_path / "a.native", "native", config=config)
    convert(tmp_path / "a.native", tmp_path / "b", "huggingface")
    convert(tmp_path / "b", tmp_path / "c.pt", "meta")
    for name in ("a.native", "b", "c.pt"):
        assert load_detector(tmp_path / name).config == config
    assert_same_bits(_pickled(tmp_path / "c.pt"), meta_state())
