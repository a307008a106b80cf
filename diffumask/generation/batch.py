"""How many images are sampled at a time where the user does not say, and why."""

from dataclasses import dataclass

from .cost import MODELS, Work, decoder_bytes, weight_bytes

BATCH_PIXELS = 4 * 512 * 512  # on a device of unknown memory: 4 images of Stable Diffusion 1.5
MOST_BY_SIZE = 8
# Arithmetic of a call of the network, in 10^12 operations, that keeps a large GPU busy: more images
# in it are no faster, and lose more work when a run is stopped.
BUSY_TFLOP = 64
MOST = 32
FREE_SHARE = 0.9
# What an image takes is counted twice: some autoencoders decode in float32, and arithmetic leaves
# out the network's own maps, attention that is kept, and gaps between blocks.
MARGIN = 2
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Batch:
    """So many images at a time, and where the number comes from."""

    size: int
    why: str


def by_size(work: Work) -> Batch:
    """Choose by the size of an image alone, the same on every machine."""
    size = max(1, min(MOST_BY_SIZE, BATCH_PIXELS // work.pixels))
    return Batch(size, f"by the image size of {work.height}x{work.width}")


def by_memory(work: Work, dtype: str, free_bytes: int, is_gpu: bool) -> Batch:
    """Choose for a device with so many bytes free before the model is loaded.

    On a GPU a known model has as many images as keep it busy, a power of two; all else has no more
    than `by_size` gives. Weights, and twice what the VAE's decoder holds of each image, have to
    fit by arithmetic; of an unknown model only the latter is counted.
    """
    plain, busy = by_size(work), _busy(work) if is_gpu else None
    room = FREE_SHARE * free_bytes - (weight_bytes(work, dtype) or 0.0)
    fits = max(1, int(room / (MARGIN * decoder_bytes(work, dtype))))
    most = plain.size if busy is None else busy
    size, free = min(most, fits), f"{free_bytes / GIB:.1f} GiB free"
    if is_gpu:
        size = 1 << (size.bit_length() - 1)
    if fits < most:
        return Batch(size, f"by {free}")
    what = plain.why if busy is None else f"as many as keep a GPU busy with {work.model}"
    return Batch(size, f"{what}, with {free}")


def _busy(work: Work) -> int | None:
    """Return how many images of a known model keep a large GPU busy."""
    model = MODELS.get(work.model)
    if model is None:
        return None
    tflop = model.step_tflop * work.pixels / model.side_px**2 * (2 if work.guided else 1)
    return max(1, min(MOST, int(BUSY_TFLOP / tflop)))
