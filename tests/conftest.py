"""Fixtures of more than one folder."""

import signal
from pathlib import Path

import pytest

from masklet.synthetic.sprites import SpriteSheet, sheet_from_folder

# A shell starts its background jobs deaf to Ctrl-C, and what tests start would be so as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def sheet() -> SpriteSheet:
    """Eighteen small sprites: no test needs the font."""
    return sheet_from_folder(Path(__file__).parent / "data" / "sprites")
