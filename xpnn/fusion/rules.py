"""Rules: which runs of layers become one step."""

from __future__ import annotations

import importlib.util
import itertools
import sys
import warnings
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ..layers import (
    ELU,
    GELU,
    GRU,
    LSTM,
    RNN,
    AvgPool2d,
    BatchNorm,
    BatchNorm2d,
    Bidirectional,
    Conv2d,
    Dropout,
    Embedding,
    LayerNorm,
    LeakyReLU,
    Linear,
    Masked,
    MaxPool2d,
    MultiHeadAttention,
    Parallel,
    Recompute,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Tanh,
    TransformerBlock,
)
from ..layers.layer import Layer
from . import cuda_rules
from .recognition import is_built_in, multiplies, takes_last
from .steps import LayerStep, LinearStep, PlanStep, Scratch, Step

if TYPE_CHECKING:
    from ..kernels.cuda import Counters
    from .composite_rules import Composites

__all__ = ["make_steps", "why_no_kernels"]

_ACTIVATIONS: dict[type[Layer], str] = {
    ReLU: "relu",
    LeakyReLU: "leaky_relu",
    ELU: "elu",
    Sigmoid: "sigmoid",
    Tanh: "tanh",
    SiLU: "silu",
    GELU: "gelu",
}

#: The places of a chain, in their order. Each may be empty.
_PLACES: tuple[set[type[Layer]], ...] = (
    {Linear},
    {BatchNorm, LayerNorm},
    set(_ACTIVATIONS),
    {Dropout},
)

#: The same of a chain that begins with a convolution.
_IMAGE_PLACES: tuple[set[type[Layer]], ...] = (
    {Conv2d},
    {BatchNorm2d},
    set(_ACTIVATIONS),
    {MaxPool2d, AvgPool2d},
)

_SEQUENCES: set[type[Layer]] = {RNN, LSTM, GRU, Embedding}
_ATTENTION: set[type[Layer]] = {MultiHeadAttention}

#: Layers that are made of layers.
_COMPOSITES: set[type[Layer]] = {
    Bidirectional,
    Masked,
    Parallel,
    Recompute,
    Residual,
    TransformerBlock,
}


def why_no_kernels() -> str | None:
    """Say why Numba's kernels cannot be used; None if they can."""
    if importlib.util.find_spec("numba") is None:
        return "Numba is not installed: pip install 'xpnn[fast]'"
    fault = _numba_fault()
    if fault is not None:
        return f"Numba does not work here: {fault}"
    if sys.byteorder != "little":
        return "the kernels read random bits in little-endian order"
    return None


@cache
def _numba_fault() -> str | None:
    """Say why Numba cannot be imported, such as a NumPy that is too new for it; warn once."""
    try:
        import numba  # noqa: F401
    except ImportError as error:
        warnings.warn(f"no fused kernels: Numba does not work here: {error}", stacklevel=2)
        return str(error)
    return None


def make_steps(
    layers: Sequence[Layer],
    dtype: str,
    lack: str | None,
    scratch: Scratch | None = None,
    counters: Counters | None = None,
    channels_last: bool = False,
) -> list[PlanStep]:
    """Cut a list of layers on NumPy or CuPy into steps, the longest run first.

    Parameters
    ----------
    layers : sequence of Layer
        In the order of the forward pass.
    dtype : str
        "float32" or "float64".
    lack : str or None
        Why there are no kernels, if there are none.
    scratch : Scratch, optional
        What the steps share, if others have it, too.
    counters : Counters, optional
        What the CUDA kernels of a plan share: given on CuPy.
    channels_last : bool
        Whether images come with their channels last in memory.
    """
    numba = lack is None and counters is None
    scratch = scratch or Scratch(dtype)
    composites, composite = None, None
    steps: list[PlanStep] = []
    start = 0
    while start < len(layers):
        of_images = type(layers[start]) in ({Conv2d} if numba else cuda_rules.FIRST_OF_IMAGES)
        of_images = of_images or (channels_last and type(layers[start]) in _ACTIVATIONS)
        places = _IMAGE_PLACES if of_images else _PLACES
        length = _chain_length(layers[start:], places, numba) if lack is None else 0
        run = tuple(layers[start : start + max(length, 1)])
        first = run[0]
        if numba and type(first) in _COMPOSITES:
            composites = composites or _composites(dtype, scratch)
            composite = composites.make(layers[start:])
        if length and counters is not None:
            steps.append(cuda_rules.chain(run, _activation(run), of_images, dtype, counters))
        elif length and type(first) is Conv2d:
            steps.append(_images(run, dtype, scratch))
        elif length > 1 or (length == 1 and type(first) is not Linear):
            steps.append(_chain(run, dtype, scratch))
        elif numba and type(first) in _SEQUENCES | _ATTENTION and is_built_in(first):
            steps.append(_sequences(first, dtype, scratch))
        elif counters is not None and type(first) in _SEQUENCES and is_built_in(first):
            steps.append(cuda_rules.sequences(first, dtype, counters))
        elif type(first) is Linear and is_built_in(first):
            steps.append(LinearStep(first, dtype, scratch, numba))
        elif counters is not None and type(first) is Residual and is_built_in(first):
            steps.append(cuda_rules.residual(first, make_steps, dtype, counters, channels_last))
        elif composite is not None:
            run = composite.layers
            steps.append(composite)
            composite = None
        else:
            remark, last = _why_not(first, lack), takes_last(first)
            steps.append(LayerStep(first, remark, not multiplies(first), last))
        start += len(run)
        channels_last = steps[-1].channels_last
    _settle(steps)
    return steps


