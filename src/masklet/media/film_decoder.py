"""The picture stream of one film decoded in order, each frame numbered by its place in the film.

Unusual:
- A frame's number is the count of stored pictures that are shown before it, by their time stamps, not the count of
  frames that came out of the decoder. So numbers stay right behind a damaged picture and after a seek. Only the last
  two or three frames before a cut may have too low a number, where pictures between them were to be stored later.
- A damaged picture does not end the film: what is sound comes out, and `damage` tells of the rest. In a transport
  stream pictures of which something may be missing come out too.
- The decoder's threads share one frame at a time. With a frame for each thread the library loses sound frames when a
  damaged one is among them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from masklet.media.film_container import codec_threads, load_av, picture_stream, reason, stream_end_s
from masklet.media.film_index import is_shown
from masklet.media.film_order import FrameNumbers, FrameTimes

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

    from masklet.media.film_index import FilmIndex

_DEFAULT_RATE = Fraction(25)  # of streams that tell no rate: what the library itself assumes
_ROUNDED_S = 0.01  # a film may end this much, and a frame, before the time that its header states


@dataclass(frozen=True, eq=False)
class DecodedFrame:
    """A frame as it comes out of the decoder.

    Attributes:
        index: number in the film, 0 first.
        time_s: seconds after the first frame.
        stamp: time stamp in units of the stream's time base, None in streams without.
        picture: in the codec's own pixel format, not turned.
    """

    index: int
    time_s: float
    stamp: int | None
    picture: VideoFrame


class FilmDecoder:
    """Decodes one film; for one thread at a time, and one of its generators at a time."""

    def __init__(self, open_it: Callable[[], InputContainer], name: str) -> None:
        """Opens the film and stands before its first frame.

        Args:
            open_it: opens the container; called again where only a new start leads back.
            name: what messages call it.

        Raises:
            VideoError: it has no picture stream that can be decoded.
        """
        self._open_it = open_it
        self._name = name
        self._errors = load_av().FFmpegError
        self.damage: str | None = None
        self._open()

    def _open(self) -> None:
        self.container = self._open_it()
        try:
            self.stream: VideoStream = picture_stream(self.container, self._name)
        except BaseException:
            self.container.close()
            raise
        self.stream.thread_type = "SLICE"
        self.stream.thread_count = codec_threads()
        context = self.stream.codec_context
        # AVI stores no time stamps; where frames are not stored in their order, what the library makes up is wrong.
        self._is_stamped = not (
            self.container.format.name == "avi" and context.name in ("h264", "hevc") and context.has_b_frames
        )
        # A gap in the packets of a transport stream marks a picture that may be whole all the same; viewers show it.
        self._keeps_suspects = self.container.format.name == "mpegts"
        self._is_fresh, self._is_settling = True, False

    def close(self) -> None:
        """Closes the file."""
        self.container.close()

    @property
    def rate(self) -> Fraction | None:
        """Frames a second on average, by the container or by its first frames."""
        return self.stream.average_rate or self.stream.guessed_rate or None

    @property
    def unit(self) -> Fraction:
        """Seconds per unit of a time stamp."""
        return self.stream.time_base or 1 / _DEFAULT_RATE

    def stamp(self, item: Packet[VideoStream] | VideoFrame) -> int | None:
        """When a stored picture or frame is shown, in units of the stream's time base; None if that is not known."""
        return item.pts if self._is_stamped else None

    def packets(self) -> Generator[Packet[VideoStream], None, None]:
        """The stored pictures from here on, in the order in which they are decoded; only those that can be sound."""
        self._is_fresh = False
        start = self.stream.start_time or 0
        end_s, longest_s, position = 0.0, 0.0, 0
        try:
            for packet in self.container.demux(self.stream):
                position = max(position, packet.pos or 0)
                if not packet.size:  # the end, or a picture that the camera left out
                    continue
                if packet.is_corrupt:
                    self._note(f"the picture stored after {end_s:.2f} s is not whole")
                    if not self._keeps_suspects:
                        continue
                if packet.pts is not None:
                    lasts = packet.duration or 0
                    end_s = max(end_s, float((packet.pts + lasts - start) * self.unit))
                    longest_s = max(longest_s, float(lasts * self.unit))
                yield packet
        except self._errors as error:
            self._note(f"it cannot be read beyond {end_s:.2f} s ({reason(error)})")
            return
        entries = self.stream.index_entries
        stated_s = (stream_end_s(self.stream) or 0.0) - float(start * self.unit)
        is_cut = (len(entries) and position < entries[-1].pos) or end_s + longest_s + _ROUNDED_S < stated_s
        if is_cut:
            self._note(f"it ends after {end_s:.2f} s, before its stated end: it is cut short")

    def from_start(self) -> Generator[DecodedFrame, None, None]:
        """All frames, in order of time."""
        if not self._is_fresh:
            self.container.close()
            self._open()
        step = 1 / (self.rate or _DEFAULT_RATE)
        numbers, times = FrameNumbers(), FrameTimes(self.unit, step)
        for packet in self._to_the_last():
            if packet is not None and is_shown(packet):
                numbers.expect(self.stamp(packet), packet.dts)
            for picture in self._decode(packet):
                stamp = self.stamp(picture)
                index = numbers.number(stamp)
                time_s = float(index * step if stamp is None else times.time(stamp))
                yield DecodedFrame(index=index, time_s=time_s, stamp=stamp, picture=picture)

    def from_frame(self, index: int, film_index: FilmIndex) -> Generator[DecodedFrame, None, None]:
        """Frame `index` and all after it, in order of time."""
        key, back = film_index.key_before(index), 1
        while True:
            frames = self._from_key(key, film_index)
            first = next((frame for frame in frames if frame.index >= index), None)
            # Where a container seeks beyond the place, or decoding begins later than it says: farther back.
            if key == 0 or (first is not None and first.index == index):
                break
            key, back = max(0, key - back), 2 * back
        self._is_settling = False
        if first is not None:
            yield first
            yield from frames

    def _from_key(self, key: int, film_index: FilmIndex) -> Generator[DecodedFrame, None, None]:
        """The frames from a key frame on; none if that is not reached or decoding cannot begin there."""
        if key == 0 or film_index.stamps is None:
            yield from self.from_start()
            return
        self._is_fresh, self._is_settling = False, True
        depth = self.stream.codec_context.reorder_depth
        try:
            self.container.seek(film_index.key_stamps[key], stream=self.stream)
        except self._errors:
            return
        self.stream.codec_context.reorder_depth = depth  # a guess that grew while decoding, which seeking forgets
        floor: int | None = None  # what is shown before the first key picture needs pictures that were passed over
        is_clean = False
        for packet in self._to_the_last():
            if floor is None and packet is not None and packet.is_keyframe:
                floor = packet.pts
            if floor is None:
                continue
            for picture in self._decode(packet):
                if picture.pts is not None and picture.pts >= floor:
                    # Where a film is refreshed bit by bit, the first whole frame comes later and is not exact.
                    is_clean = is_clean or picture.pts == floor
                    if not is_clean:
                        return
                    index = film_index.find(picture.pts)
                    time_s = float(film_index.times_s[index])
                    yield DecodedFrame(index=index, time_s=time_s, stamp=picture.pts, picture=picture)

    def _to_the_last(self) -> Generator[Packet[VideoStream] | None, None, None]:
        yield from self.packets()
        yield None  # makes the decoder give what it holds back

    def _decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        try:
            pictures = self.stream.decode(packet)
        except self._errors as error:
            self._note(f"a picture{self._near(packet)} cannot be decoded ({reason(error)})")
            return []
        sound = [picture for picture in pictures if self._keeps_suspects or not picture.is_corrupt]
        if len(sound) < len(pictures):
            self._note(f"a picture{self._near(packet)} is not whole")
        return sound

    def _near(self, packet: Packet[VideoStream] | None) -> str:
        if packet is None or packet.pts is None:
            return ""
        return f" near {float((packet.pts - (self.stream.start_time or 0)) * self.unit):.2f} s"

    def _note(self, damage: str) -> None:
        if not self._is_settling:  # where one jumps to, pictures whose beginning was passed over look damaged
            self.damage = self.damage or f"{damage}; all sound frames are given"
