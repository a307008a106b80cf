"""Hidden states of the views that a training draws again and again, kept where there is room."""

import logging
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .examples import Examples
from .features import Autoencoder, decoded_states

MOST_SHARE = 0.25  # of the free disk
WORTH_TELLING = 1e9  # bytes
LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class KeptStates:
    """The hidden states of views, decoded once each if there is a folder to keep them in.

    They are rounded to bfloat16, which holds whatever a decoder makes, kept or not: so a head does
    not depend on the disk.
    """

    vae: Autoencoder
    examples: Examples
    folder: Path | None

    def __call__(self, views: Sequence[tuple[int, int]]) -> list[Float[Tensor, "b c h w"]]:
        """Return the state of each place for views, each the number of an image and of its view."""
        known = {view: self._read(view) for view in views}
        missing = [view for view, states in known.items() if states is None]
        if missing:
            known |= dict(zip(missing, self._decoded(missing), strict=True))
        places = zip(*(known[view] or [] for view in views), strict=True)
        return [torch.stack(one).to(self.vae.device).float() for one in places]

    def _decoded(self, views: Sequence[tuple[int, int]]) -> list[list[Tensor]]:
        images, numbers = zip(*views, strict=True)
        latents = self.examples.latents[list(images), list(numbers)]
        states = decoded_states(self.vae, latents.to(self.vae.device))
        whole = [one.bfloat16().cpu() for one in states if one is not None]
        of_views = [[one[at].contiguous() for one in whole] for at in range(len(views))]
        for view, of_view in zip(views, of_views, strict=True):
            self._write(view, of_view)
        return of_views

    def _read(self, view: tuple[int, int]) -> list[Tensor] | None:
        path = self._path(view)
        if path is None or not path.exists():
            return None
        with suppress(OSError, SafetensorError):
            kept = load_file(path)
            return [kept[str(place)] for place in range(len(kept))]
        return None

    def _write(self, view: tuple[int, int], states: Sequence[Tensor]) -> None:
        path = self._path(view)
        if path is None:
            return
        try:
            save_file({str(place): one for place, one in enumerate(states)}, path)
        except (OSError, SafetensorError) as error:
            LOG.info("hidden states are kept no longer: %s", error)
            path.unlink(missing_ok=True)
            self.folder = None

    def _path(self, view: tuple[int, int]) -> Path | None:
        image, number = view
        return None if self.folder is None else self.folder / f"{image}_{number}.safetensors"


def has_room(folder: Path, examples: Examples, states: Sequence[Tensor | None]) -> bool:
    """Whether a folder has room for the states of all views, going by those of some images."""
    of_images = [one for one in states if one is not None]
    per_view = sum(one.numel() // len(one) for one in of_images) * torch.bfloat16.itemsize
    n_bytes = per_view * examples.latents.shape[0] * examples.latents.shape[1]
    fits = n_bytes <= MOST_SHARE * shutil.disk_usage(folder).free
    if fits and n_bytes > WORTH_TELLING:
        LOG.info("hidden states of %.1f GB are kept on disk while it trains", n_bytes / 1e9)
    return fits
