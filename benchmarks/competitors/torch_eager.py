"""PyTorch as most programs use it: eager, with the optimizers' default settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..clock import torch_clock
from ..competitor import Competitor, Task
from ..workload import norm
from ..workloads.adam import AdamUpdate
from ..workloads.cross_entropy import CrossEntropy
from ..workloads.dropout_mask import DropoutMask
from ..workloads.embedding import EmbeddingLookup
from ..workloads.epoch import (
    Epoch,
    EpochFromFiles,
    EpochWithCheckpoint,
    WriteCheckpoint,
    standardized,
)
from ..workloads.layernorm_gelu import LayerNormGELU
from ..workloads.prediction import Prediction
from ..workloads.products import Products
from ..workloads.recurrence import GATES, Recurrence
from ..workloads.training_step import TrainingStep
from ._torch_attention import TorchAttention
from ._torch_images import TorchImages


class TorchEager(TorchAttention, TorchImages, Competitor):
    """``torch.nn.Sequential``, ``torch.optim``."""

    key = "torch"
    title = "PyTorch eager"
    modules = ("torch",)
    distributions = ("torch",)
    devices = ("cpu", "cuda")
    rival = True
    #: The argument of the optimizers; None is their default.
    fused: ClassVar[bool | None] = None

    def __init__(self, device: str, threads: int) -> None:
        super().__init__(device, threads)
        import torch

        self.torch = torch
        torch.set_num_threads(threads)
        torch.zeros(1, device=device)  # a device that is not there shows here

    def clock(self) -> Any:
        """Return events for a GPU."""
        return super().clock() if self.device == "cpu" else torch_clock()

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return what runs in the place of a function."""
        return function

    def tensor(self, array: np.ndarray) -> Any:
        """Bring an array to the device; on the CPU the memory is shared."""
        return self.torch.from_numpy(array).to(self.device)

    # ---------------------------------------------------------------- networks

    def network(self, work: TrainingStep) -> Any:
        """Make the network of a training step with its initial weights."""
        nn = self.torch.nn
        layers: list[Any] = []
        weights = work.weights()
        for number, weight in enumerate(weights):
            linear = nn.Linear(*weight.shape)
            with self.torch.no_grad():
                linear.weight.copy_(self.torch.from_numpy(weight.T))
                linear.bias.zero_()
            layers.append(linear)
            if number < len(weights) - 1:
                layers += [nn.BatchNorm1d(weight.shape[1])] if work.normalized else []
                layers.append(nn.ReLU())
                layers += [nn.Dropout(work.dropout)] if work.normalized else []
        return nn.Sequential(*layers).to(self.device)

    def optimizer(self, work: TrainingStep, net: Any) -> Any:
        """Make the optimizer; the gradient of ``l2 * p**2`` is ``2 * l2 * p``."""
        optim = self.torch.optim
        common = {"lr": work.lr, "weight_decay": 2 * work.l2, "fused": self.fused}
        if work.optimizer == "adam":
            return optim.Adam(net.parameters(), **common)
        return optim.SGD(net.parameters(), momentum=work.momentum, **common)

    def trainer(self, work: TrainingStep) -> Callable[[Any, Any], Any]:
        """Return a function that trains on a batch and returns the loss."""
        net = self.network(work)
        return self.trainer_of(net, self.optimizer(work, net))

    def trainer_of(self, net: Any, optimizer: Any) -> Callable[[Any, Any], Any]:
        """Return a function that trains a network with an optimizer on a batch."""
        cross_entropy = self.torch.nn.functional.cross_entropy
        loss_of = self.compiled(lambda x, y: cross_entropy(net(x), y))

        def train(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = loss_of(x, y)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return train

    def training_step(self, work: TrainingStep) -> Task:
        """Forward, ``backward`` and the optimizer's ``step``."""
        train = self.trainer(work)
        x, y = map(self.tensor, work.inputs())
        return Task(lambda: train(x, y), lambda loss: [float(loss)])

    plain_training_step = training_step

    def prediction(self, work: Prediction) -> Task:
        """Batches in ``inference_mode``."""
        torch = self.torch
        net = self.network(work.net).eval()
        forward = self.compiled(net)
        x = self.tensor(work.inputs())

        def step() -> Any:
            with torch.inference_mode():
                return torch.cat([forward(batch) for batch in x.split(work.batch)]).cpu()

        return Task(step, lambda scores: [norm(scores), float(scores[0, 0])])

    def epoch(self, work: Epoch) -> Task:
        """Rows picked by a random order on the device."""
        step = self._epoch(work, self.trainer(work.net))
        return Task(step, lambda loss: [loss])

    def epoch_with_checkpoint(self, work: EpochWithCheckpoint) -> Task:
        """Train, then ``torch.save`` the states of network and optimizer."""
        net = self.network(work.net)
        optimizer = self.optimizer(work.net, net)
        epoch = self._epoch(work, self.trainer_of(net, optimizer))
        path = Path(work.folder) / "checkpoint.pt"

        def step() -> float:
            loss = epoch()
            state = {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
            self.torch.save(state, path)
            return loss

        return Task(step, lambda loss: [loss])

    def write_checkpoint(self, work: WriteCheckpoint) -> Task:
        """``torch.save``, which leaves it to the system when the bytes reach the disk."""
        net = self.network(work.net)
        optimizer = self.optimizer(work.net, net)
        self.trainer_of(net, optimizer)(*map(self.tensor, work.batch()))
        path = Path(work.folder) / f"{self.key}.pt"

        def step() -> None:
            state = {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
            self.torch.save(state, path)

        def numbers(_: None) -> list[float]:
            stored = self.torch.load(path)["net"]
            return [norm(stored[f"{i}.weight"].cpu()) for i in (1, 5)]

        return Task(step, numbers)

    def _epoch(self, work: Epoch, train: Callable[[Any, Any], Any]) -> Callable[[], float]:
        torch = self.torch
        x, y = map(self.tensor, work.arrays())

        def step() -> float:
            order = torch.randperm if work.shuffle else torch.arange
            total = torch.zeros((), device=self.device)
            for rows in order(len(x), device=self.device).split(work.net.batch):
                total += train(x[rows], y[rows]) * len(rows)
            return float(total) / len(x)

        return step

    def epoch_from_files(self, work: EpochFromFiles) -> Task:
        """``TensorDataset`` and ``DataLoader``."""
        data = self.torch.utils.data
        train = self.trainer(work.net)

        def step() -> float:
            parts = work.read()
            x = self.torch.from_numpy(standardized(parts["x_train"]))
            y = self.torch.from_numpy(parts["y_train"].astype(np.int64))
            loader = data.DataLoader(
                data.TensorDataset(x, y), batch_size=work.net.batch, shuffle=work.shuffle
            )
            total = self.torch.zeros((), device=self.device)
            for batch_x, batch_y in loader:
                loss = train(batch_x.to(self.device), batch_y.to(self.device))
                total += loss * len(batch_x)
            return float(total) / len(x)

        return Task(step, lambda loss: [loss])

    # ---------------------------------------------------------------- single operations

    def products(self, work: Products) -> Task:
        """``torch.mm`` into tensors that are there."""
        hidden, weights = ([self.tensor(a) for a in arrays] for arrays in work.matrices())
        torch = self.torch
        outputs = [torch.empty_like(h) for h in hidden]
        gradients = [torch.empty_like(w) for w in weights]

        def step() -> Any:
            for i, weight in enumerate(weights):
                torch.mm(hidden[i], weight, out=outputs[i + 1])
            for i in reversed(range(len(weights))):
                torch.mm(hidden[i].T, hidden[i + 1], out=gradients[i])
                if i:
                    torch.mm(hidden[i + 1], weights[i].T, out=outputs[i])
            return gradients[0]

        return Task(step, lambda last: [norm(last.cpu())])

    def cross_entropy(self, work: CrossEntropy) -> Task:
        """``torch.nn.functional.cross_entropy``."""
        scores, labels = map(self.tensor, work.inputs())
        scores.requires_grad_()
        loss_of = self.compiled(self.torch.nn.functional.cross_entropy)

        def step() -> Any:
            scores.grad = None
            loss = loss_of(scores, labels)
            loss.backward()
            return loss

        return Task(step, lambda loss: [float(loss), norm(scores.grad.cpu())])

    def adam_update(self, work: AdamUpdate) -> Task:
        """``torch.optim.Adam``."""
        values, grads = map(self.tensor, work.vectors())
        parameter = self.torch.nn.Parameter(values)
        parameter.grad = grads
        optimizer = self.torch.optim.Adam([parameter], lr=work.lr, fused=self.fused)
        return Task(optimizer.step, lambda result: [norm(parameter.detach().cpu())])

    def layernorm_gelu(self, work: LayerNormGELU) -> Task:
        """``torch.nn.LayerNorm`` and ``gelu``."""
        torch = self.torch
        x, dout, gamma, beta = map(self.tensor, work.inputs())
        layer = torch.nn.LayerNorm(work.columns, device=self.device)
        with torch.no_grad():
            layer.weight.copy_(gamma)
            layer.bias.copy_(beta)
        x.requires_grad_()
        forward = self.compiled(lambda x: torch.nn.functional.gelu(layer(x)))

        def step() -> Any:
            x.grad = None
            layer.zero_grad()
            forward(x).backward(dout)
            return x.grad

        return Task(step, lambda dx: [norm(dx.cpu())])

    def lstm(self, work: Recurrence) -> Task:
        """``torch.nn.LSTM`` or ``torch.nn.GRU``, steps first, which is their own order."""
        torch = self.torch
        x, dout = map(self.tensor, work.sequences())
        order = list(range(work.hidden * GATES[work.cell]))
        kind = torch.nn.GRU
        if work.cell == "lstm":  # its gates are i, f, g, o
            kind, h = torch.nn.LSTM, work.hidden
            order = [*order[: 2 * h], *order[3 * h :], *order[2 * h : 3 * h]]
        layer = kind(work.inputs, work.hidden, device=self.device)
        wx, wh, b = work.weights()
        with torch.no_grad():
            layer.weight_ih_l0.copy_(torch.from_numpy(wx[:, order].T))
            layer.weight_hh_l0.copy_(torch.from_numpy(wh[:, order].T))
            layer.bias_ih_l0.copy_(torch.from_numpy(b[order]))
            layer.bias_hh_l0.zero_()
        x.requires_grad_()
        forward = self.compiled(lambda x: layer(x)[0])
        # An LSTM has one gradient for both of its biases.
        counted = list(layer.parameters())[: 4 if work.cell == "gru" else 3]

        def step() -> Any:
            x.grad = None
            layer.zero_grad()
            output = forward(x)
            output.backward(dout)
            return output

        return Task(
            step,
            lambda output: [
                norm(output.detach().cpu()),
                norm(x.grad.cpu()),
                norm([norm(parameter.grad.cpu()) for parameter in counted]),
            ],
        )

    gru = lstm

    def embedding(self, work: EmbeddingLookup) -> Task:
        """``torch.nn.functional.embedding``."""
        ids, vectors, dout = map(self.tensor, work.inputs())
        vectors.requires_grad_()
        forward = self.compiled(self.torch.nn.functional.embedding)

        def step() -> Any:
            vectors.grad = None
            output = forward(ids, vectors)
            output.backward(dout)
            return output

        return Task(step, lambda output: [norm(output.detach().cpu()), norm(vectors.grad.cpu())])

    def dropout_mask(self, work: DropoutMask) -> Task:
        """``Tensor.bernoulli_``, as ``torch.nn.Dropout`` makes its masks."""
        mask = self.torch.empty(work.size, device=self.device)
        return Task(lambda: mask.bernoulli_(1 - work.p), lambda mask: [float(mask.mean())])
