"""Loading: what is given to the model, and every way in which a file can be wrong."""

import json
import os
import pickle
import shutil
import zipfile
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from checkpoint.stand_in import HF_CONFIG, SMALL, assert_same_bits, hf_state, meta_state, write_hf
from masklet.checkpoint import load_detector, load_model, save_native
from masklet.checkpoint.keymaps import from_hf
from masklet.errors import CheckpointError, ConfigError, InputError, UnsafeFileError
from masklet.model.build import build_model

MARKER = "masklet_test_marker"


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    path = tmp_path_factory.mktemp("native") / "model.safetensors"
    save_native(build_model("test", seed=1), path)
    return path


@pytest.fixture
def sam3_pt(tmp_path):
    def write(change=lambda state: None, wrap=lambda state: state):
        state = meta_state()
        change(state)
        torch.save(wrap(state), tmp_path / "sam3.pt")
        return tmp_path / "sam3.pt"

    return write


def test_a_saved_model_comes_back_whole(native):
    model = build_model("test", seed=1)
    loaded = load_detector(native)
    assert_same_bits(dict(loaded.state_dict()), dict(model.state_dict()))
    assert loaded.config == model.config
    assert not loaded.training
    fixed = {name for name, parameter in loaded.named_parameters() if not parameter.requires_grad}
    assert fixed == {"tracker.prompt_encoder.frequencies"}
    assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers()])


