"""JAX: the whole step under ``jax.jit``, whose state is donated and so updated in place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..competitor import Competitor, Task
from ..workload import norm
from ..workloads.adam import AdamUpdate
from ..workloads.attention import Attention
from ..workloads.cross_entropy import CrossEntropy
from ..workloads.dropout_mask import DropoutMask
from ..workloads.embedding import EmbeddingLookup
from ..workloads.epoch import Epoch, EpochFromFiles, standardized
from ..workloads.layernorm_gelu import LayerNormGELU
from ..workloads.prediction import Prediction
from ..workloads.products import Products
from ..workloads.recurrence import Recurrence
from ..workloads.training_step import TrainingStep
from ._jax_images import JAXImages

EPSILON = 1e-5  # of BatchNorm and LayerNorm, everywhere
MOMENTUM = 0.9  # fraction of the running statistics that is kept


class JAX(JAXImages, Competitor):
    """Functions of pytrees; float32; calls return before the work is done."""

    key = "jax"
    title = "JAX jit"
    modules = ("jax", "jaxlib")
    distributions = ("jax", "jaxlib")
    devices = ("cpu", "cuda")
    rival = True
    quick = (
        "training_step",
        "cross_entropy",
        "adam_update",
        "layernorm_gelu",
        "lstm",
        "gru",
        "embedding",
        "attention",
        "convolution",
        "image_step",
        "epoch_from_files",
    )

    def __init__(self, device: str, threads: int) -> None:
        super().__init__(device, threads)
        import jax

        self.jax = jax
        jax.config.update("jax_enable_x64", False)
        jax.config.update("jax_default_device", jax.devices(device)[0])

    # ---------------------------------------------------------------- networks

    def state(self, work: TrainingStep) -> dict[str, Any]:
        """Return the parameters, running statistics, moments, count and key."""
        jnp = self.jax.numpy
        weights = work.weights()
        parameters, statistics = [], []
        for number, weight in enumerate(weights):
            width = weight.shape[1]
            layer = {"W": jnp.asarray(weight), "b": jnp.zeros(width)}
            if work.normalized and number < len(weights) - 1:
                layer |= {"gamma": jnp.ones(width), "beta": jnp.zeros(width)}
                statistics.append({"mean": jnp.zeros(width), "variance": jnp.ones(width)})
            parameters.append(layer)
        moments = 2 if work.optimizer == "adam" else 1
        return {
            "parameters": parameters,
            "statistics": statistics,
            "moments": [self.jax.tree.map(jnp.zeros_like, parameters) for _ in range(moments)],
            "count": jnp.zeros((), jnp.int32),
            "key": self.jax.random.key(0),
        }

    def trainer(self, work: TrainingStep) -> Callable[..., Any]:
        """Return ``(state, x, y) -> (state, loss)``, not compiled."""
        jax, jnp = self.jax, self.jax.numpy

        def loss_of(parameters: Any, statistics: Any, key: Any, x: Any, y: Any) -> tuple[Any, Any]:
            kept = []
            for number, layer in enumerate(parameters):
                x = x @ layer["W"] + layer["b"]
                if number == len(parameters) - 1:
                    break
                if work.normalized:
                    mean, variance = x.mean(0), x.var(0)
                    found = {"mean": mean, "variance": variance}
                    kept.append(
                        jax.tree.map(
                            lambda a, b: MOMENTUM * a + (1 - MOMENTUM) * b,
                            statistics[number],
                            found,
                        )
                    )
                    x = (x - mean) * jax.lax.rsqrt(variance + EPSILON)
                    x = x * layer["gamma"] + layer["beta"]
                x = jax.nn.relu(x)
                if work.dropout:
                    key, own = jax.random.split(key)
                    mask = jax.random.bernoulli(own, 1 - work.dropout, x.shape)
                    x = jnp.where(mask, x / (1 - work.dropout), 0.0)
            logarithms = jax.nn.log_softmax(x)
            return -jnp.take_along_axis(logarithms, y[:, None], axis=1).mean(), kept

        def train(state: dict[str, Any], x: Any, y: Any) -> tuple[dict[str, Any], Any]:
            key, own = jax.random.split(state["key"])
            parameters = state["parameters"]
            (loss, statistics), grads = jax.value_and_grad(loss_of, has_aux=True)(
                parameters, state["statistics"], own, x, y
            )
            if work.l2:
                grads = jax.tree.map(lambda g, p: g + 2 * work.l2 * p, grads, parameters)
            count = state["count"] + 1
            moments = state["moments"]
            if work.optimizer == "adam":
                parameters, moments = self.adam(parameters, grads, moments, count, work.lr)
            else:
                (velocity,) = moments
                velocity = jax.tree.map(lambda v, g: work.momentum * v + g, velocity, grads)
                parameters = jax.tree.map(lambda p, v: p - work.lr * v, parameters, velocity)
                moments = [velocity]
            return {
                "parameters": parameters,
                "statistics": statistics,
                "moments": moments,
                "count": count,
                "key": key,
            }, loss

        return train

    def adam(self, values: Any, grads: Any, moments: Any, count: Any, lr: float) -> Any:
        """Return the parameters and both moments after an update."""
        jax, jnp = self.jax, self.jax.numpy
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], grads)
        square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, moments[1], grads)
        c1, c2 = 1 - 0.9**count, 1 - 0.999**count
        values = jax.tree.map(
            lambda p, m, s: p - lr * (m / c1) / (jnp.sqrt(s / c2) + 1e-8), values, mean, square
        )
        return values, [mean, square]

    def training_step(self, work: TrainingStep) -> Task:
        """Forward, backward and update in one compiled function."""
        train = self.jax.jit(self.trainer(work), donate_argnums=0)
        state = self.state(work)
        x, y = map(self.jax.numpy.asarray, work.inputs())

        def step() -> Any:
            nonlocal state
            state, loss = train(state, x, y)
            return loss

        finish = lambda loss: self.jax.block_until_ready((state, loss))  # noqa: E731
        return Task(step, lambda loss: [float(loss)], finish)

    plain_training_step = training_step

    def prediction(self, work: Prediction) -> Task:
        """Batches through a compiled function."""
        jax, jnp = self.jax, self.jax.numpy
        state = self.state(work.net)
        layers, statistics = state["parameters"], state["statistics"]
        x = jnp.asarray(work.inputs())

        @jax.jit
        def forward(layers: Any, statistics: Any, x: Any) -> Any:
            for layer, found in zip(layers, [*statistics, None], strict=True):
                x = x @ layer["W"] + layer["b"]
                if found is not None:
                    x = (x - found["mean"]) * jax.lax.rsqrt(found["variance"] + EPSILON)
                    x = jax.nn.relu(x * layer["gamma"] + layer["beta"])
            return x

        def step() -> Any:
            starts = range(0, work.rows, work.batch)
            batches = (x[start : start + work.batch] for start in starts)
            return np.concatenate([forward(layers, statistics, batch) for batch in batches])

        return Task(step, lambda scores: [norm(scores), float(scores[0, 0])])

    def epoch(self, work: Epoch) -> Task:
        """Rows picked by a random order inside of the compiled function."""
        x, y = work.arrays()
        epoch = self.epochs(work)
        device_x, device_y = self.jax.numpy.asarray(x), self.jax.numpy.asarray(y)
        return Task(lambda: epoch(device_x, device_y), lambda loss: [loss])

    def epoch_from_files(self, work: EpochFromFiles) -> Task:
        """As `epoch`, after reading; JAX has no loader of its own."""
        jnp = self.jax.numpy
        epoch = self.epochs(work)

        def step() -> float:
            parts = work.read()
            return epoch(jnp.asarray(standardized(parts["x_train"])), jnp.asarray(parts["y_train"]))

        return Task(step, lambda loss: [loss])

    def epochs(self, work: Epoch) -> Callable[[Any, Any], float]:
        """Return ``(x, y) -> mean loss``, which trains for an epoch."""
        jax, jnp = self.jax, self.jax.numpy
        plain = self.trainer(work.net)

        def train(state: Any, total: Any, x: Any, y: Any, rows: Any) -> Any:
            state, loss = plain(state, x[rows], y[rows])
            return state, total + loss * len(rows)

        train = jax.jit(train, donate_argnums=(0, 1))
        state = self.state(work.net)
        random = np.random.default_rng(0)

        def epoch(x: Any, y: Any) -> float:
            nonlocal state
            order = random.permutation(len(x)) if work.shuffle else np.arange(len(x))
            order = order.astype(np.int32)
            total = jnp.zeros(())
            for start in range(0, len(x), work.net.batch):
                state, total = train(state, total, x, y, order[start : start + work.net.batch])
            return float(total) / len(x)

        return epoch

    # ---------------------------------------------------------------- single operations

    def products(self, work: Products) -> Task:
        """All products in one compiled function."""
        jax, jnp = self.jax, self.jax.numpy
        hidden, weights = jax.tree.map(jnp.asarray, work.matrices())

        @jax.jit
        def step(hidden: Any, weights: Any) -> Any:
            results = []
            for i, weight in enumerate(weights):
                results += [hidden[i].T @ hidden[i + 1], hidden[i] @ weight]
                results += [hidden[i + 1] @ weight.T] if i else []
            return results

        return Task(
            lambda: step(hidden, weights),
            lambda results: [norm(results[0])],
            jax.block_until_ready,
        )

    def cross_entropy(self, work: CrossEntropy) -> Task:
        """``log_softmax`` and its derivative."""
        jax, jnp = self.jax, self.jax.numpy
        scores, labels = map(jnp.asarray, work.inputs())

        def loss_of(scores: Any, labels: Any) -> Any:
            logarithms = jax.nn.log_softmax(scores)
            return -jnp.take_along_axis(logarithms, labels[:, None], axis=1).mean()

        step = jax.jit(jax.value_and_grad(loss_of))
        return Task(
            lambda: step(scores, labels),
            lambda result: [float(result[0]), norm(result[1])],
            jax.block_until_ready,
        )

    def adam_update(self, work: AdamUpdate) -> Task:
        """`adam` of one vector."""
        jax, jnp = self.jax, self.jax.numpy
        values, grads = map(jnp.array, work.vectors())
        state = (values, [jnp.zeros_like(values), jnp.zeros_like(values)], jnp.zeros((), jnp.int32))

        def update(state: Any, grads: Any) -> Any:
            values, moments, count = state
            return (*self.adam(values, grads, moments, count + 1, work.lr), count + 1)

        update = jax.jit(update, donate_argnums=0)

        def step() -> Any:
            nonlocal state
            state = update(state, grads)
            return state[0]

        return Task(step, lambda values: [norm(values)], jax.block_until_ready)

    def layernorm_gelu(self, work: LayerNormGELU) -> Task:
        """``jax.vjp`` of both."""
        jax = self.jax
        inputs = tuple(map(jax.numpy.asarray, work.inputs()))

        def forward(x: Any, gamma: Any, beta: Any) -> Any:
            x = x - x.mean(1, keepdims=True)
            x = x * jax.lax.rsqrt((x * x).mean(1, keepdims=True) + EPSILON)
            return jax.nn.gelu(x * gamma + beta, approximate=False)

        @jax.jit
        def step(x: Any, dout: Any, gamma: Any, beta: Any) -> Any:
            output, pull = jax.vjp(forward, x, gamma, beta)
            return output, pull(dout)

        return Task(
            lambda: step(*inputs), lambda result: [norm(result[1][0])], jax.block_until_ready
        )

    def lstm(self, work: Recurrence) -> Task:
        """``jax.lax.scan`` over the steps; the product with the inputs before it."""
        jax, jnp = self.jax, self.jax.numpy
        x, dout, wx, wh, b = map(jnp.asarray, (*work.sequences(), *work.weights()))
        hidden, zeros = work.hidden, jnp.zeros((work.batch, work.hidden))
        sigmoid, tanh = jax.nn.sigmoid, jnp.tanh

        def lstm(wh: Any, bh: Any, states: Any, gates: Any) -> Any:
            h, c = states
            i, f, o, g = jnp.split(gates + h @ wh, 4, axis=-1)
            c = sigmoid(f) * c + sigmoid(i) * tanh(g)
            h = sigmoid(o) * tanh(c)
            return (h, c), h

        def gru(wh: Any, bh: Any, states: Any, gates: Any) -> Any:
            (h,) = states
            sums = h @ wh + bh
            opened = sigmoid(gates[:, : 2 * hidden] + sums[:, : 2 * hidden])
            r, z = opened[:, :hidden], opened[:, hidden:]
            n = tanh(gates[:, 2 * hidden :] + r * sums[:, 2 * hidden :])
            h = n + z * (h - n)
            return (h,), h

        cell, states, second = (lstm, (zeros, zeros), ()) if work.cell == "lstm" else (
            gru, (zeros,), (jnp.zeros_like(b),)
        )  # fmt: skip

        def forward(x: Any, wx: Any, wh: Any, b: Any, *bh: Any) -> Any:
            one = functools.partial(cell, wh, *(bh or (None,)))
            return jax.lax.scan(one, states, x @ wx + b)[1]

        @jax.jit
        def step(dout: Any, *inputs: Any) -> Any:
            output, pull = jax.vjp(forward, *inputs)
            return output, pull(dout)

        return Task(
            lambda: step(dout, x, wx, wh, b, *second),
            lambda result: [
                norm(result[0]),
                norm(result[1][0]),
                norm([norm(gradient) for gradient in result[1][1:]]),
            ],
            jax.block_until_ready,
        )

    gru = lstm

    def embedding(self, work: EmbeddingLookup) -> Task:
        """``jnp.take``."""
        jax, jnp = self.jax, self.jax.numpy
        ids, vectors, dout = map(jnp.asarray, work.inputs())

        @jax.jit
        def step(ids: Any, vectors: Any, dout: Any) -> Any:
            output, pull = jax.vjp(lambda vectors: jnp.take(vectors, ids, axis=0), vectors)
            return output, pull(dout)[0]

        return Task(
            lambda: step(ids, vectors, dout),
            lambda result: [norm(result[0]), norm(result[1])],
            jax.block_until_ready,
        )

    def attention(self, work: Attention) -> Task:
        """``jax.nn.dot_product_attention``."""
        jax, jnp = self.jax, self.jax.numpy
        inputs = tuple(map(jnp.asarray, (*work.sequences(), *work.weights())))
        shape = work.batch, work.steps, 3, work.heads, work.dim // work.heads

        def forward(x: Any, w: Any, b: Any, wo: Any, bo: Any) -> Any:
            q, k, v = jnp.moveaxis((x @ w + b).reshape(shape), 2, 0)
            seen = jax.nn.dot_product_attention(q, k, v, is_causal=work.causal)
            return seen.reshape(x.shape) @ wo + bo

        @jax.jit
        def step(x: Any, dout: Any, *parameters: Any) -> Any:
            output, pull = jax.vjp(forward, x, *parameters)
            return output, pull(dout)

        return Task(
            lambda: step(*inputs),
            lambda result: [
                norm(result[0]),
                norm(result[1][0]),
                norm([norm(gradient) for gradient in result[1][1:]]),
            ],
            jax.block_until_ready,
        )

    def dropout_mask(self, work: DropoutMask) -> Task:
        """``jax.random.bernoulli``."""
        jax = self.jax
        key = jax.random.key(0)

        @jax.jit
        def make(key: Any) -> Any:
            key, own = jax.random.split(key)
            return key, jax.random.bernoulli(own, 1 - work.p, (work.size,))

        def step() -> Any:
            nonlocal key
            key, mask = make(key)
            return mask

        return Task(step, lambda mask: [float(mask.mean())], jax.block_until_ready)
