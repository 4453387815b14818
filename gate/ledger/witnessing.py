"""Has witnesses co-sign this gate's log, in the background, never in the way of a passage.

Once a quarter of an hour each witness gets the newest checkpoint of a quarter that is over: its
clock is exact, and over that checkpoint it tells no more about anybody than the log does. A
witness that cannot be reached is asked again after half a minute, a minute, and so on up to a
quarter of an hour; for an hour that is a line on the admin page, then an alarm there. Nobody is
ever locked out for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from gate.console.deps import Health
from gate.errors import GateError, LedgerFault, place_of
from gate.ledger.checkpoint import Checkpoint, open_note
from gate.ledger.consistency import consistency_path
from gate.ledger.cosignature import with_one_cosignature
from gate.ledger.encoding import BATCH_S
from gate.ledger.signed_note import split
from gate.ledger.tile_source import LogFileTiles, Subtrees
from gate.ledger.witness_client import (
    Answer,
    Cosigned,
    OtherSize,
    Refused,
    WitnessFault,
    request_body,
)
from gate.ledger.witness_inbox import CosignedStore, WitnessInbox
from gate.ledger.witness_site import WitnessSite

RETRY_S: Final = 30.0
SPREAD_S: Final = 60
"""Gates of one site ask at different seconds of the quarter's first minute."""
ALARM_AFTER_S: Final = 3600
OFFLINE_ALARM_AFTER_S: Final = 40 * 24 * 3600
"""An auditor who comes each month."""
INBOX_EVERY_S: Final = 30.0

_LOG = logging.getLogger(__name__)

Ask = Callable[[str, bytes], Answer]
"""See `gate.ledger.witness_client.ask`."""


class WitnessedLedger(CosignedStore, Protocol):
    """What witnesses ask of the ledger; see `gate.ledger.store.Ledger`."""

    def size(self) -> int:
        """Return the number of entries."""
        ...

    def checkpoint_note(self) -> str:
        """Return the newest signed checkpoint."""
        ...

    def settled_note(self, now: datetime) -> str:
        """Return the newest signed checkpoint of a quarter of an hour that is over."""
        ...

    def cosigned(self) -> list[tuple[str, int, str]]:
        """Return witness, size and note of each witness's newest co-signature."""
        ...


class Growth:
    """Proofs about one log file, read from beside its writer. Thread safe."""

    def __init__(self, path: Path) -> None:
        self._tiles = LogFileTiles(path)
        self._turn = threading.Lock()

    def proof(self, first: int, second: int) -> list[bytes]:
        """Return the consistency proof. LedgerFault: the log cannot be read, or has fewer."""
        with self._turn:
            return consistency_path(Subtrees(self._tiles, second).mth, first, second)

    def root(self, size: int) -> bytes:
        """Return the root of the first `size` entries (at least 1). LedgerFault: see `proof`."""
        if size < 1:
            raise LedgerFault("a co-signed checkpoint is of an empty log")
        with self._turn:
            return Subtrees(self._tiles, size).mth(0, size)


