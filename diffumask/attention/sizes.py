"""Pictures of another aspect than that of the latents, of which a map would be a distortion."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffumask.errors import InputError


@contextmanager
def uncropped(pipe: Any) -> Iterator[None]:
    """Refuse sizes that the pipeline would draw in another aspect, and crop.

    Some choose the nearest of the sizes that they were trained on. One of the same aspect is fine.
    """
    processor: Any = getattr(pipe, "image_processor", None)
    if not hasattr(processor, "classify_height_width_bin"):
        yield
        return
    classify = processor.classify_height_width_bin

    def checked(height: int, width: int, *args: Any, **kwargs: Any) -> tuple[int, int]:
        drawn_height, drawn_width = classify(height, width, *args, **kwargs)
        if drawn_height * width != drawn_width * height:
            raise InputError(
                f"expected a size that is drawn as it is, got {height}x{width}, drawn at"
                f" {drawn_height}x{drawn_width} and cropped; pass use_resolution_binning=False"
            )
        return drawn_height, drawn_width

    processor.classify_height_width_bin = checked
    try:
        yield
    finally:
        del processor.classify_height_width_bin
