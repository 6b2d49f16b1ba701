"""Where named weights are found, and that nothing reaches for the network unasked."""

import socket
import sys
from importlib import resources
from pathlib import Path

import pytest
from safetensors.torch import save_file

from masklet.checkpoint import load_model
from masklet.checkpoint.hub import ENVIRONMENT_VARIABLE, cache_folder, find_weights
from masklet.checkpoint.save import save_native
from masklet.errors import CheckpointError
from masklet.model.build import build_model

VARIABLES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HF_HUB_OFFLINE")


@pytest.fixture(autouse=True)
def _no_network_and_no_cache(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise AssertionError("a network connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in (*VARIABLES, ENVIRONMENT_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))


@pytest.fixture
def snapshot(tmp_path):
    def make(commit, *files, main=True):
        repository = tmp_path / "home" / "hub" / "models--facebook--sam3"
        folder = repository / "snapshots" / commit
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).write_text("{}")
        if main:
            (repository / "refs").mkdir(exist_ok=True)
            (repository / "refs" / "main").write_text(commit + "\n")
        return folder

    return make


@pytest.fixture
def downloads(monkeypatch):
    calls = []

    class Hub:
        @staticmethod
        def snapshot_download(name, allow_patterns):
            calls.append((name, tuple(allow_patterns)))
            return "/downloaded"

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    return calls


def test_paths_come_first_and_stay_local(tmp_path, monkeypatch, downloads, snapshot):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "/elsewhere")
    (tmp_path / "facebook" / "sam3").mkdir(parents=True)
    assert find_weights("facebook/sam3") == Path("facebook/sam3")
    save_native(build_model("test", seed=0), tmp_path / "m.safetensors")
    load_model("m.safetensors", device="cpu", dtype="float32")
    assert downloads == []


@pytest.mark.parametrize("name", ["missing.pt", "./facebook/sam3", "a/b/c", "folder/sam3.pt", "sam3", Path("a/b"), ""])
def test_a_path_that_is_not_there_is_never_looked_up(name, downloads, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == "":  # the current folder, which holds no checkpoint
        with pytest.raises(CheckpointError, match="Hugging Face folder"):
            load_model(name)
    else:
        with pytest.raises(CheckpointError, match="no such file or folder"):
            load_model(name)
    assert downloads == []


def test_environment_variable_before_cache(tmp_path, monkeypatch, snapshot, downloads):
    snapshot("c1", "config.json", "model.safetensors")
    given = tmp_path / "given.pt"
    given.touch()
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(given))
    assert find_weights("facebook/sam3") == given
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "gone.pt"))
    with pytest.raises(CheckpointError, match=f"{ENVIRONMENT_VARIABLE} is .*gone.pt"):
        find_weights("facebook/sam3")
    with pytest.raises(CheckpointError, match="other/model"):
        find_weights("other/model", download=False)
    assert downloads == []


def test_cache_before_download(snapshot, downloads):
    old = snapshot("old", "config.json", "model.safetensors.index.json")
    incomplete = snapshot("new", "config.json")
    assert find_weights("facebook/sam3") == old
    (incomplete / "sam3.pt").touch()
    assert find_weights("facebook/sam3") == incomplete / "sam3.pt"
    (incomplete / "model.safetensors").touch()
    assert find_weights("facebook/sam3") == incomplete
    assert downloads == []


def test_cache_folder_follows_the_usual_variables(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "home" / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "direct"))
    assert cache_folder() == tmp_path / "direct"
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "huggingface" / "hub"


def test_download_is_the_last_resort(downloads):
    assert find_weights("facebook/sam3") == Path("/downloaded")
    name, patterns = downloads[0]
    assert name == "facebook/sam3"
    assert "config.json" in patterns and not any("pt" in pattern for pattern in patterns)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda patch: patch.setitem(sys.modules, "huggingface_hub", None), "is not installed"),
        (lambda patch: patch.setenv("HF_HUB_OFFLINE", "1"), "HF_HUB_OFFLINE forbids"),
    ],
)
def test_error_explains_the_four_ways(downloads, monkeypatch, prepare, reason):
    prepare(monkeypatch)
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_model("facebook/sam3")
    for way in ("path of the file or folder", ENVIRONMENT_VARIABLE, "Hugging Face cache", "install huggingface_hub"):
        assert way in str(caught.value)
    assert downloads == []


def test_download_may_be_forbidden_and_may_fail(downloads, monkeypatch):
    with pytest.raises(CheckpointError, match="not allowed"):
        load_model("facebook/sam3", download=False)

    def fail(name, allow_patterns):
        raise RuntimeError("401: gated repository\nsecond line")

    monkeypatch.setattr(sys.modules["huggingface_hub"], "snapshot_download", fail)
    with pytest.raises(CheckpointError, match=r"download failed \(401: gated repository\)"):
        load_model("facebook/sam3")


def test_default_model_is_the_packaged_one(monkeypatch, tmp_path):
    (tmp_path / "default").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resources, "files", lambda package: tmp_path / package)
    with pytest.raises(CheckpointError, match="weights are not in this installation"):
        load_model()
    (tmp_path / "masklet" / "weights").mkdir(parents=True)
    save_file({}, tmp_path / "masklet" / "weights" / "default.safetensors")
    assert find_weights("default") == tmp_path / "masklet" / "weights" / "default.safetensors"
