import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import StableDiffusionPipeline

from diffumask.cli.options_page import options_page
from diffumask.models import MODELS

ROOT = Path(__file__).parent.parent
DOCS = Path(__file__).parent.parent / "docs"


def run_code(page: str, pipe: StableDiffusionPipeline | None = None) -> dict[str, Any]:
    """Run the Python of a page from top to bottom, and return what it defined."""
    return run_blocks((DOCS / page).read_text("utf-8"), {"pipe": pipe})


def run_blocks(text: str, names: dict[str, Any]) -> dict[str, Any]:
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for block in blocks:
        exec(block, names)
    return names


def test_the_code_on_capture_runs(pipe: StableDiffusionPipeline) -> None:
    names = run_code("capture.md", pipe)
    assert names["picture"].shape == (64, 64, 3)
    assert names["picture"].dtype == np.uint8
    assert names["heats"]["bird"].max() == 1


def test_the_code_on_masks_runs(pipe: StableDiffusionPipeline) -> None:
    names = run_code("masks.md", pipe)
    for name in ("masked", "observed"):
        assert names[name].class_map.shape == (64, 48)
        assert set(np.unique(names[name].class_map)) <= {0, 3, 8, 255}


def test_the_code_on_training_runs() -> None:
    names = run_code("train.md")
    assert names["predicted"].shape == (40, 64)
    assert set(np.unique(names["predicted"])) <= {0, 3}


def test_the_code_on_segmentator_runs(pipe: StableDiffusionPipeline) -> None:
    names = run_code("segmentator.md", pipe)
    assert names["planes"].shape == (1, 3, 64, 48)
    assert names["doubt"].shape == (1, 64, 48)


def test_the_code_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycocotools")
    monkeypatch.chdir(tmp_path)
    quick = replace(MODELS["tiny"], num_inference_steps=1)
    monkeypatch.setitem(MODELS, "tiny", quick)
    _, _, section = (ROOT / "README.md").read_text("utf-8").partition("## Use it in Python")
    birds = run_blocks(section, {})["birds"]
    assert len(birds) == 12
    assert birds[0].image.shape == (128, 128, 3)
    assert birds[0].mask.shape == (128, 128)
    assert "bird" in birds[0].prompt
    assert set(np.unique(birds[0].mask)) <= {0, birds.classes["bird"], 255}
    image, class_ids = birds.to_torch()[0]
    assert (image.shape, class_ids.shape) == ((3, 128, 128), (128, 128))
    assert "<img" in birds._repr_html_()
    assert (tmp_path / "birds.html").is_file()
    assert list((tmp_path / "birds-coco").rglob("*.json"))


def test_the_page_of_options_is_that_of_the_code() -> None:
    assert (DOCS / "options.md").read_text("utf-8") == f"{options_page()}\n"


PAGES = [*DOCS.rglob("*.md"), *(DOCS.parent / f"{name}.md" for name in ("README", "CONTRIBUTING"))]
PAGES += [DOCS.parent / "SECURITY.md", *(DOCS.parent / "benchmarks").rglob("README.md")]
OWN = re.compile(r"`((?:benchmarks|cli|diffumask|docs|prompts|tests)/[\w./-]*\w)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = {name for name in OWN.findall(page.read_text("utf-8")) if "NAME" not in name}
    assert not {name for name in named if not (DOCS.parent / name).exists()}


def test_every_page_is_on_the_site() -> None:
    site = (DOCS.parent / "mkdocs.yml").read_text("utf-8")
    assert not {page.name for page in DOCS.glob("*.md") if f"docs/{page.name}" not in site}
    index = (DOCS / "decisions/index.md").read_text("utf-8")
    records = {page.name for page in (DOCS / "decisions").glob("0*.md")}
    assert not {name for name in records if f"({name})" not in index}


def test_every_room_of_the_table_has_its_paragraph() -> None:
    page = (DOCS / "architecture.md").read_text("utf-8")
    rooms = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert len(rooms) > 20
    assert not {room for room in rooms if f"\n**`{room}`** " not in page}
