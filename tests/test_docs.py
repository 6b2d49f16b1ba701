"""The documentation is true: its links lead somewhere, its Python blocks are clean and run, its commands work.

A page is a program: its ```python blocks run in order in one namespace, and its ```console lines that call
`masklet` run between them (a ```toml block that begins with a file's name is that file), in a folder of their own that
holds the example pictures (`photo.jpg`, `dog.jpg`, `photos/`), a film of eight frames (`clip.mp4`), `sam3.pt`, a tiny
file in the layout of the public checkpoint, and `labels.json` with `answers.json`, the first example of the
evaluation's tests. A block that is preceded by the comment `<!-- not run: reason -->` is only linted.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from film_cases import write_film
from follow_cases import clip
from masklet.checkpoint.convert import convert
from masklet.checkpoint.save import save_native
from masklet.model.build import build_model
from masklet.synthetic import sprites
from masklet.synthetic.sprites import sheet_from_folder
from pair_cases import EXAMPLE_A

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(
    r"^(?P<skip><!-- not run: .+ -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
RUNNABLE = ("python", "console")


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    run: bool
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(found["language"], found["code"], found["skip"] is None, text.count("\n", 0, found.start("code")))
        for found in BLOCK.finditer(text)
    ]


def commands(block: Block) -> list[list[str]]:
    """The lines of a console block that call `masklet`, continued lines joined; other lines are output."""
    joined = block.code.replace("\\\n", " ")
    lines = re.findall(r"^\$ (?:\.venv/bin/)?masklet (.+)$", joined, re.MULTILINE)
    return [shlex.split(line.partition(" > ")[0], comments=True) for line in lines]


def file_of(block: Block) -> tuple[str, str] | None:
    """Name and text of the file that a TOML block with its name in the first line stands for."""
    named = re.match(r"# (\S+\.toml)\n", block.code)
    return (named[1], block.code) if named and block.language == "toml" else None


def anchors(page: Path) -> set[str]:
    """The names that a code host gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


PROGRAMS = [page for page in PAGES if any(block.language in RUNNABLE and block.run for block in blocks(page))]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)}: {link}"
        assert not anchor or anchor in anchors(target), f"{name(page)}: no heading {anchor!r}"


def test_decision_notes_are_short_numbered_and_listed() -> None:
    notes = sorted((ROOT / "docs/decisions").glob("0*.md"))
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(.+)\]\((.+)\) \| .+ \|$", index, re.MULTILINE)
    assert [file for _, file in listed] == [note.name for note in notes]
    for note, (title, _) in zip(notes, listed, strict=True):
        lines = note.read_text(encoding="utf-8").splitlines()
        assert lines[0] == f"# {title}"
        assert title.startswith(f"{int(note.name[:4])}. ")
        assert len(lines) <= 40, note.name
    assert len({note.name[:4] for note in notes}) == len(notes)


def test_the_tests_that_pages_name_are_there() -> None:
    named = {test for page in PAGES for test in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8"))}
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    assert named
    assert named <= {test for source in sources for test in re.findall(r"^def (test_\w+)\(", source, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_say_their_language(page: Path) -> None:
    fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) % 2 == 0
    # A drawing has no language; what is code has one that this file knows.
    assert set(fences[::2]) <= {"", "python", "console", "bash", "json", "toml", "text"}


def test_python_blocks_are_clean(tmp_path: Path) -> None:
    for page in PAGES:
        code = [block.code for block in blocks(page) if block.language == "python"]
        if code:
            (tmp_path / (name(page).replace("/", "__") + ".py")).write_text("\n\n".join(code), encoding="utf-8")
    rules = ["--isolated", "--select=E,F,W,B,UP", "--ignore=E402", "--line-length=120", "--output-format=concise"]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *rules, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what the pages speak of; the process stands in it while the test runs."""
    shutil.copytree(ROOT / "examples/images", tmp_path / "photos")
    shutil.copy(tmp_path / "photos/sandals.jpg", tmp_path / "photo.jpg")
    shutil.copy(tmp_path / "photos/ambulances.jpg", tmp_path / "dog.jpg")
    save_native(build_model("test", seed=0), tmp_path / "tiny.safetensors")
    convert(tmp_path / "tiny.safetensors", tmp_path / "sam3.pt", "meta")
    write_film(tmp_path / "clip.mp4", frames=clip(8, size_hw=(90, 120)), size_wh=(120, 90))
    for file, content in zip(("labels.json", "answers.json"), EXAMPLE_A, strict=True):
        (tmp_path / file).write_text(json.dumps(content), encoding="utf-8")
    # The symbols of the tests instead of the font, which need not be there.
    sheet = sheet_from_folder(ROOT / "tests/data/sprites")
    monkeypatch.setattr(sprites, "sheet_from_font", lambda: sheet)
    sprites.default_sheet.cache_clear()
    monkeypatch.setenv("MASKLET_SAM3_CHECKPOINT", str(tmp_path / "sam3.pt"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sprites.default_sheet.cache_clear()


def run_command(arguments: list[str]) -> str:
    """What `masklet ARGUMENTS` writes to stdout; fails unless it exits with 0."""
    from masklet.cli.main import run

    out, before = io.StringIO(), sys.argv
    sys.argv = ["masklet", *arguments]
    try:
        with contextlib.redirect_stdout(out):
            run()
    except SystemExit as stop:
        assert not stop.code, f"masklet {shlex.join(arguments)}: exit code {stop.code}\n{out.getvalue()}"
    finally:
        sys.argv = before
    return out.getvalue()


@pytest.mark.parametrize("page", PROGRAMS, ids=name)
def test_code_runs(page: Path, workplace: Path) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    ran = 0
    for block in blocks(page):
        if file := file_of(block):
            (workplace / file[0]).write_text(file[1], encoding="utf-8")
        if not block.run or block.language not in RUNNABLE:
            continue
        if block.language == "python":
            # Empty lines in front, so that a traceback shows the line of the page.
            code = compile("\n" * block.line + block.code, str(page), "exec")
            with contextlib.redirect_stdout(io.StringIO()):
                exec(code, namespace)
            ran += 1
        for arguments in commands(block) if block.language == "console" else []:
            run_command(arguments)
            ran += 1
    assert ran
    assert Path(os.getcwd()) == workplace
