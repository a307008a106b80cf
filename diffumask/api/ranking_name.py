"""How a ranking of captions is named."""

from diffumask.errors import InputError

TEXT = "text"
CLIP = "clip:"


def check_ranking(name: str) -> None:
    """Raise InputError for a ranking of captions that there is not."""
    if name != TEXT and not (name.startswith(CLIP) and name.removeprefix(CLIP)):
        raise InputError(f"expected a caption ranking {TEXT} or {CLIP}FOLDER, got {name!r}")
