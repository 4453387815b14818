"""What one unwrap costs, for each place where the template key can live, through a real agent.

    python benchmarks/keys.py [--unwraps 300] [--json FILE]

File keys are always measured; a software token needs softhsm2, a software TPM swtpm (both of
Debian). A hardware TPM or token is slower: measure yours with --tpm /dev/tpmrm0.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gate.key_making import make_file_key, make_tpm_key
from gate.template.agent_client import KeyAgent
from gate.template.context import SealContext
from gate.template.envelope import Envelope
from gate.template.key_source import KeyPlan
from gate.template.seal import seal

SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = SealContext.for_pin(b"c" * 16, datetime(2031, 5, 1, tzinfo=UTC))


def of_file(folder: Path) -> KeyPlan:
    """Make a key in a file."""
    make_file_key(folder / "file.pem", folder / "file.pub", with_passphrase=False)
    return KeyPlan([str(folder / "file.pem")])


def of_token(folder: Path) -> KeyPlan | None:
    """Make a key in a software token, if there is one."""
    if shutil.which("softhsm2-util") is None or not SOFTHSM.exists():
        return None
    tokens, conf, pin = (folder / name for name in ("tokens", "softhsm2.conf", "pin"))
    tokens.mkdir()
    conf.write_text(f"directories.tokendir = {tokens}\n")
    pin.write_text("4711")
    pin.chmod(0o600)
    environment = {"SOFTHSM2_CONF": str(conf)}
    uri = f"pkcs11:token=gate;object=template?module-path={SOFTHSM}&pin-source={pin}"
    label = ["--label", "gate", "--pin", "4711", "--so-pin", "8155"]
    for command in (
        ["softhsm2-util", "--init-token", "--free", *label],
        ["gate", "keys", "make", "pkcs11", uri, "--public", str(folder / "token.pub")],
    ):
        subprocess.run(command, check=True, capture_output=True, env=os.environ | environment)
    return KeyPlan([uri], token_dir=str(tokens), module_environment=environment)


def of_tpm(folder: Path, tpm: Path, pcrs: tuple[int, ...] = ()) -> KeyPlan:
    """Make a key in a TPM."""
    blob = folder / f"tpm{len(pcrs)}.key"
    make_tpm_key(blob, blob.with_suffix(".pub"), tpm, pcrs)
    return KeyPlan([f"tpm2:{blob}"], tpm=str(tpm))


@contextmanager
def software_tpm(folder: Path) -> Iterator[Path | None]:
    """Yield the socket of a software TPM, if there is one."""
    if shutil.which("swtpm") is None:
        yield None
        return
    link = folder / "tpm"
    process = subprocess.Popen(
        [
            *("swtpm", "socket", "--tpm2", "--flags", "not-need-init,startup-clear"),
            *("--tpmstate", f"dir={folder}", "--server", f"type=unixio,path={link}"),
            *("--ctrl", f"type=unixio,path={link}.ctrl"),
        ],
        stderr=subprocess.DEVNULL,
    )
    while not link.exists():
        time.sleep(0.02)
    try:
        yield link
    finally:
        process.kill()
        process.wait()


def measure(plan: KeyPlan, unwraps: int) -> dict[str, float]:
    """Start an agent and time its answers, from the gate's side."""
    began = time.perf_counter()
    agent = KeyAgent.start(plan, per_minute=1_000_000, burst=unwraps + 10, exchange_s=10.0)
    start_ms = (time.perf_counter() - began) * 1000
    try:
        key = load_pem_public_key(agent.keys[0].public_pem.encode())
        assert isinstance(key, ec.EllipticCurvePublicKey)
        envelope = Envelope.decode(seal(b"verifier", PIN, key))
        took_ms = []
        for _ in range(unwraps):
            session_id = os.urandom(16)
            began = time.perf_counter()
            agent.open_pin_key(
                envelope.kid, envelope.wrapped, PIN.hpke_info(), session_id=session_id
            )
            took_ms.append((time.perf_counter() - began) * 1000)
    finally:
        agent.close()
    cuts = statistics.quantiles(took_ms, n=100)
    return {"start_ms": start_ms, "p50_ms": cuts[49], "p95_ms": cuts[94], "p99_ms": cuts[98]}


def main() -> None:
    """Measure every source there is here."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--unwraps", type=int, default=300)
    parser.add_argument("--tpm", type=Path, help="a TPM of this machine instead of swtpm")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name, software_tpm(Path(name)) as software:
        folder = Path(name)
        tpm = options.tpm or software
        plans = {"file": of_file(folder), "PKCS#11 (SoftHSM2)": of_token(folder)}
        if tpm is not None:
            plans |= {"TPM 2.0": of_tpm(folder, tpm), "TPM 2.0, PCRs": of_tpm(folder, tpm, (0, 7))}
        print(f"{'source':<20} {'start':>8} {'p50':>8} {'p95':>8} {'p99':>8}  ms")
        for source, plan in plans.items():
            if plan is None:
                print(f"{source:<20} not here: apt-get install softhsm2")
                continue
            row = results[source] = measure(plan, options.unwraps)
            print(f"{source:<20} " + " ".join(f"{value:8.2f}" for value in row.values()))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
