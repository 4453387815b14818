"""Signed policy and deployment record: what loads, what is refused, and when faces are off."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gate.deployment import load_deployment
from gate.errors import ConfigError
from gate.passage.decision import Lane
from gate.policy import FaceReason, PolicyDocument, face_mode, load_policy
from gate.signed_document import load_authority, signature_path, write_signed

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
AUTHORITY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = AUTHORITY.public_key()

POLICY: dict[str, Any] = {
    "type": "consentgate.policy",
    "version": 3,
    "demo": False,
    "issued": "2026-02-01T00:00:00Z",
    "gate_zone": "lobby-east",
    "purpose": {"ko": "청사 출입", "en": "Entry to the building"},
    "controller": {"ko": "청사 관리소", "en": "Building administration"},
    "lanes": ["pin", "face"],
    "access_groups": ["staff"],
    "face_expires": "2026-09-01T00:00:00Z",
    "pin_max_tries": 3,
}
DEPLOYMENT: dict[str, Any] = {
    "type": "consentgate.deployment",
    "version": 1,
    "demo": False,
    "issued": "2026-02-01T00:00:00Z",
    "operator": "Building administration",
    "zones": ["lobby-east"],
    "legal_basis": {"ko": "법률", "en": "An act"},
    "legal_reference": "Act no. 1, Art. 2",
    "impact_assessments": [
        {
            "kind": kind,
            "assessor": "Independent assessor",
            "assessed_on": "2026-01-10",
            "document_sha256": "ab" * 32,
        }
        for kind in ("human_rights", "data_protection")
    ],
    "approvals": [{"role": "owner", "approved_on": "2026-01-20"}],
    "expires": "2026-12-01T00:00:00Z",
}


def signed(folder: Path, name: str, document: dict[str, Any] | bytes) -> Path:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    path = folder / name
    path.write_bytes(raw)
    signature_path(path).write_bytes(AUTHORITY.sign(raw))
    return path


def changed(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**base, **changes}


def test_a_signed_policy_loads_with_the_hash_of_its_file(tmp_path: Path) -> None:
    path = signed(tmp_path, "policy.json", POLICY)
    policy = load_policy(path, PUBLIC, NOW, demo=False)
    assert policy.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert policy.purpose == ("청사 출입", "Entry to the building")
    assert policy.lanes == {Lane.PIN, Lane.FACE}
    assert policy.allows(["visitor", "staff"])
    assert not policy.allows(["visitor"])
    assert not policy.allows([])


def test_what_write_signed_writes_is_what_loads(tmp_path: Path) -> None:
    document = PolicyDocument.model_validate_json(json.dumps(POLICY))
    path = tmp_path / "policy.json"
    write_signed(path, document, AUTHORITY)
    assert load_policy(path, PUBLIC, NOW, demo=False).document == document


@pytest.mark.parametrize("where", ["document", "signature", "other key"])
def test_any_change_after_signing_is_refused(tmp_path: Path, where: str) -> None:
    path = signed(tmp_path, "policy.json", POLICY)
    public = PUBLIC
    if where == "document":
        path.write_bytes(path.read_bytes().replace(b'"pin_max_tries": 3', b'"pin_max_tries": 9'))
    elif where == "signature":
        raw = bytearray(signature_path(path).read_bytes())
        raw[0] ^= 1
        signature_path(path).write_bytes(raw)
    else:
        public = Ed25519PrivateKey.generate().public_key()
    with pytest.raises(ConfigError, match="signature"):
        load_policy(path, public, NOW, demo=False)


@pytest.mark.parametrize("name", ["policy.json", "policy.json.sig"])
def test_a_pipe_in_the_place_of_a_document_is_refused_and_not_waited_for(
    tmp_path: Path, name: str
) -> None:
    path = signed(tmp_path, "policy.json", POLICY)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(ConfigError, match="not a regular file"):
        load_policy(path, PUBLIC, NOW, demo=False)


@pytest.mark.parametrize("missing", ["policy.json", "policy.json.sig"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    path = signed(tmp_path, "policy.json", POLICY)
    (tmp_path / missing).unlink()
    with pytest.raises(ConfigError, match="no such file") as failure:
        load_policy(path, PUBLIC, NOW, demo=False)
    assert failure.value.what.startswith(missing)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (changed(POLICY, watch_list=[]), "watch_list"),
        (changed(POLICY, lanes=["face"]), "pin"),
        (changed(POLICY, lanes=["pin", "pin"]), "twice"),
        (changed(POLICY, lanes=["pin"]), "face_expires"),
        (changed(POLICY, face_expires=None), "face_expires"),
        (changed(POLICY, face_expires="2026-09-01T00:00:00"), "face_expires"),
        (changed(POLICY, pin_max_tries=0), "pin_max_tries"),
        (changed(POLICY, pin_max_tries="3"), "pin_max_tries"),
        (changed(POLICY, access_groups=[]), "access_groups"),
        (changed(POLICY, gate_zone="a\nb"), "gate_zone"),
        (changed(POLICY, type="consentgate.deployment"), "type"),
        ({k: v for k, v in POLICY.items() if k != "demo"}, "demo"),
        (changed(POLICY, issued="2027-01-01T00:00:00Z"), "future"),
        (changed(POLICY, demo=True), "demo document"),
        (b'{"type": "consentgate.policy", "version": 1, "version": 2}', "twice"),
        (b"[" * 60_000, "strict JSON"),
        (b"\xff\xfe", "strict JSON"),
        (b" " * 70_000, "larger"),
    ],
)
def test_a_bad_policy_is_refused_in_one_line(
    tmp_path: Path, document: dict[str, Any] | bytes, says: str
) -> None:
    path = signed(tmp_path, "policy.json", document)
    with pytest.raises(ConfigError, match=says) as failure:
        load_policy(path, PUBLIC, NOW, demo=False)
    assert "\n" not in failure.value.diagnostics()


def test_a_deployment_record_cannot_stand_in_for_a_policy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_policy(signed(tmp_path, "policy.json", DEPLOYMENT), PUBLIC, NOW, demo=False)


def test_demo_documents_load_in_demo_mode(tmp_path: Path) -> None:
    path = signed(tmp_path, "policy.json", changed(POLICY, demo=True))
    assert load_policy(path, PUBLIC, NOW, demo=True).demo


def assessed(**changes: Any) -> dict[str, Any]:
    return changed(
        DEPLOYMENT,
        impact_assessments=[{**a, **changes} for a in DEPLOYMENT["impact_assessments"]],
    )


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (assessed(assessor="building  ADMINISTRATION "), "independent"),
        (assessed(kind="human_rights"), "data_protection"),
        (assessed(assessed_on="2026-02-02"), "after the record"),
        (assessed(document_sha256="no"), "document_sha256"),
        (changed(DEPLOYMENT, approvals=[]), "approvals"),
        (changed(DEPLOYMENT, zones=[]), "zones"),
        (changed(DEPLOYMENT, expires="2026-01-01T00:00:00Z"), "expires"),
        (changed(DEPLOYMENT, demo=True), "demo document"),
    ],
)
def test_a_bad_deployment_record_is_refused(
    tmp_path: Path, document: dict[str, Any], says: str
) -> None:
    path = signed(tmp_path, "deployment.json", document)
    with pytest.raises(ConfigError, match=says):
        load_deployment(path, PUBLIC, NOW, demo=False)


@pytest.mark.parametrize(
    ("policy_changes", "deployment_changes", "now", "reason"),
    [
        ({}, {}, NOW, FaceReason.ON),
        ({"lanes": ["pin"], "face_expires": None}, {}, NOW, FaceReason.NOT_IN_POLICY),
        ({}, {}, datetime(2026, 9, 1, tzinfo=UTC), FaceReason.POLICY_EXPIRED),
        ({}, None, NOW, FaceReason.NO_DEPLOYMENT_RECORD),
        ({}, {"expires": "2026-03-01T09:00:00Z"}, NOW, FaceReason.DEPLOYMENT_EXPIRED),
        ({}, {"zones": ["annex"]}, NOW, FaceReason.DEPLOYMENT_OTHER_ZONE),
    ],
)
def test_face_mode(
    tmp_path: Path,
    policy_changes: dict[str, Any],
    deployment_changes: dict[str, Any] | None,
    now: datetime,
    reason: FaceReason,
) -> None:
    policy = load_policy(
        signed(tmp_path, "p.json", changed(POLICY, **policy_changes)), PUBLIC, now, demo=False
    )
    deployment = None
    if deployment_changes is not None:
        path = signed(tmp_path, "d.json", changed(DEPLOYMENT, **deployment_changes))
        deployment = load_deployment(path, PUBLIC, now, demo=False)
    mode = face_mode(policy, deployment, now)
    assert mode.reason is reason
    assert mode.on is (reason is FaceReason.ON)
    assert "\n" not in mode.line


def test_face_mode_ends_with_the_earlier_of_both_documents(tmp_path: Path) -> None:
    policy = load_policy(signed(tmp_path, "p.json", POLICY), PUBLIC, NOW, demo=False)
    deployment = load_deployment(signed(tmp_path, "d.json", DEPLOYMENT), PUBLIC, NOW, demo=False)
    mode = face_mode(policy, deployment, NOW)
    assert mode.until == datetime(2026, 9, 1, tzinfo=UTC)
    assert "2026-09-01" in mode.line
    assert face_mode(policy, deployment, mode.until - timedelta(seconds=1)).on
    assert not face_mode(policy, deployment, mode.until).on


def test_the_authority_must_be_ed25519(tmp_path: Path) -> None:
    path = tmp_path / "authority.pem"
    path.write_bytes(PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert load_authority(path) == PUBLIC
    path.write_bytes(b"not a key")
    with pytest.raises(ConfigError, match="Ed25519"):
        load_authority(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from([*POLICY, "purpose.ko", "unknown"]),
    value=JSON | st.sampled_from([*POLICY.values()]),
    raw=st.none() | st.binary(max_size=60),
)
def test_whatever_is_signed_a_policy_or_one_clear_error(
    tmp_path: Path, key: str, value: Any, raw: bytes | None
) -> None:
    document = changed(POLICY, **{key: value}) if raw is None else raw
    path = signed(tmp_path, "policy.json", document)
    try:
        policy = load_policy(path, PUBLIC, NOW, demo=False)
    except ConfigError as failure:
        assert "\n" not in failure.diagnostics()
    else:
        assert Lane.PIN in policy.lanes
        assert policy.access_groups
