"""PyTorch eager with the optimizers' faster kernel, which is one word in a program."""

from __future__ import annotations

from .torch_eager import TorchEager


class TorchFused(TorchEager):
    """``fused=True``."""

    key = "torch-fused"
    title = "PyTorch eager, fused optimizer"
    fused = True
    quick = ("training_step", "adam_update")
    # Without an optimizer it is PyTorch eager.
    prediction = products = cross_entropy = layernorm_gelu = dropout_mask = None  # type: ignore[assignment]
    lstm = gru = embedding = attention = epoch_from_files = convolution = None  # type: ignore[assignment]
    write_checkpoint = None  # type: ignore[assignment]
