"""Whether to co-sign: the checks of C2SP tlog-witness, add-checkpoint, in its order. No HTTP here.

    1  the request has the one form                                       else 400
    2  the log is known by its origin                                     else 404
    3  a key that is trusted for this origin signed the checkpoint        else 403
    4  the old size is not larger than the checkpoint                     else 400
    5  the old size is that of the newest checkpoint co-signed            else 409 and that size
    6  of two trees of one size the roots are the same                    else 409
    7  the consistency proof verifies                                     else 422
Then the checkpoint is written down, durably and in the same transaction as 5 to 7, and only after
that it is signed.

Anyone can send what a gate has published. So only growth, which needs the gate's key, counts
against the limit of a log, and only growth is written; a flood of the rest meets the limit of all.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gate.ledger.cosignature import Cosigner
from gate.ledger.verify.consistency import grows_from
from gate.ledger.verify.proofs import Key
from gate.template.rate import RateLimit
from gate.witness.request import AddCheckpoint, parse
from gate.witness.state import Seen, WitnessFault, WitnessState

TEXT: Final = "text/plain; charset=utf-8"
SIZE: Final = "text/x.tlog.size"
GROWTH_A_MINUTE: Final = 12
"""Of one log. A gate asks about once a quarter of an hour."""
GROWTH_BURST: Final = 30
ALL_A_MINUTE: Final = 3_000
ALL_BURST: Final = 200
_CONFLICT: Final = 409
_EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: status, content type, body."""

    status: int
    body: str
    content_type: str = TEXT


_TOO_OFTEN: Final = Answer(429, "too often; once a quarter of an hour is enough\n")


class Witness:
    """One witness over its memory. Thread safe.

    Args:
        cosigner: the witness's key.
        logs: for each origin the keys that may sign its checkpoints.
        state: the memory.
        time_s: POSIX seconds now.
        monotonic_s: a clock that never goes back, for the rate limit.
        on_refused: told of each signed checkpoint that did not fit: somebody should ask why. The
            second argument says that it proves two histories, not only a proof that is none.
    """

    def __init__(
        self,
        cosigner: Cosigner,
        logs: Mapping[str, Sequence[Key]],
        state: WitnessState,
        *,
        time_s: Callable[[], int],
        monotonic_s: Callable[[], float],
        on_refused: Callable[[Seen, bool], None] = lambda _seen, _proven: None,
    ) -> None:
        self._cosigner = cosigner
        self._logs = logs
        self._state = state
        self._time_s = time_s
        self._monotonic_s = monotonic_s
        self._on_refused = on_refused
        self._rates = {origin: RateLimit(GROWTH_A_MINUTE, GROWTH_BURST) for origin in logs}
        self._all = RateLimit(ALL_A_MINUTE, ALL_BURST)
        self._guard = threading.Lock()

    @property
    def vkey(self) -> str:
        """The verifier key that gates and auditors name."""
        return self._cosigner.vkey

    def known(self) -> list[tuple[Seen, int]]:
        """Return the newest tree of each log, and how many trees of it were refused."""
        return self._state.logs()

    def add_checkpoint(self, body: bytes) -> Answer:
        """Judge one request. Never raises."""
        with self._guard:
            if not self._all.allow(self._monotonic_s()):
                return _TOO_OFTEN
        request = parse(body)
        if request is None:
            return Answer(400, "not an add-checkpoint request\n")
        keys = self._logs.get(request.origin)
        if keys is None:
            return Answer(404, "this witness does not know that log\n")
        found = _signed(request.note, keys)
        if found is None:
            return Answer(403, "not signed by a key that is trusted for this log\n")
        size, root = found
        if request.old_size > size:
            return Answer(400, "the old size is larger than the checkpoint\n")
        time_s = self._time_s()
        try:
            refusal = self._keep(request, Seen(request.origin, size, root, request.note, time_s))
        except WitnessFault as fault:
            return Answer(503, fault.diagnostics() + "\n")
        if refusal is not None:
            return refusal
        text = request.note.rpartition("\n\n")[0] + "\n"
        return Answer(200, self._cosigner.cosign(text, time_s))

    def _keep(self, request: AddCheckpoint, seen: Seen) -> Answer | None:
        """Write the checkpoint down and return None, or return the refusal."""
        with self._state.turn() as turn:
            newest = turn.newest(seen.origin)
            refusal = _judge(request, seen, newest)
            if refusal is not None and refusal.content_type == SIZE:
                return refusal
            if refusal is not None:
                # A proof that does not verify anybody can send, with what a gate published. Two
                # roots of one size only that gate can sign.
                proven = refusal.status == _CONFLICT
                news = turn.refuse(seen, proven=proven)
            elif newest is None or seen.size > newest.size:
                with self._guard:
                    if not self._rates[seen.origin].allow(self._monotonic_s()):
                        return _TOO_OFTEN
                turn.keep(seen)
        if refusal is not None and news:
            self._on_refused(seen, proven)
        return refusal


def _signed(note: str, keys: Sequence[Key]) -> tuple[int, bytes] | None:
    """Return size and root of a checkpoint that one of the keys signed."""
    for key in keys:
        signed = key.open(note)
        if signed is not None and signed[0] == note.partition("\n")[0]:
            return signed[1], signed[2]
    return None


def _judge(request: AddCheckpoint, seen: Seen, newest: Seen | None) -> Answer | None:
    """Return why not, or None when the tree of `seen` only adds to the newest one."""
    newest_size = 0 if newest is None else newest.size
    if request.old_size != newest_size:
        return Answer(409, f"{newest_size}\n", SIZE)
    if newest is not None and seen.size == newest.size and seen.root != newest.root:
        return Answer(_CONFLICT, "another tree of this size was co-signed before\n")
    if seen.size == 0 and seen.root != _EMPTY_ROOT:
        return Answer(422, "the empty tree has another root\n")
    old_root = b"" if newest is None else newest.root
    if not grows_from(newest_size, old_root, seen.size, seen.root, request.proof):
        return Answer(422, "the consistency proof does not verify\n")
    return None
