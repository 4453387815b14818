"""Opening cameras by a short source string. Imports OpenCV and nothing of the gate.

The sources are those of camera_source.py.
Everything that reads files happens at open, so that a locked process can go on reading frames.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from firmware_bridge.camera_source import Means, means, shown_source
from firmware_bridge.errors import DeviceFault
from firmware_bridge.ports import Bgr8, Camera

FOLDER_FPS = 15.0
FOLDER_BYTES_MAX = 256 * 1024 * 1024
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
_OPEN_MS, _READ_MS = 3000, 1000
_FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
"""OpenCV hands this environment variable to FFmpeg when it opens a capture. `key;value|...`."""


def open_camera(source: str) -> Camera:
    """Open one camera.

    Args:
        source: see above.

    Raises:
        DeviceFault: absent, busy, unreadable, or not a known kind of source.
    """
    kind = means(source)
    scheme, _, rest = source.partition(":")
    if kind is Means.DEVICE:
        return _open_v4l2(source if rest == "" else rest)
    if kind is Means.NETWORK:
        return _open_rtsp(source)
    if scheme == "file":
        return _open_video(Path(rest))
    if scheme == "folder":
        return FolderCamera(Path(rest))
    # Imported late: a real gate never loads the simulator.
    from firmware_bridge.sim.camera import open_sim

    return open_sim(rest)


class CaptureCamera:
    """A camera or video that OpenCV streams."""

    def __init__(self, device: str, capture: cv2.VideoCapture) -> None:
        self._device = device
        self._capture = capture

    def read(self) -> Bgr8 | None:
        """See `Camera.read`."""
        try:
            ok, frame = self._capture.read()
        except cv2.error:
            raise DeviceFault(self._device, "the camera went away", "plug it in again") from None
        return np.asarray(frame, dtype=np.uint8) if ok and frame is not None else None

    def close(self) -> None:
        """See `Camera.close`."""
        self._capture.release()


class FolderCamera:
    """The images of a folder in name order, over and over, at a camera's pace.

    Files are read at open and decoded one by one. An image that does not decode is a DeviceFault
    at open, so that nobody stands in front of a half-working camera.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fps: float = FOLDER_FPS,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._images = [
            np.frombuffer(data, dtype=np.uint8) for data in read_images(folder, folder=True)
        ]
        self._device = f"camera folder:{folder}"
        self._pace = Pace(fps, now_s, sleep)
        self._next = 0

    def read(self) -> Bgr8 | None:
        """See `Camera.read`."""
        if not self._images:
            return None
        self._pace.wait()
        image = self._images[self._next % len(self._images)]
        self._next += 1
        return decode_image(image, self._device)

    def close(self) -> None:
        """See `Camera.close`."""
        self._images = []


class Pace:
    """Keeps a played camera from running faster than a real one."""

    def __init__(
        self, fps: float, now_s: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._period_s = 1.0 / fps
        self._now_s = now_s
        self._sleep = sleep
        self._due_s: float | None = None

    def wait(self) -> None:
        """Return when the next frame is due. The first is due at once."""
        now = self._now_s()
        if self._due_s is None or now > self._due_s + self._period_s:
            self._due_s = now
        elif now < self._due_s:
            self._sleep(self._due_s - now)
        self._due_s += self._period_s


def read_images(path: Path, *, folder: bool) -> list[bytes]:
    """Return the bytes of every image in a folder (by name), or of one image file.

    Raises:
        DeviceFault: absent, unreadable, no image in it, not decodable, or too much for memory.
    """
    device = f"camera {path}"
    try:
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        else:
            if folder and path.exists():
                raise DeviceFault(device, "is not a folder", "use file:PATH for a video")
            files = [path]
        if sum(file.stat().st_size for file in files) > FOLDER_BYTES_MAX:
            raise DeviceFault(device, "holds too many images for memory", "use fewer or smaller")
        images = [read_image_file(file, FOLDER_BYTES_MAX) for file in files]
    except OSError as error:
        raise DeviceFault(
            device, f"cannot be read ({error.strerror})", "check the path and its permissions"
        ) from None
    if not images:
        raise DeviceFault(device, "holds no image", "put .jpg or .png files there")
    for file, data in zip(files, images, strict=True):
        decode_image(np.frombuffer(data, dtype=np.uint8), f"camera {file}")
    return images


def read_image_file(path: Path, size_max: int) -> bytes:
    """Return the bytes of one regular file, at once or not at all.

    Raises:
        OSError: absent, unreadable, larger than `size_max`, or a pipe, socket or device.
    """
    # Non-blocking, because opening a pipe waits for somebody to write into it.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "is not a file")
        content = file.read(size_max + 1)
    if len(content) > size_max:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return content


def decode_image(data: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], device: str) -> Bgr8:
    """Return the picture in the bytes of an image file.

    Raises:
        DeviceFault: not an image.
    """
    frame = None
    if data.size:
        try:
            frame = cv2.imdecode(data, cv2.IMREAD_COLOR)
        except cv2.error:
            frame = None
    if frame is None:
        raise DeviceFault(device, "is not a readable image", "replace or remove this file")
    return np.asarray(frame, dtype=np.uint8)


def _open_v4l2(which: str) -> Camera:
    name = which if which.startswith("/dev/") else f"/dev/video{which}"
    device = f"camera v4l2:{which}"
    if not (which.isascii() and which.isdigit()) and not which.startswith("/dev/"):
        raise DeviceFault(device, "is not a camera number", "use v4l2:0 or v4l2:/dev/video0")
    if not Path(name).exists():
        raise DeviceFault(device, "is not there", f"plug it in; {name} must exist")
    if not os.access(name, os.R_OK | os.W_OK):
        raise DeviceFault(device, "may not be opened", "add the gate's user to the group 'video'")
    capture = cv2.VideoCapture(name, cv2.CAP_V4L2)
    if not capture.isOpened():
        raise DeviceFault(device, "does not open", "close other programs that use the camera")
    # The newest frame counts, not the oldest in a queue.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return CaptureCamera(device, capture)


def _open_video(path: Path) -> Camera:
    device = f"camera file:{path}"
    if not path.is_file():
        raise DeviceFault(device, "is not there", "check the path of the video file")
    # A playlist must not lead to an address.
    os.environ[_FFMPEG_OPTIONS] = "protocol_whitelist;file"
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise DeviceFault(device, "is not a readable video", "use a format that FFmpeg reads")
    return CaptureCamera(device, capture)


def _open_rtsp(url: str) -> Camera:
    device = f"camera {shown_source(url)}"  # without the credentials it may hold
    options = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_MS),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_MS),
        *(cv2.CAP_PROP_N_THREADS, 1),
    ]
    # One TCP connection and nothing else: an open UDP socket could send to any address, and a
    # camera must not lead to a file or another protocol.
    os.environ[_FFMPEG_OPTIONS] = "rtsp_transport;tcp|protocol_whitelist;tcp,tls"
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, options)
    if not capture.isOpened():
        raise DeviceFault(device, "does not answer", "check address, password and network")
    return CaptureCamera(device, capture)
