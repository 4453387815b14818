"""What the key agent can still do behind its lock, for each kind of source: tried from inside."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gate import landlock
from gate.template import agent_rules
from gate.template.key_source import KeyPlan

TOKEN = "pkcs11:token=T;object=o?module-path=/usr/lib/m.so"
needs_landlock = pytest.mark.skipif(
    landlock.kernel_abi() < 1, reason="this kernel has no Landlock: use Linux 5.13 or later"
)


def behind_the_lock(plan: KeyPlan, act: str, tpm: Path | None = None) -> int:
    """Lock a process as the agent does, act, and return 10 (done), 11 (refused) or the signal."""
    script = f"""
        import fcntl, os, socket, sys
        from pathlib import Path
        from gate import sandbox
        from gate.template import agent_rules
        from gate.template.key_source import KeyPlan
        plan = KeyPlan.decode({plan.encode()!r})
        sandbox.harden(32, agent_rules.devices(plan))
        tpm = os.open({str(tpm)!r}, os.O_RDWR) if {tpm is not None} else None
        sandbox.lock(agent_rules.rules(plan, tpm), 32, agent_rules.readable(plan))
        try:
            {act}
        except OSError:
            os._exit(11)
        os._exit(10)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, check=False
    )
    return done.returncode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "token").mkdir()
    (tmp_path / "token" / "object").write_bytes(b"object")
    (tmp_path / "elsewhere").write_bytes(b"secret")
    return tmp_path


def test_a_key_file_agent_opens_nothing_more(folder: Path) -> None:
    plan = KeyPlan([str(folder / "k.pem")])
    act = f"os.open({str(folder / 'token' / 'object')!r}, os.O_RDONLY)"
    assert behind_the_lock(plan, act) == -signal.SIGSYS


def test_a_token_agent_reads_and_locks_files_of_its_token(folder: Path) -> None:
    plan = KeyPlan([TOKEN], token_dir=str(folder / "token"))
    act = (
        f"fd = os.open({str(folder / 'token' / 'object')!r}, os.O_RDONLY); "
        "fcntl.lockf(fd, fcntl.LOCK_SH); assert os.read(fd, 9) == b'object'"
    )
    assert behind_the_lock(plan, act) == 10


@needs_landlock
@pytest.mark.parametrize("token_dir", ["token", None])
def test_a_token_agent_reads_nothing_elsewhere(folder: Path, token_dir: str | None) -> None:
    plan = KeyPlan([TOKEN], token_dir=None if token_dir is None else str(folder / token_dir))
    act = f"os.open({str(folder / 'elsewhere')!r}, os.O_RDONLY)"
    assert behind_the_lock(plan, act) == 11


@pytest.mark.parametrize(
    "act",
    [
        "os.open({file!r}, os.O_WRONLY)",
        "os.open({file!r}, os.O_RDWR)",
        "os.open({new!r}, os.O_RDONLY | os.O_CREAT)",
        "os.open({file!r}, os.O_RDONLY | os.O_TRUNC)",
        "fcntl.fcntl(0, fcntl.F_DUPFD, 9)",
        "fcntl.fcntl(0, fcntl.F_SETFL, 0)",
        "os.unlink({file!r})",
        "socket.socket(socket.AF_UNIX)",
        "socket.socket(socket.AF_INET)",
        "os.pipe()",
        "os.kill(1, 0)",
    ],
)
def test_a_token_agent_does_nothing_else(folder: Path, act: str) -> None:
    plan = KeyPlan([TOKEN], token_dir=str(folder / "token"))
    named = act.format(file=str(folder / "token" / "object"), new=str(folder / "token" / "new"))
    assert behind_the_lock(plan, named) in (-signal.SIGSYS, 11)
    assert (folder / "token" / "object").read_bytes() == b"object"
    assert not (folder / "token" / "new").exists()


def test_a_tpm_agent_writes_to_its_tpm_only(folder: Path) -> None:
    tpm, other = folder / "tpm", folder / "elsewhere"
    for path in (tpm, other):
        path.write_bytes(b"")
    tpm.unlink()
    tpm.symlink_to("/dev/null")  # a device that takes any number of bytes
    plan = KeyPlan(["tpm2:blob"], tpm=str(tpm))
    assert behind_the_lock(plan, "os.write(tpm, bytes(77))", tpm) == 10
    assert behind_the_lock(plan, "os.write(0, bytes(77))", tpm) == -signal.SIGSYS
    assert behind_the_lock(plan, "fcntl.ioctl(tpm, 1)", tpm) == -signal.SIGSYS
    assert behind_the_lock(plan, f"os.open({str(tpm)!r}, os.O_RDWR)", tpm) == -signal.SIGSYS


def test_only_a_plan_with_a_token_or_tpm_gets_more_rules() -> None:
    file = agent_rules.rules(KeyPlan(["k.pem", "credential:k"]), None)
    assert file == agent_rules.ALWAYS
    assert set(agent_rules.rules(KeyPlan([TOKEN]), None)) - set(file) == set(agent_rules.TOKEN)
    assert len(agent_rules.rules(KeyPlan(["tpm2:b"]), 7)) == len(file) + 1
    assert not agent_rules.readable(KeyPlan(["k.pem"], token_dir="/tokens"))
    assert not agent_rules.devices(KeyPlan(["k.pem"]))
