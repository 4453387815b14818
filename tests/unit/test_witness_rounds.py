"""What the gate asks of witnesses, when, and what the admin sees of it. No network here."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gate.errors import ConfigError, LedgerFault
from gate.ledger.checkpoint import Checkpoint, Signer, open_note
from gate.ledger.cosignature import Cosigner
from gate.ledger.export import export
from gate.ledger.record import Decided, HostSeen, Mode, Pack, Started
from gate.ledger.store import COSIGNED_MAX, Ledger
from gate.ledger.verify import verify_export, verify_store
from gate.ledger.verify.proofs import parse_vkey
from gate.ledger.witness_client import Answer, Cosigned, WitnessFault, parse_answer
from gate.ledger.witness_inbox import WitnessInbox
from gate.ledger.witness_site import WitnessSite, parse_site, parse_sites
from gate.ledger.witnessing import ALARM_AFTER_S, OFFLINE_ALARM_AFTER_S, Growth, WitnessRound
from gate.passage.decision import DenyReason, Lane
from gate.witness.judge import Witness
from gate.witness.state import REFUSED_MAX, WitnessState

ORIGIN = "gate.example/main"
SIGNER = Signer(ORIGIN, bytes(range(32)))
COSIGNER = Cosigner("witness.example/w1", bytes([7]) * 32)
OTHER = Cosigner("auditor.example/kim", bytes([8]) * 32)
NOON = datetime(2026, 3, 2, 12, 0, 5, tzinfo=UTC)
DENY = Decided(granted=False, reason=DenyReason.NO_MATCH, lane=Lane.FACE)
URL = "https://witness.example"


class World:
    """One gate's log, one witness, one clock. `ask` is the wire between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "ledger.db"
        self.now = NOON
        self.ledger = Ledger.open(self.path, SIGNER, ORIGIN)
        self.ledger.append(
            Started(Mode.DEMO, Pack.EDGE, "ab" * 32, sandbox_ok=True, key_agent_ok=True), NOON
        )
        WitnessState.create(folder / "witness", COSIGNER.vkey)
        self.state = WitnessState.open(folder / "witness", COSIGNER.vkey)
        self.witness = Witness(
            COSIGNER,
            {ORIGIN: [parse_vkey(SIGNER.vkey)]},
            self.state,
            time_s=lambda: int(self.now.timestamp()),
            monotonic_s=lambda: self.now.timestamp(),
        )
        self.down = False
        self.asked: list[bytes] = []

    def ask(self, url: str, body: bytes) -> Answer:
        assert url == URL
        self.asked.append(body)
        if self.down:
            raise WitnessFault("it cannot be reached (timed out)", "check address and network")
        answer = self.witness.add_checkpoint(body)
        return parse_answer(
            answer.status, answer.content_type.partition(";")[0], answer.body.encode()
        )

    def round(self, ask: Callable[[str, bytes], Answer] | None = None) -> WitnessRound:
        site = WitnessSite(COSIGNER.key, URL)
        note = self.ledger.checkpoint_note()
        return WitnessRound(
            site, self.ledger, SIGNER.vkey, Growth(self.path), ask or self.ask, note
        )

    def people(self, count: int) -> None:
        for _ in range(count):
            self.ledger.append(DENY, self.now)

    def later(self, **by: float) -> None:
        self.now += timedelta(**by)

    def cosigned_size(self) -> int:
        return max((size for _, size, _ in self.ledger.cosigned()), default=0)

    def ok(self, turn: WitnessRound) -> bool:
        return turn.health(self.now, NOON).ok


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with closing(made.ledger), closing(made.state):
        yield made


def test_the_start_is_co_signed_at_once_and_people_only_when_their_quarter_is_over(
    world: World,
) -> None:
    turn = world.round()
    assert turn.ask_once(world.now) == pytest.approx(895)
    assert world.cosigned_size() == 1
    world.people(3)
    turn.ask_once(world.now)
    assert world.cosigned_size() == 1, "an exact time over an open quarter would tell of people"
    world.later(minutes=15)
    world.people(2)
    turn.ask_once(world.now)
    assert world.cosigned_size() == 4
    report = verify_store(world.path, SIGNER.vkey, witnesses=[COSIGNER.vkey])
    assert (report.ok, report.size, report.witnessed_size) == (True, 6, 4), report.problems
    (seen,) = report.witnesses
    assert seen.time_s == int(world.now.timestamp())


