"""One pipeline call as seen from inside: its evaluations, its layers."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from diffumask.errors import InputError

from .concepts import ConceptStream
from .defaults import MATRIX_STRIDES, Steps
from .network import Inputs, Network
from .pooling import matrix_factor
from .prompted import Prompted, Words
from .readers import Evaluation, MatrixReader, Reader
from .recorders import Recorder
from .running_means import Attention, halved
from .steps import are_chosen, check_trajectory, evenly_spaced

ALL_STEPS = (0.0, 1.0)


class Run:
    """What one capture learns of the pipeline's call, and checks before it is believed."""

    def __init__(
        self,
        pipe: DiffusionPipeline,
        network: Network,
        words: Words,
        steps: Steps,
        also: Words = (),
        matrix_strides: tuple[int, int] = MATRIX_STRIDES,
    ) -> None:
        self.attention = Attention()
        self.pipe: Any = pipe
        self.network = network
        self.steps = steps
        self.step_stride, self.layer_stride = matrix_strides
        self.evaluation = Evaluation(network)
        self.prompted = Prompted(pipe, network, words, also, self._expect)
        self.recorders: list[Recorder] = []
        self.stream: ConceptStream | None = None
        self.n_evaluations = 0
        self._first: Inputs | None = None
        self._matrices_at: Collection[int] | None = None  # evaluations, None is all
        self._timesteps = self._chosen = torch.empty(0)
        self._counted = self._strange = torch.zeros(())
        self._seen: list[Tensor] = []
        self._timesteps_before = self.pipe.scheduler.timesteps

    @property
    def readers(self) -> list[Reader]:
        """All that add to sums."""
        return [reader for recorder in self.recorders for reader in recorder.readers]

    def ride(self, stream: ConceptStream, background: Sequence[str]) -> None:
        """Have words and background ride the stream of the text as concepts."""
        self.stream = stream
        self.prompted.background = tuple(background)

    def seeing_prompts(self, encode_prompt: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `encode_prompt` so that it also tells the positions of the words."""
        return self.prompted.seeing(encode_prompt)

    def _expect(self, wanted: Sequence[Mapping[str, tuple[int, ...]]]) -> None:
        self.evaluation.positions = self.attention.expect(wanted)
        if self.stream is not None:
            self.stream.tell(self.prompted.concept_rows, self.prompted.concepts)

    @torch.no_grad()
    def see_evaluation(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Prepare the sums for one evaluation of the network; this is a forward pre-hook."""
        now = self.evaluation
        if self._second_pass_follows and now.of_prompt and self.n_evaluations:
            now.of_prompt = False  # guidance without the prompt follows each evaluation with it
            return
        now.of_prompt = True
        inputs = self.network.inputs(args, kwargs)
        if not self.prompted.n_passes:
            raise InputError("expected a pipeline call inside the capture, got a bare network call")
        if self._first is None:
            self.prompted.repeat(inputs.batch_size)
        self._check(inputs)
        n_images = len(now.positions)
        now.batch_size = inputs.batch_size
        now.rows = slice(n_images) if self.network.prompt_first else slice(-n_images, None)
        if self._first is None:
            self._first = inputs
            self._start(inputs)
        if self._matrices_at is None or self.n_evaluations in self._matrices_at:
            for reader in self._matrix_readers:
                reader.due = True
        self.n_evaluations += 1
        self._seen.append(inputs.timestep.detach().flatten()[:1].float())
        text = inputs.text[now.rows]
        self._strange += self.prompted.differs(text)
        if self.stream is not None:
            self.stream.start(text[0])
        if self.steps != ALL_STEPS:
            now.weight = self._chosen.take(_nearest(self._timesteps, inputs.timestep))
        self._counted += now.weight

    @property
    def _second_pass_follows(self) -> bool:
        # A callback may end guidance before the image is done, which a pipeline then says.
        goes_on = getattr(self.pipe, "do_classifier_free_guidance", True)
        return self.prompted.has_second_pass and goes_on

    def _check(self, inputs: Inputs) -> None:
        """Refuse an evaluation of another kind than the prompt's, as far as the host knows."""
        n_images = len(self.evaluation.positions)
        # Guidance may end before the pipeline does; what is left is the half with the prompt.
        n_passes = self.prompted.n_passes
        if inputs.batch_size not in (n_images, n_images * n_passes):
            raise InputError(
                f"expected a batch of {n_images} x {n_passes}, got {inputs.batch_size}:"
                " this kind of guidance cannot be captured"
            )
        self.prompted.check_shape(inputs.text)
        if self._first and inputs.latent_hw != self._first.latent_hw:
            raise InputError(
                f"expected {self._first.latent_hw} at each step, got {inputs.latent_hw}: views and"
                " tiles of an image cannot be captured"
            )
        timesteps = self.pipe.scheduler.timesteps
        if self._has_trajectory and self.n_evaluations >= len(timesteps):
            raise InputError(
                f"expected one evaluation for each of {len(timesteps)} steps, got more:"
                " guidance by a second pass cannot be captured"
            )

    @property
    def _has_trajectory(self) -> bool:
        # A pipeline sets the timesteps anew; who calls the network in a loop need not.
        return self.pipe.scheduler.timesteps is not self._timesteps_before

    def _start(self, inputs: Inputs) -> None:
        """Allocate the sums, and learn which timesteps count, at the first evaluation."""
        now = self.evaluation
        now.positions = now.positions.to(inputs.device)
        self._leave_other_matrices(inputs.latent_hw)
        for reader in self.readers:
            reader.start(self.attention, halved(inputs.latent_hw, reader.factor))

        now.weight = torch.ones((), device=inputs.device)
        self._counted, self._strange = torch.zeros(2, device=inputs.device).unbind()
        thins_out = self._has_trajectory and self.step_stride > 1 and bool(self._matrix_readers)
        if self.steps == ALL_STEPS and not thins_out:
            return  # nothing to look up, so nothing is read from the device
        self._timesteps = self.pipe.scheduler.timesteps.to(inputs.device, torch.float32)
        first = int(_nearest(self._timesteps, inputs.timestep))  # not 0 when an image is given
        chosen = are_chosen(self.steps, self._timesteps[first:].tolist())
        self._chosen = torch.tensor([0.0] * first + list(map(float, chosen)), device=inputs.device)
        if thins_out:
            n_steps = getattr(self.pipe, "num_timesteps", None)  # fewer where others go on
            counted = [i for i, counts in enumerate(chosen[:n_steps]) if counts]
            kept = evenly_spaced(len(counted), self.step_stride)
            self._matrices_at = {counted[i] for i in kept}

    @property
    def _matrix_readers(self) -> list[MatrixReader]:
        return [one for one in self.readers if isinstance(one, MatrixReader)]

    def _leave_other_matrices(self, latent_hw: tuple[int, int]) -> None:
        """Give the layers back whose self-attention is on another grid, or passed over."""
        matrices = self._matrix_readers
        sizes = {one.factor: halved(latent_hw, one.factor) for one in matrices}
        on_grid = [one for one in matrices if one.factor == matrix_factor(sizes)]
        kept = [on_grid[i] for i in evenly_spaced(len(on_grid), self.layer_stride)]
        for recorder in list(self.recorders):
            recorder.readers = [
                one for one in recorder.readers if one not in matrices or one in kept
            ]
            if not recorder.readers and self.stream is None:
                recorder.layer.set_processor(recorder.processor)
                self.recorders.remove(recorder)

    def check_whole(self) -> None:
        """Raise `InputError` where the call was not such that the maps are what they say."""
        if not self.n_evaluations:
            raise InputError("expected a pipeline call inside the capture, got none; call it there")
        for recorder in self.recorders:
            if recorder.layer.processor is not recorder:
                raise InputError(
                    f"expected the processor of {recorder.name} to stay, got another inside the"
                    " capture; set it before"
                )
        readers = self.readers
        counts = torch.stack([self._strange, self._counted, *(one.count for one in readers)])
        strange, counted, *of_layers = counts.tolist()
        if strange:
            raise InputError(
                f"expected the prompt as it was encoded, got other embeddings at {strange:.0f} of"
                f" {self.n_evaluations} evaluations; these cannot be captured"
            )
        if not counted:
            raise InputError(
                f"expected steps={self.steps} to keep an evaluation, got none of"
                f" {self.n_evaluations}; keep more"
            )
        for reader, count in zip(readers, of_layers, strict=True):
            _check_count(reader, count, counted)
        if self._has_trajectory:
            timesteps = self.pipe.scheduler.timesteps.flatten().float().tolist()
            check_trajectory(torch.cat(self._seen).tolist(), timesteps)


def _check_count(reader: Reader, count: float, counted: float) -> None:
    """Refuse a layer that saw nothing, or more than the network did; a cache may skip some."""
    if not 1 <= count <= counted:
        raise InputError(
            f"expected attention at {reader.name} at most once in each of {counted:.0f}"
            f" evaluations, and in one at least, got it {count:.0f} times; disable what skips"
            " or repeats layers"
        )


def _nearest(timesteps: Tensor, timestep: Tensor) -> Tensor:
    # Not the equal one: some pipelines round it to half precision. It stays on the device.
    return (timesteps - timestep.to(timesteps.device).flatten()[:1]).abs().argmin()
