"""A convolution as tutorials write it in NumPy: all windows of the batch as rows of one matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..competitor import Competitor, Task
from ..workload import norm
from ..workloads.images import Convolution


class NumPyIm2col(Competitor):
    """Windows laid out tap by tap, one product forward and two backward, added back tap by tap.

    The rows stay for the backward pass: taps times the memory of the batch.
    """

    key = "im2col"
    title = "NumPy, im2col"
    modules = ("numpy",)
    distributions = ("numpy",)

    def convolution(self, work: Convolution) -> Task:
        """Return output and gradients, each in new memory."""
        x, filters, bias, dout = work.inputs()
        n, channels, height, width = x.shape
        count, _, k, _ = filters.shape
        down, across = dout.shape[2:]
        s, p = work.stride, work.padding
        taps = [
            (i, j, slice(i, i + s * down, s), slice(j, j + s * across, s))
            for i in range(k)
            for j in range(k)
        ]
        matrix = filters.reshape(count, -1)

        def forward() -> tuple[np.ndarray, np.ndarray]:
            padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
            columns = np.empty((n, channels, k, k, down, across), x.dtype)
            for i, j, rows, places in taps:
                columns[:, :, i, j] = padded[:, :, rows, places]
            flat = columns.transpose(0, 4, 5, 1, 2, 3).reshape(n * down * across, -1)
            output = flat @ matrix.T + bias
            return flat, output.reshape(n, down, across, count).transpose(0, 3, 1, 2)

        def backward(flat: np.ndarray) -> list[np.ndarray]:
            given = dout.transpose(0, 2, 3, 1).reshape(-1, count)
            dcolumns = (given @ matrix).reshape(n, down, across, channels, k, k)
            dcolumns = dcolumns.transpose(0, 3, 4, 5, 1, 2)
            padded = np.zeros((n, channels, height + 2 * p, width + 2 * p), x.dtype)
            for i, j, rows, places in taps:
                padded[:, :, rows, places] += dcolumns[:, :, i, j]
            dinput = padded[:, :, p : p + height, p : p + width]
            return [dinput, (given.T @ flat).reshape(filters.shape), given.sum(axis=0)]

        def step() -> Any:
            flat, _ = forward()
            return backward(flat)

        return Task(step, lambda results: [norm(array) for array in results])
