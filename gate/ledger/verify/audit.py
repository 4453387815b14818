"""All steps but 10 over one log, wherever it was read from. Streams: 32 bytes for an entry."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from gate.ledger.verify.order import Order
from gate.ledger.verify.proofs import Key, Tree
from gate.ledger.verify.report import Problems, Report
from gate.ledger.verify.schema import TILE, read_record
from gate.ledger.verify.witness import (
    BLOB_BYTES,
    NOTES_MAX,
    Witness,
    check_cosigned,
    check_named,
    cosignature_lines,
    count_witnesses,
)

_QUARTER_S: Final = 900
_CLOCK_SKEW_BATCHES: Final = 96
"""By how much a gate's clock may be ahead of the auditor's: a day."""


@dataclass(frozen=True)
class Asked:
    """What the auditor brings along.

    Attributes:
        kept: signed checkpoints of this log, kept from earlier.
        policies: SHA-256 of every policy that was published, lower-case hexadecimal; empty when
            the auditor does not want them compared.
        now: the auditor's clock; None leaves times that have not come yet unnoticed.
        witnesses: whom the auditor trusts not to have co-signed two histories.
        witnesses_needed: how many of them must vouch for this log, 0 to their number.
    """

    kept: Sequence[str] = ()
    policies: Collection[str] = ()
    now: datetime | None = None
    witnesses: Sequence[Witness] = ()
    witnesses_needed: int = 0


@dataclass
class Found:
    """A log as it was read.

    Attributes:
        rows: sequence number and body of each entry that has one, in the order found.
        notes: size and text of each signed checkpoint, oldest first.
        leaves: leaf hashes of the entries before the first row, from entry 0 on.
        cosigned: witness, size and text of each co-signed checkpoint that is kept.
        mirror: the newest checkpoint is as a gate serves it, with co-signatures at hand.
    """

    rows: Iterable[tuple[object, object]]
    notes: Sequence[tuple[object, object]]
    leaves: Iterable[bytes] = field(default=())
    cosigned: Sequence[tuple[object, object, object]] = ()
    mirror: bool = False


def audit(found: Found, key: Key, asked: Asked, problems: Problems) -> Report:
    """Follow a log from its first entry to its newest checkpoint and report."""
    tree, order = Tree(), Order(problems)
    for leaf in found.leaves:
        tree.add_leaf(leaf)
    missing = tree.size
    if missing:
        order.begin_within()
    ends = _entries(found, tree, order, asked, problems)
    order.end()
    _pruned(missing, order.pruned_below, problems)
    _notes(found, key, tree, problems)
    _places(found.notes, missing, ends, problems)
    fits = tuple(_kept(index, note, key, tree, problems) for index, note in enumerate(asked.kept))
    order.counts["checkpoints"] = len(found.notes)
    order.counts["policies"] = len(set(order.policies))
    if missing:
        order.counts["pruned_entries"] = missing
    since_kept = [missing - claimed for claimed in _sizes(asked.kept, fits, key)]
    if max(since_kept, default=0) > 0:
        # The auditor knows when that was: nothing may be pruned that is not old.
        order.counts["pruned_since_kept"] = max(since_kept)
    check_cosigned(found.cosigned, key, tree, problems)
    order.counts["cosigned"] = len(found.cosigned)
    strangers = check_named(found.cosigned, asked.witnesses, problems)
    if strangers:
        order.counts["cosigned_not_checked"] = strangers
    # The newest checkpoint of a mirror may carry co-signatures itself, and so may a kept one.
    texts = [note for _, _, note in found.cosigned] + [note for _, note in found.notes[-1:]]
    notes = [*(text for text in texts if isinstance(text, str)), *asked.kept]
    seen, vouched = count_witnesses(
        notes, key, tree, asked.witnesses, asked.witnesses_needed, problems
    )
    report = problems.report(
        tree.size, tree.root(tree.size), order.counts, tuple(order.policies), fits
    )
    return replace(report, witnesses=seen, witnessed_size=vouched)


def _entries(
    found: Found, tree: Tree, order: Order, asked: Asked, problems: Problems
) -> frozenset[int]:
    """Follow the entries; return the sizes at which a quarter of an hour may end."""
    latest = None
    if asked.now is not None:
        latest = int(asked.now.timestamp()) // _QUARTER_S + _CLOCK_SKEW_BATCHES
    place = tree.size
    ends, batch = {0, place}, None
    for seq, body in found.rows:
        if seq != place:
            problems.add(4, f"entry {place} has another sequence number")
        raw = body if isinstance(body, bytes) else b""
        tree.add(raw)
        record = read_record(raw)
        previous, batch = batch, None if record is None else record["batch"]
        if batch is None or batch != previous:
            ends.add(place)
        if record is None:
            problems.add(5, f"entry {place} does not fit the closed schema")
        else:
            if record["seq"] != place:
                problems.add(4, f"entry {place} says another sequence number")
            if latest is not None and record["batch"] > latest:
                problems.add(9, f"entry {place} carries a time that has not come yet")
            policy = record.get("policy")
            if asked.policies and policy is not None and policy not in asked.policies:
                problems.add(5, f"entry {place} names a policy that is none of those given")
            order.take(place, record)
        place += 1
    return frozenset(ends | {place})


def _pruned(missing: int, said: int, problems: Problems) -> None:
    if missing % TILE:
        problems.add(4, f"{missing} bodies are missing, which is not a number of whole tiles")
    if missing > said:
        problems.add(4, f"{missing} bodies are missing, but the log says only {said} were pruned")
    if missing < said:
        problems.add(4, f"the log says that {said} bodies were pruned, but {missing} are missing")


def _places(
    notes: Sequence[tuple[object, object]],
    missing: int,
    ends: frozenset[int],
    problems: Problems,
) -> None:
    """Refuse a checkpoint where no quarter of an hour ends: which ones are kept is no choice."""
    for index, (size, _) in enumerate(notes):
        if isinstance(size, int) and size >= missing and size not in ends:
            problems.add(7, f"earlier checkpoint {index} stands where no quarter of an hour ends")


def _bare(note: object, key: Key, cosigned: bool) -> bool:
    """Whether a note carries the log's own signature once, and nothing but co-signatures else.

    Whatever stands in a line of somebody whom nobody asked about is not signed by anybody.
    """
    opened = cosignature_lines(note) if isinstance(note, str) else None
    if opened is None:
        return False
    lines = opened[1]
    others = [(name, blob) for name, blob in lines if (name, blob[:4]) != (key.name, key.key_id)]
    if not cosigned or len(others) > NOTES_MAX:
        return len(lines) == 1
    signers = {(name, blob[:4]) for name, blob in others}
    whole = all(len(blob) == BLOB_BYTES for _, blob in others)
    return len(lines) == len(others) + 1 and len(signers) == len(others) and whole


def _notes(found: Found, key: Key, tree: Tree, problems: Problems) -> None:
    notes, size = found.notes, tree.size
    if not notes:
        problems.add(1, "there is no checkpoint")
    previous = -1
    for index, (row_size, note) in enumerate(notes):
        newest = index == len(notes) - 1
        name = "the newest checkpoint" if newest else f"earlier checkpoint {index}"
        signed = key.open(note if isinstance(note, str) else "")
        if signed is None:
            problems.add(1 if newest else 7, f"{name} is not signed by this key")
            continue
        if not _bare(note, key, cosigned=newest and found.mirror):
            problems.add(10, f"{name} carries more than its signature")
        origin, signed_size, signed_root = signed
        if origin != key.name:
            problems.add(2, f"{name} speaks for another log")
        if signed_size != row_size or signed_size <= previous:
            problems.add(7, f"{name} is out of order")
        previous = signed_size
        if signed_size > size or (newest and signed_size != size):
            problems.add(3, f"{name} is for {signed_size} entries, but there are {size}")
        if signed_size <= size and tree.root(signed_size) != signed_root:
            problems.add(6 if newest else 7, f"{name} has another root than the entries")


def _sizes(kept: Sequence[str], fits: Sequence[bool], key: Key) -> list[int]:
    """Return the sizes of the kept checkpoints that this log continues."""
    opened = (key.open(note) for note, fit in zip(kept, fits, strict=True) if fit)
    return [signed[1] for signed in opened if signed is not None]


def _kept(index: int, note: str, key: Key, tree: Tree, problems: Problems) -> bool:
    """Whether this log continues a checkpoint that the auditor kept."""
    signed, size = key.open(note), tree.size
    if signed is None or signed[0] != key.name:
        problems.add(8, f"kept checkpoint {index} is not signed by this log")
    elif signed[1] > size:
        problems.add(8, f"the log was cut: {signed[1]} entries were signed, {size} are left")
    elif tree.root(signed[1]) != signed[2]:
        problems.add(8, f"the log was rewritten: kept checkpoint {index} has another root")
    else:
        return True
    return False
