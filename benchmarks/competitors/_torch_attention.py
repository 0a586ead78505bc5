"""Attention in PyTorch."""

from __future__ import annotations

from typing import Any

from ..competitor import Task
from ..workload import norm
from ..workloads.attention import Attention


class TorchAttention:
    """What `TorchEager` does with sequences that look at themselves."""

    torch: Any
    tensor: Any
    compiled: Any

    def attention(self, work: Attention) -> Task:
        """``torch.nn.functional.scaled_dot_product_attention`` between two linear layers."""
        torch = self.torch
        functional = torch.nn.functional
        x, dout = map(self.tensor, work.sequences())
        w, b, wo, bo = map(self.tensor, work.weights())
        # As torch.nn.Linear keeps them.
        parameters = [value.T.contiguous() if value.ndim > 1 else value for value in (w, b, wo, bo)]
        for value in (x, *parameters):
            value.requires_grad_()
        shape = work.batch, work.steps, 3, work.heads, work.dim // work.heads

        def attend(x: Any) -> Any:
            products = functional.linear(x, parameters[0], parameters[1])
            q, k, v = products.reshape(shape).permute(2, 0, 3, 1, 4)
            seen = functional.scaled_dot_product_attention(q, k, v, is_causal=work.causal)
            rows = seen.transpose(1, 2).reshape(x.shape)
            return functional.linear(rows, parameters[2], parameters[3])

        forward = self.compiled(attend)

        def step() -> Any:
            for value in (x, *parameters):
                value.grad = None
            output = forward(x)
            output.backward(dout)
            return output

        return Task(
            step,
            lambda output: [
                norm(output.detach().cpu()),
                norm(x.grad.cpu()),
                norm([norm(value.grad.cpu()) for value in parameters]),
            ],
        )
