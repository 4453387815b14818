"""Template keys in a software token (SoftHSM2) and a software TPM (swtpm), through real agents."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_public_key,
)

from gate.errors import ConfigError, KeyAgentFault, TemplateRejected
from gate.key_making import make_tpm_key
from gate.key_supervision import SupervisedKeyAgent
from gate.template.agent_client import KeyAgent
from gate.template.context import SealContext
from gate.template.envelope import Envelope, open_envelope
from gate.template.key_source import KeyPlan, SourceKind
from gate.template.outcome import KeyOutcome
from gate.template.seal import seal
from gate.template.wrapping import kid_of

pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed: pip install .[pkcs11]")
pytest.importorskip("tpm2_pytss", reason="tpm2-pytss is not installed: pip install .[tpm]")

EXPIRY = datetime(2031, 5, 1, tzinfo=UTC)
TEMPLATE = SealContext.for_template(b"c" * 16, "model.1", b"consent", bytes(32), EXPIRY)
PIN = SealContext.for_pin(b"c" * 16, EXPIRY)
SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
USER_PIN = "4711"


def gate(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gate", "keys", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
    )


@dataclass(frozen=True)
class Source:
    """One way of keeping the key, with the plan that reaches it."""

    plan: KeyPlan
    public_key: ec.EllipticCurvePublicKey
    kind: SourceKind


def public_of(path: Path) -> ec.EllipticCurvePublicKey:
    key = load_pem_public_key(path.read_bytes())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


@dataclass
class SoftTpm:
    """A TPM of its own: another state folder is another machine."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "tpm"

    def power_on(self) -> None:
        (self.folder / "state").mkdir(exist_ok=True)
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                *("swtpm", "socket", "--tpm2", "--flags", "not-need-init,startup-clear"),
                *("--tpmstate", f"dir={self.folder}/state"),
                *("--server", f"type=unixio,path={self.socket}"),
                *("--ctrl", f"type=unixio,path={self.socket}.ctrl"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while not self.socket.exists():
            assert self.process.poll() is None, "swtpm ended"
            assert time.monotonic() < deadline, "swtpm did not come up"
            time.sleep(0.02)

    def power_off(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def soft_tpm() -> Iterator[SoftTpm]:
    if shutil.which("swtpm") is None:
        pytest.skip("no software TPM: apt-get install swtpm")
    # Short, because the path of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="tpm") as folder:
        machine = SoftTpm(Path(folder))
        machine.power_on()
        yield machine
        machine.power_off()


tpm = pytest.fixture(soft_tpm)
other_tpm = pytest.fixture(soft_tpm)
shared_tpm = pytest.fixture(scope="module")(soft_tpm)
"""For tests that leave it as it was: switching one on takes a while."""


def tpm_source(tpm: SoftTpm, *pcrs: int) -> Source:
    folder = Path(tempfile.mkdtemp(dir=tpm.folder))
    blob, public = folder / "template.tpm2", folder / "template.pub.pem"
    make_tpm_key(blob, public, tpm.socket, pcrs)
    plan = KeyPlan([f"tpm2:{blob}"], tpm=str(tpm.socket))
    return Source(plan, public_of(public), SourceKind.TPM2)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Source:
    tmp_path = tmp_path_factory.mktemp("hsm")
    if shutil.which("softhsm2-util") is None or not SOFTHSM.exists():
        pytest.skip("no software token: apt-get install softhsm2")
    tokens, conf, pin = (tmp_path / name for name in ("tokens", "softhsm2.conf", "pin"))
    tokens.mkdir()
    conf.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\n")
    pin.write_text(f"{USER_PIN}\n")
    pin.chmod(0o600)
    subprocess.run(
        [
            *("softhsm2-util", "--init-token", "--free", "--label", "gate"),
            *("--pin", USER_PIN, "--so-pin", "8155"),
        ],
        check=True,
        capture_output=True,
        env=os.environ | {"SOFTHSM2_CONF": str(conf)},
    )
    uri = f"pkcs11:token=gate;object=template?module-path={SOFTHSM}&pin-source={pin}"
    public = tmp_path / "template.pub.pem"
    done = gate("make", "pkcs11", uri, "--public", public, SOFTHSM2_CONF=str(conf))
    assert done.returncode == 0, done.stderr
    assert USER_PIN not in done.stdout + done.stderr
    plan = KeyPlan([uri], token_dir=str(tokens), module_environment={"SOFTHSM2_CONF": str(conf)})
    return Source(plan, public_of(public), SourceKind.PKCS11)


@pytest.fixture(params=["token", "tpm", "tpm with PCRs"])
def source(request: pytest.FixtureRequest) -> Source:
    if request.param == "token":
        found = request.getfixturevalue("token")
        assert isinstance(found, Source)
        return found
    pcrs = (0, 7) if request.param == "tpm with PCRs" else ()
    return tpm_source(request.getfixturevalue("shared_tpm"), *pcrs)


@pytest.fixture
def agent(source: Source) -> Iterator[KeyAgent]:
    agent = KeyAgent.start(source.plan, exchange_s=5.0)
    yield agent
    agent.close()


def opened(agent: KeyAgent | SupervisedKeyAgent, key: ec.EllipticCurvePublicKey) -> bytes:
    envelope = Envelope.decode(seal(b"verifier", PIN, key))
    content_key = agent.open_pin_key(
        envelope.kid, envelope.wrapped, PIN.hpke_info(), session_id=os.urandom(16)
    )
    return open_envelope(envelope, content_key, PIN)


def test_a_device_opens_what_was_sealed_to_it(agent: KeyAgent, source: Source) -> None:
    (held,) = agent.keys
    assert held.kind is source.kind
    assert load_pem_public_key(held.public_pem.encode()) == source.public_key
    for _ in range(3):
        assert opened(agent, source.public_key) == b"verifier"
    read_end, write_end = os.pipe()
    envelope = Envelope.decode(seal(b"template", TEMPLATE, source.public_key))
    agent.release_template_key(
        envelope.kid, envelope.wrapped, TEMPLATE.hpke_info(), write_end, session_id=os.urandom(16)
    )
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        assert open_envelope(envelope, pipe.read(), TEMPLATE) == b"template"


def test_a_device_refuses_another_context_and_the_agent_goes_on(
    agent: KeyAgent, source: Source
) -> None:
    other = SealContext.for_pin(b"d" * 16, EXPIRY)
    envelope = Envelope.decode(seal(b"verifier", PIN, source.public_key))
    for wrapped in (envelope.wrapped, bytes(113), b"\x04" + bytes(112)):
        with pytest.raises(TemplateRejected):
            agent.open_pin_key(envelope.kid, wrapped, other.hpke_info(), session_id=os.urandom(16))
    assert opened(agent, source.public_key) == b"verifier"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into the agent: run as root")
def test_the_agent_of_a_device_is_locked_in(agent: KeyAgent) -> None:
    lines = Path(f"/proc/{agent.pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert (status["Seccomp"], status["NoNewPrivs"], status["Threads"]) == ("2", "1", "1")
    maps = Path(f"/proc/{agent.pid}/maps").read_text()
    assert not [name for name in ("numpy", "cv2", "onnxruntime", "dlib") if name in maps]


def test_a_rotation_mixes_kinds_of_keys(source: Source, tmp_path: Path) -> None:
    old = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "old.pem"
    path.write_bytes(old.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    agent = KeyAgent.start(
        replace(source.plan, sources=[*source.plan.sources, str(path)]), exchange_s=5.0
    )
    try:
        assert [key.kind for key in agent.keys] == [source.kind, SourceKind.FILE]
        assert opened(agent, source.public_key) == b"verifier"
        assert opened(agent, old.public_key()) == b"verifier"
    finally:
        agent.close()


def test_another_machine_cannot_use_the_key_of_a_tpm(tpm: SoftTpm, other_tpm: SoftTpm) -> None:
    source = tpm_source(tpm)
    with pytest.raises(ConfigError, match="another TPM"):
        KeyAgent.start(replace(source.plan, tpm=str(other_tpm.socket)))
    tpm.power_off()
    tpm.power_on()
    agent = KeyAgent.start(source.plan, exchange_s=5.0)  # its own TPM, after a reboot
    assert opened(agent, source.public_key) == b"verifier"
    agent.close()


def extend(tpm: SoftTpm, pcr: int) -> None:
    """Measure something else into a PCR, as another boot loader would."""
    if shutil.which("tpm2_pcrextend") is None:
        pytest.skip("no TPM tools: apt-get install tpm2-tools libtss2-tcti-swtpm0")
    subprocess.run(
        ["tpm2_pcrextend", f"{pcr}:sha256={'ab' * 32}"],
        check=True,
        capture_output=True,
        env=os.environ | {"TPM2TOOLS_TCTI": f"swtpm:path={tpm.socket}"},
    )


def test_a_key_that_is_bound_to_the_boot_opens_nothing_after_another_boot(tpm: SoftTpm) -> None:
    source = tpm_source(tpm, 7)
    extend(tpm, 8)
    KeyAgent.start(source.plan).close()
    extend(tpm, 7)
    with pytest.raises(ConfigError, match="does not use the template key"):
        KeyAgent.start(source.plan)


def test_a_changed_list_of_pcrs_opens_nothing(shared_tpm: SoftTpm) -> None:
    source = tpm_source(shared_tpm, 7)
    path = source.plan.keys[0].path
    named = path.read_bytes()
    for changed in (named.replace(b"sha256:7", b"sha256:16"), named.partition(b"\n")[2]):
        path.write_bytes(changed)
        with pytest.raises(ConfigError):
            KeyAgent.start(source.plan)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN TSS2 PRIVATE KEY-----\nAAAA\n"])
def test_a_damaged_key_file_of_a_tpm(shared_tpm: SoftTpm, content: bytes) -> None:
    source = tpm_source(shared_tpm)
    source.plan.keys[0].path.write_bytes(content)
    with pytest.raises(ConfigError, match="no key file of a TPM"):
        KeyAgent.start(source.plan)


def test_the_command_makes_a_key_in_a_tpm_and_says_what_comes_next(
    shared_tpm: SoftTpm, tmp_path: Path
) -> None:
    blob, public = tmp_path / "template.tpm2", tmp_path / "template.pub.pem"
    arguments = ("make", "tpm2", "--out", blob, "--public", public, "--tpm", shared_tpm.socket)
    done = gate(*arguments, "--pcrs", "7,0")
    assert done.returncode == 0, done.stderr
    assert blob.read_bytes().startswith(b"PCRs sha256:0,7\n-----BEGIN TSS2 PRIVATE KEY-----\n")
    assert (blob.stat().st_mode & 0o777, public.stat().st_mode & 0o777) == (0o600, 0o644)
    assert done.stdout == f"{kid_of(public_of(public)).hex()}\n"
    assert f"tpm2:{blob}" in done.stderr
    again = gate(*arguments)
    assert (again.returncode, again.stdout) == (2, "")
    assert "is there already" in again.stderr


def test_a_tpm_that_is_not_there(tmp_path: Path) -> None:
    blob = tmp_path / "template.tpm2"
    blob.write_bytes(b"")
    blob.chmod(0o600)
    with pytest.raises(ConfigError, match="cannot be opened"):
        KeyAgent.start(KeyPlan([f"tpm2:{blob}"], tpm=str(tmp_path / "tpm")))


def test_a_tpm_that_goes_away_is_a_fault_and_comes_back(tpm: SoftTpm) -> None:
    source = tpm_source(tpm)
    keys = SupervisedKeyAgent(lambda: KeyAgent.start(source.plan, exchange_s=5.0))
    try:
        assert opened(keys, source.public_key) == b"verifier"
        tpm.power_off()
        with pytest.raises(KeyAgentFault, match="does not answer") as gone:
            opened(keys, source.public_key)
        assert gone.value.outcome is KeyOutcome.FAILED
        comes_back(keys, tpm.power_on)
        assert opened(keys, source.public_key) == b"verifier"
    finally:
        keys.close()


def test_a_token_that_goes_away_is_a_fault_and_comes_back(token: Source) -> None:
    assert token.plan.token_dir is not None
    tokens = Path(token.plan.token_dir)
    away = tokens.with_name("unplugged")
    keys = SupervisedKeyAgent(lambda: KeyAgent.start(token.plan, exchange_s=5.0))
    try:
        assert opened(keys, token.public_key) == b"verifier"
        shutil.copytree(tokens, away)
        for path in sorted(tokens.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        # Some modules only want to write to the system's log then, and are ended for that.
        with pytest.raises(KeyAgentFault, match=r"does not answer|is gone") as gone:
            opened(keys, token.public_key)
        assert gone.value.outcome is KeyOutcome.FAILED
        comes_back(keys, lambda: shutil.copytree(away, tokens, dirs_exist_ok=True))
        assert opened(keys, token.public_key) == b"verifier"
    finally:
        keys.close()


def comes_back(keys: SupervisedKeyAgent, plug_in: Callable[[], object]) -> None:
    wait_until(lambda: not keys.alive())  # the kernel needs a moment to take the process down
    plug_in()
    wait_until(keys.alive)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_a_wrong_pin_a_wrong_token_and_a_wrong_key_are_refused_starts(token: Source) -> None:
    (uri,) = token.plan.sources
    asked = uri.partition("&")[0]
    with pytest.raises(ConfigError, match="does not accept the PIN"):
        KeyAgent.start(replace(token.plan, sources=[asked]), ask=lambda _what: "0000")
    with pytest.raises(ConfigError, match="needs its PIN"):
        KeyAgent.start(replace(token.plan, sources=[asked]))
    agent = KeyAgent.start(replace(token.plan, sources=[asked]), ask=lambda _what: USER_PIN)
    assert opened(agent, token.public_key) == b"verifier"
    agent.close()
    for wrong in ("token=other", "object=other", "module-path=/usr/lib/absent.so"):
        name = wrong.partition("=")[0]
        old = next(p for p in uri.replace("?", ";").replace(":", ";", 1).split(";") if name in p)
        with pytest.raises(ConfigError):
            KeyAgent.start(replace(token.plan, sources=[uri.replace(old.partition("&")[0], wrong)]))


def test_a_second_key_of_the_same_name_is_refused(token: Source, tmp_path: Path) -> None:
    conf = token.plan.module_environment["SOFTHSM2_CONF"]
    done = gate(
        "make", "pkcs11", token.plan.sources[0], "--public", tmp_path / "n", SOFTHSM2_CONF=conf
    )
    assert done.returncode == 2
    assert "has a key of this name already" in done.stderr
    assert not (tmp_path / "n").exists()


def test_a_token_key_that_could_leave_is_refused(token: Source, tmp_path: Path) -> None:
    pem = tmp_path / "loose.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    if shutil.which("pkcs11-tool") is None:
        pytest.skip("no token tools: apt-get install opensc")
    environment = os.environ | dict(token.plan.module_environment)
    subprocess.run(
        [
            *("pkcs11-tool", "--module", str(SOFTHSM), "--token-label", "gate"),
            *("--login", "--pin", USER_PIN, "--keypairgen", "--key-type", "EC:prime256v1"),
            *("--label", "loose", "--usage-derive", "--extractable"),
        ],
        check=True,
        capture_output=True,
        env=environment,
    )
    uri = token.plan.sources[0].replace("object=template", "object=loose")
    with pytest.raises(ConfigError, match="may leave its token"):
        KeyAgent.start(replace(token.plan, sources=[uri]))


def test_a_killed_agent_of_a_device_is_started_again(source: Source) -> None:
    keys = SupervisedKeyAgent(lambda: KeyAgent.start(source.plan, exchange_s=5.0))
    try:
        opened(keys, source.public_key)
        os.kill(keys.pid, signal.SIGKILL)
        comes_back(keys, lambda: None)
        assert opened(keys, source.public_key) == b"verifier"
        released = [keys.counts[pair] for pair in keys.counts if pair[1] is KeyOutcome.RELEASED]
        assert sum(released) == 2, "the totals of the dead agent are kept"
    finally:
        keys.close()
