"""Makes the film of the demo, `examples/clips/grapes.mp4`: python examples/make_clip.py

Sixty-four frames of the synthetic world's evaluation half, not of the fixed clips: three bunches of grapes that look
alike and pass each other, and a cookie. Needs the package fonts-noto-color-emoji and the extra `video`.
"""

from pathlib import Path

from masklet.media.film_writer import FilmWriter
from masklet.synthetic.world import EVALUATION, make_clip

TARGET = Path(__file__).parent / "clips" / "grapes.mp4"


def main() -> None:
    clip, _ = make_clip(EVALUATION, 20003, (360, 480), 64, kind="alike")
    TARGET.parent.mkdir(exist_ok=True)
    with FilmWriter(TARGET, rate=16, quality=27) as film:
        for frame in clip.frames:
            film.write(frame)
    print(f"{TARGET}: {len(clip.frames)} frames, {TARGET.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
