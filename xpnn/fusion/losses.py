"""The loss and its gradient as one kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._standard import Array
from ..losses import Loss, SoftmaxCrossEntropy
from .memory import empty
from .settings import is_basic
from .steps import as_rows
from .threads import team

if TYPE_CHECKING:
    from ..kernels.cuda import Counters
    from ..network import Network
    from .cuda_losses import CudaLoss

__all__ = ["FusedLoss", "make_loss"]

#: A number takes this many times as long as in a pass that does nothing but add.
_COSTLY = 4

_LABEL = np.dtype(np.int64)


class FusedLoss:
    """Softmax and cross-entropy with labels, by Numba.

    Parameters
    ----------
    loss : SoftmaxCrossEntropy
        Without class weights, smoothing and ignored labels.
    dtype : str
        "float32" or "float64".
    """

    def __init__(self, loss: SoftmaxCrossEntropy, dtype: str) -> None:
        from ..kernels.numba import cross_entropy  # loads Numba

        self._loss = loss
        self._dtype = np.dtype(dtype)
        self._name = dtype
        self._kernel = cross_entropy.labels
        self._losses = np.empty(0)  # of the samples

    def __call__(
        self, network: Network, output: Array, target: Any, sample_weight: Any
    ) -> tuple[Array, Array] | None:
        """Return the loss and its gradient; None where it is the loss itself that knows.

        Raises
        ------
        ShapeError, DataError
            If the targets cannot be used.
        """
        loss = self._loss
        if sample_weight is not None or output.dtype != self._dtype or not is_basic(loss):
            return None
        shape = output.shape
        axes = len(shape) - 1  # of labels: (N,), or (N, T) for the steps of sequences
        if type(target) is not np.ndarray or target.dtype != _LABEL or target.ndim != axes:
            target = network.prepare_target(target, shape)
        if axes not in (1, 2) or shape[-1] < 2 or target.shape != shape[:-1]:
            return None  # probabilities, or what the loss will complain of
        flags = target.flags
        if not (flags.c_contiguous and flags.aligned):
            target = np.array(target)
        logits = as_rows(output, shape[-1], self._dtype)
        gradient = empty(logits.shape, self._dtype)
        labels = target if axes == 1 else target.reshape(-1)
        rows = labels.size
        losses = self._losses
        if losses.size != rows:
            losses = self._losses = np.empty(rows)
        parts, parallel = team().share(_COSTLY * logits.size)
        kernel = self._kernel[self._name, parallel]
        value, bad = kernel(logits, labels, gradient, losses, parts)
        if bad:
            loss.prepare(target, shape)  # raises
        loss.weight_sum = float(rows)
        return self._dtype.type(value), gradient if axes == 1 else gradient.reshape(shape)


def make_loss(
    loss: Loss, dtype: str, lack: str | None, counters: Counters | None = None
) -> tuple[FusedLoss | CudaLoss | None, str]:
    """Return the kernel of a loss, if there is one, and a remark; `counters` are given on CuPy."""
    if lack is not None:
        return None, f"the loss itself: {lack}"
    if type(loss) is not SoftmaxCrossEntropy or vars(loss).keys() & {"forward", "backward"}:
        return None, "the loss itself: there is no kernel for it"
    if not is_basic(loss):
        return None, "the loss itself: the kernel knows no class weights, smoothing, ignored labels"
    remark = "for labels without sample weights"
    if counters is None:
        return FusedLoss(loss, dtype), f"fused by Numba, {remark}"
    from .cuda_losses import CudaLoss

    return CudaLoss(loss, dtype, counters), f"fused by a CUDA kernel, {remark}"
