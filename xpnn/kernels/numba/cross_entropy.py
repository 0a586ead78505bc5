"""Softmax and cross-entropy with labels, forward and backward in one pass."""

from __future__ import annotations

import numpy as np

from ._compile import kernel
from ._mathematics import exp_of_negative, maximum

__all__ = ["labels"]


@kernel("matrix indices matrix!")
def labels(logits, target, gradient):  # type: ignore[no-untyped-def]
    """Return the mean cross-entropy, write its gradient, and count labels that are no class.

    Parameters
    ----------
    logits : (N, K)
    target : (N,)
        A label out of range adds nothing, and makes the loss useless: look at the count.
    gradient : (N, K)

    Returns
    -------
    tuple of float
        The loss in nats, and the number of labels out of range.
    """
    T = logits.dtype.type
    n, classes = logits.shape
    share = T(1) / T(n)
    loss, bad = 0.0, 0.0
    for i in range(n):
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
        if 0 <= label < classes:
            loss += np.log(total) - (zi[label] - largest)
            gi[label] -= share
        else:
            bad += 1.0
    return loss / n, bad
