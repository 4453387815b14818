"""`gate keys`: a site's way from no key to a published one, with keys in files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from gate.template.wrapping import kid_of

EXAMPLE = Path(__file__).parents[2] / "gate.example.toml"
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("GATE_")}


def keys(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gate", "keys", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT | environment,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The annotated example, with a key file beside it."""
    path = tmp_path / "gate.toml"
    path.write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    return path


def make(folder: Path, name: str) -> str:
    done = keys("make", "file", "--out", folder / name, "--public", folder / f"{name}.pub.pem")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_make_show_and_publish(config: Path) -> None:
    folder = config.parent
    kid = make(folder, "template.key")
    assert (folder / "template.key").stat().st_mode & 0o777 == 0o600
    shown = keys("show", "--config", config)
    assert shown.stdout == f"{kid}  file        self-test passed\n"
    as_json = json.loads(keys("show", "--config", config, "--json").stdout)
    assert as_json == [{"kid": kid, "kind": "file", "self_test": "passed"}]
    public = keys("public", "--config", config, "--kid", kid)
    assert public.stdout == (folder / "template.key.pub.pem").read_text()
    key = load_pem_public_key(public.stdout.encode())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert kid_of(key).hex() == kid
    assert keys("public", "--config", config, "--kid", "00" * 8).returncode == 2


def test_a_rotation_shows_the_newest_key_first(config: Path) -> None:
    folder = config.parent
    old, new = make(folder, "template.key"), make(folder, "new.key")
    both = {"GATE_KEYS_TEMPLATE_KEYS": "new.key,template.key"}
    lines = keys("show", "--config", config, **both).stdout.splitlines()
    assert [line.split()[0] for line in lines] == [new, old]
    newest = keys("public", "--config", config, **both).stdout
    assert newest == (folder / "new.key.pub.pem").read_text()


def test_a_credential_of_systemd(config: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    kid = make(tmp_path / "run", "template")
    named = {"GATE_KEYS_TEMPLATE_KEYS": "credential:template"}
    shown = keys("show", "--config", config, CREDENTIALS_DIRECTORY=str(tmp_path / "run"), **named)
    assert shown.stdout.split()[:2] == [kid, "credential"]
    alone = keys("show", "--config", config, **named)
    assert alone.returncode == 2
    assert "no systemd credential" in alone.stderr


def test_a_key_for_systemd_creds_is_the_only_thing_on_stdout(tmp_path: Path) -> None:
    public = tmp_path / "template.pub.pem"
    done = keys("make", "file", "--out", "-", "--public", public)
    key = load_pem_private_key(done.stdout.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert done.stdout.startswith("-----BEGIN PRIVATE KEY-----\n")
    assert done.stdout.endswith("-----END PRIVATE KEY-----\n")
    assert load_pem_public_key(public.read_bytes()) == key.public_key()
    assert done.stdout[40:80] not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "--config", "absent.toml"), "cannot read"),
        (("make", "pkcs11", "pkcs11:token=T", "--public", "p"), "no module"),
        (
            ("make", "pkcs11", "pkcs11:token=T;object=o?pin-value=4711", "--public", "p"),
            "a PIN stands",
        ),
        (("make", "tpm2", "--out", "k", "--public", "p", "--pcrs", "24"), "from 0 to 23"),
        (("make", "tpm2", "--out", "k", "--public", "p", "--pcrs", "x"), "from 0 to 23"),
        (("make", "file", "--out", "no/k", "--public", "p"), "is no folder"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gate", "keys", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=ENVIRONMENT | {"PYTHONPATH": str(EXAMPLE.parent)},
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr
    assert "4711" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_existing_key_is_never_replaced(tmp_path: Path) -> None:
    make(tmp_path, "template.key")
    before = (tmp_path / "template.key").read_bytes()
    done = keys("make", "file", "--out", tmp_path / "template.key", "--public", tmp_path / "p")
    assert done.returncode == 2
    assert (tmp_path / "template.key").read_bytes() == before
    assert not (tmp_path / "p").exists()


def test_a_passphrase_wants_a_terminal(tmp_path: Path) -> None:
    out, public = tmp_path / "template.key", tmp_path / "public.pem"
    done = keys("make", "file", "--out", out, "--public", public, "--passphrase")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no terminal" in done.stderr
    assert not out.exists()
    assert not public.exists()
