"""What a probe says: verdict first, JSON, page and record agree, and nothing is handed out."""

import json
import os

import pytest

from gate.host_conditions import HostConditions
from gate.ledger.record import Probed
from gate.nightly import record_of
from gate.probe.conduct import may_remain
from gate.probe.designs import Design
from gate.probe.needles import Hit, Kind, Needle
from gate.probe.outcome import Outcome, table
from gate.probe.page import page
from gate.probe.passages import CYCLE, LEAST, Mishap, passages
from gate.probe.search import ProbeReport, Scan
from gate.probe.walking import Walked
from gate.probe.yara import STRINGS_MAX, rules, searchable

GATE = "gate (process 7)"
AGENT = "key agent (process 8)"
HOST = HostConditions(init_on_free=False, swap_off=True, core_dumps_off=False, hibernation_off=True)


def outcome(
    design: Design = Design.SINGLE_USE, hits: tuple[Hit, ...] = (), found: int = 8, decoys: int = 0
) -> Outcome:
    expected = (Hit("PIN", GATE, 5, 12),)
    scans = (
        Scan(GATE, 90_000_000, 0, (*hits, *expected)),
        Scan(AGENT, 30_000_000, 0, ()),
        Scan("files written since the start", 1000, 0, (), files=3),
    )
    report = ProbeReport(
        needles=12,
        scans=scans,
        hits=hits,
        decoy_hits=tuple(Hit("decoy", GATE, at, 24) for at in range(decoys)),
        controls_found=found,
        controls_planted=8,
        expected=expected,
        not_searched=(("swap /dev/x", "no right to read"),),
    )
    walked = (Walked("owner", "opens (face)", True),)
    kinds = {"image": 5, "vector": 4, "key": 1, "text": 2}
    return Outcome(design, "edge", walked, kinds, report, HOST, "2026-01-01 00:00 UTC", 9.0)


RESIDUE = Hit("owner embedding float32", GATE, 99, 512)


def test_the_verdict_comes_first() -> None:
    assert outcome().lines()[0].startswith("CLEAN  single-use")
    assert outcome(hits=(RESIDUE,)).lines()[0].startswith("NOT CLEAN  single-use: 1 residues")
    assert not outcome(found=7).clean
    assert "not find all" in outcome(found=7).lines()[0]
    assert not outcome(decoys=1).clean
    assert "never there" in outcome(decoys=1).lines()[0]


def test_expected_secrets_are_shown_and_are_no_residues() -> None:
    clean = outcome()
    assert clean.residues == 0
    assert clean.expected_in(GATE) == 1
    assert any("not biometric" in line for line in clean.lines())


def test_only_secrets_and_only_where_they_belong_may_remain() -> None:
    assert may_remain("owner content key hex", AGENT)
    assert not may_remain("owner content key hex", GATE)
    assert may_remain("PIN", GATE)
    assert not may_remain("PIN", "running gate (process 9)")
    assert not may_remain("PIN", AGENT)
    for target in (GATE, AGENT, "spare verifier (process 9)", "journal"):
        assert not may_remain("owner embedding float32", target)
        assert not may_remain("owner template", target)


def test_json_page_and_record_agree() -> None:
    found = outcome(hits=(RESIDUE,))
    document = json.loads(json.dumps(found.as_json()))
    assert document["residues"] == 1
    assert document["clean"] is False
    assert document["searched"][0]["residues"] == {RESIDUE.needle: 1}
    assert document["not_searched"] == [{"what": "swap /dev/x", "why": "no right to read"}]
    assert record_of(document) == found.report.record()
    assert record_of(document) == Probed(
        needles=12,
        controls_planted=8,
        controls_found=8,
        decoy_hits=0,
        residues=1,
        searched=3,
        not_searched=1,
    )
    html = page([found])
    assert RESIDUE.needle in html
    assert "Something remains" in html
    assert "Nothing remains" in page([outcome()])
    assert "proves nothing" in page([outcome(found=7)])
    assert "<script" not in html
    assert "src=" not in html


def test_a_report_of_another_form_is_no_record() -> None:
    for document in ({}, {"needles": "x"}, {"needles": 1}):
        with pytest.raises((KeyError, ValueError, TypeError)):
            record_of(document)


def test_the_table_has_one_line_a_design() -> None:
    lines = table([outcome(), outcome(Design.NAIVE, (RESIDUE,))])
    assert len(lines) == 3
    assert lines[2].split()[:2] == ["naive", "1"]
    assert "naive" in page([outcome(), outcome(Design.NAIVE, (RESIDUE,))])


def test_at_least_twenty_passages_with_exceptions() -> None:
    assert LEAST == 20
    walked = passages(45)
    assert len(walked) == 45
    names = {passage.name for passage in passages(LEAST)}
    assert names >= {
        "camera lost while looking",
        "another person",
        "two faces",
        "nobody",
        "PIN",
        "wrong PIN",
        "tampered card",
        "revoked card",
        "verifier killed while looking",
        "verifier frozen, time runs out",
    }
    assert {passage.mishap for passage in CYCLE} == set(Mishap)


def test_yara_rules_hold_pieces_of_what_is_biometric_and_of_controls() -> None:
    frame = Needle('owner "frame" BGR', Kind.IMAGE, os.urandom(72 * 500))
    secret = Needle("owner content key", Kind.KEY, os.urandom(32))
    pin = Needle("PIN", Kind.TEXT, b"123456789012")
    control = Needle("control key", Kind.KEY, os.urandom(32))
    assert searchable([frame, secret, pin]) == [frame]
    text = rules([Needle("owner frame", Kind.IMAGE, frame.data)], [control])
    assert text.count("rule ") >= 2
    assert "residue_001_owner_frame : residue" in text
    assert "control_002_control_key : control" in text
    assert text.count("$p") <= STRINGS_MAX + 4
    assert frame.data[:72].hex(" ").upper() in text
    assert pin.data.decode() not in text
    text.encode("ascii")
