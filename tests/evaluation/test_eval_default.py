"""The script behind `make eval-default`, on a tiny model and the small sprites."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from masklet.checkpoint import save_native
from masklet.model.build import build_model
from masklet.synthetic.sprites import SpriteSheet

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "eval_default.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("eval_default", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_json_and_record(
    script: ModuleType,
    sheet: SpriteSheet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, log, out = tmp_path / "tiny.safetensors", tmp_path / "results.jsonl", tmp_path / "scores.json"
    save_native(build_model("test", seed=0), model)
    log.write_text('{"benchmark": "before"}\n', encoding="utf-8")
    monkeypatch.setattr(script, "RESULTS", log)

    words = ["--model", str(model), "--scenes", "2", "--dtype", "fp32", "--device", "cpu", "--json", str(out)]
    script.main(words, sheet)
    printed = capsys.readouterr()
    assert printed.err == ""  # no progress where nobody looks
    assert max(map(len, printed.out.splitlines())) <= 100
    assert "all prompts" in printed.out and "scenes 2 + 1 + 1, float32 on cpu" in printed.out
    assert str(tmp_path) not in printed.out
    assert log.read_text(encoding="utf-8") == '{"benchmark": "before"}\n'  # only when asked
    values = json.loads(out.read_text(encoding="utf-8"))
    assert values["all"]["all prompts"]["prompts"] == 10
    further = values["further sets"]
    assert 1 <= further["names never trained"]["prompts"] <= 2 and further["background only"]["prompts"] == 5
    assert len(values["bars"]) == 7 and {"value", "least", "met"} <= values["bars"][0].keys()
    assert values["model"] == "tiny.safetensors" and values["sprites"] == sheet.source_hash[:16]

    script.main([*words, "--record"], sheet)
    before, line = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    assert before == {"benchmark": "before"}
    assert line["benchmark"] == "eval_default" and line["scenes"] == 2 and line["dtype"] == "float32"
    assert line["unnamed_scenes"] == line["bare_scenes"] == 1 and "cgF1" in line["text_cgf1"]
    assert line["rejection"] == values["all"]["all prompts"]["rejection"]


@pytest.mark.parametrize("count", ["0", "1001"])
def test_scenes_beyond_the_split_are_refused(
    script: ModuleType, sheet: SpriteSheet, count: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        script.main(["--scenes", count], sheet)
    assert f"--scenes must be 1..1000, got {count}" in capsys.readouterr().err


@pytest.mark.parametrize(("count", "scenes", "share"), [(300, 1000, 300), (300, 60, 18), (200, 1, 1), (200, 1000, 200)])
def test_further_sets_shrink_with_the_split(script: ModuleType, count: int, scenes: int, share: int) -> None:
    assert script.share(count, scenes) == share
