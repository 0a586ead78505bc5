"""Networks of images in JAX: channels last, which XLA is faster with on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..competitor import Task
from ..workload import norm
from ..workloads.images import Convolution, ImageStep, Recipe

EPSILON = 1e-5
_LAYOUT = ("NHWC", "HWIO", "NHWC")


class JAXImages:
    """What `JAX` does with images."""

    jax: Any

    def _convolve(self, x: Any, filters: Any, stride: int, padding: int) -> Any:
        return self.jax.lax.conv_general_dilated(
            x, filters, (stride, stride), [(padding, padding)] * 2, dimension_numbers=_LAYOUT
        )

    def image_step(self, work: ImageStep) -> Task:
        """Forward, backward and update in one compiled function; running averages included."""
        jax, jnp = self.jax, self.jax.numpy
        weights = work.weights()

        def draw(recipe: Recipe) -> list[Any]:
            found: list[Any] = []
            for kind, *rest in recipe:
                if kind == "conv":
                    found.append(jnp.asarray(next(weights).transpose(2, 3, 1, 0)))
                elif kind == "linear":
                    found.append((jnp.asarray(next(weights)), jnp.zeros(rest[1])))
                elif kind == "norm":
                    found.append((jnp.ones(rest[0]), jnp.zeros(rest[0])))
                else:
                    found.append([draw(inner) for inner in rest] if kind == "residual" else None)
            return found

        def apply(recipe: Recipe, values: list[Any], x: Any, moments: list[Any]) -> Any:
            for (kind, *rest), value in zip(recipe, values, strict=True):
                if kind == "conv":
                    x = self._convolve(x, value, rest[3], rest[2] // 2)
                elif kind == "norm":
                    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
                    moments.append((mean, variance))
                    x = (x - mean) * jax.lax.rsqrt(variance + EPSILON) * value[0] + value[1]
                elif kind == "relu":
                    x = jax.nn.relu(x)
                elif kind == "pool":
                    n, h, w, c = x.shape
                    x = x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))
                elif kind == "mean":
                    x = x.mean((1, 2))
                elif kind == "flatten":
                    x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
                elif kind == "linear":
                    x = x @ value[0] + value[1]
                else:
                    ways = zip(rest, value, strict=True)
                    x = sum(apply(inner, inner_values, x, moments) for inner, inner_values in ways)
            return x

        def loss_of(values: Any, x: Any, y: Any) -> Any:
            moments: list[Any] = []
            scores = jax.nn.log_softmax(apply(work.recipe, values, x, moments))
            return -jnp.take_along_axis(scores, y[:, None], axis=1).mean(), moments

        def train(state: Any, x: Any, y: Any) -> Any:
            values, velocity, averages = state
            (loss, moments), grads = jax.value_and_grad(loss_of, has_aux=True)(values, x, y)
            velocity = jax.tree.map(lambda v, g: work.momentum * v + g, velocity, grads)
            values = jax.tree.map(lambda p, v: p - work.lr * v, values, velocity)
            averages = jax.tree.map(lambda a, m: 0.9 * a + 0.1 * m, averages, moments)
            return (values, velocity, averages), loss

        images, labels = work.inputs()
        x = jnp.asarray(np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
        y = jnp.asarray(labels)
        values = draw(work.recipe)
        averages = jax.tree.map(jnp.zeros_like, jax.eval_shape(loss_of, values, x, y)[1])
        state = (values, jax.tree.map(jnp.zeros_like, values), averages)
        train = jax.jit(train, donate_argnums=0)

        def step() -> Any:
            nonlocal state
            state, loss = train(state, x, y)
            return loss

        return Task(
            step, lambda loss: [float(loss)], lambda loss: jax.block_until_ready((state, loss))
        )

    def convolution(self, work: Convolution) -> Task:
        """``jax.vjp`` of ``conv_general_dilated``."""
        jax, jnp = self.jax, self.jax.numpy
        x, filters, bias, dout = work.inputs()
        x, dout = (jnp.asarray(a.transpose(0, 2, 3, 1).copy()) for a in (x, dout))
        leaves = x, jnp.asarray(filters.transpose(2, 3, 1, 0).copy()), jnp.asarray(bias)

        @jax.jit
        def step(dout: Any, *leaves: Any) -> Any:
            output, pull = jax.vjp(
                lambda x, w, b: self._convolve(x, w, work.stride, work.padding) + b, *leaves
            )
            return output, pull(dout)

        return Task(
            lambda: step(dout, *leaves),
            lambda result: [norm(gradient) for gradient in result[1]],
            jax.block_until_ready,
        )
