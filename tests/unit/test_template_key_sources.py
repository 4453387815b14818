"""Where template keys come from: names of sources, token URIs, blobs, passphrases, sessions."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from gate.errors import ConfigError
from gate.template.context import Purpose
from gate.template.key_loading import KeyLoading
from gate.template.key_source import KeyPlan, KeySource, SourceKind
from gate.template.outcome import KeyCounts, KeyOutcome
from gate.template.token_uri import TokenUri
from gate.template.tpm2_blob import TpmBlob
from gate.template.used_sessions import UsedSessions

KEY = ec.generate_private_key(ec.SECP256R1())
URI = "pkcs11:token=T%20one;object=o?module-path=/usr/lib/m.so"


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("template.key", SourceKind.FILE, "template.key"),
        ("/etc/gate/a:b.key", SourceKind.FILE, "/etc/gate/a:b.key"),
        ("credential:template.key", SourceKind.CREDENTIAL, "template.key"),
        ("tpm2:template.tpm2", SourceKind.TPM2, "template.tpm2"),
        (URI, SourceKind.PKCS11, URI),
    ],
)
def test_each_source_has_a_name(text: str, kind: SourceKind, value: str) -> None:
    source = KeySource.parse(text)
    assert (source.kind, source.value, str(source)) == (kind, value, text)


@pytest.mark.parametrize("text", ["", "tpm2:", "credential:", "credential:../key", "credential:.."])
def test_what_names_no_source_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        KeySource.parse(text)


def test_paths_count_from_the_folder_of_the_configuration() -> None:
    base = Path("/etc/gate")
    assert str(KeySource.parse("a.key").anchored(base)) == "/etc/gate/a.key"
    assert str(KeySource.parse("tpm2:b").anchored(base)) == "tpm2:/etc/gate/b"
    assert str(KeySource.parse("credential:c").anchored(base)) == "credential:c"
    assert str(KeySource.parse(URI).anchored(base)) == URI


def test_a_plan_survives_the_way_to_the_agent() -> None:
    plan = KeyPlan(["a", URI], "credential:pin", "/run/c", "/dev/tpm9", "/t", {"A": "b"}, True)
    assert KeyPlan.decode(plan.encode()) == plan


def test_a_token_uri_says_which_key() -> None:
    uri = TokenUri.parse(
        "pkcs11:serial=7;id=%01%ff;type=private?pin-source=file:/p&module-path=/usr/lib/m.so"
    )
    assert uri == TokenUri("/usr/lib/m.so", None, "7", None, b"\x01\xff", "/p")
    assert TokenUri.parse(URI).token == "T one"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pkcs11:token=T;object=o", "module"),
        ("pkcs11:token=T;object=o?module-path=m.so", "module"),
        ("pkcs11:token=T?module-path=/m.so", "no token or no key"),
        ("pkcs11:object=o?module-path=/m.so", "no token or no key"),
        ("pkcs11:token=T;object=o?module-path=/m.so&pin-value=1234", "a PIN stands"),
        ("pkcs11:token=T;object=o;pin-value=1234?module-path=/m.so", "a PIN stands"),
        ("pkcs11:token=T;object=o;slot-id=1?module-path=/m.so", "not known"),
        ("pkcs11:token=T;token=U;object=o?module-path=/m.so", "twice"),
        ("pkcs11:token=%zz;object=o?module-path=/m.so", "ill formed"),
        ("pkcs11:token=%ff;object=o?module-path=/m.so", "no text"),
        ("pkcs11:token=T;object=o;type=public?module-path=/m.so", "no private key"),
        ("file:x", "not a PKCS#11 URI"),
    ],
)
def test_a_token_uri_that_does_not_fit(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        TokenUri.parse(text)
    assert "1234" not in refused.value.diagnostics()


@given(st.text(max_size=80))
def test_the_uri_parser_refuses_or_names_everything(text: str) -> None:
    for sample in (f"pkcs11:{text}", f"pkcs11:token={text};object=o?module-path=/m", URI + text):
        try:
            uri = TokenUri.parse(sample)
        except ConfigError:
            continue
        assert uri.module_path.startswith("/")
        assert uri.token or uri.serial
        assert uri.object or uri.id


@given(st.binary(max_size=200), st.lists(st.integers(0, 23), max_size=8))
def test_a_blob_keeps_its_pcrs(pem: bytes, pcrs: list[int]) -> None:
    blob = TpmBlob(b"-----" + pem, tuple(pcrs))
    assert TpmBlob.decode(blob.encode()) == blob


@given(st.binary(max_size=200))
def test_any_bytes_are_a_blob_for_the_tpm_to_refuse(data: bytes) -> None:
    assert TpmBlob.decode(data).encode() == data or TpmBlob.decode(data).pcrs


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def pem(passphrase: bytes | None = None) -> bytes:
    secret = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret)


def nobody(_what: str) -> str | None:
    return None


def test_a_credential_may_be_open_to_its_group_but_not_to_all(tmp_path: Path) -> None:
    path = write(tmp_path / "template.key", pem(), 0o440)
    plan = KeyPlan(["credential:template.key"], credentials=str(tmp_path))
    (key,) = KeyLoading(plan, nobody).ring().keys
    assert key.kind is SourceKind.CREDENTIAL
    path.chmod(0o444)
    with pytest.raises(ConfigError, match="read by others"):
        KeyLoading(plan, nobody).ring()


def test_a_credential_needs_a_service() -> None:
    with pytest.raises(ConfigError, match="no systemd credential") as refused:
        KeyLoading(KeyPlan(["credential:template.key"]), nobody).ring()
    assert "LoadCredentialEncrypted" in refused.value.diagnostics()


@pytest.mark.parametrize("where", ["file", "credential", "asked"])
def test_a_passphrase_comes_from_a_file_a_credential_or_a_person(
    tmp_path: Path, where: str
) -> None:
    key = write(tmp_path / "key.pem", pem(b"open sesame"))
    write(tmp_path / "word", b"open sesame\n")
    passphrase = {"file": str(tmp_path / "word"), "credential": "credential:word"}.get(where)
    asked: list[str] = []

    def person(what: str) -> str:
        asked.append(what)
        return "open sesame"

    plan = KeyPlan([str(key)], passphrase, str(tmp_path))
    assert len(KeyLoading(plan, person).ring().kids) == 1
    assert asked == ([f"template key {key}"] if where == "asked" else [])


@pytest.mark.parametrize("name", ["../secret", "..", "/etc/passwd", ""])
def test_a_credential_is_no_way_to_another_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("not a credential")
    (tmp_path / "secret").chmod(0o640)
    plan = KeyPlan([], passphrase=f"credential:{name}", credentials=str(tmp_path / "credentials"))
    (tmp_path / "credentials").mkdir()
    with pytest.raises(ConfigError, match="names no systemd credential"):
        KeyLoading(plan, lambda _what: None).secret("a key", plan.passphrase)()


def test_a_passphrase_file_that_others_read_is_refused(tmp_path: Path) -> None:
    key = write(tmp_path / "key.pem", pem(b"open sesame"))
    word = write(tmp_path / "word", b"open sesame", 0o644)
    with pytest.raises(ConfigError, match=r"passphrase file .* read by others"):
        KeyLoading(KeyPlan([str(key)], str(word)), nobody).ring()


def test_nobody_is_asked_for_a_key_without_passphrase(tmp_path: Path) -> None:
    def never(what: str) -> str:
        raise AssertionError(what)

    key = write(tmp_path / "key.pem", pem())
    assert KeyLoading(KeyPlan([str(key)]), never).ring().kids


def test_a_demo_key_is_refused_where_it_should_be(tmp_path: Path) -> None:
    key = write(tmp_path / "key.pem", b"DEMO - not for production\n" + pem())
    assert KeyLoading(KeyPlan([str(key)]), nobody).ring().kids
    with pytest.raises(ConfigError, match="demo key"):
        KeyLoading(KeyPlan([str(key)], refuse_demo=True), nobody).ring()


def test_a_session_is_used_once_for_each_purpose() -> None:
    used = UsedSessions()
    used.use(b"s" * 16, Purpose.PIN)
    assert used.has(b"s" * 16, Purpose.PIN)
    assert not used.has(b"s" * 16, Purpose.TEMPLATE)
    assert not used.has(b"t" * 16, Purpose.PIN)


def test_the_oldest_sessions_are_forgotten_first() -> None:
    used = UsedSessions(remembered=3)
    names = [bytes([number]) * 16 for number in range(5)]
    for name in names:
        used.use(name, Purpose.PIN)
    assert [used.has(name, Purpose.PIN) for name in names] == [False, False, True, True, True]


@given(st.lists(st.tuples(st.sampled_from(Purpose), st.sampled_from(KeyOutcome)), max_size=40))
def test_totals_add_up_and_survive_the_wire(uses: list[tuple[Purpose, KeyOutcome]]) -> None:
    counts = KeyCounts()
    for purpose, outcome in uses:
        counts = counts.plus_one(purpose, outcome)
    assert all(counts[pair] == uses.count(pair) for pair in counts)
    again = KeyCounts.decode(counts.encode())
    assert len(counts.encode()) == KeyCounts.ENCODED_BYTES
    assert all(again[pair] == counts[pair] for pair in counts)
    assert (again + counts)[Purpose.PIN, KeyOutcome.SECOND] == 2 * uses.count(
        (Purpose.PIN, KeyOutcome.SECOND)
    )