def test_a_loaded_model_computes_what_the_saved_one_did(native):
    pixels = torch.randn(1, 3, 84, 84, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = build_model("test", seed=1).encode_image(pixels).levels
        found = load_detector(native).encode_image(pixels).levels
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtype_is_cast(native, dtype):
    model = load_detector(native, dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    name = "fusion_encoder.layers.0.mlp.fc1.weight"
    expected = build_model("test", seed=1).state_dict()[name].to(dtype)
    assert torch.equal(model.state_dict()[name], expected)


def test_training_a_mapped_model_leaves_the_file_alone(native):
    before = native.read_bytes()
    model = load_detector(native)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert native.read_bytes() == before


def test_files_of_all_formats_give_the_same_parameters(sam3_pt, tmp_path):
    config = replace(SMALL, geometry=replace(SMALL.geometry, points=False))
    folder = write_hf(tmp_path / "hf", "video")
    model = load_detector(folder)
    assert model.config == replace(
        config, name="hf", vision=replace(SMALL.vision, norm_eps=1e-6), selection=model.config.selection
    )
    assert_same_bits(dict(model.state_dict()), from_hf(hf_state("video"), config))
    assert_same_bits(dict(load_detector(folder / "model.safetensors").state_dict()), dict(model.state_dict()))
    image = write_hf(tmp_path / "image", "image")
    assert not load_detector(image).config.tracker_neck
    state = meta_state()
    loaded = load_detector(sam3_pt(), config=SMALL).state_dict()
    name = "detector.segmentation_head.cross_attend_prompt.in_proj_weight"
    assert_same_bits({"": loaded["mask_head.prompt_attention.qkv.weight"]}, {"": state[name]})
    position = state["detector.backbone.vision_backbone.trunk.pos_embed"][0, 1:]
    assert_same_bits({"": loaded["vision_encoder.position"]}, {"": position})


def test_another_input_size(native):
    model = load_detector(native, image_size=56)
    assert model.config.vision.image_size == 56
    with torch.inference_mode():
        assert model.encode_image(torch.zeros(1, 3, 56, 56)).levels[2].shape[-2:] == (4, 4)
    with pytest.raises(ConfigError, match="multiple of the patch size 14"):
        load_detector(native, image_size=60)


def test_load_model_takes_paths_and_names_of_dtypes(native):
    model = load_model(native, device="cpu", dtype="bf16", image_size=28)
    assert model.dtype == torch.bfloat16
    assert load_model(str(native), device="cpu", dtype="float32").dtype == torch.float32
    with pytest.raises(InputError, match="dtype must be"):
        load_model(native, dtype="int4")


# --- files that do not fit --------------------------------------------------------------------------------------------


def test_missing_extra_and_misshapen_entries_are_counted(sam3_pt):
    def spoil(state):
        for block in range(12):
            del state[f"detector.backbone.vision_backbone.trunk.blocks.{block}.norm1.bias"]
        state["detector.backbone.vision_backbone.trunk.blocks.32.norm1.bias"] = torch.zeros(64)
        state["detector.geometry_encoder.cls_embed.weight"] = torch.zeros(1, 17)

    with pytest.raises(CheckpointError) as caught:
        load_detector(sam3_pt(spoil), config=SMALL)
    message = str(caught.value)
    assert "12 missing (vision_encoder.blocks.0.norm1.bias" in message and ", ...)" in message
    assert "1 extra (vision_encoder.blocks.32.norm1.bias)" in message
    assert "1 misshapen (geometry_encoder.cls_embedding.weight (1, 17) instead of (1, 16))" in message
    assert "\n" not in message


def test_wrong_sizes_say_that_a_configuration_is_needed(sam3_pt):
    with pytest.raises(CheckpointError, match=r"misshapen.*pass config="):
        load_detector(sam3_pt())


def test_integers_are_no_weights(sam3_pt):
    def spoil(state):
        state["detector.transformer.decoder.norm.weight"] = torch.ones(16, dtype=torch.int32)

    with pytest.raises(CheckpointError, match=r"1 not floating point \(decoder\.norm_out\.weight\)"):
        load_detector(sam3_pt(spoil), config=SMALL)


def test_unknown_entries_are_named(sam3_pt):
    with pytest.raises(CheckpointError, match=r"1 unknown \(detector\.new_head\.weight\)"):
        load_detector(sam3_pt(lambda state: state.update({"detector.new_head.weight": torch.zeros(1)})), config=SMALL)


def test_rotary_tables_of_another_network_are_refused(sam3_pt):
    name = "detector.backbone.vision_backbone.trunk.blocks.7.attn.freqs_cis"
    with pytest.raises(CheckpointError, match=r"blocks\.7\.attn\.freqs_cis differs by"):
        load_detector(sam3_pt(lambda state: state.update({name: state[name] * 1.001})), config=SMALL)
    other = SMALL.with_image_size(112)
    with pytest.raises(CheckpointError, match=r"freqs_cis has shape \(36, 2\) instead of \(64, 2\)"):
        load_detector(sam3_pt(), config=other)


def test_multiplex_file_is_named(tmp_path):
    torch.save({"tracker.model.maskmem_tpos_enc": torch.zeros(7)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"SAM 3\.1 \(multiplex\)"):
        load_detector(tmp_path / "x.pt")


def test_tracker_alone_is_named(tmp_path):
    folder = write_hf(tmp_path / "hf", "tracker")
    with pytest.raises(CheckpointError, match="tracker alone"):
        load_detector(folder)
    tracker = {name: tensor for name, tensor in meta_state().items() if name.startswith("tracker.")}
    torch.save(tracker, tmp_path / "tracker.pt")
    with pytest.raises(CheckpointError, match="detector is not in this file"):
        load_detector(tmp_path / "tracker.pt", config=SMALL)


def test_prefix_lost_in_fine_tuning_is_accepted_only_for_all_names(sam3_pt, caplog):
    def strip(state):
        return {name.removeprefix("detector."): t for name, t in state.items() if name.startswith("detector.")}

    alone = replace(SMALL, tracker=None)
    expected = {name: t.clone() for name, t in load_detector(sam3_pt(), config=alone).state_dict().items()}
    found = load_detector(sam3_pt(wrap=lambda state: {"model": strip(state)}), config=alone).state_dict()
    assert_same_bits(dict(found), expected)
    assert "lacks the prefix 'detector.'" in caplog.text
    with pytest.raises(CheckpointError, match=r"1 unknown \(detector\.my_head\.weight\)"):
        load_detector(sam3_pt(wrap=lambda state: strip(state) | {"my_head.weight": torch.zeros(1)}), config=alone)


def test_another_model_is_named(tmp_path):
    torch.save({f"layer{k}.weight": torch.zeros(1) for k in range(11)}, tmp_path / "resnet.pt")
    with pytest.raises(CheckpointError, match=r"11 entries \(layer0\.weight.*\.\.\.\): another model"):
        load_detector(tmp_path / "resnet.pt")
    save_file({}, tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="0 entries: another model"):
        load_detector(tmp_path / "none.safetensors")


@pytest.mark.parametrize("content", [[1, 2], {}, {"state_dict": {"a": torch.zeros(1)}}, {"model": {"a": "text"}}])
def test_pickles_of_other_things_are_named(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="expected a dictionary of tensors"):
        load_detector(tmp_path / "x.pt")


def test_native_file_without_or_with_bad_metadata(native, tmp_path):
    state = load_file(native)
    metadata = {"format": "masklet", "version": "1", "config": json.dumps(build_model("test").config.to_dict())}
    for change, message in (
        (None, "metadata were lost"),
        ({"version": "2"}, "expected version 1 .* found '2'"),
        ({"config": "{"}, "configuration in the metadata cannot be used"),
        ({"config": '{"wings": 2}'}, r"unknown names \['wings'\]"),
    ):
        save_file(state, tmp_path / "x.safetensors", None if change is None else metadata | change)
        with pytest.raises(CheckpointError, match=message):
            load_detector(tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match="config must be left out"):
        load_detector(native, config=SMALL)


# --- broken and malicious files ---------------------------------------------------------------------------------------


def _truncate(path, share):
    os.truncate(path, int(path.stat().st_size * share))


@pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
def test_truncated_files(native, sam3_pt, tmp_path, share):
    copy = tmp_path / "copy.safetensors"
    shutil.copy(native, copy)
    pickled = sam3_pt()
    for path in (copy, pickled):
        _truncate(path, share)
        with pytest.raises(CheckpointError, match="truncated or damaged"):
            load_detector(path, config=SMALL)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        (b"GIF89a" + bytes(100), "expected a safetensors file or a file of torch.save"),
        (b"PK\x03\x04" + bytes(100), "truncated or damaged"),
        (b"\x80\x04", "damaged"),
        ((2**20).to_bytes(8, "little") + b"{}", "truncated or damaged"),
    ],
)
def test_files_of_other_kinds(tmp_path, content, message):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_detector(tmp_path / "x.pt")


class Bomb:
    """Makes a folder when it is unpickled by a reader that executes."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_with_code_are_refused_and_nothing_runs(tmp_path, protocol, zipped):
    path, marker = tmp_path / "sam3.pt", tmp_path / MARKER
    content = {"detector.transformer.decoder.norm.weight": Bomb(marker)}
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(content, protocol))
            archive.writestr("archive/version", "3\n")
            archive.writestr("archive/byteorder", "little")
    else:
        path.write_bytes(pickle.dumps(content, protocol))
    expected = CheckpointError if protocol == 0 and not zipped else UnsafeFileError  # no sign of a pickle: not opened
    with pytest.raises(expected) as caught:
        load_detector(path)
    assert not marker.exists()
    if expected is UnsafeFileError:
        assert "posix.mkdir" in str(caught.value) and "nothing was executed" in str(caught.value)
    pickle.loads(pickle.dumps(content, protocol))
    assert marker.exists(), "the bomb is a real one"


def test_old_files_of_torch_save_load_too(sam3_pt, tmp_path):
    expected = load_detector(sam3_pt(), config=SMALL).state_dict()
    torch.save(meta_state(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert_same_bits(dict(load_detector(tmp_path / "old.pt", config=SMALL).state_dict()), dict(expected))


# --- Hugging Face folders ---------------------------------------------------------------------------------------------


def test_folder_without_what_is_needed(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"expected a Hugging Face folder .* found nothing"):
        load_detector(tmp_path / "empty")
    folder = write_hf(tmp_path / "hf", "image")
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json: needed beside the weights"):
        load_detector(folder)
    with pytest.raises(CheckpointError, match="no such file"):
        load_detector(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "clip"}, "expected model_type 'sam3' or 'sam3_video', found 'clip'"),
        ({"text_config": {}}, "expected a whole number at text_config.vocab_size, found None"),
        ({"mask_decoder_config": {"hidden_size": 32, "num_attention_heads": 8}}, "every hidden_size must equal"),
        ({"detr_encoder_config": {**HF_CONFIG["detr_encoder_config"], "hidden_act": "gelu"}}, "must be 'relu'"),
        ({"detr_encoder_config": {**HF_CONFIG["detr_encoder_config"], "num_layers": 5}}, "18 extra"),
        ({"detr_decoder_config": {**HF_CONFIG["detr_decoder_config"], "num_attention_heads": 3}}, "divisible by"),
    ],
)
def test_configuration_that_does_not_fit(tmp_path, change, message):
    folder = write_hf(tmp_path / "hf", "image", HF_CONFIG | change)
    with pytest.raises((CheckpointError, ConfigError), match=message):
        load_detector(folder)


def test_configuration_that_is_no_json_object(tmp_path):
    folder = write_hf(tmp_path / "hf", "image")
    for text, message in (("{", "expected JSON"), ("[]", "expected a JSON object, found a list")):
        (folder / "config.json").write_text(text)
        with pytest.raises(CheckpointError, match=message):
            load_detector(folder)


def test_parts_of_different_shapes_are_named(tmp_path):
    folder = write_hf(tmp_path / "hf", "image")
    state = hf_state("image")
    state["detr_encoder.layers.0.self_attn.k_proj.weight"] = torch.zeros(16, 8)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"fit each other.*k_proj\.weight \(16, 8\)"):
        load_detector(folder)


def _sharded(folder):
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    half = len(names) // 2
    shards = {"a.safetensors": names[:half], "b.safetensors": names[half:]}
    for file, part in shards.items():
        save_file({name: state[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in shards.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return weight_map


def test_shards(tmp_path):
    folder = write_hf(tmp_path / "hf", "image")
    expected = dict(load_detector(folder).state_dict())
    weight_map = _sharded(folder)
    assert_same_bits(dict(load_detector(folder).state_dict()), expected)
    index = folder / "model.safetensors.index.json"
    for change, message in (
        ({"new.weight": "a.safetensors"}, r"1 only in the index \(new\.weight\)"),
        ({"new.weight": "../a.safetensors"}, "same folder"),
        ({"new.weight": "c.safetensors"}, r"1 shards are missing \(c\.safetensors\) of 3"),
    ):
        index.write_text(json.dumps({"weight_map": weight_map | change}))
        with pytest.raises(CheckpointError, match=message):
            load_detector(folder)
    index.write_text("{}")
    with pytest.raises(CheckpointError, match="weight_map"):
        load_detector(folder)
