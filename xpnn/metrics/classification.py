"""Metrics for targets that are classes."""

from __future__ import annotations

from .._standard import Array, arange, array_namespace
from ..errors import ConfigurationError, ShapeError
from ..losses.targets import aligned_target, checked_index, checked_weight, class_labels
from .metric import Mean, check_output

__all__ = ["Accuracy", "TopK"]


class _Hits(Mean):
    """The fraction of samples that are right."""

    def __init__(self, ignore_index: int | None = None) -> None:
        self.ignore_index = checked_index(type(self).__name__, ignore_index)

    def batch(self, output: Array, target: Array, sample_weight: Array | None = None) -> Array:
        """Return the weighted sum of the hits, and that of the weights; see `Metric.batch`.

        Each step of sequences, outputs (N, T, K), is a sample with the weight of its sequence.
        """
        if output.ndim == 3 and target.ndim > 1:
            xp, owner = array_namespace(output), type(self).__name__
            check_output(owner, output)
            if target.shape[:2] != output.shape[:2]:
                raise ShapeError(
                    f"{owner}: expected targets of shape {tuple(output.shape[:2])}, "
                    f"got {tuple(target.shape)}"
                )
            if sample_weight is not None:
                weight = checked_weight(owner, output, sample_weight)
                sample_weight = xp.repeat(weight, output.shape[1])
            output, target = (xp.reshape(a, (-1, *a.shape[2:])) for a in (output, target))
        return super().batch(output, target, sample_weight)

    def labels(self, output: Array, target: Array) -> tuple[Array, Array, Array | None]:
        """Return labels of K >= 2 classes, which are valid, and which count if not all."""
        xp = array_namespace(output)
        samples, classes = output.shape
        if tuple(target.shape) == (samples, classes):
            labels = xp.argmax(target, axis=1)
            return labels, labels >= 0, None
        if tuple(target.shape) not in ((samples,), (samples, 1)):
            raise ShapeError(
                f"{type(self).__name__}: expected targets of shape ({samples},) or "
                f"{(samples, classes)}, got {tuple(target.shape)}"
            )
        labels, valid = class_labels(target, classes)
        counts = None if self.ignore_index is None else labels != self.ignore_index
        return labels, valid, counts


class Accuracy(_Hits):
    """Fraction of the samples that are classified right.

    With two or more outputs the class is the one of the largest output, the first of equals;
    targets are labels (N,) or (N, 1), or probabilities (N, K), whose largest counts. With one
    output, (N,) or (N, 1), the class is 1 where the output (a logit) is above 0, and targets are
    above 1/2 for class 1. With weights it is the right samples' part of the sum of the weights.

    Parameters
    ----------
    ignore_index : int, optional
        Samples of this label do not count, as in `SoftmaxCrossEntropy`. Two or more outputs only.

    Raises
    ------
    ConfigurationError
        If `ignore_index` is neither an integer nor None.

    Examples
    --------
    >>> import numpy as np
    >>> metric = Accuracy()
    >>> first = metric.batch(np.asarray([[1.0, 2.0], [3.0, 0.0]]), np.asarray([1, 1]))
    >>> second = metric.batch(np.asarray([[0.0, 2.0]]), np.asarray([1]))
    >>> round(metric.combine(np.stack([first, second])), 6)
    0.666667
    """

    name = "accuracy"

    def score(self, output: Array, target: Array) -> tuple[Array, Array | None]:
        """Return 1 for each sample that is right, else 0, and which samples count if not all."""
        xp = array_namespace(output)
        if output.ndim == 1 or (output.ndim == 2 and output.shape[1] == 1):
            target = aligned_target("Accuracy", output, target)
            right = xp.reshape((output > 0) == (target > 0.5), (-1,))
            return xp.astype(right, output.dtype), None
        labels, valid, counts = self.labels(_columns("Accuracy", output), target)
        right = xp.logical_and(valid, xp.argmax(output, axis=1) == labels)
        return xp.astype(right, output.dtype), counts


class TopK(_Hits):
    """Fraction of the samples whose class is among those of the k largest outputs.

    Of equal outputs the first counts as larger, so ``TopK(1)`` is `Accuracy`. Targets are labels
    (N,) or (N, 1), or probabilities (N, K), whose largest counts. Nothing is sorted: the outputs
    above that of the label are counted.

    Parameters
    ----------
    k : int
        At least 1. With k classes or fewer, every sample is right.
    ignore_index : int, optional
        Samples of this label do not count, as in `SoftmaxCrossEntropy`.

    Raises
    ------
    ConfigurationError
        If `k` is no integer of at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> metric = TopK(2)
    >>> statistics = metric.batch(
    ...     np.asarray([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]), np.asarray([1, 2])
    ... )
    >>> metric.name, metric.combine(statistics[None])
    ('top2', 0.5)
    """

    def __init__(self, k: int = 5, ignore_index: int | None = None) -> None:
        super().__init__(ignore_index)
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ConfigurationError(f"TopK: k must be an integer of at least 1, got {k!r}")
        self.k = k
        self.name = f"top{k}"

    def score(self, output: Array, target: Array) -> tuple[Array, Array | None]:
        """Return 1 for each sample that is right, else 0, and which samples count if not all."""
        xp = array_namespace(output)
        labels, valid, counts = self.labels(_columns("TopK", output), target)
        labels = xp.where(valid, labels, 0)[:, None]
        own = xp.take_along_axis(output, labels, axis=1)
        earlier = arange(output.shape[1], like=labels)[None, :] < labels
        # "Not less or equal" rather than "greater": outputs that are NaN must not make a hit.
        above = xp.logical_not(output <= own)
        above = xp.logical_or(above, xp.logical_and(output == own, earlier))
        rank = xp.sum(xp.astype(above, output.dtype), axis=1)
        right = xp.logical_and(valid, rank < self.k)
        return xp.astype(right, output.dtype), counts


def _columns(owner: str, output: Array) -> Array:
    if output.ndim != 2 or output.shape[1] < 2:
        raise ShapeError(
            f"{owner}: expected outputs of shape (N, K) with at least 2 classes, "
            f"got {tuple(output.shape)}"
        )
    return output
