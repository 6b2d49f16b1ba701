"""What `describe` says of each format; parameter counts against spec/image-model.md section 13."""

import hashlib
import json
import math
from dataclasses import replace

import pytest
import torch

from checkpoint.stand_in import SMALL, key_list, meta_keys, meta_state, write_hf
from masklet.checkpoint import convert, describe, load_detector, save_native
from masklet.checkpoint.formats import open_checkpoint
from masklet.checkpoint.keymaps import META
from masklet.checkpoint.load import build_blank, check_fit
from masklet.config import SAM3
from masklet.errors import CheckpointError
from masklet.model.build import build_model


class _Blanks:
    """A container of the public sizes without memory."""

    def __init__(self, keys, path):
        self.keys, self.paths, self.metadata = keys, (path,), {}

    def names(self):
        return tuple(self.keys)

    def blank(self, name):
        dtype = torch.complex64 if name.endswith("freqs_cis") else torch.float32
        return torch.empty(self.keys[name], dtype=dtype, device="meta")


@pytest.fixture
def public(monkeypatch, tmp_path):
    path = tmp_path / "sam3.pt"
    path.write_bytes(b"weights")
    monkeypatch.setattr("masklet.checkpoint.formats.open_container", lambda path: _Blanks(meta_keys(), path))
    return describe(path)


def test_counts_of_the_public_model(public):
    parameters = public.parameters
    assert parameters["vision_encoder"] == 446_237_696 - 1024  # the class row is carried
    assert parameters["neck"] == parameters["tracker_neck"] == 3_278_080 + 2_819_072 + 852_480
    assert parameters["text_encoder"] == 353_724_672 - 524_288
    assert parameters["geometry_encoder"] == 8_215_808
    assert parameters["fusion_encoder"] == 9_472_512
    assert parameters["decoder"] == 11_575_093
    assert parameters["scoring"] == 1_182_976
    assert parameters["mask_head"] == 2_298_881 - 590_592
    dead = 256  # of the tracker
    assert parameters["carried: unused branches"] == 1024 + 524_288 + 590_592 + 2 * 852_480 + dead
    tracker = {name.partition(".")[2]: count for name, count in parameters.items() if name.startswith("tracker")}
    del tracker[""]  # the neck and what the tracker's parts share
    assert set(tracker) == {"prompt_encoder", "mask_decoder", "memory_encoder", "memory_attention"}
    names = key_list("meta-tracker")
    own = sum(math.prod(shape) for name, shape in names.items() if name.startswith("tracker.")) - dead
    assert sum(tracker.values()) + parameters["tracker"] == own
    assert public.total_parameters - own - dead == 848_311_862


def test_public_file_is_described(public):
    assert (public.format, public.layout, public.config_source) == ("meta", "Meta", "public model")
    assert public.config.name == "sam3" and public.config.vision.image_size == 1008
    joined = 4 - 1  # point embeddings
    assert public.entries == len(meta_keys()) + 1 - joined  # the class row apart
    assert public.dtypes == {"float32": public.entries - 32, "complex64": 32}
    assert len(public.carried) == 1 + 32 + 1 + 1 + 4 + 8
    assert public.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert public.size_bytes == 7


