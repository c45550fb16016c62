"""What the tasks have in common: which errors are worth a retry, and how long to wait before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rstar_core.errors import is_transient

if TYPE_CHECKING:
    from prefect import Task, TaskRun
    from prefect.client.schemas.objects import State

RETRY_DELAYS_SECONDS: list[float] = [2.0, 10.0]
RETRY_JITTER = 0.5


def retry_if_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Retry only what may pass by itself; a wrong configuration fails at once."""
    try:
        state.result()
    except BaseException as error:  # noqa: BLE001  # Prefect hands over whatever the task raised
        return is_transient(error)
    return False
