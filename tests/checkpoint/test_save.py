"""Our streaming writer against the safetensors library, which reads what it wrote."""

import json
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from checkpoint.stand_in import assert_same_bits
from masklet.checkpoint import save_native
from masklet.checkpoint.save import Item, write_safetensors
from masklet.errors import CheckpointError, OutputError
from masklet.model.build import build_model

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex64, torch.int64, torch.uint8]
DTYPES += [torch.int8, torch.int16, torch.int32, torch.bool]
TENSORS = st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=4), st.integers(0, 10**6))


def _tensor(dtype, shape, seed):
    numbers = torch.randint(0, 2 if dtype == torch.bool else 100, shape, generator=torch.Generator().manual_seed(seed))
    return numbers.to(dtype)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), TENSORS, max_size=6))
def test_the_library_reads_what_is_written(drawn):
    drawn.pop("__metadata__", None)
    tensors = {name: _tensor(*parts) for name, parts in drawn.items()}
    items = [Item(name, tensor.to("meta"), lambda tensor=tensor: tensor) for name, tensor in tensors.items()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        write_safetensors(path, items, {"format": "pt", "ключ": "значение"})
        found = {name: tensor.clone() for name, tensor in load_file(path).items()}
        with safe_open(path, "pt") as file:
            assert file.metadata() == {"format": "pt", "ключ": "значение"}
    assert_same_bits(found, tensors)


def test_tensors_are_made_one_at_a_time_and_let_go(tmp_path):
    events = []

    def item(name):
        def read():
            events.append(f"read {name}")
            return torch.zeros(3)

        return Item(name, torch.empty(3, device="meta"), read, lambda: events.append(f"done {name}"))

    write_safetensors(tmp_path / "x", [item("b"), item("a")], {})
    assert events == ["read b", "done b", "read a", "done a"]


def test_views_and_other_strides_are_written_by_value(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    views = {"column": whole[:, 1], "turned": whole.t(), "row": whole[1]}
    items = [Item(name, view.to("meta"), lambda view=view: view) for name, view in views.items()]
    write_safetensors(tmp_path / "x", items, {})
    assert_same_bits(load_file(tmp_path / "x"), views)


def test_native_file_holds_its_configuration_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "folder" / "m.safetensors"
    save_native(build_model("test", seed=0), path)
    model = build_model("test", seed=1)
    save_native(model, path, torch.float16)
    assert_same_bits(load_file(path), {name: tensor.half() for name, tensor in model.state_dict().items()})
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["version"]) == ("masklet", "1")
    assert json.loads(metadata["config"])["vision"]["window"] == 4
    assert [item.name for item in path.parent.iterdir()] == ["m.safetensors"]


def test_saving_over_the_file_that_a_model_is_mapped_to(tmp_path):
    from masklet.checkpoint import load_detector

    path = tmp_path / "m.safetensors"
    save_native(build_model("test", seed=0), path)
    model = load_detector(path)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_native(build_model("test", seed=1), path)
    assert_same_bits(dict(model.state_dict()), expected)
    save_native(model, path)
    assert_same_bits(load_file(path), expected)


def test_what_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        (tmp_path / "file").touch()
        save_native(build_model("test", seed=0), tmp_path / "file" / "m.safetensors")
    with pytest.raises(CheckpointError, match="float8_e4m3fn cannot be saved"):
        save_native(build_model("test", seed=0).to(torch.float8_e4m3fn), tmp_path / "m.safetensors")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file"]
