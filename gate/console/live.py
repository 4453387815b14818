"""Between the runner's thread, which is synchronous, and the pages, which are not."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from firmware_bridge.ports import TurnstileStatus
from gate.console.deps import Health, KioskView, Screen


@dataclass(repr=False)
class _Prompt:
    token: str
    pin: str | None = None
    answered: bool = False
    closed: bool = False


class _Page:
    """One open event stream: told that something changed, from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.changed = asyncio.Event()

    def wake(self) -> None:
        """Set `changed` on the page's own loop; a loop that is gone needs no news."""
        try:
            self._loop.call_soon_threadsafe(self.changed.set)
        except RuntimeError:
            return


class LiveView:
    """What the pages see of one running gate. A GateView; every method is thread safe.

    The runner writes with `show` and asks with the three prompt calls;
    the pages read and answer. A slow page skips to the newest view: nothing queues up.

    Args:
        gate_id: as the policy names this gate.
        purpose: who asks and what for, Korean then English.
        turnstile: the newest supervised reading, without waiting.
        health: the lines of the health table, newest reading.
        on_pin_lane: the person wants the PIN lane; called only while the screen offers it.
        on_leave: the person walks away. Both callbacks run on a web thread: they must be
            thread safe and quick.
        clock_s: monotonic seconds.
    """

    def __init__(
        self,
        *,
        gate_id: str,
        purpose: tuple[str, str],
        turnstile: Callable[[], TurnstileStatus],
        health: Callable[[], list[Health]],
        on_pin_lane: Callable[[], None],
        on_leave: Callable[[], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gate_id = gate_id
        self._purpose = purpose
        self._turnstile = turnstile
        self._health = health
        self._on_pin_lane = on_pin_lane
        self._on_leave = on_leave
        self._clock_s = clock_s
        self._changed = threading.Condition()
        # Until the runner speaks, nothing works: the screen says so.
        self._view = KioskView(Screen.OUT_OF_ORDER)
        self._ends_at_s: float | None = None
        self._pages: set[_Page] = set()
        self._prompt: _Prompt | None = None

    # The runner's side.

    def show(self, view: KioskView) -> None:
        """Put a view on every screen.

        The time bar runs on when only `advice` or `camera_on` differ from the view before;
        anything else starts it anew at `deadline_ms`.
        """
        with self._changed:
            before = self._view
            same_moment = view == replace(before, advice=view.advice, camera_on=view.camera_on)
            if not same_moment or self._ends_at_s is None:
                self._ends_at_s = (
                    None if view.deadline_ms is None else self._clock_s() + view.deadline_ms / 1000
                )
            self._view = view
            pages = list(self._pages)
        for page in pages:
            page.wake()

    def tell_purpose(self, purpose: tuple[str, str]) -> None:
        """Another policy came into force: say from now on who asks and what for."""
        self._purpose = purpose

    def open_prompt(self) -> str:
        """Open the one prompt that `enter_pin` accepts; an earlier one is closed.

        Returns:
            The token to put into `KioskView.pin_token`.
        """
        with self._changed:
            self._end_prompt()
            self._prompt = _Prompt(secrets.token_urlsafe(16))
            return self._prompt.token

    def wait_pin(self, token: str, timeout_s: float) -> str | None:
        """Block for the PIN of this prompt; it is handed over once and not kept.

        Returns:
            The PIN, or None when the time is over or the prompt was closed.
        """
        with self._changed:
            prompt = self._prompt
            if prompt is None or not _same(prompt.token, token):
                return None
            self._changed.wait_for(lambda: prompt.pin is not None or prompt.closed, timeout_s)
            pin, prompt.pin = prompt.pin, None
            return None if prompt.closed else pin

    def close_prompt(self, token: str) -> None:
        """Close this prompt and forget what it holds. Wakes a waiting `wait_pin`. Idempotent."""
        with self._changed:
            if self._prompt is not None and _same(self._prompt.token, token):
                self._end_prompt()

    def _end_prompt(self) -> None:
        if self._prompt is not None:
            self._prompt.pin = None
            self._prompt.closed = True
            self._prompt = None
            self._changed.notify_all()

    # The pages' side: gate.console.deps.GateView.

    @property
    def gate_id(self) -> str:
        """As the policy names this gate."""
        return self._gate_id

    @property
    def purpose(self) -> tuple[str, str]:
        """Who asks and what for, Korean then English."""
        return self._purpose

    def kiosk(self) -> KioskView:
        """Return the view now; `deadline_ms` is what is left of it."""
        with self._changed:
            if self._ends_at_s is None:
                return self._view
            left_ms = max(0, round((self._ends_at_s - self._clock_s()) * 1000))
            return replace(self._view, deadline_ms=left_ms)

    async def kiosk_changes(self) -> AsyncIterator[KioskView]:
        """Yield the view now and the newest view after each change, to any number of pages."""
        page = _Page()
        with self._changed:
            self._pages.add(page)
        try:
            while True:
                page.changed.clear()
                yield self.kiosk()
                await page.changed.wait()
        finally:
            with self._changed:
                self._pages.discard(page)

    def enter_pin(self, token: str, pin: str) -> bool:
        """Hand one PIN to the waiting passage. False: no such prompt, or it has its answer."""
        with self._changed:
            prompt = self._prompt
            if prompt is None or prompt.answered or not _same(prompt.token, token):
                return False
            prompt.pin, prompt.answered = pin, True
            self._changed.notify_all()
            return True

    def choose_pin_lane(self) -> bool:
        """Tell the passage that the person prefers the PIN lane. False: not offered now."""
        with self._changed:
            offered = self._view.screen is Screen.LOOK
        if offered:
            self._on_pin_lane()
        return offered

    def leave(self) -> None:
        """Tell the passage that the person walks away."""
        self._on_leave()

    def turnstile(self) -> TurnstileStatus:
        """Return the newest supervised reading."""
        return self._turnstile()

    def health(self) -> list[Health]:
        """Return the lines of the health table."""
        return self._health()


def _same(one: str, other: str) -> bool:
    # A token from outside may hold half a surrogate pair.
    return hmac.compare_digest(
        one.encode(errors="surrogatepass"), other.encode(errors="surrogatepass")
    )
