"""PyTorch with ``torch.compile`` and the fused optimizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .torch_eager import TorchEager


class TorchCompiled(TorchEager):
    """Forward and backward compiled, for the shapes at hand."""

    key = "torch-compile"
    title = "torch.compile, fused optimizer"
    quick = ("training_step",)
    caches = ("TORCHINDUCTOR_CACHE_DIR",)
    fused = True
    # Nothing in them is compiled.
    products = adam_update = dropout_mask = epoch_from_files = write_checkpoint = None  # type: ignore[assignment]

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compile; what was compiled for another workload does not count against its limits."""
        self.torch.compiler.reset()
        return self.torch.compile(function, dynamic=False)
