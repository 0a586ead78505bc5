"""xpnn, layer by layer: what the kernels are worth."""

from __future__ import annotations

from .xpnn_fused import Xpnn


class XpnnLayers(Xpnn):
    """The layers in Python, with ``fuse=False``."""

    key = "xpnn-layers"
    title = "xpnn, fuse=False"
    modules = ("numpy",)
    distributions = ("numpy", "array-api-compat")
    fuse = False
    # Single operations have no plan that could be turned off.
    cross_entropy = adam_update = layernorm_gelu = dropout_mask = None  # type: ignore[assignment]
    lstm = gru = embedding = attention = None  # type: ignore[assignment]
