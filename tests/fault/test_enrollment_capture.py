"""The capture process, for real: its answers, its refusals, and its death at the worst moment.

Needs a model pack and photographs of faces. The first of these that is there is used: the shared
folder (GATE_SHARED_DIR), or what `make demo` left in .cache/consentgate.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from enrollment.capture import LiveCamera, ModelPack, Photographs, SealedFace, capture
from enrollment.capture_wire import Progress
from enrollment.errors import CaptureFault, EnrolmentRefused
from enrollment.gathering import Step
from firmware_bridge.errors import DeviceFault
from gate.errors import ConfigError, TemplateRejected
from gate.template.biometric import Template
from gate.template.context import SealContext
from gate.template.envelope import Envelope, open_envelope
from gate.template.wrapping import unwrap
from models.fetch import fetch_pack

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("GATE_SHARED_DIR", ROOT.parent / "shared"))
CACHE = Path(os.environ.get("GATE_CACHE_DIR", ROOT / ".cache" / "consentgate"))
NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
KEY = ec.derive_private_key(7, ec.SECP256R1())


@dataclass(frozen=True)
class People:
    """A pack and what it shall look at."""

    pack: ModelPack
    owner: tuple[Path, ...]
    other: Path


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    faces = SHARED / "faces" / "lfw_dev"
    if (SHARED / "models").is_dir() and faces.is_dir():
        cache = tmp_path_factory.mktemp("cache")
        pack = ModelPack("edge", fetch_pack("edge", cache, SHARED / "models", lambda _: None))
        owner = tuple(sorted((faces / "Ahmed_Chalabi").glob("*.jpg"))[:3])
        return People(pack, owner, min((faces / "Abdullah_Gul").glob("*.jpg")))
    photos = CACHE / "sample-photos"
    if not photos.is_dir() or not (CACHE / "packs" / "bootstrap").is_dir():
        pytest.skip("no models and photographs here: run `make demo` once, or set GATE_SHARED_DIR")
    owner = tuple(photos / f"owner-{n}.jpg" for n in (1, 2))
    return People(
        ModelPack("bootstrap", CACHE / "packs" / "bootstrap"), owner, photos / "other-1.jpg"
    )


def look(people: People, *photos: Path, source: LiveCamera | None = None, **more: object):
    arguments = {
        "credential_id": b"c" * 16,
        "consent_record": b"signed consent",
        "expiry": NOW + timedelta(days=30),
        "now": NOW,
        **more,
    }
    return capture(source or Photographs(photos), people.pack, KEY.public_key(), **arguments)


def opened(face: SealedFace, consent_record: bytes = b"signed consent") -> Template:
    envelope = Envelope.decode(face.sealed_template)
    context = SealContext.for_template(
        b"c" * 16, envelope.model_id, consent_record, face.template_aux, NOW + timedelta(days=30)
    )
    content_key = unwrap(envelope.wrapped, context.hpke_info(), KEY)
    return Template.decode(open_envelope(envelope, content_key, context))


def children() -> list[int]:
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def test_photographs_of_one_person_become_one_sealed_template(people: People) -> None:
    said: list[Progress] = []
    face = look(people, *people.owner, progress=said.append)
    template = opened(face)
    assert template.frames == len(people.owner) == len(face.qualities)
    assert [p.step for p in said] == [Step.TAKEN] * len(people.owner)
    assert [p.source for p in said] == list(range(len(people.owner)))
    with pytest.raises(TemplateRejected):
        opened(face, b"withdrawn consent")
    assert children() == []
    again = look(people, *people.owner)
    assert again.template_aux != face.template_aux
    assert opened(again).values.tobytes() != template.values.tobytes()


def test_a_folder_stands_for_its_photographs(people: People, tmp_path: Path) -> None:
    for photo in people.owner:
        shutil.copy(photo, tmp_path)
    (tmp_path / "notes.txt").write_text("not a photograph")
    assert len(look(people, tmp_path).qualities) == len(people.owner)


def test_different_people_are_refused_by_name_of_the_file(people: People) -> None:
    with pytest.raises(EnrolmentRefused, match="same person") as refusal:
        look(people, people.owner[0], people.other)
    assert people.other.name in refusal.value.what


def test_two_faces_are_refused(people: People, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    picture = cv2.imread(str(people.owner[0]))
    both = tmp_path / "both.png"
    cv2.imwrite(str(both), np.hstack([picture, picture]))
    with pytest.raises(EnrolmentRefused, match=r"more than one face in both\.png"):
        look(people, both)


def test_no_face_is_refused_with_advice(people: People, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    grey = tmp_path / "grey.png"
    cv2.imwrite(str(grey), np.full((480, 640, 3), 128, np.uint8))
    with pytest.raises(EnrolmentRefused, match="no usable face in any photograph") as refusal:
        look(people, grey)
    assert refusal.value.advice


@pytest.mark.parametrize("content", [b"no picture", b"\xff\xd8\xff\xe0" + bytes(100)])
def test_an_unreadable_image_is_named(people: People, tmp_path: Path, content: bytes) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(content)
    with pytest.raises(EnrolmentRefused, match=r"bad\.jpg is not a readable image"):
        look(people, people.owner[0], bad)
    assert children() == []


def test_a_pipe_for_a_photograph_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    nobody = People(ModelPack("edge", tmp_path / "absent"), (), pipe)
    with pytest.raises(EnrolmentRefused, match=r"pipe\.jpg is not a readable image"):
        look(nobody, pipe)
    assert children() == []


def test_missing_files_and_models_are_clear(tmp_path: Path) -> None:
    absent = People(ModelPack("edge", tmp_path / "absent"), (), tmp_path / "x.jpg")
    with pytest.raises(EnrolmentRefused, match=r"x\.jpg is not a readable image"):
        look(absent, absent.other)
    absent.other.write_bytes(b"x")
    with pytest.raises(ConfigError, match="gate models fetch"):
        look(absent, absent.other)
    with pytest.raises(ConfigError, match="no model pack"):
        look(People(ModelPack("cloud", tmp_path), (), absent.other), absent.other)
    with pytest.raises(EnrolmentRefused, match="0 photographs"):
        look(absent)


@pytest.mark.parametrize("source", ["v4l2:87", "file:/nowhere.mp4", "telepathy:1"])
def test_a_missing_camera_is_a_device_fault(people: People, source: str) -> None:
    with pytest.raises(DeviceFault):
        look(people, source=LiveCamera(source))
    assert children() == []


def camera_of(folder: Path, photo: Path) -> LiveCamera:
    shutil.copy(photo, folder / f"1{photo.suffix}")
    return LiveCamera(f"folder:{folder}")


def test_a_camera_that_shows_nobody_ends_by_its_deadline(people: People, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    cv2.imwrite(str(tmp_path / "grey.png"), np.full((480, 640, 3), 128, np.uint8))
    with pytest.raises(EnrolmentRefused, match="in front of the camera"):
        look(people, source=LiveCamera(f"folder:{tmp_path}"), deadline_ms=700)


def test_a_killed_worker_is_a_fault_and_leaves_nothing(people: People, tmp_path: Path) -> None:
    def kill(_: Progress) -> None:
        for pid in children():
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(CaptureFault, match="without a result"):
        look(people, source=camera_of(tmp_path, people.owner[0]), frames_wanted=99, progress=kill)
    assert children() == []


def test_a_worker_that_hangs_is_ended(people: People, tmp_path: Path) -> None:
    def stop(_: Progress) -> None:
        for pid in children():
            os.kill(pid, signal.SIGSTOP)

    with pytest.raises(CaptureFault, match="too long"):
        look(
            people,
            source=camera_of(tmp_path, people.owner[0]),
            frames_wanted=99,
            deadline_ms=1_000,
            start_ms=5_000,
            progress=stop,
        )
    assert children() == []


def test_an_officer_who_interrupts_leaves_no_worker(people: People, tmp_path: Path) -> None:
    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look(people, source=camera_of(tmp_path, people.owner[0]), progress=interrupt)
    assert children() == []


def test_the_worker_is_locked_while_it_looks(people: People, tmp_path: Path) -> None:
    status: dict[str, str] = {}
    limits: list[str] = []

    def inspect(_: Progress) -> None:
        (pid,) = children()
        process = Path(f"/proc/{pid}")
        lines = (process / "status").read_text().splitlines()
        status.update((name, value.strip()) for name, _, value in (x.partition(":") for x in lines))
        limits.extend((process / "limits").read_text().splitlines())
        os.kill(pid, signal.SIGKILL)

    with pytest.raises(CaptureFault):
        look(people, source=camera_of(tmp_path, people.owner[0]), frames_wanted=9, progress=inspect)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for name in ("Max core file size", "Max file size", "Max open files"):
        (line,) = [x for x in limits if x.startswith(name)]
        assert line.removeprefix(name).split()[:2] == ["0", "0"], line


def test_a_worker_without_its_parent_ends_itself() -> None:
    read_fd, write_fd = os.pipe()
    parent_of_another = 1
    done = subprocess.run(
        [
            *(sys.executable, "-I", "-m", "enrollment.capture_worker"),
            *(str(write_fd), str(parent_of_another)),
        ],
        input=b"",
        pass_fds=(write_fd,),
        timeout=60,
    )
    os.close(write_fd)
    assert os.read(read_fd, 1) == b""
    os.close(read_fd)
    assert done.returncode == 1
