"""The operations of the model that this release refuses, each with the feature that it would need.

>>> feature_of("GetDurableExecution")
'durable functions'
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

DURABLE, CAPACITY, SCALING = (
    "durable functions",
    "capacity providers (managed instances)",
    "scaling limits of managed instances",
)

FEATURES: Mapping[str, str] = MappingProxyType({
    "CheckpointDurableExecution": DURABLE,
    "DeleteDurableExecution": DURABLE,
    "GetDurableExecution": DURABLE,
    "GetDurableExecutionHistory": DURABLE,
    "GetDurableExecutionState": DURABLE,
    "ListDurableExecutionsByFunction": DURABLE,
    "PauseDurableExecution": DURABLE,
    "ResumeDurableExecution": DURABLE,
    "SendDurableExecutionCallbackFailure": DURABLE,
    "SendDurableExecutionCallbackHeartbeat": DURABLE,
    "SendDurableExecutionCallbackSuccess": DURABLE,
    "StopDurableExecution": DURABLE,
    "CreateCapacityProvider": CAPACITY,
    "DeleteCapacityProvider": CAPACITY,
    "GetCapacityProvider": CAPACITY,
    "ListCapacityProviders": CAPACITY,
    "ListFunctionVersionsByCapacityProvider": CAPACITY,
    "UpdateCapacityProvider": CAPACITY,
    "GetFunctionScalingConfig": SCALING,
    "PutFunctionScalingConfig": SCALING,
})  # fmt: skip


def feature_of(operation: str) -> str:
    """Empty for an operation that the installed model has and this release has not heard of."""
    return FEATURES.get(operation, "")
