"""In which number types a device computes, and autocast to bfloat16 where it does."""

from functools import cache

import torch
from torch.nn import functional


@cache
def computes_in(dtype: torch.dtype, device_type: str) -> bool:
    """Whether a device has the kernels that networks need, in a number type.

    Tried, not asked for: torch reports what the chip can do, while some of its kernels for half
    the bits are built for few kinds of CPU and refuse others only once a sequence is long.
    """
    if dtype == torch.float32:
        return True
    with torch.inference_mode(False), torch.enable_grad():
        pixels = torch.ones(1, 8, 16, 16, dtype=dtype, device=device_type, requires_grad=True)
        weights = torch.ones(8, 8, 3, 3, dtype=dtype, device=device_type, requires_grad=True)
        try:
            convolved = functional.conv2d(pixels, weights, padding=1)
            sequence = functional.linear(convolved.flatten(2).mT, weights[:, :, 0, 0])[:, None]
            attended = functional.scaled_dot_product_attention(sequence, sequence, sequence)
            attended.sum().backward()
        except RuntimeError:
            return False
    return True


def autocast_bfloat16(device: torch.device) -> torch.autocast:
    """Compute in bfloat16 inside the context, in float32 where the device lacks it."""
    enabled = computes_in(torch.bfloat16, device.type)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
