"""What is minimised: the loss of an output, and the penalty on the parameters."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from ._inputs import Inputs
from ._standard import Array, add_to_slices
from .errors import ConfigurationError, ShapeError
from .parameters import Parameters
from .regularization import Regularization

__all__ = ["Objective"]


class Objective(Inputs):
    """The part of a `Network` that computes what is minimised, and its gradients."""

    def loss_and_gradient(
        self, output: Array, target: Any, sample_weight: Any | None = None
    ) -> tuple[Array, Array]:
        """Return the loss of an output, without the regularization, and its gradient."""
        target = self.prepare_target(target, tuple(output.shape))
        loss = self._loss(output, target, sample_weight)
        dtype = self.backend.float_dtype
        if getattr(loss, "dtype", dtype) != dtype:  # NumPy promotes float32 and integers
            loss = self.backend.xp.astype(loss, dtype)
        return loss, self._loss_gradient(output)

    def data_loss(self, output: Array, target: Any, sample_weight: Any | None = None) -> Array:
        """Return the loss of an output that the network made, without the regularization."""
        with self._scope():
            target = self.prepare_target(target, tuple(output.shape))
            loss = self._loss(output, target, sample_weight)
        self.loss.cache.clear()
        return loss

    def _loss(self, output: Array, target: Array, sample_weight: Any) -> Array:
        weight = self.prepare_weight(sample_weight)
        self.loss.weight_sum = None  # a loss that does not say shows none of before
        if weight is None:  # a loss of a user's own may not know of weights
            return self.loss.forward(output, target)
        try:
            inspect.signature(self.loss.forward).bind(output, target, weight)
        except TypeError:
            owner = type(self.loss).__name__
            raise ConfigurationError(
                f"{owner} takes no sample_weight: its forward has no third argument"
            ) from None
        return self.loss.forward(output, target, weight)

    def _loss_gradient(self, output: Array) -> Array:
        """Return the gradient of the loss by the output, which a user's own may get wrong."""
        dout = self.loss.backward()
        if dout.shape != output.shape:
            raise ShapeError(
                f"{type(self.loss).__name__}: the output has shape {tuple(output.shape)}, "
                f"but backward returned a gradient of shape {tuple(dout.shape)}"
            )
        dtype = self.backend.float_dtype
        return dout if dout.dtype == dtype else self.backend.xp.astype(dout, dtype)

    def _regularize(
        self, regularization: Regularization, parameters: Parameters, grads: Array
    ) -> tuple[Array, Array]:
        """Return the penalty, and the gradients with that of the penalty added."""
        reshape = self.backend.xp.reshape
        values = parameters.values.array
        if regularization.elementwise:
            slices = parameters.slices(regularization.roles)
            pieces = [values[part] for part in slices]
        else:  # written for one parameter at a time: show it shaped arrays
            parts = parameters.parts(regularization.roles)
            slices = [slice(part.start, part.stop) for part in parts]
            pieces = [reshape(values[s], p.shape) for s, p in zip(slices, parts, strict=True)]
        penalties: list[Any] = [regularization.forward(piece) for piece in pieces]
        addends = [reshape(regularization.backward(piece), (-1,)) for piece in pieces]
        grads = add_to_slices(grads, slices, addends)
        return sum(penalties[1:], start=penalties[0]) if penalties else 0.0, grads

    def _scope(self) -> AbstractContextManager[None]:
        """Enter the device, and keep NumPy from warning of what is not finite: `train` raises."""
        quiet = np.errstate(all="ignore")
        return _both(self.backend.scope(), quiet) if self.backend.name == "cupy" else quiet


@contextlib.contextmanager
def _both(outer: AbstractContextManager[Any], inner: AbstractContextManager[Any]) -> Iterator[None]:
    with outer, inner:
        yield
