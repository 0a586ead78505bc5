"""Cross-entropy of one class out of several."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from .._checks import checked_number, checked_numbers
from .._standard import Array, arange, array_namespace, full, ones
from ..errors import ConfigurationError, DataError, ShapeError
from .loss import Loss
from .targets import (
    Constant,
    check_real,
    checked_index,
    checked_labels,
    checked_weight,
    class_labels,
    reciprocal,
)

__all__ = ["SoftmaxCrossEntropy"]

#: How far the probabilities of a sample may be from a sum of 1: two decimals are enough.
_SUM_TOLERANCE = 1e-2


class SoftmaxCrossEntropy(Loss):
    """Mean cross-entropy between targets and the softmax of the outputs (logits).

    With logits z (N, K), ``p = softmax(z)``, class weights c (1 by default), sample weights u (1
    by default) and label smoothing s, integer labels y give the target distributions
    ``t[i] = (1 - s) * onehot(y[i]) + s / K`` and ::

        cost[i]  = -sum_k(c[k] * t[i, k] * log(p[i, k]))                 in nats per sample
        loss     = sum_i(u[i] * cost[i]) / sum_i(u[i] * c[y[i]])
        backward = u[i] * (p[i, k] * sum_j(c[j] * t[i, j]) - c[k] * t[i, k]) / divisor

    without the ignored samples. Targets that are probabilities q, (N, K), are smoothed to
    ``t = (1 - s) * q + s / K``, and the divisor is ``sum_i(u[i])``. With ``u = 1`` both are the
    definitions of PyTorch, which smooths the weighted classes and divides by the weights of the
    labels alone. The log-sum-exp form is used: no logit overflows.

    `forward` takes logits (N, K), K >= 2, floating-point, and labels (N,) or (N, 1), of any dtype,
    or probabilities (N, K). With logits of sequences, (N, T, K), and labels (N, T) or probabilities
    (N, T, K), each step is a sample in these formulas, and has the weight of its sequence. It does
    not look at labels: one that is no whole number from 0 to K - 1 makes the loss NaN.
    `prepare` raises for it.

    Parameters
    ----------
    class_weight : sequence of float, optional
        K numbers >= 0.
    label_smoothing : float
        What part of each target is spread over all classes, in [0, 1].
    ignore_index : int, optional
        Samples of this label do not count. Without effect on probabilities.

    Attributes
    ----------
    class_weight : tuple of float or None
    label_smoothing : float
    ignore_index : int or None

    Raises
    ------
    ConfigurationError
        If a setting is out of its range, or (by `forward`) there is not one class weight for each
        class.
    ShapeError
        By `forward`, if the shapes do not fit.
    DataError
        By `prepare`, for labels out of range, negative or fractional, and for probabilities that
        are negative or do not sum to 1.

    Notes
    -----
    Cost: one exponential and 4 FLOPs an element forward, 2 backward and one comparison; with
    smoothing or probabilities 3 more forward. The cache keeps ``exp(z - max(z))``.

    Label smoothing: Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception
    Architecture for Computer Vision", CVPR 2016, section 7.

    Examples
    --------
    >>> import numpy as np
    >>> loss = SoftmaxCrossEntropy()
    >>> logits = np.log(np.asarray([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]]))
    >>> round(float(loss.forward(logits, np.asarray([0, 2]))), 6)  # -(log 0.5 + log 0.75) / 2
    0.490415
    >>> np.round(loss.backward(), 6).tolist()
    [[-0.25, 0.125, 0.125], [0.0625, 0.0625, -0.125]]
    """

    def __init__(
        self,
        class_weight: Iterable[float] | None = None,
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        self.class_weight: tuple[float, ...] | None = None
        if class_weight is not None:
            self.class_weight = checked_numbers(owner, "class_weight", class_weight)
            self._constant = Constant(self.class_weight)
        self.label_smoothing = checked_number(
            owner, "label_smoothing", label_smoothing, low=0.0, high=1.0
        )
        self.ignore_index = checked_index(owner, ignore_index)

    def forward(self, input: Array, target: Array, sample_weight: Array | None = None) -> Array:
        """Return the weighted mean cross-entropy, a 0-d array; see `Loss.forward`.

        Parameters
        ----------
        input : array, (N, K) or (N, T, K), floating-point
            Logits.
        target : array, (N,) or (N, 1) or (N, K); (N, T) or (N, T, K)
            Labels, or probabilities.
        sample_weight : array, (N,), optional
            How much each sample counts, >= 0.

        Raises
        ------
        ShapeError
            If the shapes do not fit.
        ConfigurationError
            If there is not one class weight for each class.
        """
        xp = array_namespace(input)
        labelled = self._check_shapes(tuple(input.shape), tuple(target.shape))
        if sample_weight is not None:
            sample_weight = checked_weight(type(self).__name__, input, sample_weight)
        shape = tuple(input.shape)
        if len(shape) == 3:
            input, target = (xp.reshape(a, (-1, *a.shape[2:])) for a in (input, target))
            if sample_weight is not None:
                sample_weight = xp.repeat(sample_weight, shape[1])
        logits = input - xp.max(input, axis=1, keepdims=True)
        # The exponentials become the gradient: backward scales them in place.
        exponential = xp.exp(logits)
        total = xp.sum(exponential, axis=1, keepdims=True)
        log_total = xp.log(total)[:, 0]
        self.cache = {"exponential": exponential, "shape": shape}
        if not labelled:
            goal = self._spread_probabilities(input, target, sample_weight)
        else:
            labels, weight, share = self._weigh_labels(input, target, sample_weight)
            if not self.label_smoothing:
                # Picking the label's logit, not multiplying by zeros: a logit may be -inf.
                classes = (labels % logits.shape[1])[:, None]  # of no class, too: within bounds
                picked = xp.take_along_axis(logits, classes, axis=1)
                self.cache |= {
                    "ratio": weight[:, None] / total,
                    "labels": labels,
                    "weight": weight,
                }
                return xp.sum(weight * (log_total - picked[:, 0]))
            goal = self._smooth_labels(labels, weight, share, logits)
        mass = xp.sum(goal, axis=1)
        self.cache |= {"ratio": mass[:, None] / total, "goal": goal}
        logits *= goal
        return xp.sum(mass * log_total) - xp.sum(logits)

    def backward(self) -> Array:
        """Return the gradient of the last `forward` by the logits; see `Loss.backward`."""
        gradient = self.saved("exponential")
        gradient *= self.saved("ratio")
        if "labels" in self.cache:
            gradient -= _spread(self.saved("labels"), self.saved("weight"), gradient.shape[1])
        else:
            gradient -= self.saved("goal")
        return array_namespace(gradient).reshape(gradient, self.saved("shape"))

    def prepare(self, target: Any, output_shape: tuple[int | None, ...] | None) -> Any:
        """Check labels or probabilities on the host; see `Loss.prepare`.

        Labels are returned as int64, (N,) or (N, T); probabilities as they are, floating-point.
        """
        owner = type(self).__name__
        check_real(owner, target)
        classes = None
        if target.ndim == 0:
            raise ShapeError(f"{owner}: expected a target for each sample, got a single number")
        if target.ndim > 3 or (target.ndim == 3 and target.shape[2] < 2):
            raise ShapeError(
                f"{owner}: expected targets of shape (N,), (N, K), (N, T) or (N, T, K), "
                f"got {target.shape}"
            )
        labelled = target.ndim == 1 or target.shape[1:] == (1,)
        if output_shape is not None:
            labelled = self._check_shapes((target.shape[0], *output_shape[1:]), target.shape)
            classes = output_shape[-1]
        if labelled:
            labels = checked_labels(owner, target, classes, self.ignore_index)
            sequences = output_shape is not None and len(output_shape) == 3
            return labels.reshape(target.shape) if sequences else labels
        if not target.shape[0]:
            return target
        total = target.sum(axis=-1, keepdims=True, dtype="float64")
        bad = ((target < 0) | ~(abs(total - 1) <= _SUM_TOLERANCE)).any(axis=-1)
        if bad.any():
            row = int(bad.argmax())
            raise DataError(
                f"{owner}: expected probabilities >= 0 that sum to 1, "
                f"got {target.reshape(-1, target.shape[-1])[row].tolist()} in row {row}"
            )
        return target if target.dtype.kind == "f" else target.astype("float64")

    def _check_shapes(self, output: tuple[int | None, ...], target: tuple[int, ...]) -> bool:
        """Check that shapes and class weights fit; tell labels from probabilities."""
        owner = type(self).__name__
        if len(output) not in (2, 3):
            raise ShapeError(
                f"{owner}: expected an output of shape (N, K) or (N, T, K), got {output}"
            )
        samples, *steps, classes = output
        if classes is not None and classes < 2:
            raise ShapeError(
                f"{owner}: expected an output of at least 2 classes, got shape {output}; "
                "for one column use BinaryCrossEntropy"
            )
        if self.class_weight is not None and classes not in (None, len(self.class_weight)):
            raise ConfigurationError(
                f"{owner}: expected {classes} class weights, got {len(self.class_weight)}"
            )
        labels = (samples, *steps)
        if target == labels or (not steps and target == (samples, 1)):
            return True
        if target == output:
            return False
        raise ShapeError(f"{owner}: expected targets of shape {labels} or {output}, got {target}")

    def _weigh_labels(
        self, input: Array, target: Array, sample_weight: Array | None
    ) -> tuple[Array, Array, Array]:
        """Return labels, and weights over the divisor: of labels and of samples, NaN if invalid."""
        xp = array_namespace(input)
        samples, classes = input.shape
        labels, valid = class_labels(target, classes)
        if sample_weight is None and self.class_weight is None and self.ignore_index is None:
            self.weight_sum = float(samples)
            even = full((samples,), 1.0 / max(samples, 1), like=input)
            weight = xp.where(xp.all(valid), even, math.nan)
            return labels, weight, weight
        share = ones((samples,), like=input) if sample_weight is None else sample_weight
        share = xp.where(valid, share, math.nan)
        if self.ignore_index is not None:
            share = xp.where(labels == self.ignore_index, 0.0, share)
        if self.class_weight is None:
            self.weight_sum = xp.sum(share)
            share = share * reciprocal(self.weight_sum)
            return labels, share, share
        weight = share * xp.take(self._constant.like(input), labels % classes)
        self.weight_sum = xp.sum(weight)
        scale = reciprocal(self.weight_sum)
        return labels, weight * scale, share * scale

    def _smooth_labels(self, labels: Array, weight: Array, share: Array, logits: Array) -> Array:
        """Return the smoothed target distributions, (N, K), times all weights."""
        smoothing, classes = self.label_smoothing, logits.shape[1]
        goal = _spread(labels, (1.0 - smoothing) * weight, classes)
        uniform = (smoothing / classes) * share[:, None]
        if self.class_weight is not None:
            uniform = uniform * self._constant.like(logits)[None, :]
        goal += uniform
        return goal

    def _spread_probabilities(
        self, input: Array, target: Array, sample_weight: Array | None
    ) -> Array:
        """Return the target distributions, (N, K), smoothed and times all weights."""
        xp = array_namespace(input)
        samples, classes = input.shape
        goal = xp.astype(target, input.dtype)  # a copy, so what follows may change it
        if self.label_smoothing:
            goal *= 1.0 - self.label_smoothing
            goal += self.label_smoothing / classes
        if self.class_weight is not None:
            goal *= self._constant.like(input)[None, :]
        if sample_weight is None:
            self.weight_sum = float(samples)
            goal *= 1.0 / max(samples, 1)
        else:
            self.weight_sum = xp.sum(sample_weight)
            goal *= (sample_weight * reciprocal(self.weight_sum))[:, None]
        return goal


def _spread(labels: Array, weight: Array, classes: int) -> Array:
    """Return rows of zeros with the weight of the row at its label, (N, K)."""
    xp = array_namespace(weight)
    hit = labels[:, None] == arange(classes, like=labels)[None, :]
    return xp.where(hit, weight[:, None], 0.0)
