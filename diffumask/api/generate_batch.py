"""How many images `generate` samples at a time."""

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from diffumask.dataset.shards import WHOLE

from .batch_size import batch_here, work_of
from .generate_request import Request

if TYPE_CHECKING:  # torch takes seconds to import
    from diffumask.generation.batch import Batch
    from diffumask.models import ModelSpec
    from diffumask.sampling.settings import SampleSettings

LOCAL = "local"  # Ray on this machine


def settled_batch(
    request: Request, spec: "ModelSpec", sampling: "SampleSettings"
) -> "Batch | None":
    """Return what no machine is asked for: a folder goes on as it went last, shards cut alike."""
    from diffumask.dataset.run import find_run
    from diffumask.generation.batch import Batch, by_size

    options = request.options
    if options.batch_size is not None:
        return Batch(options.batch_size, "as asked for")
    earlier = find_run(request.out)
    if earlier is not None and earlier.batch_size is not None:
        return Batch(earlier.batch_size, "as in the folder so far")
    if options.part != WHOLE:
        plain = by_size(work_of(spec, sampling, options.loading))
        return replace(plain, why=f"{plain.why}, the same for all shards")
    return None


def choose_batch(request: Request, spec: "ModelSpec", sampling: "SampleSettings") -> "Batch":
    """Return what is settled, or else what suits the machine that samples."""
    from diffumask.generation.batch import GIB, by_memory, by_size
    from diffumask.generation.cost import GPU_GIB

    settled, options = settled_batch(request, spec, sampling), request.options
    if settled is not None:
        return settled
    work = work_of(spec, sampling, options.loading)
    if options.gpu:
        return by_memory(work, spec.family.half, GPU_GIB[options.gpu] * GIB, is_gpu=True)
    if options.pace_s or options.ray not in (None, LOCAL):  # another machine
        return by_size(work)
    workers = 1 if options.ray is None else options.workers or os.cpu_count() or 1
    return batch_here(options, spec, sampling, workers)