def _chain_length(
    layers: Sequence[Layer], places: tuple[set[type[Layer]], ...], numba: bool
) -> int:
    """Count the layers at the beginning that fit into one chain."""
    length = 0
    for place in places:
        if length < len(layers):
            layer = layers[length]
            fits = type(layer) in place and is_built_in(layer)
            length += fits and (numba or cuda_rules.has_kernel(layer))
    return length


def _chain(run: tuple[Layer, ...], dtype: str, scratch: Scratch) -> Step:
    from .chain import ChainStep  # loads Numba

    return ChainStep(run, _activation(run), dtype, scratch, f"fused by Numba: {_names(run)}")


def _images(run: tuple[Any, ...], dtype: str, scratch: Scratch) -> Step:
    from .convolution import ConvolutionStep  # loads Numba
    from .plain_convolution import plain_step

    remark = f"fused by Numba: {_names(run)}"
    if len(run) == 1:
        return plain_step(run[0], dtype, scratch, remark)
    return ConvolutionStep(run, _activation(run), dtype, scratch, remark)


def _composites(dtype: str, scratch: Scratch) -> Composites:
    from .composite_rules import Composites  # loads Numba

    return Composites(make_steps, dtype, scratch)


def _activation(run: tuple[Layer, ...]) -> str:
    """Name the activation of a chain as its kernels do."""
    kind = "identity"
    for layer in run:
        kind = _ACTIVATIONS.get(type(layer), kind)
        if isinstance(layer, GELU) and layer.approximate == "tanh":
            kind = "gelu_tanh"
    return kind


def _names(run: tuple[Layer, ...]) -> str:
    return " + ".join(type(layer).__name__ for layer in run)


def _sequences(layer: Any, dtype: str, scratch: Scratch) -> Step:
    remark = f"fused by Numba: {type(layer).__name__}"
    if type(layer) is Embedding:
        from .lookup import EmbeddingStep  # loads Numba

        return EmbeddingStep(layer, dtype, scratch, remark)
    if type(layer) is MultiHeadAttention:
        from .attention import AttentionStep  # loads Numba

        return AttentionStep(layer, dtype, scratch, remark)
    from .recurrence import RecurrentStep  # loads Numba

    return RecurrentStep(layer, dtype, scratch, f"{remark}, the whole sequence at once")


def _why_not(layer: Layer, lack: str | None) -> str:
    if not is_built_in(layer):
        return "the layer itself: not a class of xpnn's"
    places = *_PLACES, *_IMAGE_PLACES, _SEQUENCES, _ATTENTION, _COMPOSITES
    if lack is not None and any(type(layer) in place for place in places):
        return f"the layer itself: {lack}"
    return "the layer itself: there is no kernel for it"


def _settle(steps: list[PlanStep]) -> None:
    """Decide which results may stay in buffers, and in which."""
    for index, step in enumerate(steps):
        if isinstance(step, Step):
            step.keeps_output = _stays(steps[index + 1 :])
            step.keeps_gradient = _stays(steps[:index][::-1])
    for step, after in itertools.pairwise(steps):
        step.meet(after)
        if isinstance(step, Step):
            step.gives_last = after.takes_last
        if isinstance(after, Step):
            after.returns_last = step.takes_last
    for slot, step in enumerate(step for step in steps if isinstance(step, Step)):
        step.slot = slot % 2


def _stays(neighbours: Sequence[PlanStep]) -> bool:
    """Tell whether a result that goes to these steps, nearest first, stays within the plan.

    A layer may hand on a view of what it gets, so all are looked at up to one that does not.
    """
    for step in neighbours:
        if isinstance(step, Step):
            return True
        if not all(map(is_built_in, step.layers)):
            return False
    return False
