"""The virtual antenna against junk, silence, stalls and a second gate."""

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from firmware_bridge.antenna import ATR, AntennaServer, serve_card
from firmware_bridge.errors import DeviceFault
from firmware_bridge.sim.card import CardFault, FaultKind, SimCard

SELECT_NDEF = bytes.fromhex("00A4040007D276000085010100")
SELECT_MDOC = bytes.fromhex("00A4040007A000000248040000")


class Echo:
    """A card application without any cryptography."""

    def engage(self):
        return b"engagement"

    def handle(self, message):
        return message * 3


@pytest.fixture
def path(tmp_path):
    return tmp_path / "antenna.sock"


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as executor:
        yield executor


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(5)
    client.connect(str(path))
    return client


def test_one_tap_after_another(path, pool):
    with AntennaServer(path) as server:
        assert path.stat().st_mode & 0o777 == 0o600
        for _ in range(3):
            served = pool.submit(serve_card, path, SimCard(Echo()))
            with server.wait_for_card(5) as channel:
                assert channel.exchange(SELECT_MDOC) == b"\x90\x00"
                answer = channel.exchange(bytes.fromhex("00C300000553036162") + b"c\x00")
                assert answer == b"\x53\x09abcabcabc\x90\x00"
            assert served.result(5) == 2
    assert not path.exists()


def test_nobody_comes(path):
    with AntennaServer(path) as server:
        assert server.wait_for_card(0.05) is None
        assert server.wait_for_card(0) is None


@pytest.mark.parametrize(
    "junk",
    [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00", b"\x00\x01", b"\xff\xff" + bytes(70_000)],
    ids=["leaves", "http", "empty", "torn", "flood"],
)
def test_junk_clients_are_dropped_and_the_next_phone_is_served(path, pool, junk):
    with AntennaServer(path) as server:
        with connect(path) as client:
            sender = pool.submit(send_all, client, junk)
            assert server.wait_for_card(0.1) is None
            sender.result(5)
        served = pool.submit(serve_card, path, SimCard(Echo()))
        with server.wait_for_card(5) as channel:
            assert channel.exchange(SELECT_NDEF) == b"\x90\x00"
        assert served.result(5) == 1


def send_all(client, content):
    try:
        client.sendall(content)
        if not content:
            client.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # dropped by the gate before everything was sent


def test_phone_that_stalls_is_given_up_at_the_deadline(path, pool):
    release = threading.Event()
    card = SimCard(Echo(), CardFault(FaultKind.STALL, 1), sleep=lambda _: release.wait(5))
    with AntennaServer(path, exchange_s=0.2) as server:
        served = pool.submit(serve_card, path, card)
        channel = server.wait_for_card(5)
        assert channel.exchange(SELECT_NDEF) == b"\x90\x00"
        with pytest.raises(DeviceFault, match="no answer in time"):
            channel.exchange(SELECT_NDEF)
        release.set()
        # A late answer can never be taken for the next one: the channel is gone.
        with pytest.raises(DeviceFault):
            channel.exchange(SELECT_NDEF)
        assert served.result(5) == 1


def test_phone_that_dribbles_is_given_up_at_the_deadline(path, pool):
    with AntennaServer(path, exchange_s=0.3) as server, connect(path) as client:
        client.sendall(len(ATR).to_bytes(2, "big") + ATR)
        channel = server.wait_for_card(5)

        def dribble():
            for byte in (b"\x00", b"\x09", b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"):
                time.sleep(0.1)
                send_all(client, byte)

        dribbling = pool.submit(dribble)
        with pytest.raises(DeviceFault, match="no answer in time"):
            channel.exchange(SELECT_NDEF)
        dribbling.result(5)


def test_phone_that_leaves(path, pool):
    card = SimCard(Echo(), CardFault(FaultKind.LEAVE_FIELD, 1))
    with AntennaServer(path) as server:
        served = pool.submit(serve_card, path, card)
        channel = server.wait_for_card(5)
        channel.exchange(SELECT_NDEF)
        with pytest.raises(DeviceFault, match="left"):
            channel.exchange(SELECT_NDEF)
        assert served.result(5) == 1


def test_second_phone_waits_for_its_turn(path, pool):
    with AntennaServer(path) as server:
        first = pool.submit(serve_card, path, SimCard(Echo()))
        channel = server.wait_for_card(5)
        second = pool.submit(serve_card, path, SimCard(Echo()))
        assert channel.exchange(SELECT_NDEF) == b"\x90\x00"
        follower = server.wait_for_card(5)  # ends the first one
        assert first.result(5) == 1
        with pytest.raises(DeviceFault):
            channel.exchange(SELECT_NDEF)
        assert follower.exchange(SELECT_NDEF) == b"\x90\x00"
        follower.close()
        assert second.result(5) == 1


def test_closing_wakes_a_waiting_thread(path, pool):
    server = AntennaServer(path)
    waiting = pool.submit(server.wait_for_card, 60)
    time.sleep(0.05)
    server.close()
    server.close()
    assert waiting.result(5) is None
    assert server.wait_for_card(1) is None


def test_closing_ends_the_phone_in_the_field(path, pool):
    server = AntennaServer(path)
    served = pool.submit(serve_card, path, SimCard(Echo()))
    channel = server.wait_for_card(5)
    server.close()
    assert served.result(5) == 0
    with pytest.raises(DeviceFault):
        channel.exchange(SELECT_NDEF)


def test_second_gate_is_refused_and_the_first_lives_on(path, pool):
    with AntennaServer(path) as server:
        with pytest.raises(DeviceFault, match="another gate"):
            AntennaServer(path)
        served = pool.submit(serve_card, path, SimCard(Echo()))
        with server.wait_for_card(5) as channel:
            assert channel.exchange(SELECT_NDEF) == b"\x90\x00"
        assert served.result(5) == 1


def test_stale_socket_of_a_dead_gate_is_replaced(path):
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    dead.bind(str(path))
    dead.close()
    assert path.exists()
    with AntennaServer(path) as server:
        assert server.wait_for_card(0) is None


def test_a_file_in_the_way_is_not_touched(path):
    path.write_text("somebody's file")
    with pytest.raises(DeviceFault, match="taken by a file"):
        AntennaServer(path)
    assert path.read_text() == "somebody's file"


def test_folder_that_does_not_exist(tmp_path):
    with pytest.raises(DeviceFault, match="cannot listen"):
        AntennaServer(tmp_path / "absent" / "antenna.sock")


def test_no_gate_listens(path):
    with pytest.raises(DeviceFault, match="no gate listens"):
        serve_card(path, SimCard(Echo()))


def test_silent_gate(path):
    with AntennaServer(path), pytest.raises(DeviceFault, match="silent"):
        serve_card(path, SimCard(Echo()), timeout_s=0.1)


def test_the_socket_is_private_whatever_the_umask(path):
    old = os.umask(0)
    try:
        with AntennaServer(path):
            assert path.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(old)
