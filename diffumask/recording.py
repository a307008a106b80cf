"""One pipeline call as seen from inside: its prompts, its evaluations, its layers."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from diffumask.attention import Attention, Grid, Positions, SizeHW, halved
from diffumask.defaults import MAX_MATRIX_CELLS, Steps
from diffumask.errors import InputError
from diffumask.network import Inputs, Network, Projecting, Projections, Rotary
from diffumask.steps import are_chosen

ALL_STEPS = (0.0, 1.0)

Words = Sequence[str] | Sequence[Sequence[str]]


class Recorder:
    """Calls a layer's own processor, then adds what the layer attends to to the sums.

    All that may change from one evaluation to the next is a tensor: a compiled network then
    holds this without a graph break, and is not compiled again.
    """

    def __init__(self, processor: Callable[..., Any], run: "Run", layer: Any, factor: int) -> None:
        self.processor = processor
        self.run = run
        self.layer = Projecting(layer)
        self.factor = factor
        self.n_heads: int = layer.heads
        self.size_hw: SizeHW = (0, 0)
        self.total = torch.empty(0)

    def start(self, grid: Grid, size_hw: SizeHW) -> None:
        """Take the sums to add to."""
        self.size_hw, self.total = size_hw, grid.total
        grid.n_layers += 1
        grid.n_heads += self.n_heads

    # The names matter: diffusers passes only the arguments that it finds in this signature.
    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Rotary | None = None,
        temb: Tensor | None = None,
    ) -> Any:
        optional = {"image_rotary_emb": image_rotary_emb, "temb": temb}
        given = {name: value for name, value in optional.items() if value is not None}
        out = self.processor(
            self.layer, hidden_states, encoder_hidden_states, attention_mask, **given
        )
        if attention_mask is not None:
            raise InputError("expected attention to the whole text, got a mask; remove it")
        with torch.no_grad():
            made = self.layer.take(len(self.run.positions))
            self.total.addcmul_(self.maps(attn, made, image_rotary_emb), self.run.weight)
        return out

    def maps(self, layer: nn.Module, made: Projections, rotary: Rotary | None) -> Tensor:
        """Return the attention of one layer to the words at one evaluation."""
        run = self.run
        weights = run.network.word_attention(layer, made, rotary, run.positions)
        return weights.mT.unflatten(-1, self.size_hw)


class SpreadRecorder(Recorder):
    """The same for self-attention, which spreads the maps of the evaluations before."""

    def start(self, grid: Grid, size_hw: SizeHW) -> None:
        """Take the sums to add to."""
        if grid.spread is None:
            grid.spread = torch.zeros_like(grid.total)
        self.size_hw, self.total = size_hw, grid.spread
        grid.n_self_layers += 1

    def maps(self, layer: nn.Module, made: Projections, rotary: Rotary | None) -> Tensor:
        """Return one layer's self-attention times the maps so far."""
        before = self.run.maps_before[self.size_hw].flatten(2).mT
        spread = self.run.network.self_attention(layer, made, before)
        return spread.mT.unflatten(-1, self.size_hw)


class MatrixRecorder(Recorder):
    """The same for self-attention, of which all is kept; for one grid, as it is large."""

    def start(self, grid: Grid, size_hw: SizeHW) -> None:
        """Take the sums to add to."""
        if grid.matrix is None:
            n_images, (h, w) = len(grid.total), size_hw
            grid.matrix = grid.total.new_zeros(n_images, h * w, h, w)
        self.size_hw, self.total = size_hw, grid.matrix
        grid.n_self_layers += 1

    def maps(self, layer: nn.Module, made: Projections, rotary: Rotary | None) -> Tensor:
        """Return the attention of one layer to all pixels at one evaluation."""
        return self.run.network.self_matrix(layer, made).mT.unflatten(-1, self.size_hw)


