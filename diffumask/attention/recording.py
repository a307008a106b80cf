"""One pipeline call as seen from inside: its prompts, its evaluations, its layers."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from diffumask.errors import InputError

from .defaults import Steps
from .encoding import check_ids, seen_ids
from .network import Inputs, Network
from .pooling import matrix_factor
from .recorders import Evaluation, MatrixRecorder, Recorder
from .running_means import Attention, Positions, halved
from .steps import are_chosen, check_trajectory

ALL_STEPS = (0.0, 1.0)

Words = Sequence[str] | Sequence[Sequence[str]]


class Run:
    """What one capture learns of the pipeline's call, and checks before it is believed."""

    def __init__(
        self,
        pipe: DiffusionPipeline,
        network: Network,
        words: Words,
        steps: Steps,
        also: Words = (),
    ) -> None:
        self.attention = Attention()
        self.pipe: Any = pipe
        self.network = network
        self.words = words
        self.also = also
        self.steps = steps
        self.evaluation = Evaluation(network)
        self.recorders: list[Recorder] = []
        self.n_passes = 0
        self.n_evaluations = 0
        self._first: Inputs | None = None
        self._timesteps = self._chosen = self._embeddings = torch.empty(0)
        self._counted = self._strange = torch.zeros(())
        self._seen: list[Tensor] = []
        self._timesteps_before = self.pipe.scheduler.timesteps

    def seeing_prompts(self, encode_prompt: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `encode_prompt` so that it also tells the positions of the words."""
        signature = inspect.signature(encode_prompt)
        if not {"prompt", "num_images_per_prompt"} <= set(signature.parameters):
            kind = type(self.pipe).__name__
            raise InputError(f"expected a pipeline that encodes one prompt an image, got {kind}")

        @functools.wraps(encode_prompt)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if self.n_passes:
                raise InputError(
                    "expected one pipeline call per capture, without true_cfg_scale, got a second"
                    " prompt; open another capture"
                )
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            texts = self._texts(bound.arguments)
            wanted = self._wanted_positions(texts, bound.arguments)
            with seen_ids(self.pipe) as ids:
                encoded = encode_prompt(*args, **kwargs)
            check_ids(self.pipe, texts, ids)
            self._embeddings = _embeddings(encoded, len(wanted))
            self.evaluation.positions = self.attention.expect(wanted)
            self.n_passes = 2 if bound.arguments.get("do_classifier_free_guidance") else 1
            return encoded

        return wrapper

    def _texts(self, arguments: Mapping[str, Any]) -> list[str]:
        prompt = arguments["prompt"]
        others = [arguments.get(name) for name in ("prompt_2", "prompt_3")]
        if prompt is None or any(other not in (None, prompt) for other in others):
            raise InputError("expected the text as `prompt` alone, got embeddings or a `prompt_2`")
        return [prompt] if isinstance(prompt, str) else list(prompt)

    def _wanted_positions(
        self, texts: list[str], arguments: Mapping[str, Any]
    ) -> list[dict[str, Positions]]:
        wanted = _words_per_prompt(self.words, len(texts))
        also = _words_per_prompt(self.also, len(texts)) if self.also else [()] * len(texts)
        of_prompt = [
            {word: self.network.positions(text, word, arguments) for word in words}
            | self._seen_positions(text, more, arguments)
            for text, words, more in zip(texts, wanted, also, strict=True)
        ]
        n_images = arguments["num_images_per_prompt"]
        return [positions for positions in of_prompt for _ in range(n_images)]

    def _seen_positions(
        self, text: str, words: Sequence[str], arguments: Mapping[str, Any]
    ) -> dict[str, Positions]:
        """Return where words stand, without those that the text encoder does not see whole."""
        found = {}
        for word in words:
            with suppress(InputError):
                found[word] = self.network.positions(text, word, arguments)
        return found

    @torch.no_grad()
    def see_evaluation(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Prepare the sums for one evaluation of the network; this is a forward pre-hook."""
        inputs = self.network.inputs(args, kwargs)
        if not self.n_passes:
            raise InputError("expected a pipeline call inside the capture, got a bare network call")
        self._check(inputs)
        if self._first is None:
            self._first = inputs
            self._start(inputs)
        self.n_evaluations += 1
        self._seen.append(inputs.timestep.detach().flatten()[:1].float())
        now = self.evaluation
        now.batch_size = inputs.batch_size
        text = inputs.text[-len(now.positions) :]
        told = self._embeddings.to(text)
        self._strange += ~torch.isclose(text, told, rtol=0, atol=0, equal_nan=True).all()
        if self.steps != ALL_STEPS:
            now.weight = self._chosen.take(_nearest(self._timesteps, inputs.timestep))
        self._counted += now.weight

    def _check(self, inputs: Inputs) -> None:
        """Refuse an evaluation of another kind than the prompt's, as far as the host knows."""
        n_images = len(self.evaluation.positions)
        # Guidance may end before the pipeline does; what is left is the half with the prompt.
        if inputs.batch_size not in (n_images, n_images * self.n_passes):
            raise InputError(
                f"expected a batch of {n_images} x {self.n_passes}, got {inputs.batch_size}:"
                " this kind of guidance cannot be captured"
            )
        if inputs.text.shape[1:] != self._embeddings.shape[1:]:
            raise InputError(
                f"expected the text as it was encoded, {tuple(self._embeddings.shape[1:])}, got"
                f" {tuple(inputs.text.shape[1:])}: other text cannot be captured"
            )
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
        self._embeddings = self._embeddings.to(inputs.device)
        self._leave_other_matrices(inputs.latent_hw)
        for recorder in self.recorders:
            recorder.start(self.attention, halved(inputs.latent_hw, recorder.factor))

        now.weight = torch.ones((), device=inputs.device)
        self._counted, self._strange = torch.zeros(2, device=inputs.device).unbind()
        if self.steps == ALL_STEPS:  # nothing to look up, so nothing is read from the device
            return
        self._timesteps = self.pipe.scheduler.timesteps.to(inputs.device, torch.float32)
        first = int(_nearest(self._timesteps, inputs.timestep))  # not 0 when an image is given
        chosen = are_chosen(self.steps, self._timesteps[first:].tolist())
        self._chosen = torch.tensor([0.0] * first + list(map(float, chosen)), device=inputs.device)

    def _leave_other_matrices(self, latent_hw: tuple[int, int]) -> None:
        """Give the layers back whose self-attention is on another grid than that of the matrix."""
        recorders = [one for one in self.recorders if isinstance(one, MatrixRecorder)]
        sizes = {one.factor: halved(latent_hw, one.factor) for one in recorders}
        for recorder in recorders:
            if recorder.factor != matrix_factor(sizes):
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
        counts = torch.stack([self._strange, self._counted, *(one.count for one in self.recorders)])
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
        for recorder, count in zip(self.recorders, of_layers, strict=True):
            _check_count(recorder, count, counted)
        if self._has_trajectory:
            timesteps = self.pipe.scheduler.timesteps.flatten().float().tolist()
            check_trajectory(torch.cat(self._seen).tolist(), timesteps)


def _check_count(recorder: Recorder, count: float, counted: float) -> None:
    """Refuse a layer that saw nothing, or more than the network did; a cache may skip some."""
    if not 1 <= count <= counted:
        raise InputError(
            f"expected attention at {recorder.name} at most once in each of {counted:.0f}"
            f" evaluations, and in one at least, got it {count:.0f} times; disable what skips"
            " or repeats layers"
        )


def _embeddings(encoded: Any, n_images: int) -> Tensor:
    """Return the embeddings of the prompt, which stand first in what `encode_prompt` gives."""
    embeddings = encoded[0] if isinstance(encoded, tuple | list) else encoded
    if not isinstance(embeddings, Tensor) or len(embeddings) != n_images:
        raise InputError(
            f"expected embeddings of {n_images} prompts of encode_prompt, got others; capture"
            " another pipeline"
        )
    return embeddings.detach()


def _nearest(timesteps: Tensor, timestep: Tensor) -> Tensor:
    # Not the equal one: some pipelines round it to half precision. It stays on the device.
    return (timesteps - timestep.to(timesteps.device).flatten()[:1]).abs().argmin()


def _words_per_prompt(words: Words, n_prompts: int) -> list[Sequence[str]]:
    shared = [word for word in words if isinstance(word, str)]
    if len(shared) == len(words) > 0:
        return [shared] * n_prompts
    if shared or len(words) != n_prompts:
        raise InputError(
            f"expected one list of words, or one for each of {n_prompts} prompts, got {words!r}"
        )
    return [of_prompt for of_prompt in words if not isinstance(of_prompt, str)]
