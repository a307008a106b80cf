"""The page: its files in `page/`, and the items as JSON, in one HTML text."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from diffumask.dataset.run import Run
from diffumask.draw import display_palette
from diffumask.errors import InputError
from diffumask.files.atomic import write_file, writing

from .html import fill, read, style
from .marks import MADE_BY, dataset_fingerprint

# Each may use what those before it define while it is read.
SCRIPTS = (
    *(
        "heat",
        "state",
        "marks",
        "overlay",
        "draw",
        "select",
        "histogram",
        "legend",
        "tiles",
        "grid",
    ),
    *("zoom", "touch", "detail", "keys", "live", "main"),
)
GENERATOR = f'<meta name="generator" content="{MADE_BY}">'
HEAD_BYTES = 4096  # within which the generator stands
SHOWN_SETTINGS = {
    "model": "{}",
    "num_inference_steps": "{} steps",
    "guidance_scale": "guidance {:g}",
    "threshold": "threshold {}",
    "refiner": "refiner {}",
}


def render(
    title: str,
    run: Run,
    items: Sequence[Mapping[str, Any]],
    *,
    against: str = "",
    is_live: bool = False,
) -> str:
    """Make the page of items that `Source.read` returned; `run` is that of the dataset.

    `against` names the dataset beside it, if there is one; a page that is live asks the server that
    gave it for its items.
    """
    return fill(
        "diffumask.gallery",
        "page/gallery.html",
        style(),
        "\n".join(read(f"{name}.js") for name in SCRIPTS),
        policy="; connect-src 'self'" if is_live else "",
        title=title,
        against=against,
        facts=_facts(run.settings),
        made_by=MADE_BY,
        data=_data(title, run, items) | {"against": against, "live": is_live},
    )


def write_page(path: Path, page: str) -> None:
    """Write the page, in place of an earlier one.

    Raises InputError as `refuse_foreign`, and where it cannot be written.
    """
    refuse_foreign(path)
    write_file(path, page.encode())


def refuse_foreign(path: Path) -> None:
    """Raise InputError for a path where there is no folder, or what `write_page` did not write."""
    if not path.parent.is_dir():
        raise InputError(f"expected a folder that is there, got {path.parent}; make it first")
    if not path.exists():
        return
    head = b""
    if path.is_file():
        with writing(path.parent), open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    if GENERATOR.encode() not in head:
        raise InputError(f"expected a free name or a page of {MADE_BY}, got {path}; choose another")


def _facts(settings: Mapping[str, Any]) -> str:
    shown = (form.format(settings[key]) for key, form in SHOWN_SETTINGS.items() if key in settings)
    return " · ".join(shown)


def _data(title: str, run: Run, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    palette = display_palette(run.classes.values())
    levels = np.arange(256, dtype=np.uint8)[None]
    heat_colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    return {
        "made_by": MADE_BY,
        "title": title,
        "dataset": dataset_fingerprint(run.settings),
        "colours": base64.b64encode(palette.tobytes()).decode(),
        "heat_colours": base64.b64encode(heat_colours.tobytes()).decode(),
        "items": items,
    }
