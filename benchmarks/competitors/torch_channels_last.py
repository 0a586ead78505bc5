"""PyTorch eager with the channels of images last in memory."""

from __future__ import annotations

from .torch_eager import TorchEager


class TorchChannelsLast(TorchEager):
    """``memory_format=torch.channels_last``."""

    key = "torch-channels-last"
    title = "PyTorch eager, channels last"
    channels_last = True
    # Without images it is PyTorch eager.
    training_step = plain_training_step = prediction = products = None  # type: ignore[assignment]
    cross_entropy = adam_update = layernorm_gelu = dropout_mask = None  # type: ignore[assignment]
    lstm = gru = embedding = attention = None  # type: ignore[assignment]
    epoch = epoch_with_checkpoint = epoch_from_files = None  # type: ignore[assignment]
    write_checkpoint = None  # type: ignore[assignment]
