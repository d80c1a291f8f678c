"""Ctrl-C and SIGTERM, put off to a moment at which work can be put away."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class PutOff:
    """A context manager: within it, the first signal only sets `received`; a second one acts at once.

    In other threads than the main one, which gets no signals, it does nothing. Signals that are ignored stay ignored.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._handlers: dict[int, Any] = {}

    @property
    def received(self) -> bool:
        """Whether there was a signal."""
        return self._received is not None

    def act(self) -> None:
        """Let the signal that was received do what it does elsewhere: raise KeyboardInterrupt, or end the process."""
        self._restore()
        if self._received is not None:
            number, self._received = self._received, None
            signal.raise_signal(number)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                handler = signal.getsignal(number)
                if handler not in (signal.SIG_IGN, None):
                    self._handlers[number] = handler
                    signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.act()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again, self._received = self.received, number
        if again:
            self.act()

    def _restore(self) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())
