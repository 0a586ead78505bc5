"""scikit-learn, whose network has neither BatchNorm nor Dropout: the plain one."""

from __future__ import annotations

import numpy as np

from ..competitor import Competitor, Task
from ..workloads.training_step import PlainTrainingStep


class ScikitLearn(Competitor):
    """``MLPClassifier.partial_fit``, with many batches to a call, since a call has its price."""

    key = "sklearn"
    title = "scikit-learn"
    modules = ("sklearn",)
    distributions = ("scikit-learn",)

    def __init__(self, device: str, threads: int) -> None:
        super().__init__(device, threads)
        from sklearn.neural_network import MLPClassifier

        self.make = MLPClassifier

    def plain_training_step(self, work: PlainTrainingStep) -> Task:
        """Put the initial weights in behind its back; there is no other way."""
        net = self.make(
            work.widths[1:-1],
            solver="adam",
            alpha=0.0,
            batch_size=work.batch,
            learning_rate_init=work.lr,
            shuffle=False,
            n_iter_no_change=10**9,
        )
        x, y = work.inputs()
        net.partial_fit(x, y, classes=np.arange(work.widths[-1]))
        for values, weight in zip(net.coefs_, work.weights(), strict=True):
            values[...] = weight
        for values in net.intercepts_:
            values[...] = 0.0
        net._optimizer = type(net._optimizer)(net.coefs_ + net.intercepts_, work.lr)
        many_x, many_y = np.tile(x, (work.repeats, 1)), np.tile(y, work.repeats)
        return Task(
            lambda: net.partial_fit(many_x, many_y), lambda net: [net.loss_], steps=work.repeats
        )
