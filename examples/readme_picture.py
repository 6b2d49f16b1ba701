"""Joins overlays of the demo to the picture of the README, `docs/images/demo.jpg`: side by side, at most 200 kB.

make demo && python examples/readme_picture.py      three overlays of out/demo
python examples/readme_picture.py FILE...           others
"""

import io
import sys
from pathlib import Path

from PIL import Image

DEMO = Path("out/demo")
CHOSEN = ("ambulances/ambulance", "rickshaws", "houses/house")
TARGET = Path("docs/images/demo.jpg")
HEIGHT, GAP = 360, 8  # pixels
MOST_BYTES = 200_000


def joined(paths: list[Path]) -> Image.Image:
    """The pictures at one height, side by side on white."""
    parts = []
    for path in paths:
        with Image.open(path) as picture:
            width = round(picture.width * HEIGHT / picture.height)
            parts.append(picture.convert("RGB").resize((width, HEIGHT), Image.Resampling.LANCZOS))
    strip = Image.new("RGB", (sum(part.width + GAP for part in parts) - GAP, HEIGHT), "white")
    left = 0
    for part in parts:
        strip.paste(part, (left, 0))
        left += part.width + GAP
    return strip


def as_jpeg(picture: Image.Image) -> bytes:
    """The picture at the best quality that fits."""
    for quality in range(92, 20, -6):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= MOST_BYTES:
            return file.getvalue()
    sys.exit(f"readme_picture: expected pictures that fit into {MOST_BYTES} bytes, got {picture.size}; take fewer")


def main(words: list[str]) -> None:
    paths = [Path(word) for word in words] or [DEMO / name / "overlay.png" for name in CHOSEN]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        sys.exit(f"readme_picture: expected overlays, there are no {', '.join(missing)}; run `make demo` first")
    content = as_jpeg(joined(paths))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_bytes(content)
    print(f"{TARGET}: {len(paths)} overlays, {len(content) / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