@pytest.mark.parametrize(("before_trackers", "name"), [(True, "sam3"), (True, "mine"), (False, "sam3")])
def test_tracker_of_a_native_file(monkeypatch, tmp_path, before_trackers, name):
    """Written before there were trackers the public model has one all the same, as its entries are there."""
    links = META.decode(meta_keys()).complete
    blanks = _Blanks(meta_keys(), tmp_path / "x")
    shapes = {
        ours: tuple(blank.shape)
        for link in links
        for ours, blank in zip(link.ours, link.operation.decode([blanks.blank(n) for n in link.foreign]), strict=True)
        if not ours.startswith("tracker.")
    }
    shapes |= {f"carried.{key}": shape for key, shape in meta_keys().items() if key.startswith("tracker.")}
    config = replace(SAM3, name=name, tracker=None).to_dict()
    if before_trackers:
        del config["tracker"]
    container = _Blanks(shapes, tmp_path / "x")
    container.metadata = {"format": "masklet", "version": "1", "config": json.dumps(config)}
    monkeypatch.setattr("masklet.checkpoint.formats.open_container", lambda path: container)
    (tmp_path / "x").touch()
    found = describe(tmp_path / "x", with_hash=False)
    assert found.config.tracker == (SAM3.tracker if before_trackers and name == "sam3" else None)
    check_fit(open_checkpoint(tmp_path / "x"), found.config, build_blank(found.config))
    assert found.parameters["tracker.prompt_encoder"] == 6 * 256 + 256 + 4 * 5 + 16 * 17 + 8 + 32 + 256 * 17


def test_other_input_size_is_read_from_the_tables(monkeypatch, tmp_path):
    keys = {name: (1296, 32) if shape == (5184, 32) else shape for name, shape in meta_keys().items()}
    monkeypatch.setattr("masklet.checkpoint.formats.open_container", lambda path: _Blanks(keys, path))
    (tmp_path / "x.pt").touch()
    assert describe(tmp_path / "x.pt", with_hash=False).config.vision.image_size == 504


def test_detector_without_second_neck_and_points(monkeypatch, tmp_path):
    keys = {n: s for n, s in key_list("meta-detector").items() if "sam2_convs" not in n and "points_" not in n}
    monkeypatch.setattr("masklet.checkpoint.formats.open_container", lambda path: _Blanks(keys, path))
    (tmp_path / "x.pt").touch()
    config = describe(tmp_path / "x.pt", with_hash=False).config
    assert not config.tracker_neck and not config.geometry.points


def test_all_formats(tmp_path):
    torch.save(meta_state(), tmp_path / "sam3.pt")
    convert(tmp_path / "sam3.pt", tmp_path / "native", "native", config=SMALL)
    convert(tmp_path / "sam3.pt", tmp_path / "hf", "huggingface", config=SMALL, shard_bytes=1_000_000)
    convert(tmp_path / "hf", tmp_path / "back.pt", "meta")
    counts = []
    for name, kind in (("native", "native"), ("hf", "huggingface"), ("back.pt", "meta")):
        info = describe(tmp_path / name)
        assert (info.format, info.config, info.config_source, info.filled) == (kind, SMALL, "file", ())
        assert info.size_bytes == sum(file.stat().st_size for file in _weight_files(tmp_path / name))
        counts.append(info.parameters)
    assert counts[0] == counts[1] == counts[2]


def _weight_files(path):
    return sorted(path.glob("*.safetensors")) if path.is_dir() else [path]


def test_filled_entries_are_told(tmp_path):
    folder = write_hf(tmp_path / "hf", "image")
    convert(folder, tmp_path / "sam3.pt", "meta")
    info = describe(tmp_path / "sam3.pt", with_hash=False)
    assert "geometry_encoder.point_direct.weight" in info.filled and len(info.filled) == 7
    assert info.sha256 is None
    assert not info.config.geometry.points
    assert info.config.vision.norm_eps == 1e-6
    assert "tracker_neck" not in info.parameters
    load_detector(tmp_path / "sam3.pt")


def test_counts_equal_those_of_the_model(tmp_path):
    model = build_model("default", seed=0)
    save_native(model, tmp_path / "m.safetensors", torch.float16)
    info = describe(tmp_path / "m.safetensors")
    assert info.total_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert info.dtypes == {"float16": len(model.state_dict())}
    assert info.carried == ()


def test_what_is_no_checkpoint(tmp_path):
    (tmp_path / "x").write_text("hello")
    with pytest.raises(CheckpointError, match="5 bytes beginning"):
        describe(tmp_path / "x")
