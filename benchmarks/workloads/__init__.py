"""All workloads, in the order of the report."""

from __future__ import annotations

from ..workload import Workload
from . import (
    adam,
    attention,
    cross_entropy,
    dropout_mask,
    embedding,
    epoch,
    images,
    layernorm_gelu,
    prediction,
    products,
    recurrence,
    training_step,
)

MODULES = (
    training_step,
    products,
    cross_entropy,
    adam,
    layernorm_gelu,
    recurrence,
    embedding,
    attention,
    dropout_mask,
    prediction,
    images,
    epoch,
)

WORKLOADS: dict[str, Workload] = {
    workload.name: workload for module in MODULES for workload in module.WORKLOADS
}
