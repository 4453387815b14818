"""The auditor's program, built once from Go's own note and tlog packages."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

GOPATH = Path("/usr/share/gocode")


@pytest.fixture(scope="session")
def auditlog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/interop/go/auditlog as a program."""
    if shutil.which("go") is None or not (GOPATH / "src/golang.org/x/mod/sumdb/note").is_dir():
        pytest.skip("needs Go: Debian packages golang-go and golang-golang-x-mod-dev")
    place = tmp_path_factory.mktemp("go")
    environment = os.environ | {
        "GO111MODULE": "off",
        "GOPATH": str(GOPATH),
        "GOCACHE": str(place / "cache"),
        "GOFLAGS": "",
    }
    source = Path(__file__).with_name("go") / "auditlog" / "main.go"
    subprocess.run(
        ["go", "build", "-o", place / "auditlog", source], env=environment, check=True, timeout=110
    )
    return place / "auditlog"
