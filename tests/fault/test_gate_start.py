"""Starts that must not happen, and a line that comes and goes: one clear line each."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import serial

from enrollment import pki
from enrollment.key_files import load_p256_private, save_certificate, save_private
from gate.card.reader import load_certificates
from gate.console.deps import Screen
from gate.demo.scenarios import Card, View
from gate.errors import ConfigError
from gate.settings import load_settings
from gate.wiring import load_documents

if TYPE_CHECKING:
    from tests.fault.conftest import GateProcess, Home, Program

pytestmark = pytest.mark.usefixtures("fresh_log")


@pytest.fixture
def kept(home: Home) -> Iterator[None]:
    """What a test changes in the gate's folder is put back."""
    gate = home.site.layout.gate
    before = {path: path.read_bytes() for path in gate.iterdir() if path.is_file()}
    yield
    for path, content in before.items():
        path.write_bytes(content)


def refuses(gate: GateProcess, code: int) -> str:
    """Return the one line that a gate left behind which did not start, devices' lines aside."""
    assert gate.ended() == code, gate.err
    assert gate.out == ""
    (line,) = [each for each in gate.err.splitlines() if "gate: turnstile" not in each]
    assert line.startswith("gate: ")
    assert "; " in line, "what happened, and what to do"
    return line


@pytest.mark.usefixtures("kept")
def test_a_changed_model_file_is_never_parsed(
    home: Home, start_gate: Callable[..., GateProcess], tmp_path: Path
) -> None:
    pack = tmp_path / "bootstrap"
    pack.mkdir()
    for file in home.cast.pack_folder.iterdir():
        (pack / file.name).symlink_to(file)
    changed = pack / "shape_predictor_5_face_landmarks.dat"
    content = bytearray(changed.read_bytes())
    content[1000] ^= 1
    changed.unlink()
    changed.write_bytes(content)
    config = home.site.config_path
    text = config.read_text().replace(str(home.cast.pack_folder.resolve()), str(pack))
    config.write_text(text)
    line = refuses(start_gate(), 2)
    assert f"{changed.name}: SHA-256 is" in line
    assert "gate models fetch bootstrap" in line
    assert not home.ledger.exists(), "no process, no log, no device: nothing was begun"


def test_the_files_of_another_pack_are_no_pack(start_gate: Callable[..., GateProcess]) -> None:
    line = refuses(start_gate(GATE_MODELS_PACK="edge"), 2)
    assert "is not in" in line
    assert "gate models fetch edge" in line


@pytest.mark.usefixtures("kept")
def test_a_reader_certificate_with_the_wrong_usage(
    home: Home, start_gate: Callable[..., GateProcess]
) -> None:
    layout = home.site.layout
    shutil.copy(layout.status_signer, layout.reader_cert)
    line = refuses(start_gate(), 2)
    assert "is no reader's certificate: its extended key usage is wrong" in line
    assert "name the certificate that was made for this gate's reader" in line


@pytest.mark.usefixtures("kept")
def test_a_reader_certificate_that_has_ended(
    home: Home, start_gate: Callable[..., GateProcess]
) -> None:
    layout = home.site.layout
    now = datetime.now(UTC)
    authority = pki.Authority(
        load_p256_private(layout.reader_ca_key, "reader authority key"),
        load_certificates(layout.reader_ca_cert)[0],
        pki.Site("ConsentGate", demo=True),
    )
    old = pki.create_reader(
        authority, "demo-gate", now - timedelta(days=30), os.urandom, timedelta(days=2)
    )
    save_certificate(layout.reader_cert, old.certificate)
    assert "does not belong to" in refuses(start_gate(), 2), "the key is still the newer one's"
    save_private(layout.reader_key, old.key, demo=True)
    line = refuses(start_gate(), 2)
    assert "the reader certificate is valid from" in line
    assert "renew it, or set this machine's clock" in line


def test_a_clock_before_the_documents(home: Home) -> None:
    settings = load_settings(home.site.config_path, {})
    with pytest.raises(ConfigError) as refused:
        load_documents(settings, datetime(2020, 1, 1, tzinfo=UTC))
    assert "issued in the future" in refused.value.diagnostics()
    assert "set this machine's clock" in refused.value.diagnostics()


def test_a_clock_behind_the_reader_certificate(home: Home) -> None:
    settings = load_settings(home.site.config_path, {})
    with pytest.raises(ConfigError, match="the reader certificate is valid from") as refused:
        load_documents(settings, datetime.now(UTC) + timedelta(days=2000))
    assert "set this machine's clock" in refused.value.diagnostics()


def test_a_taken_port_of_the_pages(home: Home, start_gate: Callable[..., GateProcess]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        line = refuses(start_gate(GATE_KIOSK_PORT=str(port)), 2)
    assert f"cannot serve pages at 127.0.0.1 port {port}" in line
    home.audit()


def test_a_second_gate_on_the_same_log(home: Home, start_gate: Callable[..., GateProcess]) -> None:
    first = start_gate()
    first.url()
    line = refuses(start_gate(), 2)
    assert f"another gate writes {home.ledger}" in line
    assert first.stop() == 0
    home.audit()


def test_a_line_that_is_absent_then_busy_then_there(
    home: Home,
    start_gate: Callable[..., GateProcess],
    start_turnstile: Callable[..., Program],
    tap: Callable[[Card], Program],
) -> None:
    link = home.site.layout.folder / "turnstile"
    link.unlink(missing_ok=True)
    home.lens.show(View.OWNER)
    gate = start_gate()
    assert gate.wait_line("serial port absent") == (
        f"gate: turnstile {link}: serial port absent; plug it in or correct the port's name"
    )
    gate.wait_screen(Screen.OUT_OF_ORDER)
    assert tap(Card.OWNER).ended() == 0
    gate.wait_screen(Screen.REFUSED)

    master, slave = os.openpty()
    with closing(serial.Serial(os.ttyname(slave), exclusive=True)):
        link.symlink_to(os.ttyname(slave))
        assert gate.wait_line("serial port busy") == (
            f"gate: turnstile {link}: serial port busy; stop the other program that uses it"
        )
        link.unlink()
    os.close(slave)
    os.close(master)

    turnstile = start_turnstile()
    gate.wait_screen(Screen.IDLE)
    assert "entry relay active" not in turnstile.out, "connecting moves nothing"
    tap(Card.OWNER)
    turnstile.wait_line("entry relay released")
    gate.wait_screen(Screen.IDLE, Screen.CARD_ONLY)
    assert gate.stop() == 0
    counts = home.audit().counts
    assert counts["denied.turnstile_offline"] == counts["denials"] == 1
    assert counts["grants"] == 1


def test_a_camera_that_is_not_there(
    home: Home,
    start_gate: Callable[..., GateProcess],
    start_turnstile: Callable[..., Program],
    tap: Callable[[Card], Program],
) -> None:
    turnstile, gate = start_turnstile(), start_gate(GATE_CAMERA_SOURCE="v4l2:63")
    gate.wait_screen(Screen.IDLE)
    tap(Card.OWNER)
    gate.wait_screen(Screen.OTHER_LANE)
    gate.wait_line("the camera gives no usable picture; check its cable and [camera] source")
    assert gate.say("leave") == 204
    gate.wait_screen(Screen.IDLE, Screen.CARD_ONLY)
    assert gate.stop() == 0
    assert "entry relay" not in turnstile.out
    assert home.audit().counts["denied.camera_fault"] == 1