def test_growth_over_many_tiles_is_proved(world: World) -> None:
    turn = world.round()
    for count in (255, 1, 1, 256, 300):
        turn.ask_once(world.now)
        world.people(count)
        world.later(minutes=15)
    turn.ask_once(world.now)
    assert world.cosigned_size() == world.ledger.size() == 814
    assert world.asked[1].startswith(b"old 1\n")
    assert world.ok(turn)


def test_a_quiet_log_gets_a_fresh_time(world: World) -> None:
    turn = world.round()
    turn.ask_once(world.now)
    world.later(hours=5)
    turn.ask_once(world.now)
    assert world.asked[1].startswith(b"old 1\n\n")
    (row,) = world.ledger.cosigned()
    assert COSIGNER.key.cosigned_at(row[2]) == int(world.now.timestamp())


def test_a_restart_goes_on_from_what_is_kept_and_from_what_the_witness_says(world: World) -> None:
    world.round().ask_once(world.now)
    world.people(9)
    world.later(minutes=15)
    again = world.round()
    assert "1 records co-signed" in again.health(world.now, world.now).what
    again.ask_once(world.now)
    assert world.asked[-1].startswith(b"old 1\n")

    class Lost:
        """The answer of the witness never arrived: it knows more than the gate."""

        size, checkpoint_note = world.ledger.size, world.ledger.checkpoint_note
        settled_note, keep_cosigned = world.ledger.settled_note, world.ledger.keep_cosigned

        def cosigned(self) -> list[tuple[str, int, str]]:
            return []

    site, growth = WitnessSite(COSIGNER.key, URL), Growth(world.path)
    note = world.ledger.checkpoint_note()
    turn = WitnessRound(site, Lost(), SIGNER.vkey, growth, world.ask, note)
    turn.ask_once(world.now)
    assert world.asked[-2].startswith(b"old 0\n\n")
    assert world.asked[-1].startswith(b"old 10\n\n")
    assert world.ok(turn)


def test_a_witness_that_is_down_is_asked_less_often_and_shown_after_an_hour(world: World) -> None:
    turn = world.round()
    world.down = True
    delays = [turn.ask_once(world.now) for _ in range(8)]
    assert delays == [30, 60, 120, 240, 480, 900, 900, 900]
    assert world.ok(turn)
    assert "cannot be reached" in turn.health(world.now, NOON).what
    world.later(seconds=ALARM_AFTER_S + 1)
    line = turn.health(world.now, NOON)
    assert (line.ok, line.part) == (False, "witness witness.example/w1")
    assert "the door goes on" in line.advice
    world.down = False
    turn.ask_once(world.now)
    assert world.ok(turn)


def test_a_log_that_was_cut_or_rewritten_with_its_own_key(tmp_path: Path) -> None:
    """Split view: the gate signs a second history; the witness refuses it and verify shows it."""
    first = World(tmp_path)
    first.people(4)
    first.later(minutes=15)
    first.round().ask_once(first.now)
    export(first.path, tmp_path / "shown-to-one")
    kept = [note for _, _, note in first.ledger.cosigned()]
    first.ledger.close()
    first.path.rename(tmp_path / "first.db")
    (tmp_path / "second").mkdir()
    second = World(tmp_path / "second")
    second.state.close()
    second.witness = first.witness
    for people, said in ((0, "was cut"), (4, "ANOTHER HISTORY"), (9, "ANOTHER HISTORY")):
        second.people(people)
        second.later(minutes=15)
        turn = second.round()
        turn.ask_once(second.now)
        line = turn.health(second.now, NOON)
        assert not line.ok, "at once, not after an hour"
        assert said in line.what
        assert second.cosigned_size() == 0
    ((_, refused),) = first.witness.known()
    assert refused == 2
    export(second.path, tmp_path / "shown-to-another")
    second.ledger.close()
    first.state.close()
    good = verify_export(tmp_path / "shown-to-one", SIGNER.vkey, witnesses=[COSIGNER.vkey])
    assert (good.ok, good.witnessed_size) == (True, 5), good.problems
    by_itself = verify_export(tmp_path / "shown-to-another", SIGNER.vkey)
    assert by_itself.ok, "the second history verifies by itself"
    asked = verify_export(tmp_path / "shown-to-another", SIGNER.vkey, witnesses=[COSIGNER.vkey])
    assert asked.problems == ("step 11: 0 of the 1 witnesses needed co-signed this log",)
    both = verify_export(tmp_path / "shown-to-another", SIGNER.vkey, kept)
    assert "step 8: the log was rewritten" in both.problems[0]


