"""What `gate check-config` says about a camera's password and about an older status list."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from gate.settings import load_settings
from gate.status_refresh import MEMORY_NAME

if TYPE_CHECKING:
    from tests.fault.conftest import Home

pytestmark = pytest.mark.usefixtures("fresh_log")
QUIET = {k: v for k, v in os.environ.items() if not k.startswith("GATE_")}


def check(home: Home, **environment: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "gate", "check-config", "--json", "-c", home.site.config_path],
        capture_output=True, text=True, check=False, env=QUIET | environment,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "s3cret" not in done.stdout
    return {line["part"]: line["what"] for line in json.loads(done.stdout)}


def test_a_network_camera_is_shown_without_its_password(home: Home) -> None:
    said = check(home, GATE_CAMERA_SOURCE="rtsp://admin:s3cret@10.0.0.9:8554/x?password=s3cret")
    assert said["camera"] == "rtsp://10.0.0.9:8554/..."


def test_an_older_status_list_is_told(home: Home) -> None:
    settings = load_settings(home.site.config_path, {})
    assert check(home)["status list"] == "signed and readable"
    settings.gate.data_dir.mkdir(mode=0o700)
    memory = settings.gate.data_dir / MEMORY_NAME
    memory.write_text(f"{int((datetime.now(UTC) + timedelta(hours=1)).timestamp())}\n")
    assert check(home)["status list"] == "OLDER than one seen before: every card is refused"


def test_a_policy_for_another_zone_is_refused(home: Home) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gate", "check-config", "-c", home.site.config_path],
        capture_output=True, text=True, check=False, env=QUIET | {"GATE_GATE_ZONE": "vault"},
    )  # fmt: skip
    assert done.returncode == 2
    assert "the policy is for zone demo-lobby, [gate] zone is vault" in done.stderr


def test_a_nightly_probe_without_photographs_is_refused_before_the_night(home: Home) -> None:
    faces = home.site.config_path.parent / "faces"
    night = {"GATE_PROBE_NIGHTLY": "03:00", "GATE_PROBE_FACES": str(faces)}
    done = subprocess.run(
        [sys.executable, "-m", "gate", "check-config", "-c", home.site.config_path],
        capture_output=True, text=True, check=False, env=QUIET | night,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert f"[probe] faces: {faces} is not a folder" in done.stderr
    faces.mkdir()
    assert check(home, **night)["probe"] == "every night at 03:00"
