"""What the rules make of runs of layers on CuPy. What needs the kernels is loaded on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..layers import AvgPool2d, BatchNorm2d, Conv2d, Embedding, MaxPool2d, Residual
from ..layers.layer import Layer
from .steps import PlanStep

if TYPE_CHECKING:
    from ..kernels.cuda import Counters

__all__ = ["FIRST_OF_IMAGES", "chain", "has_kernel", "residual", "sequences"]

#: With what a chain of images begins.
FIRST_OF_IMAGES: set[type[Layer]] = {Conv2d, BatchNorm2d, MaxPool2d, AvgPool2d}

_HOW = "fused by CUDA kernels"


def has_kernel(layer: Layer) -> bool:
    """Tell whether the kernels can do what a layer of a chain is set to."""
    if isinstance(layer, Conv2d):
        return layer.groups == 1
    return not isinstance(layer, MaxPool2d) or layer._window.taps < 255  # a byte says which


def chain(
    run: tuple[Layer, ...],
    activation: str,
    of_images: bool,
    dtype: str,
    counters: Counters,
) -> PlanStep:
    """Make a step of a run of layers that fit into one chain."""
    from .cuda_chain import CudaChainStep
    from .cuda_convolution import CudaConvolutionStep

    names = " + ".join(type(layer).__name__ for layer in run)
    kind = CudaConvolutionStep if of_images else CudaChainStep
    return kind(run, activation, dtype, counters, f"{_HOW}: {names}")


def sequences(layer: Any, dtype: str, counters: Counters) -> PlanStep:
    """Make a step of a recurrent layer or an embedding."""
    remark = f"{_HOW}: {type(layer).__name__}"
    if type(layer) is Embedding:
        from .cuda_lookup import CudaEmbeddingStep

        return CudaEmbeddingStep(layer, dtype, remark)
    from .cuda_recurrence import CudaRecurrentStep

    remark = f"{remark}, one launch and one product a step"
    return CudaRecurrentStep(layer, dtype, counters, remark)


def residual(
    layer: Residual,
    make_steps: Callable[..., list[PlanStep]],
    dtype: str,
    counters: Counters,
    channels_last: bool,
) -> PlanStep:
    """Make a step of a residual block, of the steps of its two ways."""
    from .cuda_composites import CudaResidualStep

    inside, beside = (
        make_steps(chain.layers, dtype, None, None, counters, channels_last)
        for chain in (layer._layers, layer._shortcut)
    )
    return CudaResidualStep(layer, (inside, beside))
