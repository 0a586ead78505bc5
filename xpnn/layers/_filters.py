"""What convolutions have in common."""

from __future__ import annotations

import math
from typing import ClassVar

from .._checks import checked_flag
from .._standard import Array, array_namespace
from ..errors import ConfigurationError
from ..initializers import Initializer
from ..initializers import get as get_initializer
from ..random import Stream
from ._shapes import checked_width
from ._windows import Sizes, Window, checked_sizes, short
from .layer import Layer

__all__ = ["Filters"]


class Filters(Layer):
    """Filters, and how they slide; a base class.

    A subclass sets `axes`, the number of sizes behind the channels.
    """

    axes: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sizes,
        stride: int | Sizes = 1,
        padding: int | Sizes | str = 0,
        dilation: int | Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        weight_initializer: str | Initializer = "he_normal",
        bias_initializer: str | Initializer = "zeros",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = checked_width(self.name, "in_channels", in_channels)
        self.out_channels = checked_width(self.name, "out_channels", out_channels)
        self.groups = checked_width(self.name, "groups", groups)
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ConfigurationError(
                    f"{self.name}: {name} must be divisible by groups = {self.groups}, "
                    f"got {getattr(self, name)}"
                )
        kernel = checked_sizes(self.name, "kernel_size", kernel_size, self.axes, low=1)
        steps = checked_sizes(self.name, "stride", stride, self.axes, low=1)
        gaps = checked_sizes(self.name, "dilation", dilation, self.axes, low=1)
        margin: Sizes | str = "same"
        if padding != "same":
            also = ", or 'same'"
            margin = checked_sizes(self.name, "padding", padding, self.axes, low=0, also=also)
        elif max(steps) > 1:
            raise ConfigurationError(f"{self.name}: padding 'same' needs stride 1, got {stride!r}")
        self.kernel_size, self.stride, self.dilation = short(kernel), short(steps), short(gaps)
        self.padding = margin if isinstance(margin, str) else short(margin)
        self.bias = checked_flag(self.name, "bias", bias)
        for initializer in (weight_initializer, bias_initializer):
            get_initializer(initializer)  # mistakes show here, not at the first step
        self.weight_initializer = weight_initializer
        self.bias_initializer = bias_initializer
        self.seed = None if seed is None else Stream(seed).seed
        self._window = Window(kernel, steps, margin, gaps)

    def build(self, rng: Stream) -> None:
        """Draw W and b where they are missing."""
        if "W" not in self.params:
            self.params["W"] = self._draw_weight(rng.at(0))
        if self.bias and "b" not in self.params:
            draw = get_initializer(self.bias_initializer)
            self.params["b"] = draw((self.out_channels,), rng.at(1))

    def _draw_weight(self, rng: Stream) -> Array:
        shape = (self.out_channels, self.in_channels // self.groups, *self._window.kernel)
        return get_initializer(self.weight_initializer)(shape, rng)

    def _filters(self) -> Array:
        """W as (groups, filters, channels times taps)."""
        weight = self.params["W"]
        shape = (self.groups, weight.shape[0] // self.groups, -1)
        return array_namespace(weight).reshape(weight, shape)

    def _add_bias(self, output: Array) -> Array:
        """Add b to an output that this layer has made."""
        if self.bias:
            shape = (1, self.out_channels, *(1 for _ in range(self.axes)))
            output += array_namespace(output).reshape(self.params["b"], shape)
        return output

    def _rows(self, images: Array, channels: int) -> Array:
        """(N, channels, ...) as (N, groups, channels / groups, windows)."""
        shape = (images.shape[0], self.groups, channels // self.groups, math.prod(images.shape[2:]))
        return array_namespace(images).reshape(images, shape)

    def _write_gradients(self, filters: Array, dout: Array) -> None:
        xp = array_namespace(dout)
        self.grads["W"] = xp.reshape(filters, self.params["W"].shape)
        if self.bias:
            sizes = tuple(range(2, 2 + self.axes))
            self.grads["b"] = xp.sum(dout, axis=(0, *sizes))
