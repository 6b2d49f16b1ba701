"""The kinds of film that can be written, and the encoder that writes each: H.264 or VP9, else the next best here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from masklet.errors import OutputError
from masklet.media.film_container import load_av


@dataclass(frozen=True, kw_only=True)
class FilmKind:
    """A kind of film.

    Attributes:
        container: the library's name for it.
        encoders: best first.
        fragments: options with which a film that nobody finished can be played, too.
    """

    container: str
    encoders: tuple[str, ...]
    fragments: dict[str, str]


_MP4 = FilmKind(
    container="mp4",
    encoders=("libx264", "mpeg4"),
    fragments={"movflags": "+hybrid_fragmented+frag_keyframe"},
)

FILM_KINDS = {
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": replace(_MP4, container="mov"),
    ".mkv": replace(_MP4, container="matroska", fragments={}),
    ".webm": FilmKind(container="webm", encoders=("libvpx-vp9", "libvpx"), fragments={}),
}
"""By the ending of a film's name."""


def choose_encoder(kind: FilmKind) -> str:
    """The first of the encoders that this build of the library has.

    Raises:
        MissingExtraError: PyAV is not installed.
        OutputError: it has none of them.
    """
    av = load_av()
    for name in kind.encoders:
        try:
            av.codec.Codec(name, "w")
        except ValueError:
            continue
        return name
    raise OutputError(
        f"expected an encoder for {kind.container} ({' or '.join(kind.encoders)}), this build of PyAV has none; "
        "install the wheel of PyPI"
    )


def encoder_options(encoder: str, quality: int) -> dict[str, str]:
    """The settings of an encoder, in the library's words. No B-frames: a film then starts at 0 in every player.

    Args:
        encoder: one of those named above.
        quality: 0 (best) to 51, the rate factor of H.264.
    """
    if encoder == "libx264":
        return {"preset": "veryfast", "crf": str(quality), "bf": "0"}
    if encoder == "mpeg4":  # its steps are the numbers, 1 to 31; H.264's double with every 6
        step = min(max(1, round(0.85 * 2 ** ((quality - 12) / 6))), 31)
        return {"qmin": str(step), "qmax": str(step), "bf": "0"}
    rate = {"libvpx-vp9": {"b": "0", "row-mt": "1"}, "libvpx": {"b": "4M", "qmin": "0"}}[encoder]
    return {"crf": str(quality), "deadline": "realtime", "cpu-used": "7"} | rate
