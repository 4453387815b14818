"""Signed documents that are replaced while a gate runs: newer ones only, and the log says so."""

from __future__ import annotations

import logging
import os
import resource
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enrollment import pki
from enrollment.status_issuer import sign_status_list
from gate.card.reader import Trust
from gate.card.status_list import Status
from gate.changes import MEMORY_NAME, Changes, fingerprint
from gate.errors import ConfigError
from gate.ledger.record import AdminAct, AdminActed, PolicyChanged, Record
from gate.passage.decision import Lane
from gate.policy import FaceReason, Policy, PolicyDocument
from gate.rules import POLICY_MEMORY, RulesInForce
from gate.settings import Settings
from gate.signed_document import signature_path, write_signed
from gate.watched import SETTLE

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAY = timedelta(days=1)
AUTHORITY = Ed25519PrivateKey.generate()
STRANGER = Ed25519PrivateKey.generate()
SITE = pki.Site("Example Ministry")
IACA = pki.create_iaca(SITE, NOW - 30 * DAY, os.urandom)
OTHER_IACA = pki.create_iaca(SITE, NOW - 30 * DAY, os.urandom)
SIGNER = pki.create_status_signer(IACA, NOW - 30 * DAY, os.urandom)


def policy(
    issued: datetime, *, lanes: tuple[str, ...] = ("pin",), zone: str = "lobby", tries: int = 3
) -> PolicyDocument:
    face = "face" in lanes
    return PolicyDocument.model_validate(
        {
            "type": "consentgate.policy",
            "version": 1,
            "demo": False,
            "issued": issued,
            "gate_zone": zone,
            "purpose": {"ko": "출입", "en": "Entry"},
            "controller": {"ko": "관리소", "en": "Administration"},
            "lanes": lanes,
            "access_groups": ("staff",),
            "face_expires": NOW + 300 * DAY if face else None,
            "pin_max_tries": tries,
        }
    )


def status_list(issued: datetime, status: Status = Status.VALID) -> bytes:
    return sign_status_list([status] * 8, SIGNER, "https://cards.example/1", issued, 30 * DAY)


