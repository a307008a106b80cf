"""One training by several processes, which `torchrun` or `accelerate launch` starts."""

import os

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn


def num_processes() -> int:
    """Return how many processes train together; 1 unless a launcher has started them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_rank() -> int:
    """Return the number of this process among those that train together."""
    return int(os.environ.get("RANK", "0"))


def is_first_process() -> bool:
    """Return whether this process is the one that writes."""
    return process_rank() == 0


def sum_of_processes(values: Tensor) -> None:
    """Put in place of a tensor the sum of all processes' own, each of which has to ask for it."""
    if num_processes() > 1:
        torch.distributed.all_reduce(values)


def mean_of_processes(value: float, device: torch.device) -> float:
    """Return the mean of a value over all processes, each of which has to ask for it."""
    if num_processes() == 1:
        return value
    total = torch.tensor(value, device=device)
    sum_of_processes(total)
    return total.item() / num_processes()


def any_process(is_true: bool, device: torch.device) -> bool:
    """Return whether something is true in any process, each of which has to ask for it."""
    return mean_of_processes(float(is_true), device) > 0


def shared(
    network: nn.Module, device: torch.device, has_unused: bool = False
) -> tuple[nn.Module, int, int]:
    """Return a network whose gradients are the mean over all processes, the rank, their number.

    `has_unused` says that not every parameter takes part in every step.
    """
    if num_processes() == 1:
        return network, 0, 1
    unused = DistributedDataParallelKwargs(find_unused_parameters=has_unused)
    accelerator = Accelerator(kwargs_handlers=[unused], cpu=device.type == "cpu")
    return accelerator.prepare_model(network), process_rank(), num_processes()
