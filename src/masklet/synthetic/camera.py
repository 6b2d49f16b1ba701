"""What a camera and a file format do to a picture (H, W, 3) uint8: light, blur, noise, JPEG."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from masklet.synthetic.backgrounds import noise_cut

UInt8Array = npt.NDArray[np.uint8]


def lit(picture: UInt8Array, *, gain: float, gamma: float, offset: float) -> UInt8Array:
    """Other light: 255 * gain * (value / 255) ^ gamma + offset."""
    table = 255 * gain * np.linspace(0, 1, 256) ** gamma + offset
    return np.take(np.clip(np.rint(table), 0, 255).astype(np.uint8), picture)


def blurred(picture: UInt8Array, radius: float) -> UInt8Array:
    """A little out of focus; radius in pixels."""
    return np.array(Image.fromarray(picture).filter(ImageFilter.BoxBlur(float(radius))))


def noisy(picture: UInt8Array, strength: float, rng: np.random.Generator) -> UInt8Array:
    """With gray noise of a standard deviation of `strength` levels."""
    height, width = picture.shape[:2]
    noise = np.rint(noise_cut(rng, height, width) * np.float32(strength)).astype(np.int16)
    return np.clip(picture + noise[..., None], 0, 255).astype(np.uint8)


def compressed(picture: UInt8Array, quality: int) -> UInt8Array:
    """As a JPEG file of that quality gives it back."""
    packed = io.BytesIO()
    Image.fromarray(picture).save(packed, "JPEG", quality=quality)
    return np.array(Image.open(packed).convert("RGB"))
