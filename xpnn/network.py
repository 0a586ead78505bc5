"""Networks: one training step, one evaluation, and what belongs to the whole of the layers."""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ._checks import checked, checked_flag, checked_number, expect_kind, expect_settings
from ._contents import Contents
from ._objective import Objective
from ._standard import Array, type_name
from .backend import Backend
from .backend import backend as open_backend
from .errors import ConfigurationError, DataError, DivergenceError
from .losses import Loss
from .optimizers import SGD, Optimizer
from .parameters import Parameters
from .random import Stream, fresh_seed
from .regularization import Regularization
from .schedules import Schedule
from .summary import summarize

__all__ = ["Network"]

#: Vectors as long as all parameters that an optimizer with clipping has at a time, besides its
#: state.
_OPTIMIZER_TEMPORARIES = 3


def _checked_loss(owner: str, name: str, value: object) -> object:
    expect_kind(name, value, Loss)
    return value


def _checked_regularization(owner: str, name: str, value: object) -> object:
    expect_kind(name, value, Regularization)
    expect_settings(value)
    return value


class Network(Contents, Objective):
    """A network of layers with a loss: the base class.

    A network of your own derives from it, keeps its layers in attributes (also in lists or
    dictionaries), calls ``super().__init__(...)``, and defines `forward` and `backward` by those
    of its layers. Training, evaluation and the rest then work. `Sequential` is the network whose
    layers follow one another.

    Parameters
    ----------
    loss : Loss
        What is minimised.
    lr : float, optional
        Learning rate of plain gradient descent. Give either ``lr`` or ``optimizer``.
    regularization : Regularization, optional
        A penalty on the parameters, added to the loss.
    optimizer : Optimizer, optional
        Such as ``Adam(1e-3)``.
    device : str, optional
        "cpu", "cuda", "cuda:1"; see `xpnn.backend`.
    backend : str or Backend, optional
        The array library by its name, or a back end made by `xpnn.backend`.
    dtype : {"float32", "float64"}
        Type of the parameters and of all computation; also as an object, such as
        ``numpy.float64``.
    seed : int, optional
        0 <= seed < 2**64. Initial weights and random masks follow from it, the same on every
        device. By default a random one, kept in `seed`.
    fuse : bool
        Whether steps may run as compiled kernels where there are some; see `xpnn.fusion`.

    Attributes
    ----------
    parameters : Parameters
        Flat vectors of parameters, gradients and buffers.
    optimizer_state : dict of str to array
        What the optimizer remembers: flat vectors like those of the parameters.
    seed_given : bool
        Whether the program chose the seed.
    steps : int
        Number of updates made so far.
    epochs : int
        Number of epochs that `xpnn.fit` has made so far. The order of the rows follows from it.
    total_steps : int or None
        Length of the training, which some schedules need; `xpnn.fit` sets it.

    Raises
    ------
    ConfigurationError
        If both or neither of ``lr`` and ``optimizer`` are given, or an argument is of a wrong kind.
    BackendError
        If the back end or the device cannot be used.
    """

    #: Makes plans of how to run a step. `xpnn` hands one over, so that nothing here knows of it.
    planner: ClassVar[Callable[[Network], Any] | None] = None

    loss: Loss = checked(_checked_loss)
    regularization: Regularization | None = checked(_checked_regularization, optional=True)

    def __init__(
        self,
        loss: Loss,
        lr: float | None = None,
        regularization: Regularization | None = None,
        *,
        optimizer: Optimizer | None = None,
        device: str | None = None,
        backend: str | Backend | None = None,
        dtype: Any = "float32",
        seed: int | None = None,
        fuse: bool = True,
    ) -> None:
        if (lr is None) == (optimizer is None):
            raise ConfigurationError("give either lr or optimizer, one of the two")
        for kind, hint in (
            (Optimizer, f"optimizer={lr!r}"),
            (Schedule, f"optimizer=xpnn.SGD({lr!r})"),
        ):
            if isinstance(lr, kind):
                raise ConfigurationError(f"lr: expected a number, got {lr!r}: give {hint}")
        if optimizer is None:
            optimizer = SGD(checked_number("Network", "lr", lr, low=0.0, open_low=True))
        self.loss = loss
        self.regularization = regularization
        if isinstance(backend, Backend):
            if device is not None:
                raise ConfigurationError("give either a Backend or a device, not both")
            if type_name(dtype) not in ("float32", backend.dtype):
                raise ConfigurationError("give either a Backend or a dtype, not both")
            self.backend = backend
        else:
            self.backend = open_backend(backend, device, dtype)
        self.seed = fresh_seed() if seed is None else Stream(seed).seed
        self.seed_given = seed is not None
        self.steps = 0
        self.epochs = 0
        self.total_steps: int | None = None
        self.fuse = checked_flag("network", "fuse", fuse)
        self._plan: Any = None
        self._parameters: Parameters | None = None
        self._places: list[tuple[str, Stream]] = []
        self._healthy: Array | None = None
        self.optimizer_state: dict[str, Array] = {}
        self.optimizer = optimizer

    # ---------------------------------------------------------------- what a subclass defines

    def forward(self, input: Array) -> Array:
        """Return the output of the network."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def backward(self, dout: Array) -> Array:
        """Return the gradient by the input, after every layer has written its own gradients."""
        raise NotImplementedError(f"{type(self).__name__} does not define backward")

    # ---------------------------------------------------------------- optimizer and learning rate

    @property
    def optimizer(self) -> Optimizer:
        """The rule of the updates. Assigning another one forgets what the old one remembered."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, value: Optimizer) -> None:
        expect_kind("optimizer", value, Optimizer)
        expect_settings(value)
        self._optimizer = value
        self.optimizer_state = {}
        self._healthy = None

    @property
    def lr(self) -> float:
        """The learning rate of the next step. Assign a number to change it."""
        lr = self.optimizer.lr
        return lr(self.steps, self.total_steps) if callable(lr) else lr

    @lr.setter
    def lr(self, value: float) -> None:
        self.optimizer.lr = checked_number("Network", "lr", value, low=0.0, open_low=True)
        self._healthy = None

    # ---------------------------------------------------------------- training and evaluation

    def train(
        self, input: Any, target: Any, sample_weight: Any | None = None
    ) -> tuple[Array, Array]:
        """Make one training step: forward, loss, backward, update.

        ``parameters.grads`` and the ``grads`` of the layers are the gradients of the data's loss
        afterwards, as the layers wrote them: without the penalty and before any clipping. For
        those with the penalty see `gradients`.

        Parameters
        ----------
        input, target : array_like
            One batch: NumPy data, or arrays of the network's back end. Cast to its types.
        sample_weight : array_like, optional
            (N,), how much each sample counts, >= 0; with a sum that is 0, or one that the
            network's type can divide by.

        Returns
        -------
        output : array
            The output of the network before the update.
        loss : array
            The loss with the regularization, 0-d, on the device. Nothing waits for it.

        Raises
        ------
        ShapeError, DataError, BackendError
            If the batch cannot be used. Nothing has changed then.
        DivergenceError
            If the loss or the gradient is not finite; parameters are as before the step. Where
            looking at a number would make the host wait for the device (CuPy, JAX, dpnp, torch
            on CUDA), there is no exception here: the loss that is returned is not finite, this
            update and all later ones change no parameter, and `xpnn.fit` raises.
        """
        parameters = self.parameters
        with self._scope():
            input = self.prepare_input(input)
            if input.shape[0] == 0:
                raise DataError("expected at least one sample to train on, got an empty batch")
            try:
                return self._attempt(parameters, input, target, sample_weight)
            except DivergenceError as error:
                self.explain(error, input, target)
                raise

    def _attempt(
        self, parameters: Parameters, input: Array, target: Any, sample_weight: Any
    ) -> tuple[Array, Array]:
        plan = self._planned(parameters)
        if plan is not None:
            done = plan.train(self, input, target, sample_weight)
            if done is not None:
                return done  # type: ignore[no-any-return]
        buffers, made = parameters.buffers.copy(), self.steps
        work = None if plan is None else plan.at_work()
        try:
            with work or contextlib.nullcontext():
                return self._train(plan, parameters, buffers, input, target, sample_weight)
        except BaseException:
            # A batch that turns out to be wrong or too large half-way leaves no trace.
            if self.steps == made:  # else an interrupt came behind the update
                parameters.restore_buffers(buffers)
            self._forget(parameters)
            if work is not None:
                work.leave()
            raise

    def _train(
        self,
        plan: Any,
        parameters: Parameters,
        buffers: Array,
        input: Array,
        target: Any,
        sample_weight: Any,
    ) -> tuple[Array, Array]:
        self._enter("train", parameters)
        if plan is None or plan.steps is None:
            # A layer that a step leaves out has no gradient, and not that of the step before.
            parameters.grads.zero()
        if plan is None:
            output = self.forward(input)
            loss, dout = self.loss_and_gradient(output, target, sample_weight)
            self.backward(dout)
        else:
            output, loss = plan.run(self, input, target, sample_weight)
        if parameters.outdated:  # a layer made its parameters in its first forward pass
            plan = None
            written = {key: dict(layer.grads) for key, layer in parameters.layers.items()}
            parameters = self.parameters
            for key, layer in parameters.layers.items():
                layer.grads = written[key]
        grads = parameters.gather_grads()
        update = None if plan is None else plan.update
        if self.regularization is not None and (update is None or update.regularization is None):
            # On a copy: what the layers have written stays, as it does in fused steps.
            grads = parameters.grads.copy()
            penalty, grads = self._regularize(self.regularization, parameters, grads)
            loss = loss + penalty
        if update is not None:
            return output, update(self, grads, loss, buffers)
        return output, self._update(parameters, buffers, grads, loss)

    def _planned(self, parameters: Parameters) -> Any:
        """Return the plan that fits to the network as it is now; None if there is none."""
        if not self.fuse or self.planner is None:
            return None
        if self._plan is None or not self._plan.fits(self, parameters):
            self._plan = self.planner()
        return self._plan

    def gradients(
        self, input: Any, target: Any, sample_weight: Any | None = None, mode: str = "train"
    ) -> tuple[Array, Array]:
        """Return the loss, and its gradient by the input, without an update.

        The gradients by the parameters are in ``parameters.grads`` afterwards, those of the
        regularization included. Arguments and errors are those of `train`; buffers move as in a
        training step unless ``mode`` is "test".
        """
        parameters = self.parameters
        with self._scope():
            input = self.prepare_input(input)
            self._enter(mode, parameters)
            parameters.grads.zero()
            output = self.forward(input)
            loss, dout = self.loss_and_gradient(output, target, sample_weight)
            dinput = self.backward(dout)
            grads = parameters.gather_grads()
            if self.regularization is not None:
                penalty, grads = self._regularize(self.regularization, parameters, grads)
                parameters.grads.array = grads
                loss = loss + penalty
        return loss, dinput

    def _update(self, parameters: Parameters, buffers: Array, grads: Array, loss: Array) -> Array:
        """Update the parameters if loss and gradients are finite; return the loss."""
        xp = self.backend.xp
        lr: Any = self.lr
        values = parameters.values.array
        state = self.optimizer.completed(self.optimizer_state, values)
        # One number that is finite only if the loss and every gradient are.
        witness = loss + xp.sum(grads)
        healthy = None
        if self.backend.synchronous:
            if not math.isfinite(float(witness)):
                raise self.divergence(float(loss), self.steps, lr)
        else:
            healthy = xp.isfinite(witness)
            if self._healthy is not None:
                healthy = xp.logical_and(healthy, self._healthy)
            # Without a look at the number: the buffers of before, a rate of zero, and nothing that
            # is not finite.
            parameters.sync()
            parameters.buffers.array = xp.where(healthy, parameters.buffers.array, buffers)
            lr = xp.where(healthy, lr, xp.zeros_like(witness))
            grads = xp.where(healthy, grads, 0.0)
            loss = xp.where(healthy, loss, math.nan)
        decay = parameters.slices(self.optimizer.decay_roles) if self.optimizer.weight_decay else []
        # In place from here on, so the temporaries of the optimizers must not find memory short.
        itemsize = 8 if self.backend.dtype == "float64" else 4
        self.backend.reserve(_OPTIMIZER_TEMPORARIES * itemsize * (math.prod(values.shape) + 1024))
        parameters.values.array, self.optimizer_state = self.optimizer.step(
            values, grads, state, self.steps + 1, lr, decay
        )
        self.steps += 1
        self._healthy = healthy
        return loss

    def divergence(self, loss: float, step: int, lr: float) -> DivergenceError:
        """Describe a loss or a gradient that is not finite."""
        what = f"the loss is {loss}" if not math.isfinite(loss) else "the gradient is not finite"
        return DivergenceError(
            f"training diverged at step {step}, epoch {self.epochs + 1}: {what}, "
            f"the learning rate is {lr:g}. The update was not made: the parameters are those of "
            "the step before",
            step=step,
            epoch=self.epochs + 1,
            lr=lr,
        )

    def eval(self, input: Any) -> Array:
        """Return the output in test mode, as an array of the network's back end."""
        parameters = self.parameters
        try:
            with self._scope():
                self._enter("test", parameters)
                plan, input = self._planned(parameters), self.prepare_input(input)
                return self.forward(input) if plan is None else plan.evaluate(self, input)
        finally:
            self._forget(parameters)

    def observe(self, value: float) -> None:
        """Tell a schedule that waits for a plateau the loss of an epoch."""
        if isinstance(self.optimizer.lr, Schedule):
            self.optimizer.lr.observe(value)

    def reset_divergence(self) -> None:
        """Allow updates again after a step whose loss was not finite."""
        self._healthy = None

    def _enter(self, mode: str, parameters: Parameters) -> None:
        for layer in parameters.layers.values():
            layer.mode = mode
            layer.step = self.steps

    def _forget(self, parameters: Parameters) -> None:
        """Drop what a forward pass has left behind."""
        for layer in parameters.layers.values():
            layer.cache.clear()
        self.loss.cache.clear()

    # ---------------------------------------------------------------- looking at it

    def summary(self, input_shape: Sequence[int], batch_size: int = 1) -> str:
        """Return a table of the layers: output shapes, parameters and memory.

        Parameters
        ----------
        input_shape : sequence of int
            Shape of one sample, without the batch axis.
        batch_size : int
            For the memory of the activations.
        """
        try:
            shape = tuple(map(operator.index, input_shape))
        except TypeError:
            raise ConfigurationError(
                f"input_shape: expected integers such as (784,), got {input_shape!r}"
            ) from None
        return summarize(self, shape, batch_size)
