"""How a camera is named for people: never with what opens it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.camera_source import shown_source


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://admin:s3cret@10.0.0.9/x", "rtsp://10.0.0.9/..."),
        ("rtsp://admin:s3@cret@10.0.0.9:8554/x", "rtsp://10.0.0.9:8554/..."),
        ("rtsps://cam.example/?user=admin&password=s3cret", "rtsps://cam.example/..."),
        ("rtsp://cam.example?password=s3cret@x", "rtsp://cam.example/..."),
        ("rtsp://cam.example/user=admin_password=s3cret_1.sdp", "rtsp://cam.example/..."),
        ("rtsp://admin:s3cret@[fd00::9]:554/x", "rtsp://[fd00::9]:554/..."),
        ("rtsp://admin:s3cret@[fd00/x", "rtsp://..."),
        ("rtsp://admin:s3cret@cam:port/x", "rtsp://..."),
        ("rtsp:admin:s3cret@cam", "rtsp://..."),
        ("v4l2:0", "v4l2:0"),
        ("0", "0"),
        ("file:/srv/a@b.mp4", "file:/srv/a@b.mp4"),
        ("sim:/srv/faces?fps=30", "sim:/srv/faces?fps=30"),
    ],
)
def test_what_is_shown(source: str, shown: str) -> None:
    assert shown_source(source) == shown


@given(st.text(st.characters(exclude_characters="@"), max_size=20), st.text(max_size=20))
def test_any_address_is_shown_without_a_secret(before: str, after: str) -> None:
    assert "S3CRET" not in shown_source(f"rtsp://u:{before}S3CRET{after}@cam/x").upper()
