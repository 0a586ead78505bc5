"""What the kernels are told of a loss, a penalty and an optimizer, on the CPU and on CUDA alike."""

from __future__ import annotations

from typing import Any

from .._standard import Array
from ..losses import SoftmaxCrossEntropy
from ..optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from ..regularization import L1, ElasticNet, Regularization

__all__ = [
    "current_state",
    "is_basic",
    "is_built_in_optimizer",
    "numbers_of",
    "penalty_settings",
    "rule_of",
]


def is_basic(loss: SoftmaxCrossEntropy) -> bool:
    """Tell whether a loss has none of the settings that the kernels do not know."""
    return loss.class_weight is None and not loss.label_smoothing and loss.ignore_index is None


def is_built_in_optimizer(optimizer: Optimizer) -> bool:
    """Tell whether an optimizer does what its class in xpnn does."""
    own = vars(optimizer).keys() & {"step", "update"}
    return type(optimizer) in (SGD, Adam, AdamW, RMSprop, Adagrad) and not own


def rule_of(optimizer: Optimizer) -> str:
    """Name the kernel of a built-in optimizer."""
    if isinstance(optimizer, SGD):
        return "momentum_sgd" if optimizer.momentum else "sgd"
    if isinstance(optimizer, RMSprop):
        return "momentum_rmsprop" if optimizer.momentum else "rmsprop"
    return "adam" if isinstance(optimizer, Adam) else "adagrad"


def current_state(optimizer: Optimizer, state: dict[str, Array], values: Array) -> dict[str, Array]:
    """Return the state of a built-in optimizer with what its settings call for, and no more."""
    names = optimizer.state_names
    if len(state) == len(names) and all(name in state for name in names):
        return state
    whole = optimizer.completed(state, values)
    return {name: whole[name] for name in names}


def penalty_settings(penalty: Regularization | None) -> tuple[float, float, Any]:
    """Return the factors of ``sum(abs(w))`` and ``sum(w**2)``, and the roles."""
    if penalty is None:
        return 0.0, 0.0, None
    if isinstance(penalty, ElasticNet):
        return penalty.weight * penalty.l1, penalty.weight * penalty.l2, penalty.roles
    if isinstance(penalty, L1):
        return penalty.weight, 0.0, penalty.roles
    return 0.0, penalty.weight, penalty.roles


def numbers_of(optimizer: Optimizer, lr: float, step: int) -> tuple[float, ...]:
    """Return what a rule's kernel takes behind the arguments that all rules share."""
    if isinstance(optimizer, SGD):
        if not optimizer.momentum:
            return (lr,)
        if optimizer.nesterov:
            return lr, optimizer.momentum, optimizer.momentum, 1.0
        return lr, optimizer.momentum, 1.0, 0.0
    if isinstance(optimizer, Adam):
        rate, epsilon = optimizer.corrections(lr, step)
        return rate, optimizer.beta1, optimizer.beta2, epsilon
    if isinstance(optimizer, RMSprop):
        numbers = lr, optimizer.rho, optimizer.epsilon
        return (*numbers, optimizer.momentum) if optimizer.momentum else numbers
    return lr, optimizer.epsilon  # type: ignore[attr-defined]
