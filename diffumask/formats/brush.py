"""The run-length code of Label Studio's brush, a bit stream known as rle-pack.

Head: 32 bits with the number of values, 5 with the bits of a value less one, and four times 4
with the bits of a length less one. Then packets: a bit that says whether one value is repeated,
two that choose one of the four sizes, a length less one in that size, and the value once or, if
not repeated, each of the values. The values are the bytes of an RGBA image, row by row.
Source: https://github.com/thi-ng/umbrella, packages/rle-pack.
"""

from typing import Any

import numpy as np
from jaxtyping import UInt8

from diffumask.errors import InputError
from diffumask.types import Mask

CHANNELS = 4
WORD_BITS = 8
LENGTH_BITS = (3, 4, 8, 16)
MAX_RUN = 2 ** LENGTH_BITS[-1]
OPAQUE = 127  # from where on a pixel of soft edges counts


def encode_mask(mask: Mask) -> list[int]:
    """Encode a mask, its pixels being (255, 255, 255, 255) or all 0."""
    return encode(np.repeat(mask.ravel(), CHANNELS).astype(np.uint8) * 255)


def decode_mask(code: Any, size_hw: tuple[int, int]) -> Mask:
    """Return where the alpha channel is above a half. Raises InputError as `decode` does."""
    height, width = size_hw
    rgba = decode(code, height * width * CHANNELS)
    return rgba.reshape(height, width, CHANNELS)[:, :, -1] > OPAQUE


def encode(values: UInt8[np.ndarray, " n"]) -> list[int]:
    """Encode bytes, all as repetitions."""
    head = [(len(values), 32), (WORD_BITS - 1, 5), *((bits - 1, 4) for bits in LENGTH_BITS)]
    starts = np.flatnonzero(np.diff(values, prepend=~values[:1]))
    lengths = np.diff(starts, append=len(values))
    bits = [f"{value:0{size}b}" for value, size in head]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        value = f"{int(values[start]):0{WORD_BITS}b}"
        for left in range(length, 0, -MAX_RUN):
            less_one = min(left, MAX_RUN) - 1
            size = next(i for i, size in enumerate(LENGTH_BITS) if less_one < 2**size)
            bits.append(f"1{size:02b}{less_one:0{LENGTH_BITS[size]}b}{value}")
    packed = np.frombuffer("".join(bits).encode(), np.uint8) - ord("0")
    return np.packbits(packed).tolist()


def decode(code: Any, n_values: int) -> UInt8[np.ndarray, " n"]:
    """Decode exactly `n_values` bytes.

    Raises InputError for another number, for a stream that ends early or runs over, and for what
    is no list of bytes.
    """
    try:
        stream = _Bits(np.unpackbits(np.frombuffer(bytes(list(code)), np.uint8)))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("expected brush RLE as a list of bytes, got something else") from error
    n_coded, word_bits = stream.read(32), stream.read(5) + 1
    length_bits = [stream.read(4) + 1 for _ in LENGTH_BITS]
    if n_coded != n_values or word_bits != WORD_BITS:
        raise InputError(
            f"expected brush RLE of {n_values} bytes as the image has, got {n_coded} values of "
            f"{word_bits} bits"
        )
    values = np.empty(n_values, np.uint8)
    at = 0
    while at < n_values:
        repeated = stream.read(1)
        end = at + 1 + stream.read(length_bits[stream.read(2)])
        if end > n_values:
            raise InputError("expected brush RLE as long as its image, got a run beyond its end")
        values[at:end] = stream.read(WORD_BITS) if repeated else stream.bytes(end - at)
        at = end
    return values


class _Bits:
    """Read numbers off a row of bits."""

    def __init__(self, bits: UInt8[np.ndarray, " n"]) -> None:
        self._bits = bits
        self._at = 0

    def read(self, n_bits: int) -> int:
        number = 0
        for bit in self._take(n_bits).tolist():
            number = number << 1 | bit
        return number

    def bytes(self, n_bytes: int) -> np.ndarray:
        return np.packbits(self._take(n_bytes * 8))

    def _take(self, n_bits: int) -> np.ndarray:
        taken = self._bits[self._at : self._at + n_bits]
        if len(taken) < n_bits:
            raise InputError("expected whole brush RLE, got one that ends early")
        self._at += n_bits
        return taken
