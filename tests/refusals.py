"""A pipeline of its own for each test, and how a run is refused."""

from typing import Any

import pytest
from diffusers import StableDiffusionPipeline
from slow_reference import BIRD, run

from diffumask.attention.capture import capture
from diffumask.errors import InputError


def with_parts(pipe: Any, kind: Any = StableDiffusionPipeline, **parts: Any) -> Any:
    return kind(**(pipe.components | parts), requires_safety_checker=False)


def refused(pipe: Any, message: str, steps: int = 2, prompt: Any = BIRD, **options: Any) -> None:
    """Check that a run is refused, and that the pipeline is as before, also what it set itself."""
    before = pipe.unet.attn_processors
    with pytest.raises(InputError, match=message), capture(pipe, ["bird"]):
        run(pipe, prompt, steps, **options)
    assert pipe.unet.attn_processors == before
    assert "encode_prompt" not in vars(pipe)