def test_a_gate_that_shows_a_foreign_co_signature_beside_its_second_history(world: World) -> None:
    """The note of the first history under the entries of the second."""
    world.people(2)
    world.ledger.append(HostSeen(True, True, True, True), world.now)
    other = Checkpoint(ORIGIN, 3, bytes(32))
    note = SIGNER.sign(other)
    note += COSIGNER.cosign(other.text(), 5)
    world.ledger.keep_cosigned(COSIGNER.key.ident, 3, note)
    report = verify_store(world.path, SIGNER.vkey, witnesses=[COSIGNER.vkey])
    assert report.problems == (
        "step 11: the log was rewritten: co-signed checkpoint 0 has another root",
        "step 11: 0 of the 1 witnesses needed co-signed this log",
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda line: line.replace("\u2014 witness", "\u2014 Witness"),
        lambda line: line[:-8] + ("AAAA" if line[-8:-4] != "AAAA" else "BBBB") + line[-4:],
        lambda _line: "",
        lambda _line: "\u2014 x AAAA\n",
        lambda line: line * 65,
    ],
)
def test_an_answer_without_a_valid_co_signature_is_not_kept(
    world: World, spoil: Callable[[str], str]
) -> None:
    def spoiled(url: str, body: bytes) -> Answer:
        answer = world.ask(url, body)
        assert isinstance(answer, Cosigned)
        return parse_answer(200, "text/plain", spoil(answer.lines[0].text()).encode())

    turn = world.round(spoiled)
    assert turn.ask_once(world.now) == 30
    assert world.cosigned_size() == 0
    assert (
        "co-sig" in turn.health(world.now, NOON).what
        or "lines" in turn.health(world.now, NOON).what
    )


def test_a_co_signature_of_another_checkpoint_is_not_kept(world: World) -> None:
    foreign = Checkpoint(ORIGIN, 1, bytes(32))

    def mixed(_url: str, _body: bytes) -> Answer:
        return parse_answer(200, "text/plain", COSIGNER.cosign(foreign.text(), 9).encode())

    turn = world.round(mixed)
    assert turn.ask_once(world.now) == 30
    assert world.ledger.cosigned() == []


def test_statuses_of_the_protocol(world: World) -> None:
    def answers(status: int, content: bytes = b"", kind: str = "text/plain") -> str:
        def ask(_url: str, _body: bytes) -> Answer:
            return parse_answer(status, kind, content)

        turn = world.round(ask)
        turn.ask_once(world.now)
        return turn.health(world.now, NOON).what

    assert "does not know this log" in answers(404)
    assert "does not know this log" in answers(403)
    assert "status 429" in answers(429)
    assert "status 500" in answers(500)
    assert "status 301" in answers(301)
    assert "ANOTHER HISTORY" in answers(422)
    assert "ANOTHER HISTORY" in answers(409)
    assert "was cut" in answers(409, b"2\n", "text/x.tlog.size")
    assert "changes while it is asked" in answers(409, b"0\n", "text/x.tlog.size")
    assert "names no size" in answers(409, b"01\n", "text/x.tlog.size")


def test_the_inbox_takes_what_a_named_witness_signed_of_this_log(world: World) -> None:
    world.people(300)
    inbox = world.folder / "inbox"
    inbox.mkdir()
    keys = [OTHER.key, COSIGNER.key]
    box = WitnessInbox(inbox, world.ledger, SIGNER.vkey, keys, Growth(world.path).root)
    note = world.ledger.checkpoint_note()
    text = note.partition("\n\n")[0] + "\n"
    (inbox / "stick").write_text(note + OTHER.cosign(text, 77))
    (inbox / "unsigned").write_text(note)
    (inbox / "binary").write_bytes(b"\xff\xfe")
    wrong = Checkpoint(ORIGIN, 301, bytes(32))
    (inbox / "rewritten").write_text(SIGNER.sign(wrong) + OTHER.cosign(wrong.text(), 77))
    long = Checkpoint(ORIGIN, 302, bytes(32))
    (inbox / "longer").write_text(SIGNER.sign(long) + OTHER.cosign(long.text(), 77))
    (inbox / ".half").write_text("still being copied")
    assert box.look() == [OTHER.key]
    assert sorted(item.name for item in inbox.iterdir()) == [
        ".half",
        "binary.refused",
        "longer.refused",
        "rewritten.refused",
        "unsigned.refused",
    ]
    assert box.look() == []
    ((witness, size, kept),) = world.ledger.cosigned()
    assert (witness, size, OTHER.key.cosigned_at(kept)) == (OTHER.key.ident, 301, 77)