class WitnessRound:
    """One witness: what it co-signed last, and the next attempt. One thread calls `ask_once`."""

    def __init__(
        self,
        site: WitnessSite,
        ledger: WitnessedLedger,
        vkey: str,
        growth: Growth,
        ask: Ask,
        start_note: str,
    ) -> None:
        self.site = site
        self._ledger = ledger
        self._vkey = vkey
        self._growth = growth
        self._ask = ask
        self._start_note = start_note
        self._known_size = 0
        self._failures = 0
        self._trouble = ""
        self._alarm = ""
        self._cosigned: tuple[int, int] | None = None
        self.reload()

    def reload(self) -> None:
        """Take what the ledger keeps of this witness: its newest size and time."""
        for witness, size, note in self._ledger.cosigned():
            at = self.site.key.cosigned_at(note) if witness == self.site.key.ident else None
            if at is not None:
                self._cosigned = (size, at)
                self._known_size = max(self._known_size, size)

    def ask_once(self, now: datetime) -> float:
        """Ask the witness and return in how many seconds to ask again. Never raises."""
        try:
            self._alarm = self._submit(now)
            self._trouble, self._failures = "", 0
        except GateError as fault:
            self._trouble = fault.diagnostics()
        except Exception as error:  # a defect here must not silence the witness for good
            self._trouble = place_of(error)
        if self._trouble:
            self._failures += 1
            return min(RETRY_S * 2.0 ** min(self._failures - 1, 10), float(BATCH_S))
        return BATCH_S - now.timestamp() % BATCH_S

    def _submit(self, now: datetime) -> str:
        """Return "" when there is a new co-signature or nothing to sign, else an alarm."""
        assert self.site.url is not None
        note = self._ledger.settled_note(now)
        # The first record of a start is of no person: it need not wait for its quarter's end.
        if self._open(note).size < self._open(self._start_note).size:
            note = self._start_note
        checkpoint = self._open(note)
        for _ in range(2):
            if checkpoint.size < max(self._known_size, 1):
                return ""
            proof = self._growth.proof(self._known_size, checkpoint.size)
            answer = self._ask(self.site.url, request_body(self._known_size, proof, note))
            match answer:
                case Cosigned(lines):
                    return self._keep(note, checkpoint, "".join(line.text() for line in lines))
                case Refused(status):
                    return _refusal(status)
                case OtherSize(size) if size > self._ledger.size():
                    return (
                        f"it co-signed {size} records of this log, which has fewer: the log was "
                        "cut, or another gate signs with its key"
                    )
                case OtherSize(size):
                    self._known_size = size
        raise WitnessFault("its size changes while it is asked", "see whether another gate asks")

    def _open(self, note: str) -> Checkpoint:
        return open_note(note, self._vkey)

    def _keep(self, note: str, checkpoint: Checkpoint, lines: str) -> str:
        text, own = split(note)
        whole = f"{text}\n{''.join(line.text() for line in own)}{lines}"
        at = self.site.key.cosigned_at(whole)
        if at is None:
            raise WitnessFault(
                "its answer holds no valid co-signature of this checkpoint",
                "compare its key with [ledger] witnesses",
            )
        one = with_one_cosignature(whole, self._vkey, self.site.key)
        self._ledger.keep_cosigned(self.site.key.ident, checkpoint.size, one)
        self._known_size = checkpoint.size
        self._cosigned = (checkpoint.size, at)
        return ""

    def health(self, now: datetime, since: datetime) -> Health:
        """Return the admin's line about this witness.

        Args:
            now: this gate's clock.
            since: when the gate started: a witness gets its time before it is called silent.
        """
        part, cosigned = f"witness {self.site.key.name}", self._cosigned
        if self._alarm:
            return Health(part, False, self._alarm, "keep the log, tell the auditor")
        limit_s = ALARM_AFTER_S if self.site.url else OFFLINE_ALARM_AFTER_S
        newest = since.timestamp() if cosigned is None else float(cosigned[1])
        # A gate that was off for long asks first.
        heard_s = max(newest, since.timestamp()) if self.site.url else newest
        what = "nothing co-signed yet"
        if cosigned is not None:
            at = datetime.fromtimestamp(min(cosigned[1], 253402300799), UTC)
            what = f"{cosigned[0]} records co-signed at {at:%Y-%m-%d %H:%M} UTC"
        if self._trouble:
            what += f"; {self._trouble}"
        advice = (
            "check the network and ask its operator; the door goes on"
            if self.site.url
            else "export the log, have it co-signed with: gate ledger cosign"
        )
        return Health(part, now.timestamp() - heard_s <= limit_s, what, advice)


def _refusal(status: int) -> str:
    match status:
        case 404 | 403:
            raise WitnessFault(
                "it does not know this log or its key",
                "give its operator the log's verifier key, and compare the origin",
            )
        case 409 | 422:
            return "it co-signed ANOTHER HISTORY of this log: it refuses this one"
    raise WitnessFault(f"it refused with HTTP status {status}", "ask its operator")


class Witnessing:
    """All witnesses of one gate, each with a thread of its own, and the inbox.

    Args:
        ledger: the open ledger; its first record of this start is written.
        growth: proofs of the same log.
        vkey: the log's verifier key.
        sites: the witnesses, from [ledger] witnesses.
        inbox: the folder for co-signatures that come offline.
        ask: sends one request.
        utc_now: an aware moment.
        spread: 0 to 255, this gate's place in the quarter's first minute.
    """

    def __init__(
        self,
        ledger: WitnessedLedger,
        growth: Growth,
        vkey: str,
        sites: Sequence[WitnessSite],
        inbox: Path,
        *,
        ask: Ask,
        utc_now: Callable[[], datetime],
        spread: int,
    ) -> None:
        self._utc_now = utc_now
        self._spread_s = spread * SPREAD_S / 255
        self._since = utc_now()
        self._ended = threading.Event()
        self._folder = inbox
        note = ledger.checkpoint_note()
        self._rounds = [WitnessRound(site, ledger, vkey, growth, ask, note) for site in sites]
        keys = [site.key for site in sites]
        self._inbox = WitnessInbox(inbox, ledger, vkey, keys, growth.root)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin, when any witness is named."""
        if not self._rounds:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for turn in self._rounds:
            if turn.site.url is not None:
                self._run(partial(self._ask_on, turn), turn.site.key.name)
        self._run(self._look_on, "inbox")

    def _run(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=f"witness {name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _ask_on(self, turn: WitnessRound) -> None:
        delay_s = 0.0
        while not self._ended.wait(delay_s):
            delay_s = turn.ask_once(self._utc_now()) + self._spread_s

    def _look_on(self) -> None:
        delay_s = 0.0
        while not self._ended.wait(delay_s):
            delay_s = INBOX_EVERY_S
            try:
                taken = {key.ident for key in self._inbox.look()}
                for turn in self._rounds:
                    if turn.site.key.ident in taken:
                        turn.reload()
            except Exception as error:  # the next look may do better
                _LOG.warning("witness inbox: %s", place_of(error))

    def health(self) -> list[Health]:
        """Return a line for each witness; one line when none is named."""
        if not self._rounds:
            said = "none named: a signed log alone could show two histories"
            return [Health("witnesses", True, said)]
        now = self._utc_now()
        return [turn.health(now, self._since) for turn in self._rounds]

    def close(self) -> None:
        """End. A thread that waits for an answer is left to its own end. Idempotent."""
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=1.0)
