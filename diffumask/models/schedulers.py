"""Schedulers by the names that people know them by, for models of noise and of flow matching."""

from collections.abc import Mapping
from inspect import signature
from typing import Any, NamedTuple

from diffumask.errors import InputError

FLOW_PREFIX = "FlowMatch"
FLOW_SOLVER = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}


class Scheduler(NamedTuple):
    """A class of diffusers, and what is set of it beside the configuration of the model's own."""

    kind: str
    options: Mapping[str, Any] = {}


# A scheduler of flow matching has to take the sigmas of the pipeline, and no noise of its own:
# pipelines do not hand it the generators of the images.
OF_FLOW = {
    "euler": Scheduler("FlowMatchEulerDiscreteScheduler"),
    "dpm++": Scheduler("DPMSolverMultistepScheduler", FLOW_SOLVER),
    "unipc": Scheduler("UniPCMultistepScheduler", FLOW_SOLVER),
}
OF_NOISE = {
    "ddim": Scheduler("DDIMScheduler"),
    "pndm": Scheduler("PNDMScheduler", {"skip_prk_steps": True}),
    "euler": Scheduler("EulerDiscreteScheduler"),
    "euler-a": Scheduler("EulerAncestralDiscreteScheduler"),
    "heun": Scheduler("HeunDiscreteScheduler"),
    "dpm++": Scheduler("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpm++-karras": Scheduler(
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True},
    ),
    "dpm++-sde": Scheduler("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": Scheduler("UniPCMultistepScheduler"),
    "lcm": Scheduler("LCMScheduler"),
}
SCHEDULERS = tuple(OF_NOISE)


def make_scheduler(name: str, own: Any) -> Any:
    """Make the scheduler of a name from the configuration of a model's own.

    Raises InputError for one that does not go with the model, and names those that do.
    """
    import diffusers  # it loads torch

    is_flow = type(own).__name__.startswith(FLOW_PREFIX) or own.config.get("use_flow_sigmas", False)
    kinds = {one.__name__ for one in own.compatibles}  # its own among them
    is_noise = any(kind in kinds for kind, _ in OF_NOISE.values())
    known = OF_FLOW if is_flow else OF_NOISE if is_noise else {}
    if name not in known:
        raise InputError(
            f"expected a scheduler that goes with {type(own).__name__} of the model "
            f"({', '.join(known) or 'none but its own'}), got {name!r}"
        )
    kind, options = known[name]
    if is_flow:
        shift = own.config.get("shift", own.config.get("flow_shift", 1.0))
        options = {**options, "shift" if kind.startswith(FLOW_PREFIX) else "flow_shift": shift}
    made = getattr(diffusers, kind)
    taken = signature(made).parameters  # of all else diffusers would print that it is ignored
    config = {name: value for name, value in own.config.items() if name in taken}
    return made.from_config(config | dict(options))
