"""Pixels as PNG, whatever they stand for."""

import io

import numpy as np
from PIL import Image as PillowImage


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode pixels as PNG: grey of 8 bits (uint8) or 16 (uint16), RGB or RGBA."""
    encoded = io.BytesIO()
    PillowImage.fromarray(pixels).save(encoded, "PNG")
    return encoded.getvalue()
