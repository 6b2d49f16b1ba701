"""The command `masklet`: collects the verbs, turns errors into one clear line, sets the exit code.

Exit codes: 0 fine, 1 failed, 2 bad usage, 130 stopped by Ctrl-C (as shells expect it). Results go to stdout, all else
to stderr. PyTorch is imported inside the verbs only, so that `masklet --help` is quick.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from contextvars import ContextVar
from typing import Annotated

import typer
from typer.main import get_command

from masklet import __version__
from masklet.cli.bench import bench
from masklet.cli.convert import convert
from masklet.cli.evaluate import evaluate
from masklet.cli.info import info
from masklet.cli.messages import message_of, say
from masklet.cli.segment import segment
from masklet.cli.synth import synth
from masklet.cli.track import track
from masklet.cli.train import train

DEBUG_VARIABLE = "MASKLET_DEBUG"
_debug: ContextVar[bool] = ContextVar("debug", default=False)

app = typer.Typer(
    name="masklet",
    help="Finds, cuts out and follows everything that you can name or show in pictures and video.",
    add_completion=False,
    rich_markup_mode=None,
)
for _verb in (segment, track, train, evaluate, synth, convert, info, bench):
    app.command()(_verb)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"masklet {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", envvar=DEBUG_VARIABLE, help="Show the traceback of an error.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options of every verb; they stand before it."""
    _debug.set(debug)


class _ToStderr(logging.Handler):
    """Looks `sys.stderr` up for every record: while a progress bar is shown it is another one."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage(), record.levelname.lower())


def run() -> None:
    """Entry point of the command; ends the process with the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # A name that the terminal cannot show must not end a run: it is shown with escapes.
        sys.stdout.reconfigure(errors="backslashreplace")
    handler = _ToStderr()
    package_log = logging.getLogger("masklet")
    package_log.addHandler(handler)
    try:
        code = _run()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe has had enough
        # What is left in the buffer has nowhere to go; without this the interpreter complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    finally:
        package_log.removeHandler(handler)
    sys.exit(code)


def _run() -> int:
    try:
        # Typer returns the code of `Exit`, also 130 for Ctrl-C; a verb that ends well returns None.
        arguments = sys.argv[1:] or ["--help"]
        code = get_command(app).main(arguments, prog_name="masklet", standalone_mode=False)
    except BrokenPipeError:
        raise
    except Exception as error:
        return _report(error)
    return code if isinstance(code, int) else 0


def _report(error: Exception) -> int:
    """One line on stderr (before it the traceback, if asked for), and the exit code."""
    if _debugging():
        traceback.print_exception(error)
    describe = getattr(error, "format_message", None)  # an error of typer's own: bad usage
    if describe is not None:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "masklet"
        return _say(f"{describe()} See '{command} --help'.", 2)
    hint = "" if _debugging() else "; this is a fault of masklet, run 'masklet --debug ...' for the traceback"
    return _say(message_of(error, hint=hint), 1)


def _say(message: str, code: int) -> int:
    say(message)
    return code


def _debugging() -> bool:
    return _debug.get() or os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")
