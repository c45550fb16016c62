"""What the tasks have in common: which errors are worth a retry, and how long to wait before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rstar_core.errors import is_transient

if TYPE_CHECKING:
    from prefect import Task, TaskRun
    from prefect.client.schemas.objects import State

RETRIES = 3
RETRY_DELAYS_SECONDS = [2.0 * 4**number for number in range(RETRIES)]
"""Exponential: 2, 8 and 32 s. A server that takes longer to come back is waited for by its own client."""
RETRY_JITTER = 0.5
"""So that the shards that a server let down do not come back to it all at once."""


def retry_if_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Retry only what may pass by itself; a wrong configuration fails at once."""
    try:
        state.result()
    except BaseException as error:  # noqa: BLE001  # Prefect hands over whatever the task raised
        return is_transient(error)
    return False
