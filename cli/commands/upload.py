"""Options of `diffumask upload`."""

from pathlib import Path
from typing import Annotated

import typer

from ..result import Result


def upload(
    folder: Annotated[Path, typer.Argument(help="Dataset folder.")],
    url: Annotated[str, typer.Argument(help="Where to: s3://bucket/birds, gs://..., a folder.")],
) -> Result:
    """Copy a dataset to object storage; run again to copy what is new since."""
    from ..upload import run

    return run(folder, url)
