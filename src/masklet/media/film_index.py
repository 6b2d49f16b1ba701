"""Where each frame of a film stands: its time stamp, and from where it can be decoded."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from av import Packet
    from av.video.stream import VideoStream


@dataclass(frozen=True, eq=False)
class FilmIndex:
    """The frames of a film in order of time.

    Attributes:
        times_s: (F,) float64, seconds after the first frame, ascending.
        stamps: (F,) int64, time stamps in units of the stream's time base, ascending; None if the film has no usable
            ones: then it can only be decoded from its start.
        keys: frames from which decoding can begin, as numbers, ascending; the first one is 0.
        key_stamps: time stamps of the stored pictures at `keys`.
    """

    times_s: npt.NDArray[np.float64]
    stamps: npt.NDArray[np.int64] | None
    keys: list[int]
    key_stamps: list[int]

    def key_before(self, index: int) -> int:
        """Position in `keys` of the last one at or before frame `index`."""
        return bisect_right(self.keys, index) - 1

    def find(self, stamp: int) -> int:
        """The number of the frame with this time stamp, or of the one before; -1 if there is none."""
        assert self.stamps is not None
        return int(np.searchsorted(self.stamps, stamp, side="right")) - 1


def index_of_packets(packets: Iterable[Packet[VideoStream]], origin: int | None, unit: Fraction) -> FilmIndex | None:
    """The index by the time stamps of all stored pictures; None if not each has one of its own, or they begin anew.

    Args:
        packets: all of the film.
        origin: time stamp of the first frame that can be decoded; pictures before it are never shown.
        unit: seconds per unit of the time stamps.
    """
    if origin is None:
        return None
    shown, keys = [], []
    last_dts: int | None = None
    for packet in packets:
        if packet.pts is None or (packet.dts is not None and last_dts is not None and packet.dts < last_dts):
            return None
        last_dts = packet.dts if packet.dts is not None else last_dts
        if is_shown(packet):
            shown.append(packet.pts)
        if packet.is_keyframe:
            keys.append(packet.pts)
    shown = [stamp for stamp in shown if stamp >= origin]
    stamps = np.unique(np.array(shown, dtype=np.int64))
    if not shown or len(stamps) < len(shown):
        return None
    # In whole numbers: a time is then the float nearest to the true one.
    times_s = np.array([float(int(stamp - origin) * unit) for stamp in stamps])
    by_frame = {0: origin}
    for stamp in sorted(keys):
        frame = int(np.searchsorted(stamps, stamp))
        if 0 < frame < len(stamps):
            by_frame[frame] = stamp
    return FilmIndex(times_s=times_s, stamps=stamps, keys=list(by_frame), key_stamps=list(by_frame.values()))


def is_shown(packet: Packet[VideoStream]) -> bool:
    """Whether a stored picture becomes a frame: not where the film was trimmed, nor those that are only drawn upon."""
    return not packet.is_discard and (packet.stream.codec_context.name != "vp8" or bool(memoryview(packet)[0] & 0x10))
