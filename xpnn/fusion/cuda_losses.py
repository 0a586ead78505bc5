"""The loss and its gradient as one CUDA kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._standard import Array
from ..kernels.cuda import Counters, cross_entropy
from ..losses import SoftmaxCrossEntropy
from .settings import is_basic

if TYPE_CHECKING:
    from ..network import Network

__all__ = ["CudaLoss"]


class CudaLoss:
    """Softmax and cross-entropy with labels on CuPy.

    Labels that are on the device already are not looked at: one that is no class makes the loss
    NaN. Those that come from the host are checked there, as always.

    Parameters
    ----------
    loss : SoftmaxCrossEntropy
        Without class weights, smoothing and ignored labels.
    dtype : str
        "float32" or "float64".
    counters : Counters
        Of the plan.
    """

    def __init__(self, loss: SoftmaxCrossEntropy, dtype: str, counters: Counters) -> None:
        self._loss = loss
        self._dtype = dtype
        self._counters = counters

    def __call__(
        self, network: Network, output: Array, target: Any, sample_weight: Any
    ) -> tuple[Array, Array] | None:
        """Return the loss and its gradient; None where it is the loss itself that knows.

        Raises
        ------
        ShapeError, DataError
            If the targets cannot be used.
        """
        import cupy

        loss = self._loss
        if sample_weight is not None or output.dtype != self._dtype or not is_basic(loss):
            return None
        target = network.prepare_target(target, tuple(output.shape))
        if output.ndim != 2 or output.shape[1] < 2 or target.shape != output.shape[:1]:
            return None  # probabilities, or what the loss will complain of
        logits = cupy.ascontiguousarray(output)
        labels = cupy.ascontiguousarray(target, dtype=cupy.int64)
        gradient, value = cupy.empty_like(logits), cupy.empty((), dtype=logits.dtype)
        cross_entropy(logits, labels, gradient, value, self._counters)
        loss.weight_sum = float(output.shape[0])
        return value, gradient
