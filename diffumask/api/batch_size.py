"""How many images are sampled at a time: as asked for, or by the model and the memory there is."""

from typing import TYPE_CHECKING

from diffumask.articles import counted

from .loading_options import LoadingOptions
from .progress import log

if TYPE_CHECKING:  # torch takes seconds to import
    from diffumask.generation.batch import Batch
    from diffumask.generation.cost import Work
    from diffumask.models import Loading, ModelSpec
    from diffumask.sampling.settings import SampleSettings


def work_of(
    spec: "ModelSpec", sampling: "SampleSettings", loading: "Loading", batch_size: int = 1
) -> "Work":
    """Return what an image takes part in."""
    from diffumask.generation.cost import Work

    return Work(
        spec.name,
        sampling.height,
        sampling.width,
        sampling.num_inference_steps,
        sampling.guidance_scale > 1 and spec.family.guidance_doubles,
        batch_size,
        loading,
    )


def batch_here(
    options: LoadingOptions, spec: "ModelSpec", sampling: "SampleSettings", workers: int = 1
) -> "Batch":
    """Choose by the memory that is free on the device; on a CPU `workers` share it.

    Nothing of the model is loaded yet. Raises InputError for a device that cannot be had.
    """
    from diffumask.generation.batch import by_memory, by_size
    from diffumask.models import find_device, free_bytes

    device, work = find_device(options.device), work_of(spec, sampling, options.loading)
    free = free_bytes(device)
    if free is None:
        return by_size(work)
    found = options.loading.find_dtype(options.dtype, device, spec.family.half)
    dtype, is_gpu = str(found).removeprefix("torch."), device.type == "cuda"
    return by_memory(work, dtype, free if is_gpu else free // workers, is_gpu)


def batch_size(
    options: LoadingOptions, asked: int | None, spec: "ModelSpec", sampling: "SampleSettings"
) -> int:
    """Return the number that is asked for, or choose one and log it."""
    if asked is not None:
        return asked
    batch = batch_here(options, spec, sampling)
    tell(batch)
    return batch.size


def tell(batch: "Batch") -> None:
    """Log what was chosen, and why."""
    log.info("%s at a time, %s", counted(batch.size, "image"), batch.why)