class Run:
    """What the recorders of one capture share."""

    def __init__(
        self, pipe: DiffusionPipeline, network: Network, words: Words, steps: Steps
    ) -> None:
        self.attention = Attention()
        self.pipe = pipe
        self.network = network
        self.words = words
        self.steps = steps
        self.recorders: list[Recorder] = []
        self.positions = torch.empty(0, 0, dtype=torch.long)
        self.weight = torch.empty(())
        self.maps_before: Mapping[SizeHW, Tensor] = {}
        self.n_passes = 0
        self.n_evaluations = 0
        self._timesteps = self._chosen = torch.empty(0)

    def seeing_prompts(self, encode_prompt: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `encode_prompt` so that it also tells the positions of the words."""
        signature = inspect.signature(encode_prompt)

        @functools.wraps(encode_prompt)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if self.n_passes:
                raise InputError(
                    "expected one pipeline call per capture, without true_cfg_scale, got a second"
                    " prompt; open another capture"
                )
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            wanted = self._wanted_positions(bound.arguments)
            embeddings = encode_prompt(*args, **kwargs)
            self.positions = self.attention.expect(wanted)
            self.n_passes = 2 if bound.arguments.get("do_classifier_free_guidance") else 1
            return embeddings

        return wrapper

    def _wanted_positions(self, arguments: Mapping[str, Any]) -> list[dict[str, Positions]]:
        prompt = arguments["prompt"]
        others = [arguments.get(name) for name in ("prompt_2", "prompt_3")]
        if prompt is None or any(other not in (None, prompt) for other in others):
            raise InputError("expected the text as `prompt` alone, got embeddings or a `prompt_2`")
        texts = [prompt] if isinstance(prompt, str) else list(prompt)
        of_prompt = [
            {word: self.network.positions(text, word, arguments) for word in words}
            for text, words in zip(texts, _words_per_prompt(self.words, len(texts)), strict=True)
        ]
        n_images = arguments["num_images_per_prompt"]
        return [positions for positions in of_prompt for _ in range(n_images)]

    @torch.no_grad()
    def see_evaluation(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Prepare the sums for one evaluation of the network; this is a forward pre-hook."""
        inputs = self.network.inputs(args, kwargs)
        if not self.n_passes:
            raise InputError("expected a pipeline call inside the capture, got a bare network call")
        n_images = len(self.positions)
        if inputs.batch_size != n_images * self.n_passes:
            raise InputError(
                f"expected a batch of {n_images} x {self.n_passes}, got {inputs.batch_size}:"
                " this kind of guidance cannot be captured"
            )
        if not self.n_evaluations:
            self._start(inputs)
        self.n_evaluations += 1
        if self.steps != ALL_STEPS:
            self.weight = self._chosen.take(_nearest(self._timesteps, inputs.timestep))
        if any(isinstance(recorder, SpreadRecorder) for recorder in self.recorders):
            # 0 / 0 before the first step that counts
            maps = self.attention.maps.items()
            self.maps_before = {size: of_size.nan_to_num(nan=0.0) for size, of_size in maps}
        self.attention.count(self.weight)

    def _start(self, inputs: Inputs) -> None:
        """Allocate the sums, and learn which timesteps count, at the first evaluation."""
        self.positions = self.positions.to(inputs.device)
        self._leave_other_matrices(inputs.latent_hw)
        for recorder in self.recorders:
            size_hw = halved(inputs.latent_hw, recorder.factor)
            recorder.start(self.attention.grid(size_hw, recorder.factor, self.positions), size_hw)

        self.weight = torch.ones((), device=inputs.device)
        if self.steps == ALL_STEPS:  # nothing to look up, so nothing is read from the device
            return
        self._timesteps = self.pipe.scheduler.timesteps.to(inputs.device, torch.float32)
        first = int(_nearest(self._timesteps, inputs.timestep))  # not 0 when an image is given
        chosen = are_chosen(self.steps, self._timesteps[first:].tolist())
        self._chosen = torch.tensor([0.0] * first + list(map(float, chosen)), device=inputs.device)

    def _leave_other_matrices(self, latent_hw: SizeHW) -> None:
        """Give the layers back whose matrix is too large, or of a coarser grid than another's."""
        recorders = [one for one in self.recorders if isinstance(one, MatrixRecorder)]
        sizes = {one.factor: halved(latent_hw, one.factor) for one in recorders}
        fitting = [factor for factor, (h, w) in sizes.items() if h * w <= MAX_MATRIX_CELLS]
        if recorders and not fitting:
            raise InputError(
                f"expected self-attention on a grid of at most {MAX_MATRIX_CELLS} cells, got"
                f" {sorted(sizes.values())}; make a smaller image"
            )
        for recorder in recorders:
            if recorder.factor != min(fitting):
                recorder.layer.set_processor(recorder.processor)
                self.recorders.remove(recorder)


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
