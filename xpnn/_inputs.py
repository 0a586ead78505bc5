"""What a network is given: samples, targets and weights, checked on the host and moved."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._standard import Array
from .backend import Backend
from .errors import DataError, DivergenceError, ShapeError
from .layers.layer import Layer
from .losses import Loss

__all__ = ["Inputs"]


class Inputs:
    """The part of a `Network` that looks at what comes in, before anything is computed.

    What is on the host is checked there, since a device reports no wrong label or id; what is on
    the device already is taken as it is, so that nothing waits for it.
    """

    backend: Backend
    loss: Loss

    def input_layer(self) -> Layer | None:
        """Return the layer that gets the input; a network that begins with ids needs it."""
        return None

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape of the output for one of the input; None if only `forward` can tell."""
        return None

    def prepare_input(self, input: Any) -> Array:
        """Bring a batch to the network's back end and type, and check its shape."""
        array = self.backend.asarray(self.check_input(input), self.input_dtype, "input")
        if array.ndim < 1:
            raise DataError("expected a batch of samples, got a single number")
        self.output_shape(tuple(array.shape))
        return array

    def explain(self, error: DivergenceError, input: Any, target: Any) -> None:
        """Add to an error what in the batch made the loss not finite, if it was the batch."""
        layer = self.input_layer()
        for culprit, value in (("the samples", input), ("the targets", target)):
            owns = self.backend.owns(value)
            numbers = self.backend.to_host(value) if owns else np.asarray(value)
            fault = ""
            floating, dtype = numbers.dtype.kind == "f", self.backend.dtype
            if floating and not np.isfinite(numbers).all():
                fault = f"{culprit} have NaN or infinity"
            elif floating and not _finite_as(dtype, numbers):
                fault = f"{culprit} have numbers that are infinite as {dtype}"
            elif value is input and layer is not None and layer.takes_ids:
                try:
                    layer.check_ids(numbers)
                except DataError as refusal:
                    fault = str(refusal)
            if fault:
                error.culprit = culprit
                error.args = (f"{error.args[0]}. It began in the batch: {fault}",)
                return

    @property
    def input_dtype(self) -> Any:
        """The library's type of the samples: that of the network, or integers if they are ids."""
        layer = self.input_layer()
        takes_ids = layer is not None and layer.takes_ids
        return self.backend.index_dtype if takes_ids else self.backend.float_dtype

    def check_input(self, input: Any) -> Any:
        """Check samples that are on the host, if they are ids: no device reports a wrong one."""
        layer = self.input_layer()
        if layer is None or not layer.takes_ids:
            return input
        if self.backend.name == "numpy" or not self.backend.owns(input):
            input = self.backend.host_data(input, "input")
            layer.check_ids(input)
        return input

    def check_target(self, target: Any, output_shape: tuple[int, ...]) -> Any:
        """Check targets that are on the host against the shape of the output; cast them there."""
        if self.backend.name == "numpy" or not self.backend.owns(target):
            target = self.loss.prepare(self.backend.host_data(target, "target"), output_shape)
        return target

    def prepare_target(self, target: Any, output_shape: tuple[int, ...]) -> Array:
        """Check targets, and bring them to the back end."""
        return self.backend.asarray(self.check_target(target, output_shape))

    def check_weight(self, sample_weight: Any) -> Any:
        """Check sample weights that are on the host."""
        weight = self.backend.host_data(sample_weight, "sample_weight")
        if weight.ndim != 1:
            raise ShapeError(f"sample_weight: expected shape (N,), got {weight.shape}")
        if not ((weight >= 0) & (weight < math.inf)).all():
            raise DataError("sample_weight: expected finite numbers of at least 0")
        # The losses divide by their sum; that of an empty or all-zero batch is 0.
        limits = np.finfo(self.backend.dtype)
        with np.errstate(over="ignore"):
            total = weight.sum(dtype=np.float64)
        if total > limits.max or 0 < total < limits.tiny:
            raise DataError(
                f"sample_weight: expected a sum of 0, or one from {limits.tiny:.2g} to "
                f"{limits.max:.2g}, which {self.backend.dtype} can divide by, got {total:.2g}"
            )
        return weight

    def prepare_weight(self, sample_weight: Any | None) -> Array | None:
        """Bring sample weights, if there are any, to the network's back end and type."""
        if sample_weight is None:
            return None
        if self.backend.name == "numpy" or not self.backend.owns(sample_weight):
            sample_weight = self.check_weight(sample_weight)
        return self.backend.asarray(sample_weight, dtype=self.backend.float_dtype)


def _finite_as(dtype: str, numbers: Any) -> bool:
    """Tell whether the numbers of a NumPy array stay finite in another type."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(numbers.astype(dtype)).all())