def test_an_auditor_who_signs_offline_is_called_after_forty_days(world: World) -> None:
    site = WitnessSite(OTHER.key, None)
    note = world.ledger.checkpoint_note()
    turn = WitnessRound(site, world.ledger, SIGNER.vkey, Growth(world.path), world.ask, note)
    assert turn.health(NOON, NOON).ok
    at = int(NOON.timestamp())
    world.ledger.keep_cosigned(
        OTHER.key.ident, 1, note + OTHER.cosign(note.partition("\n\n")[0] + "\n", at)
    )
    turn.reload()
    limit = timedelta(seconds=OFFLINE_ALARM_AFTER_S)
    assert turn.health(NOON + limit, NOON).ok
    late = turn.health(NOON + limit + timedelta(seconds=6), NOON)
    assert not late.ok
    assert "gate ledger cosign" in late.advice


def test_the_log_keeps_one_note_of_a_witness_and_few_in_all(world: World) -> None:
    note = world.ledger.checkpoint_note()
    text = note.partition("\n\n")[0] + "\n"
    for number in range(COSIGNED_MAX + 5):
        made = Cosigner(f"w{number}", bytes([number]) * 32)
        world.ledger.keep_cosigned(made.key.ident, 1, note + made.cosign(text, 1))
    assert len(world.ledger.cosigned()) == COSIGNED_MAX
    assert verify_store(world.path, SIGNER.vkey).ok
    world.people(1)
    newer = world.ledger.checkpoint_note()
    made = Cosigner("w0", bytes(32))
    again = newer + made.cosign(newer.partition("\n\n")[0] + "\n", 1)
    world.ledger.keep_cosigned(made.key.ident, 2, again)
    world.ledger.keep_cosigned(made.key.ident, 1, note + made.cosign(text, 9))
    assert world.ledger.cosigned()[0] == (made.key.ident, 2, again)


@pytest.mark.parametrize(
    "rows",
    [
        [("w", 1, "no note")],
        [(COSIGNER.key.ident, 2, "SIGNED")],
        [("other+00000000", 1, "SIGNED")],
        [(COSIGNER.key.ident, 1, "PLAIN")],
        [(COSIGNER.key.ident, 1, "TWICE")],
        [(COSIGNER.key.ident, 1, "LONG")],
    ],
)
def test_verification_accepts_no_other_rows(world: World, rows: list[tuple[str, int, str]]) -> None:
    plain = world.ledger.checkpoint_note()
    line = COSIGNER.cosign(plain.partition("\n\n")[0] + "\n", 1)
    long = line.rstrip("=\n") + "AAAA\n"
    texts = {
        "SIGNED": plain + line,
        "PLAIN": plain,
        "TWICE": plain + line + OTHER.cosign(plain.partition("\n\n")[0] + "\n", 1),
        "LONG": plain + long,
    }
    for witness, size, note in rows:
        world.ledger.keep_cosigned(witness, size, texts.get(note, note))
    report = verify_store(world.path, SIGNER.vkey)
    assert not report.ok
    assert all(problem.startswith("step 11:") for problem in report.problems)


def test_as_many_witnesses_as_are_asked_for(world: World) -> None:
    vkeys = [COSIGNER.vkey, OTHER.vkey]
    world.round().ask_once(world.now)
    world.people(5)
    note = world.ledger.checkpoint_note()
    world.ledger.keep_cosigned(
        OTHER.key.ident, 6, note + OTHER.cosign(note.partition("\n\n")[0] + "\n", 4)
    )

    def asked(keys: list[str], needed: int | None = None) -> tuple[bool, int | None]:
        report = verify_store(world.path, SIGNER.vkey, witnesses=keys, witnesses_needed=needed)
        return report.ok, report.witnessed_size

    assert asked(vkeys, 1) == (True, 6)
    assert asked(vkeys) == (True, 1), "both vouch for the smaller tree"
    third = Cosigner("third.example", bytes([9]) * 32).vkey
    assert asked([*vkeys, third]) == (False, None)
    assert asked([*vkeys, third], 2) == (True, 1)
    same_name = Cosigner("witness.example/w1", bytes([10]) * 32).vkey
    assert asked([same_name]) == (False, None)
    same_key = Cosigner("alias.example", bytes([7]) * 32).vkey
    for keys, needed in (([COSIGNER.vkey, same_key], None), (vkeys, 3), (vkeys, 0), ([], 1)):
        with pytest.raises(ConfigError):
            asked(keys, needed)


