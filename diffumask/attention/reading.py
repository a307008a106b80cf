"""How the attention of a model is read: in which space, of which layers, at which steps."""

from collections.abc import Callable
from dataclasses import dataclass

from .defaults import STEPS, Steps

ATTENTION, OUTPUT = "attention", "output"
SPACES = (ATTENTION, OUTPUT)

Layers = Callable[[str], bool]  # of the name of a layer's processor


@dataclass(frozen=True, slots=True)
class Reading:
    """A choice of layers and steps for a space.

    `attention`: the share of a pixel's attention that goes to the tokens of a word. `output`: how
    alike the outputs of a pixel and of a concept are, among all concepts (Helbling et al. 2025,
    ConceptAttention). `source` says where the choice comes from.
    """

    space: str = ATTENTION
    layers: Layers | None = None
    steps: Steps = STEPS
    source: str = ""


def blocks(prefix: str, first: int, last: int) -> Layers:
    """Return what tells the layers of some blocks, the last one included: "prefix.9.attn..."."""

    def chosen(name: str) -> bool:
        head, _, rest = name.partition(prefix + ".")
        index = rest.split(".")[0]
        return not head and index.isdigit() and first <= int(index) <= last

    return chosen
