"""The answer check: the exact ladder first, math-verify in warm processes for the rest."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from infra.closing import Closing
from infra.grading import ladder
from infra.grading.process import MathVerifyWorker
from infra.nursery import Nursery
from rstar_core.errors import GradingError
from rstar_core.types import Verdict

if TYPE_CHECKING:
    from rstar_core.requests import Grade

_MAX_LOSSES = 3  # a worker may have died idle, or by accident; a pair that ends several is not decided


class AnswerCheck(Closing):
    """Implements `rstar_core.protocols.Grader` for any thread and any event loop.

    Args:
        timeout_seconds: Wall time that math-verify gets for one comparison; beyond it nothing is decided.
        num_workers: Comparisons at a time; a process starts when the ladder first cannot decide.
    """

    def __init__(self, *, timeout_seconds: float = 10.0, num_workers: int = 2) -> None:
        self._timeout_seconds = timeout_seconds
        self._closed = threading.Event()
        self._nursery = Nursery("infra.grading.worker", "the answer check", GradingError)
        self._idle: queue.LifoQueue[MathVerifyWorker | None] = queue.LifoQueue()
        self.num_workers = num_workers
        for _ in range(num_workers):
            self._idle.put(None)  # a worker that is not started yet
        self._executor = ThreadPoolExecutor(num_workers, thread_name_prefix="grading")

    async def grade(self, request: Grade) -> tuple[Verdict, ...]:
        """Compare each prediction with the reference. Raises: GradingError."""
        verdicts: dict[str, Verdict] = {}
        for prediction in dict.fromkeys(request.predictions):
            verdict = _by_ladder(prediction, request.reference)
            if verdict is None:
                loop = asyncio.get_running_loop()
                verdict = await loop.run_in_executor(
                    self._executor, self._by_math_verify, prediction, request.reference
                )
            verdicts[prediction] = verdict
        return tuple(verdicts[prediction] for prediction in request.predictions)

    def check(self, prediction: str, reference: str) -> Verdict:
        """The same for one pair and without an event loop. Raises: GradingError."""
        return _by_ladder(prediction, reference) or self._by_math_verify(prediction, reference)

    def close(self) -> None:
        """End every process, after what is in flight."""
        self._closed.set()
        self._executor.shutdown(wait=True)
        workers = [self._idle.get() for _ in range(self.num_workers)]
        for worker in workers:
            if worker is not None:
                worker.close()
            self._idle.put(None)
        self._nursery.close()

    def _by_math_verify(self, prediction: str, reference: str) -> Verdict:
        worker = self._idle.get()
        started = time.perf_counter()
        try:
            for _ in range(_MAX_LOSSES):
                if self._closed.is_set():
                    raise GradingError("The answer check is closed; make a new one to compare answers.")
                worker = worker or MathVerifyWorker(self._nursery)
                try:
                    correct, method = self._compare(worker, prediction, reference)
                    break
                except TimeoutError:
                    correct, method = None, "timeout"
                except (OSError, ValueError):
                    correct, method = None, "died"
                worker.close()
                worker = None
                if method == "timeout":
                    break
        finally:
            if worker is not None and worker.is_worn:
                worker.close()
                worker = None
            self._idle.put(worker)
        return Verdict(correct, method, time.perf_counter() - started)

    def _compare(self, worker: MathVerifyWorker, prediction: str, reference: str) -> tuple[bool | None, str]:
        deadline = time.monotonic() + self._timeout_seconds
        unread = False
        for one, other in ladder.pairs_to_compare(prediction, reference):
            left = max(0.001, deadline - time.monotonic())
            correct = worker.compare(one, other, timeout_seconds=left)
            if correct is False:
                return False, "math_verify"
            unread = unread or correct is None
        return (None, "unread") if unread else (True, "math_verify")


def _by_ladder(prediction: str, reference: str) -> Verdict | None:
    started = time.perf_counter()
    if not reference.strip():
        return Verdict(None, "no_reference", 0.0)
    decision = ladder.decide(prediction, reference)
    if decision is None:
        return None
    return Verdict(decision.correct, decision.method, time.perf_counter() - started)
