import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import StableDiffusionPipeline

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("page", ["capture.md"])
def test_the_code_of_the_page_runs(pipe: StableDiffusionPipeline, page: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {"pipe": pipe}
    for block in blocks:
        exec(block, names)
    assert blocks
    assert names["picture"].shape == (64, 64, 3)
    assert names["picture"].dtype == np.uint8
    assert names["heats"]["bird"].max() == 1