def test_a_tampered_co_signature_in_an_export(world: World, tmp_path: Path) -> None:
    world.round().ask_once(world.now)
    export(world.path, tmp_path / "export")
    file = tmp_path / "export" / "cosigned.jsonl"
    good = file.read_bytes()
    check = {"vkey": SIGNER.vkey, "witnesses": [COSIGNER.vkey]}
    assert verify_export(tmp_path / "export", **check).ok  # type: ignore[arg-type]
    for at in range(0, len(good), 7):
        file.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        report = verify_export(tmp_path / "export", **check)  # type: ignore[arg-type]
        assert not report.ok, at


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        (f"{COSIGNER.vkey} {URL}", URL),
        (f"{COSIGNER.vkey} {URL}/prefix/", f"{URL}/prefix"),
        (f" {COSIGNER.vkey} http://127.0.0.1:8445 ", "http://127.0.0.1:8445"),
        (f"{COSIGNER.vkey} http://[::1]:8445", "http://[::1]:8445"),
        (f"{COSIGNER.vkey} http://localhost", "http://localhost"),
        (f"{COSIGNER.vkey} http://10.1.2.3", "http://10.1.2.3"),
        (COSIGNER.vkey, None),
    ],
)
def test_entries_of_the_settings(entry: str, url: str | None) -> None:
    assert parse_site(entry) == WitnessSite(COSIGNER.key, url)


@pytest.mark.parametrize(
    "entry",
    [
        "",
        URL,
        f"{SIGNER.vkey} {URL}",
        f"{COSIGNER.vkey} http://witness.example",
        f"{COSIGNER.vkey} http://8.8.8.8",
        f"{COSIGNER.vkey} ftp://127.0.0.1",
        f"{COSIGNER.vkey} https://user:pass@witness.example",
        f"{COSIGNER.vkey} https://witness.example/?x=1",
        f"{COSIGNER.vkey} https://witness.example/ x",
        f"{COSIGNER.vkey} https://witness.example:99999",
        f"{COSIGNER.vkey} https://witness.example:0",
        f"{COSIGNER.vkey} https://[::1",
    ],
)
def test_entries_that_are_refused(entry: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_site(entry)
    assert "pass" not in refused.value.diagnostics()


def test_witnesses_are_few_and_each_once() -> None:
    same_key = Cosigner("alias.example", bytes([7]) * 32).vkey
    with pytest.raises(ConfigError, match="one key"):
        parse_sites((COSIGNER.vkey, same_key))
    with pytest.raises(ConfigError, match="at most 8"):
        parse_sites(tuple(Cosigner(f"w{n}", bytes([n]) * 32).vkey for n in range(9)))


def test_a_co_signed_note_still_opens_as_the_logs_own() -> None:
    note = SIGNER.sign(Checkpoint(ORIGIN, 0, bytes(32)))
    cosigned = note + COSIGNER.cosign(note.partition("\n\n")[0] + "\n", 1)
    assert open_note(cosigned, SIGNER.vkey) == open_note(note, SIGNER.vkey)
    with pytest.raises(LedgerFault):
        open_note(cosigned, Signer(ORIGIN, bytes(32)).vkey)


def test_strangers_cannot_use_up_the_room_for_proofs(world: World) -> None:
    """Anybody can send what a gate published, with a proof that is none."""
    told: list[tuple[int, bool]] = []
    witness = Witness(
        COSIGNER,
        {ORIGIN: [parse_vkey(SIGNER.vkey)]},
        world.state,
        time_s=lambda: int(world.now.timestamp()),
        monotonic_s=lambda: world.now.timestamp(),
        on_refused=lambda seen, proven: told.append((seen.size, proven)),
    )
    world.round().ask_once(world.now)
    for _ in range(REFUSED_MAX + 10):
        world.people(1)
        world.later(minutes=15)
        note = world.ledger.checkpoint_note()
        proof = base64.b64encode(bytes(32)).decode()
        assert witness.add_checkpoint(f"old 1\n{proof}\n\n{note}".encode()).status == 422
    assert {proven for _, proven in told} == {False}
    forked = SIGNER.sign(Checkpoint(ORIGIN, 1, bytes(32)))
    assert witness.add_checkpoint(f"old 1\n\n{forked}".encode()).status == 409
    assert told[-1] == (1, True)
