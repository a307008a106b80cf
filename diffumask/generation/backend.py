"""What makes the items of a run: this process, or workers on Ray."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from diffumask.sampling.noising import computing_device

from .job import Job
from .pipeline import generate


@dataclass(frozen=True, slots=True)
class Backend:
    """What makes items, and the dtype and device that it does so with.

    `make` takes items, the prompt of each, a store, and who is told what goes on, and yields each
    batch once it is on disk.
    """

    dtype: str
    device: str
    make: Callable[..., Iterator[Sequence[Any]]]


@contextmanager
def open_backend(job: Job, ray: str | None = None, workers: int | None = None) -> Iterator[Backend]:
    """Open a job in this process, or on Ray workers; `ray` is the address of the cluster."""
    if ray is not None:
        from .cluster import open_workers  # Ray is an extra

        with open_workers(job, ray, workers) as opened:
            chosen = {"batch_size": job.settings.batch_size, "redraw": job.settings.redraw}
            make = partial(opened.generate, **chosen)
            yield Backend(opened.dtype, opened.device, make)
        return
    with job.open() as (pipe, settings):
        dtype = str(pipe.dtype).removeprefix("torch.")
        yield Backend(
            dtype, str(computing_device(pipe)), partial(generate, pipe, settings=settings)
        )
