"""thinc, which has no BatchNorm: the plain network."""

from __future__ import annotations

import numpy as np

from ..competitor import Competitor, Task
from ..workloads.training_step import PlainTrainingStep


class Thinc(Competitor):
    """``chain(Relu, Relu, Softmax)`` with its ``Adam``."""

    key = "thinc"
    title = "thinc"
    modules = ("thinc",)
    distributions = ("thinc",)

    def __init__(self, device: str, threads: int) -> None:
        super().__init__(device, threads)
        import thinc.api

        self.thinc = thinc.api

    def plain_training_step(self, work: PlainTrainingStep) -> Task:
        """``begin_update``, ``finish_update``."""
        thinc = self.thinc
        weights = work.weights()
        kinds = [thinc.Relu] * (len(weights) - 1) + [thinc.Softmax]
        layers = [kind(w.shape[1], w.shape[0]) for kind, w in zip(kinds, weights, strict=True)]
        net = thinc.chain(*layers)
        net.initialize()
        for layer, weight in zip(layers, weights, strict=True):
            layer.set_param("W", np.ascontiguousarray(weight.T))
            layer.set_param("b", np.zeros(weight.shape[1], np.float32))
        # What the others do not do either.
        optimizer = thinc.Adam(work.lr, grad_clip=0.0, use_averages=False)
        x, labels = work.inputs()
        truths = np.eye(work.widths[-1], dtype=np.float32)[labels]

        def step() -> np.ndarray:
            probabilities, backpropagate = net.begin_update(x)
            backpropagate((probabilities - truths) / np.float32(len(x)))
            net.finish_update(optimizer)
            return probabilities

        return Task(step, lambda p: [float(-np.log(p[np.arange(len(x)), labels]).mean())])
