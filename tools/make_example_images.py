"""Writes examples/images anew: scenes of the evaluation split's world, and what the demo asks of them.

Their seeds lie beyond the fixed evaluation scenes; neither these nor those are trained on. One picture is stored
lying on its side with an EXIF orientation, as cameras do.
"""

import json
from pathlib import Path

from PIL import Image

from masklet.synthetic.world import EVALUATION, make_scene

IMAGES = Path(__file__).parents[1] / "examples" / "images"
QUALITY = 88
LYING = "ambulances"  # stored turned by 90 degrees
_ORIENTATION, _TURN_CLOCKWISE = 0x0112, 6  # EXIF: the viewer must turn the picture clockwise

# name, seed, (height, width), concepts (the last one is absent), instance whose box is shown as exemplar
PICTURES = (
    ("rickshaws", 5005, (480, 640), ("auto rickshaws", "a fish", "a green apple"), 5),
    ("sandals", 5017, (600, 400), ("thong sandals", "green thong sandal", "a blue castle"), 3),
    ("wrenches", 5023, (336, 336), ("yellow wrenches", "backpack", "red luggage"), 5),
    ("houses", 5030, (540, 720), ("house", "moon cakes", "an umbrella"), 6),
    ("ambulances", 5043, (768, 512), ("ambulance", "a purple ambulance", "a bicycle"), 2),
    ("hamburgers", 5056, (750, 1000), ("hamburgers", "tooth", "french bread"), 1),
)


def main() -> None:
    """Writes the JPEG files and prompts.json."""
    prompts = {}
    for name, seed, size_hw, concepts, shown in PICTURES:
        scene, _ = make_scene(EVALUATION, seed, size_hw, questions=6)
        image, exif = Image.fromarray(scene.image), Image.Exif()
        if name == LYING:
            image = image.transpose(Image.Transpose.ROTATE_90)
            exif[_ORIENTATION] = _TURN_CLOCKWISE
        image.save(IMAGES / f"{name}.jpg", quality=QUALITY, exif=exif)
        prompts[f"{name}.jpg"] = {"concepts": concepts, "exemplar_xyxy": scene.instances[shown].box_xyxy}
    (IMAGES / "prompts.json").write_text(json.dumps(prompts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
