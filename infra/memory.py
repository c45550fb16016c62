"""How much memory this process and its children took at most."""

from __future__ import annotations

import threading
from typing import Self

import psutil

_MEBIBYTE = 1 << 20


class PeakMemory:
    """Samples the proportional set size of this process tree every two seconds while it is open.

    Proportional, because forked interpreters share most of their pages and would be counted twice.
    """

    def __init__(self, interval_seconds: float = 2.0) -> None:
        self.peak_mb = 0.0
        self._interval = interval_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rstar-memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(self._interval):
            self.peak_mb = max(self.peak_mb, sum(_size(each) for each in (me, *me.children(recursive=True))))


def _size(process: psutil.Process) -> float:
    try:
        info = process.memory_full_info()
        return float(getattr(info, "pss", info.rss)) / _MEBIBYTE
    except psutil.Error:
        return 0.0
