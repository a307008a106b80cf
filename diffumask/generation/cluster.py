"""Items made by workers on Ray, each with a pipeline of its own, and written by this process.

A worker that dies is started again and its batches are made again; as one process alone writes,
nothing is lost or there twice.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

from diffusers import DiffusionPipeline

from diffumask.dataset.encode import EncodedItem
from diffumask.dataset.writer import Store
from diffumask.errors import InputError, in_one_line
from diffumask.models import fingerprint
from diffumask.sampling.noising import computing_device
from diffumask.types import OnPhase, Prompt, unseen_phase

from .draft import Draft, drafts
from .job import Job
from .masking import GenerateSettings, make_item
from .pipeline import sample_batch
from .plan import Item
from .ray_address import LOCAL, check_ray

AHEAD = 2  # batches that a worker has at a time: masks of one are made while the next is sampled
DEATHS = 5  # of a worker, after which its batch is given up


class Worker:
    """Makes batches; an actor of Ray, of which two threads call `make`."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._sampling = Lock()
        self._open = ExitStack()
        self._ready: tuple[DiffusionPipeline, GenerateSettings] | None = None

    def describe(self) -> dict[str, Any]:
        """Return the dtype and device of the pipeline."""
        with self._sampling:
            pipe, _ = self._loaded()
        dtype = str(pipe.dtype).removeprefix("torch.")
        return {"dtype": dtype, "device": str(computing_device(pipe))}

    def make(self, batch: Sequence[Item], prompts: Sequence[Prompt]) -> list[EncodedItem]:
        """Make the items of a batch. Raises InputError for a model that is another here."""
        with self._sampling:
            pipe, settings = self._loaded()
            samples = sample_batch(pipe, batch, prompts, settings)
        return [make_item(*pair, settings)[1] for pair in zip(batch, samples, strict=True)]

    def _loaded(self) -> tuple[DiffusionPipeline, GenerateSettings]:
        # Not in __init__, from which Ray passes no error on.
        if self._ready is None:
            job = self._job
            found = fingerprint(job.spec)
            if found != job.checkpoint:
                raise InputError(
                    f"expected the model {job.checkpoint} on every machine, got {found} on "
                    f"{os.uname().nodename}; copy it there"
                )
            self._ready = self._open.enter_context(job.open())
        return self._ready


@dataclass(frozen=True, slots=True)
class Workers:
    """Workers that run; `dtype` and `device` are those of their pipelines."""

    actors: Sequence[Any]
    dtype: str
    device: str

    def generate(
        self,
        items: Iterable[Item],
        prompt_of: Callable[[Item], Prompt],
        store: Store,
        batch_size: int,
        redraw: int = 0,
        on_phase: OnPhase = unseen_phase,
    ) -> Iterator[list[EncodedItem]]:
        """Make and write the items that the folder lacks; yield each batch once it is on disk.

        Batches are those of `pipeline.generate`, and come in whatever order they are ready; any
        worker draws again what they lack. Raises InputError as that does, and where workers die
        again and again.
        """
        import ray

        batches: Iterator[Draft[EncodedItem]] = drafts(items, store, batch_size, redraw)
        free = deque([*self.actors] * AHEAD)
        pending: dict[Any, tuple[Any, Draft[EncodedItem]]] = {}
        batch = None
        while True:
            while free and (batch := batch or next(batches, None)):
                actor = free.popleft()
                prompts = [prompt_of(item) for item in batch.wanted]
                pending[actor.make.remote(batch.wanted, prompts)] = actor, batch
                batch = None
            if not pending:
                return
            on_phase("batches at workers", 0, len(pending))
            (ready, *_), _ = ray.wait(list(pending), num_returns=1)
            made = _result(ready)
            actor, batch = pending.pop(ready)
            free.append(actor)
            batch.add([one.record for one in made], made)
            if not batch.wanted:
                store.write_batch(batch.made)
                yield batch.made
                batch = None


@contextmanager
def open_workers(job: Job, address: str, count: int | None = None) -> Iterator[Workers]:
    """Start `count` workers, by default one for each GPU, or for each CPU where there is no GPU.

    `address` is that of a Ray cluster, "auto" finds one that runs here, and "local" starts one on
    this machine. Raises InputError where Ray is missing or does not answer, and for more workers
    than there is room for.
    """
    ray = _connected(address)
    try:
        resources = ray.cluster_resources()
        kind = "GPU" if resources.get("GPU") and job.device in ("auto", "cuda") else "CPU"
        room = int(resources.get(kind, 0))
        count = count or room
        if not 1 <= count <= room:
            raise InputError(f"expected workers from 1 to {room}, one per {kind}, got {count}")
        options = {
            "num_cpus": 1,
            "num_gpus": 1 if kind == "GPU" else 0,
            "max_restarts": DEATHS,
            "max_task_retries": DEATHS,
            "max_concurrency": AHEAD,
        }
        actors = [ray.remote(Worker).options(**options).remote(job) for _ in range(count)]
        told = [_result(actor.describe.remote()) for actor in actors]
        dtypes = sorted({one["dtype"] for one in told})
        if len(dtypes) > 1:
            raise InputError(f"expected one dtype, got {' and '.join(dtypes)}; choose one")
        yield Workers(actors, dtypes[0], told[0]["device"])
    finally:
        ray.shutdown()


def _connected(address: str) -> Any:
    check_ray(address)
    import ray

    # Without, Ray warns of a change in how it hides GPUs from workers that asked for none.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    local: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except (ConnectionError, ValueError, RuntimeError, ImportError) as error:
        reason = in_one_line(error)
        raise InputError(f"expected a Ray cluster at {address!r}, got: {reason}") from None
    return ray


def _result(reference: Any) -> Any:
    """Wait for what a worker returns; raise its InputError as it is."""
    import ray
    from ray.exceptions import RayActorError, RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise InputError(str(error.cause)) from None
        raise
    except RayActorError as error:
        raise InputError(
            f"expected workers that live, got one that died {DEATHS + 1} times; finished items are "
            "kept: use a smaller batch size or fewer workers"
        ) from error