class Site:
    """The files of one gate, and what its log got."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(exist_ok=True)
        self.policy = folder / "policy.json"
        self.roots = folder / "iaca.pem"
        self.list = folder / "list.cwt"
        self.log: list[Record] = []
        self.writable = True
        self.told: list[Policy] = []
        authority = AUTHORITY.public_key()
        (folder / "authority.pem").write_bytes(
            authority.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        self.roots.write_bytes(IACA.certificate.public_bytes(Encoding.PEM))
        (folder / "signer.pem").write_bytes(SIGNER.certificate.public_bytes(Encoding.PEM))
        self.list.write_bytes(status_list(NOW - DAY))
        self.sign(policy(NOW - 9 * DAY))

    def sign(self, document: PolicyDocument, key: Ed25519PrivateKey = AUTHORITY) -> None:
        write_signed(self.policy, document, key)

    @property
    def settings(self) -> Settings:
        at = self.folder
        return Settings.model_validate(
            {
                "gate": {
                    "id": "lobby",
                    "zone": "lobby",
                    "mode": "production",
                    "data_dir": self.data,
                },
                "models": {"pack": "edge", "dir": at / "pack"},
                "camera": {"source": "v4l2:0"},
                "turnstile": {"port": at / "tty", "key_file": at / "door.key"},
                "card": {
                    "reader": f"socket:{at}/antenna.sock",
                    "reader_key": at / "reader.key",
                    "reader_cert": at / "reader.pem",
                    "issuer_roots": self.roots,
                    "status_signer": at / "signer.pem",
                    "status_list": self.list,
                },
                "keys": {"template_keys": [str(at / "template.key")]},
                "policy": {"policy": self.policy, "authority": at / "authority.pem"},
                "ledger": {"path": self.data / "log.db", "signer": at / "log.key"},
            }
        )

    def start(self, now: datetime = NOW) -> RulesInForce:
        trust = Trust.load(self.roots, self.folder / "signer.pem", self.list)
        self.changes = Changes(self.data, log_is_new=not self.log)
        rules = RulesInForce(
            self.settings, AUTHORITY.public_key(), trust, self.changes, now, self.told.append
        )
        self.changes.record(rules.fingerprints(), self.append)
        return rules

    def append(self, record: Record) -> bool:
        if self.writable:
            self.log.append(record)
        return self.writable


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


def test_a_newer_policy_comes_into_force_behind_its_record(site: Site) -> None:
    rules = site.start()
    rules.renew(NOW, site.append)
    assert site.log == []
    site.sign(policy(NOW - DAY, tries=5))
    assert rules.policy.pin_max_tries == 3
    rules.renew(NOW, site.append)
    assert rules.policy.pin_max_tries == 5
    assert site.log == [PolicyChanged(rules.policy.sha256)]
    assert site.told == [rules.policy]
    rules.renew(NOW, site.append)
    assert len(site.log) == 1


def test_a_policy_without_its_record_does_not_come_into_force(site: Site) -> None:
    rules = site.start()
    site.sign(policy(NOW - DAY, tries=5))
    site.writable = False
    rules.renew(NOW, site.append)
    assert rules.policy.pin_max_tries == 3
    site.writable = True
    rules.renew(NOW, site.append)
    assert rules.policy.pin_max_tries == 5
    assert site.log == [PolicyChanged(rules.policy.sha256)]


@pytest.mark.parametrize("age", [9 * DAY, 10 * DAY])
def test_an_older_policy_or_one_of_the_same_moment_is_refused_once(
    site: Site, said: pytest.LogCaptureFixture, age: timedelta
) -> None:
    rules = site.start()
    site.sign(policy(NOW - age, tries=9))
    for _ in range(3):
        rules.renew(NOW, site.append)
    assert rules.policy.pin_max_tries == 3
    assert site.log == []
    (line,) = said.messages
    assert "policy.json is not newer than the edition in force" in line
    assert "have the authority sign them anew" in line


def test_an_older_policy_is_refused_after_a_restart_too(site: Site) -> None:
    rules = site.start()
    old, old_signature = site.policy.read_bytes(), signature_path(site.policy).read_bytes()
    site.sign(policy(NOW - DAY))
    rules.renew(NOW, site.append)
    site.policy.write_bytes(old)
    signature_path(site.policy).write_bytes(old_signature)
    with pytest.raises(ConfigError, match="this gate has used another one") as refused:
        site.start()
    assert "put the newest in place" in refused.value.diagnostics()
    mode = stat.S_IMODE((site.data / POLICY_MEMORY).stat().st_mode)
    assert mode == 0o600


def test_another_policy_of_the_same_moment_is_refused_after_a_restart(site: Site) -> None:
    site.start()
    site.sign(policy(NOW - 9 * DAY, tries=9))
    with pytest.raises(ConfigError, match="this gate has used another one"):
        site.start()


def test_an_unsigned_policy_is_refused_with_one_line_when_it_stays(
    site: Site, said: pytest.LogCaptureFixture
) -> None:
    rules = site.start()
    site.sign(policy(NOW - DAY), STRANGER)
    rules.renew(NOW, site.append)
    assert said.messages == [], "the signature may be on its way"
    for _ in range(3):
        rules.renew(NOW + SETTLE, site.append)
    (line,) = said.messages
    assert "not the site authority's" in line
    assert "the edition in force stays" in line
    site.sign(policy(NOW - DAY, tries=5))
    rules.renew(NOW + SETTLE, site.append)
    assert rules.policy.pin_max_tries == 5


def test_a_policy_that_vanishes_leaves_the_one_in_force(
    site: Site, said: pytest.LogCaptureFixture
) -> None:
    rules = site.start()
    site.policy.unlink()
    for late in range(3):
        rules.renew(NOW + late * SETTLE, site.append)
    assert rules.policy.pin_max_tries == 3
    assert ["no such file" in line for line in said.messages] == [True]


def test_a_policy_from_the_future_waits_for_its_moment(site: Site) -> None:
    rules = site.start()
    site.sign(policy(NOW + DAY, tries=5))
    for late in range(3):
        rules.renew(NOW + late * SETTLE, site.append)
    assert rules.policy.pin_max_tries == 3
    rules.renew(NOW + 2 * DAY, site.append)
    assert rules.policy.pin_max_tries == 5


def test_a_policy_of_another_zone_is_refused(site: Site, said: pytest.LogCaptureFixture) -> None:
    rules = site.start()
    site.sign(policy(NOW - DAY, zone="vault"))
    rules.renew(NOW, site.append)
    rules.renew(NOW, site.append)
    assert rules.policy.gate_zone == "lobby"
    assert site.log == []
    assert ["is for zone vault, not lobby" in line for line in said.messages] == [True]


def test_a_policy_can_end_the_face_lane_at_once(site: Site) -> None:
    site.sign(policy(NOW - 9 * DAY, lanes=("pin", "face")))
    rules = site.start()
    assert rules.face_mode(NOW).reason is FaceReason.NO_DEPLOYMENT_RECORD
    site.sign(policy(NOW - DAY))
    rules.renew(NOW, site.append)
    assert rules.face_mode(NOW).reason is FaceReason.NOT_IN_POLICY
    assert rules.policy.lanes == {Lane.PIN}


@given(st.binary(max_size=140))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_memory_that_holds_anything_is_an_error_with_advice(site: Site, content: bytes) -> None:
    (site.data / POLICY_MEMORY).write_bytes(content)
    with pytest.raises(ConfigError, match="does not hold the date of a signed document"):
        site.start()


def test_a_memory_that_cannot_be_written_is_no_start(site: Site) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # as a full disk, for root as well
    try:
        with pytest.raises(ConfigError, match="cannot be written"):
            site.start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def trusted(rules: RulesInForce) -> int:
    return len(rules.trust.iaca_roots)


def test_other_issuers_are_trusted_behind_their_record(site: Site) -> None:
    rules = site.start()
    both = b"".join(each.certificate.public_bytes(Encoding.PEM) for each in (IACA, OTHER_IACA))
    site.roots.write_bytes(both)
    site.writable = False
    rules.renew(NOW, site.append)
    assert trusted(rules) == 1
    site.writable = True
    rules.renew(NOW, site.append)
    assert trusted(rules) == 2
    assert site.log == [AdminActed(AdminAct.TRUST_REPLACED)]
    assert rules.status_is_fresh(NOW), "the status list came along"


@pytest.mark.parametrize("content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\n"])
def test_issuers_that_are_none_change_nothing(
    site: Site, said: pytest.LogCaptureFixture, content: bytes
) -> None:
    rules = site.start()
    site.roots.write_bytes(content)
    for late in range(3):
        rules.renew(NOW + late * SETTLE, site.append)
    assert len(rules.trust.iaca_roots) == 1
    assert site.log == []
    assert ["the issuers trusted so far stay" in line for line in said.messages] == [True]


@pytest.mark.parametrize("instead", ["a pipe", "/dev/zero"])
def test_issuers_that_never_end_do_not_hold_up_the_lane(site: Site, instead: str) -> None:
    rules = site.start()
    site.roots.unlink()
    if instead == "a pipe":
        os.mkfifo(site.roots)
    else:
        site.roots.symlink_to(instead)
    rules.renew(NOW, site.append)
    assert len(rules.trust.iaca_roots) == 1
    assert site.log == []


def test_a_demo_issuer_is_not_trusted_in_production(
    site: Site, said: pytest.LogCaptureFixture
) -> None:
    rules = site.start()
    demo = pki.create_iaca(pki.Site("ConsentGate", demo=True), NOW - DAY, os.urandom)
    site.roots.write_bytes(demo.certificate.public_bytes(Encoding.PEM))
    for late in range(2):
        rules.renew(NOW + late * SETTLE, site.append)
    assert rules.trust.iaca_roots == (IACA.certificate,)
    assert ["demo site" in line for line in said.messages] == [True]


def test_a_new_issue_of_the_status_list_is_recorded_once(site: Site) -> None:
    rules = site.start()
    site.list.write_bytes(status_list(NOW - timedelta(hours=1), Status.INVALID))
    for _ in range(3):
        rules.renew(NOW, site.append)
    assert site.log == [AdminActed(AdminAct.STATUS_LIST_REPLACED)]
    os.utime(site.list)
    rules.renew(NOW, site.append)
    assert len(site.log) == 1, "the same issue again is no news"
    assert not rules.status_is_fresh(NOW + 40 * DAY)


def test_what_changed_while_the_gate_was_down_is_recorded_at_the_start(site: Site) -> None:
    site.start()
    assert site.log == [], "the first start speaks of everything"
    site.append(PolicyChanged("ab" * 32))  # the log is not new any more
    site.list.write_bytes(status_list(NOW))
    site.start()
    assert site.log[1:] == [AdminActed(AdminAct.STATUS_LIST_REPLACED)]
    site.start()
    assert len(site.log) == 2


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"trust_replaced": 1}', b"\xff", b"[" * 9])
def test_a_memory_that_is_gone_hides_nothing(site: Site, content: bytes | None) -> None:
    site.start()
    site.append(PolicyChanged("ab" * 32))
    memory = site.data / MEMORY_NAME
    assert stat.S_IMODE(memory.stat().st_mode) == 0o600
    memory.unlink() if content is None else memory.write_bytes(content)
    site.start()
    acts = {record.act for record in site.log[1:] if isinstance(record, AdminActed)}
    assert acts == {
        AdminAct.DEPLOYMENT_REPLACED,
        AdminAct.TRUST_REPLACED,
        AdminAct.STATUS_LIST_REPLACED,
    }


def test_a_change_that_could_not_be_recorded_is_recorded_the_next_time(site: Site) -> None:
    site.start()
    found = {AdminAct.DOOR_KEY_CHANGED: fingerprint(b"another")}
    site.append(PolicyChanged("ab" * 32))
    changes = Changes(site.data, log_is_new=False)
    site.writable = False
    assert not changes.record(found, site.append)
    site.writable = True
    assert changes.record(found, site.append)
    assert changes.record(found, site.append)
    assert site.log[1:] == [AdminActed(AdminAct.DOOR_KEY_CHANGED)]


def test_the_borders_of_what_is_hashed_count() -> None:
    assert fingerprint(b"ab", b"c") != fingerprint(b"a", b"bc")
    assert fingerprint(b"abc") != fingerprint(b"abc", b"")
