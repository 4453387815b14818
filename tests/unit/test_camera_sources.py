"""Cameras by their source string, played and misbehaving."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from firmware_bridge.camera import FolderCamera, open_camera, read_image_file
from firmware_bridge.camera_source import Means, means, named_source
from firmware_bridge.errors import DeviceFault
from firmware_bridge.sim.camera import Misbehaviour, SimCamera


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index, name in enumerate(("b.png", "a.png", "c.PNG")):
        cv2.imwrite(str(tmp_path / name), np.full((20, 30, 3), 10 * index, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def shade(frame: np.ndarray | None) -> int:
    assert frame is not None
    assert frame.shape == (20, 30, 3)
    return int(frame[0, 0, 0])


def test_a_folder_plays_in_name_order_and_loops(photos: Path) -> None:
    clock = Clock()
    camera = FolderCamera(photos, now_s=clock, sleep=clock.sleep)
    assert [shade(camera.read()) for _ in range(5)] == [10, 0, 20, 10, 0]
    assert clock.slept == pytest.approx([1 / 15] * 4)
    camera.close()
    assert camera.read() is None


def test_a_slow_reader_gets_no_burst_afterwards(photos: Path) -> None:
    clock = Clock()
    camera = FolderCamera(photos, fps=10, now_s=clock, sleep=clock.sleep)
    camera.read()
    clock.now_s += 5
    camera.read()
    assert clock.slept == []
    camera.read()
    assert clock.slept == pytest.approx([0.1])


def test_frames_survive_the_folder(photos: Path) -> None:
    """A locked verifier cannot open files: all was read at open."""
    folder, sim = open_camera(f"folder:{photos}"), open_camera(f"sim:{photos}?fps=1000")
    for path in photos.iterdir():
        path.unlink()
    for camera in (folder, sim):
        assert [shade(camera.read()) for _ in range(2)] == [10, 0]
        camera.close()
        camera.close()


def sim(path: Path, how: Misbehaviour) -> SimCamera:
    clock = Clock()
    return SimCamera(path, how, now_s=clock, sleep=clock.sleep)


def test_one_image_is_a_camera_too(photos: Path) -> None:
    camera = sim(photos / "c.PNG", Misbehaviour())
    assert [shade(camera.read()) for _ in range(3)] == [20, 20, 20]


def test_it_stalls_vanishes_hangs_and_goes_dark_on_command(photos: Path) -> None:
    stalled = sim(photos, Misbehaviour(stall_after=2))
    assert [stalled.read() is None for _ in range(4)] == [False, False, True, True]
    gone = sim(photos, Misbehaviour(vanish_after=1))
    gone.read()
    with pytest.raises(DeviceFault, match="went away"):
        gone.read()
    clock = Clock()
    hung = SimCamera(photos, Misbehaviour(hang_after=0), now_s=clock, sleep=clock.sleep)
    hung.read()
    assert max(clock.slept) >= 60
    dark = sim(photos, Misbehaviour(black=True))
    assert {shade(dark.read()) for _ in range(3)} == {0}


def test_a_frame_is_the_readers_own(photos: Path) -> None:
    camera = sim(photos / "c.PNG", Misbehaviour())
    first = camera.read()
    assert first is not None
    first[:] = 99
    assert shade(camera.read()) == 20


def test_options_travel_in_the_source(photos: Path) -> None:
    camera = open_camera(f"sim:{photos}?stall_after=1&fps=1000")
    assert camera.read() is not None
    assert camera.read() is None
    camera.close()


def test_a_video_plays_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15, (64, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write a video")
    for index in range(3):
        writer.write(np.full((48, 64, 3), 50 + index, np.uint8))
    writer.release()
    camera = open_camera(f"file:{path}")
    frames = [camera.read() for _ in range(4)]
    assert [frame is None for frame in frames] == [False, False, False, True]
    camera.close()
    camera.close()


def test_each_bad_source_is_one_clear_line(photos: Path) -> None:
    (photos / "empty").mkdir()
    (photos / "torn").mkdir()
    (photos / "torn" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    (photos / "torn" / "none.png").write_bytes(b"")
    cases = {
        "": "no known kind",
        "webcam": "no known kind",
        "http://host/": "no known kind",
        "v4l2:99": "not there",
        "99": "not there",
        "v4l2:front": "not a camera number",
        f"folder:{photos}/absent": "cannot be read",
        f"folder:{photos}/a.png": "not a folder",
        f"folder:{photos}/empty": "no image",
        f"folder:{photos}/torn": "not a readable image",
        f"sim:{photos}/absent.jpg": "cannot be read",
        f"sim:{photos}/notes.txt": "not a readable image",
        f"sim:{photos}?explode=1": "does not exist",
        f"sim:{photos}?fps=0": "out of range",
        f"sim:{photos}?stall_after=x": "out of range",
        f"sim:{photos}?stall_after=-1": "out of range",
        f"file:{photos}/absent.mp4": "not there",
        f"file:{photos}/notes.txt": "not a readable video",
    }
    for source, expected in cases.items():
        with pytest.raises(DeviceFault, match=expected) as fault:
            open_camera(source)
        line = fault.value.diagnostics()
        assert "\n" not in line
        assert ";" in line, f"no advice for {source}"


def test_a_network_camera_that_is_absent_does_not_show_its_password() -> None:
    with pytest.raises(DeviceFault) as fault:
        open_camera("rtsp://user:secret@127.0.0.1:1/stream")
    assert "secret" not in fault.value.diagnostics()
    assert "127.0.0.1:1" in fault.value.diagnostics()


def test_what_each_source_needs_once_open() -> None:
    assert means("0") is means("v4l2:0") is Means.DEVICE
    assert means("rtsp://host/") is Means.NETWORK
    assert means("file:x.mp4") is Means.FILE
    assert means("folder:x") is means("sim:x?fps=1") is Means.MEMORY


def test_a_path_needs_no_kind(tmp_path: Path) -> None:
    video = tmp_path / "walk.avi"
    video.write_bytes(b"")
    assert named_source(str(tmp_path)) == f"folder:{tmp_path}"
    assert named_source(str(video)) == f"file:{video}"
    assert named_source("0") == "0"
    assert named_source("rtsp://camera/door") == "rtsp://camera/door"
    with pytest.raises(DeviceFault, match="no known kind"):
        named_source(str(tmp_path / "absent.mp4"))


def test_a_pipe_in_a_folder_is_a_fault_and_not_a_wait(photos: Path) -> None:
    os.mkfifo(photos / "d.png")
    with pytest.raises(DeviceFault, match="is not a file"):
        open_camera(f"folder:{photos}")


def test_a_file_that_is_too_large_is_not_read_in_part(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(bytes(11))
    assert read_image_file(photo, 11) == bytes(11)
    with pytest.raises(OSError, match="too large"):
        read_image_file(photo, 10)
