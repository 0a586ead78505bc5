"""xpnn as its users have it: with Numba on a CPU, with CuPy on a GPU."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..clock import cupy_clock
from ..competitor import Competitor, Task
from ..workload import norm
from ..workloads.adam import AdamUpdate
from ..workloads.attention import Attention
from ..workloads.cross_entropy import CrossEntropy
from ..workloads.dropout_mask import DropoutMask
from ..workloads.embedding import EmbeddingLookup
from ..workloads.epoch import Epoch, EpochFromFiles, EpochWithCheckpoint, WriteCheckpoint
from ..workloads.layernorm_gelu import LayerNormGELU
from ..workloads.prediction import Prediction
from ..workloads.recurrence import Recurrence
from ..workloads.training_step import TrainingStep
from ._xpnn_images import XpnnImages


class Xpnn(XpnnImages, Competitor):
    """``xpnn.Sequential``, fused."""

    key = "xpnn"
    title = "xpnn"
    modules = ("numba",)
    distributions = ("numpy", "array-api-compat", "numba")
    packages = ("xpnn",)
    devices = ("cpu", "cuda")
    caches = ("NUMBA_CACHE_DIR", "CUPY_CACHE_DIR")
    fuse: ClassVar[bool] = True

    def __init__(self, device: str, threads: int) -> None:
        super().__init__(device, threads)
        import xpnn

        self.xpnn = xpnn
        self.backend = xpnn.backend(device=device)

    @classmethod
    def needs(cls, device: str) -> tuple[str, ...]:
        """Numba is for the CPU, CuPy for the GPU."""
        return cls.modules if device == "cpu" else ("cupy",)

    def clock(self) -> Any:
        """Return events for a GPU."""
        return super().clock() if self.device == "cpu" else cupy_clock()

    def versions(self) -> dict[str, str]:
        """Name the libraries that the device needs."""
        found = {"xpnn": self.xpnn.__version__, **super().versions()}
        if self.device != "cpu":
            import cupy

            found.pop("numba", None)
            found["cupy"] = cupy.__version__
        return found

    # ---------------------------------------------------------------- networks

    def network(self, work: TrainingStep) -> Any:
        """Make the network of a training step with its initial weights."""
        xpnn = self.xpnn
        layers: list[Any] = []
        weights = work.weights()
        for number, weight in enumerate(weights):
            linear = xpnn.Linear(*weight.shape)
            linear.params["W"], linear.params["b"] = weight, np.zeros(weight.shape[1])
            layers.append(linear)
            if number < len(weights) - 1:
                layers += [xpnn.BatchNorm(weight.shape[1])] if work.normalized else []
                layers.append(xpnn.ReLU())
                layers += [xpnn.Dropout(work.dropout)] if work.normalized else []
        optimizer = xpnn.Adam(work.lr)
        if work.optimizer == "sgd":
            optimizer = xpnn.SGD(work.lr, momentum=work.momentum)
        return xpnn.Sequential(
            layers,
            xpnn.SoftmaxCrossEntropy(),
            optimizer=optimizer,
            regularization=xpnn.L2(work.l2) if work.l2 else None,
            backend=self.backend,
            seed=0,
            fuse=self.fuse,
        )

    def training_step(self, work: TrainingStep) -> Task:
        """``Network.train``."""
        net = self.network(work)
        x, y = work.inputs()
        device_x, device_y = self.backend.asarray(x), self.backend.asarray(y)
        return Task(
            lambda: net.train(device_x, device_y),
            # The output, since the loss has the penalty in it.
            lambda result: [work.loss(self.backend.to_host(result[0]), y)],
        )

    plain_training_step = training_step

    def prediction(self, work: Prediction) -> Task:
        """``xpnn.predict``."""
        net = self.network(work.net)
        x = work.inputs()
        return Task(
            lambda: self.xpnn.predict(net, x, batch_size=work.batch),
            lambda result: [norm(result), float(result[0, 0])],
        )

    def epoch(self, work: Epoch) -> Task:
        """``xpnn.fit``."""
        x, y = (self.backend.asarray(array) for array in work.arrays())
        net = self.network(work.net)
        return Task(lambda: self._fit(net, work, x, y), lambda loss: [loss])

    def epoch_with_checkpoint(self, work: EpochWithCheckpoint) -> Task:
        """``xpnn.fit`` with ``checkpoint=``."""
        x, y = (self.backend.asarray(array) for array in work.arrays())
        net = self.network(work.net)

        def step() -> float:
            # A folder has one training; removing it takes next to no time.
            with tempfile.TemporaryDirectory(dir=work.folder) as folder:
                return self._fit(net, work, x, y, checkpoint=folder)

        return Task(step, lambda loss: [loss])

    def write_checkpoint(self, work: WriteCheckpoint) -> Task:
        """Write what ``xpnn.fit`` does: with a digest of each tensor, and to the disk itself."""
        from xpnn import checkpoint

        net = self.network(work.net)
        net.train(*work.batch())
        path = Path(work.folder) / f"{self.key}.safetensors"

        def numbers(_: None) -> list[float]:
            stored = checkpoint.read_training(path)
            return [norm(stored.tensors[f"{i}.gamma"]) for i in (1, 5)]

        return Task(lambda: checkpoint.write_training(net, path, {}, {}), numbers)

    def epoch_from_files(self, work: EpochFromFiles) -> Task:
        """``xpnn.data.load``, ``Standardization`` and ``xpnn.fit``."""
        data = self.xpnn.data
        net = self.network(work.net)

        def step() -> float:
            parts = data.load(work.files)
            standardization = data.Standardization(parts.standardization).fit(parts.x_train)
            x = standardization.transform(parts.x_train, dtype=np.float32)
            return self._fit(net, work, x.reshape(len(x), -1), parts.y_train)

        return Task(step, lambda loss: [loss])

    def _fit(self, net: Any, work: Epoch, x: Any, y: Any, **more: Any) -> float:
        history = self.xpnn.fit(
            net,
            (x, y),
            epochs=1,
            batch_size=work.net.batch,
            shuffle=work.shuffle,
            progress=False,
            **more,
        )
        return float(history["loss"][-1])

    # ---------------------------------------------------------------- single operations

    def _network(self, layers: list[Any], loss: Any, optimizer: Any = None) -> tuple[Any, Any]:
        """Return a network of some layers, and the plan by which it runs."""
        optimizer = optimizer or self.xpnn.SGD(0.1)
        net = self.xpnn.Sequential(layers, loss, optimizer=optimizer, backend=self.backend, seed=0)
        return net, self.xpnn.fusion.plan(net)

    def cross_entropy(self, work: CrossEntropy) -> Task:
        """``SoftmaxCrossEntropy``, as a plan runs it behind its forward pass."""
        scores, labels = (self.backend.asarray(array) for array in work.inputs())
        net, plan = self._network([_passing_layer(self.xpnn)], self.xpnn.SoftmaxCrossEntropy())
        to_host = self.backend.to_host

        def step() -> Any:
            with plan.at_work():
                if plan.loss is not None:
                    return plan.loss(net, scores, labels, None)
                return net.loss_and_gradient(scores, labels, None)

        return Task(step, lambda result: [float(result[0]), norm(to_host(result[1]))])

    def layernorm_gelu(self, work: LayerNormGELU) -> Task:
        """``LayerNorm`` and ``GELU``, behind such a layer and before a loss of the same kind."""
        x, dout, gamma, beta = (self.backend.asarray(array) for array in work.inputs())
        layer_norm = self.xpnn.LayerNorm(work.columns)
        layer_norm.params["gamma"], layer_norm.params["beta"] = gamma, beta
        first = _passing_layer(self.xpnn)
        layers = [first, layer_norm, self.xpnn.GELU()]
        net, plan = self._network(layers, _passing_loss(self.xpnn, dout))
        return Task(
            lambda: plan.run(net, x, dout, None),
            lambda result: [norm(self.backend.to_host(first.gradient))],
        )

    def lstm(self, work: Recurrence) -> Task:
        """``LSTM`` or ``GRU``, between such a layer and such a loss."""
        asarray = self.backend.asarray
        x, dout = (asarray(array.swapaxes(0, 1).copy()) for array in work.sequences())
        wx, wh, b = work.weights()
        if work.cell == "lstm":
            layer = self.xpnn.LSTM(work.inputs, work.hidden)
            layer.params = {"W": np.concatenate([wx, wh]), "b": b}
        else:
            layer = self.xpnn.GRU(work.inputs, work.hidden)
            layer.params = {"Wx": wx, "Wh": wh, "bx": b, "bh": np.zeros_like(b)}
        return self._sequences(layer, x, dout)

    gru = lstm

    def attention(self, work: Attention) -> Task:
        """``MultiHeadAttention``, between such a layer and such a loss."""
        x, dout = map(self.backend.asarray, work.sequences())
        layer = self.xpnn.MultiHeadAttention(work.dim, work.heads, work.causal)
        layer.params = dict(zip(("W", "b", "Wo", "bo"), work.weights(), strict=True))
        return self._sequences(layer, x, dout)

    def _sequences(self, layer: Any, x: Any, dout: Any) -> Task:
        to_host, first = self.backend.to_host, _passing_layer(self.xpnn)
        net, plan = self._network([first, layer], _passing_loss(self.xpnn, dout))
        return Task(
            lambda: plan.run(net, x, dout, None),
            lambda result: [
                norm(to_host(result[0])),
                norm(to_host(first.gradient)),
                norm(to_host(net.parameters.grads.array)),
            ],
        )

    def embedding(self, work: EmbeddingLookup) -> Task:
        """``Embedding`` before a loss of the same kind."""
        ids, vectors, dout = work.inputs()
        layer = self.xpnn.Embedding(work.num, work.dim)
        layer.params["W"] = vectors
        device_ids, device_dout = self.backend.xp.asarray(ids), self.backend.asarray(dout)
        net, plan = self._network([layer], _passing_loss(self.xpnn, device_dout))
        to_host = self.backend.to_host
        return Task(
            lambda: plan.run(net, device_ids, device_dout, None),
            lambda result: [norm(to_host(result[0])), norm(to_host(layer.grads["W"]))],
        )

    def adam_update(self, work: AdamUpdate) -> Task:
        """``Adam``, in a network of one layer with one vector."""
        values, grads = (self.backend.asarray(array) for array in work.vectors())
        optimizer = self.xpnn.Adam(work.lr)
        layer = _passing_layer(self.xpnn)
        layer.params["W"] = values
        net, plan = self._network([layer], self.xpnn.MeanSquaredError(), optimizer)
        flat, loss = net.parameters.values, self.backend.asarray(np.float32(0.0))

        def step() -> Any:
            if plan.update is not None:
                plan.update(net, grads, loss, net.parameters.buffers.array)
                return
            if not net.optimizer_state:
                net.optimizer_state = optimizer.init(flat.array)
            net.steps += 1
            flat.array, net.optimizer_state = optimizer.step(
                flat.array, grads, net.optimizer_state, net.steps, work.lr, []
            )

        return Task(step, lambda result: [norm(self.backend.to_host(flat.array))])

    def dropout_mask(self, work: DropoutMask) -> Task:
        """``xpnn.random.Stream.mask``."""
        stream, like = self.xpnn.random.Stream(0), self.backend.asarray(np.zeros(1))
        call = 0

        def step() -> Any:
            nonlocal call
            call += 1
            return stream.at(call).mask((work.size,), work.p, like=like)

        return Task(step, lambda mask: [float(self.backend.to_host(mask).mean())])


def _passing_layer(xpnn: Any) -> Any:
    """Make a layer that does nothing but keep the gradient that reaches it."""

    class Passing(xpnn.Layer):  # type: ignore[misc]
        def forward(self, input: Any) -> Any:
            return input

        def backward(self, dout: Any) -> Any:
            self.gradient = dout
            return dout

    return Passing()


def _passing_loss(xpnn: Any, dout: Any) -> Any:
    """Make a loss of 0 whose gradient is given."""

    class Passing(xpnn.Loss):  # type: ignore[misc]
        def forward(self, input: Any, target: Any) -> Any:
            return 0.0

        def backward(self) -> Any:
            return dout

    return Passing()
