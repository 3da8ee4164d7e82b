"""Progress of long work: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

from metadiffuser.errors import say

LOG_INTERVAL = 15.0  # seconds between two lines in a log


class Progress:
    """Count work done towards ``total``; show it on standard error with the latest figures."""

    def __init__(self, label: str, total: int, done: int = 0):
        self.label = label
        self.total = total
        self.done = done
        self._start = time.monotonic()
        self._first = done
        self._last = -LOG_INTERVAL
        self._figures: dict[str, float] = {}
        self._bar = tqdm(total=total, initial=done, desc=label) if sys.stderr.isatty() else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None:
            self._line(self._figures)

    def advance(self, amount: int = 1, /, **figures: float) -> None:
        """Count ``amount`` more units done, with figures worth showing (loss, return, ...)."""
        self.done += amount
        self._figures |= figures
        if self._bar is not None:
            self._bar.update(amount)
            if figures:
                self._bar.set_postfix({name: f"{value:.4g}" for name, value in figures.items()}, refresh=False)
        elif time.monotonic() - self._start - self._last >= LOG_INTERVAL:
            self._last = time.monotonic() - self._start
            self._line(self._figures)

    def _line(self, figures: dict[str, float]) -> None:
        elapsed = time.monotonic() - self._start
        rate = (self.done - self._first) / elapsed if elapsed > 0 else 0.0
        left = f", {(self.total - self.done) / rate:.0f} s left" if rate > 0 and self.done < self.total else ""
        shown = "".join(f", {name} {value:.4g}" for name, value in figures.items())
        say(f"{self.label}: {self.done}/{self.total}{shown}, {elapsed:.0f} s{left}")
