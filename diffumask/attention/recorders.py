"""What takes the place of a layer's processor while its attention is captured."""

import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from diffumask.errors import InputError

from .concepts import ConceptStream
from .kernel import KernelCalls, Seen, of_images
from .projecting import Projecting
from .readers import Evaluation, Reader


class Recorder:
    """Calls a layer's own processor, then has readers add what the layer attends to.

    All that may change from one evaluation to the next is a tensor: a compiled network then
    holds this without a graph break, and is not compiled again.
    """

    def __init__(
        self,
        processor: Callable[..., Any],
        evaluation: Evaluation,
        layer: Any,
        name: str,
        readers: Sequence[Reader],
    ) -> None:
        self.processor = processor
        self.evaluation = evaluation
        self.layer = layer
        self.name = name
        self.readers = list(readers)

    @torch.no_grad()
    def read(self, seen: Seen) -> Seen:
        """Add what the layer saw, and return it, of the images that see the prompt."""
        of_prompt = of_images(seen, self.evaluation.rows, self.evaluation.batch_size)
        for reader in self.readers:
            reader.add(of_prompt)
        return of_prompt


class ProjectionRecorder(Recorder):
    """The same for layers of UNets, whose queries and keys are their projections."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.projecting = Projecting(self.layer)

    # The names matter: diffusers passes only the arguments that it finds in this signature.
    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Any:
        given = {} if temb is None else {"temb": temb}
        # compiled, they would tell nothing and break the graph
        with nullcontext() if torch.compiler.is_compiling() else KernelCalls() as calls:
            out = self.processor(
                self.projecting, hidden_states, encoder_hidden_states, attention_mask, **given
            )
        if attention_mask is not None:
            raise InputError("expected attention to the whole text, got a mask; remove it")
        seen = self.projecting.take()
        self.read(seen._replace(logsumexp=calls.logsumexp) if calls else seen)
        return out


class KernelRecorder(Recorder):
    """The same for layers of any kind that call torch's attention once."""

    stream: ConceptStream | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.stream is not None and self.stream.is_replaying:
            return self.stream.attend(self.processor, args, kwargs)
        if not self.evaluation.of_prompt:
            return self.processor(*args, **kwargs)
        with KernelCalls() as calls:
            out = self.processor(*args, **kwargs)
        of_prompt = self.read(calls.only(self.name))
        if self.stream is not None:
            self.stream.keep(of_prompt)
        return out


@functools.cache
def kernel_recorder(kind: type) -> type[KernelRecorder]:
    """Return the recorder for processors of a kind, with the signature of these.

    diffusers passes only the arguments that it finds there.
    """
    call: Any = kind.__call__

    @functools.wraps(call)
    def as_that_kind(self: KernelRecorder, *args: Any, **kwargs: Any) -> Any:
        return KernelRecorder.__call__(self, *args, **kwargs)

    return type(f"{kind.__name__}Recorder", (KernelRecorder,), {"__call__": as_that_kind})
