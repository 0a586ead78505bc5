"""Softmax and cross-entropy with labels, forward and backward in one pass."""

from __future__ import annotations

from numba import prange

from ._compile import bound, kernel, summing_part
from ._mathematics import exp_of_negative, log, maximum
from .few_classes import labels_by_lanes

__all__ = ["labels"]

#: Up to so many classes rows are lanes of vectors.
_FEW = 128


@summing_part
def _labels_part(logits, target, gradient, losses, top, bottom):  # type: ignore[no-untyped-def]
    T = logits.dtype.type
    classes = logits.shape[1]
    share = T(1) / T(logits.shape[0])
    for i in range(top, bottom):
        zi, gi = logits[i], gradient[i]
        largest = zi[0]
        for c in range(1, classes):
            largest = maximum(largest, zi[c])
        total = T(0)
        for c in range(classes):
            e = exp_of_negative(zi[c] - largest)
            gi[c] = e
            total += e
        ratio = share / total
        for c in range(classes):
            gi[c] *= ratio
        label = target[i]
        losses[i] = 0.0
        if 0 <= label < classes:
            losses[i] = log(total) - (zi[label] - largest)
            gi[label] -= share


@kernel("matrix indices matrix! numbers! integer")
def labels(logits, target, gradient, losses, parts):  # type: ignore[no-untyped-def]
    """Return the mean cross-entropy, write its gradient, and count labels that are no class.

    Parameters
    ----------
    logits : (N, K)
    target : (N,)
        A label out of range adds nothing, and makes the loss useless: look at the count.
    gradient : (N, K)
    losses : (N,)
        That of each row.
    parts : int
        Parts are rows.

    Returns
    -------
    tuple of float
        The loss in nats, and the number of labels out of range.
    """
    n, classes = logits.shape
    for index in prange(0, parts):
        top, bottom = bound(index, parts, n, 1), bound(index + 1, parts, n, 1)
        if classes <= _FEW:
            labels_by_lanes(logits, target, gradient, losses, top, bottom)
        else:
            _labels_part(logits, target, gradient, losses, top, bottom)
    loss, bad = 0.0, 0.0
    for i in range(n):
        loss += losses[i]
        if not 0 <= target[i] < classes:
            bad += 1.0
    return loss / n, bad
