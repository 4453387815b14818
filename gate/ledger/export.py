"""A log as plain files for an auditor, written whole or not at all.

Files: `entries.jsonl` (one canonical record a line), `checkpoint` (the newest signed note),
`checkpoints.jsonl` (all signed notes, oldest first, each as one JSON string), `vkey`,
`README.txt` (how to verify, Korean and English).
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import IO
from urllib.parse import quote

from gate.errors import LedgerFault
from gate.whole_file import PUBLIC

README = """\
이 폴더는 한 출입 게이트의 전체 기록입니다
==========================================
이 안에는 이름, 얼굴, 카드 번호, 점수, 정확한 시각이 없습니다. 시각은 15분 단위 번호(batch)뿐입니다.

파일
  entries.jsonl      한 줄에 기록 하나. 줄 바꿈을 뺀 바이트가 머클 트리의 잎입니다.
  checkpoint         서명된 최신 체크포인트: 출처, 기록 수, 루트, 서명
  checkpoints.jsonl  지금까지의 체크포인트(오래된 것부터, 한 줄에 JSON 문자열 하나)
  vkey               게이트의 공개 검증 키

확인 방법
  1. vkey를 이 폴더가 아닌 곳(투명성 페이지, 현장 안내문)에서 받은 키와 비교하십시오.
  2. gate ledger verify 이 폴더 --vkey "키"
  3. 우리 프로그램을 믿지 않아도 됩니다. checkpoint는 C2SP signed-note(Ed25519) 형식이고,
     루트는 RFC 9162 2.1.1의 머클 해시입니다. Go의 golang.org/x/mod/sumdb/note 와 tlog,
     또는 다른 투명성 로그 도구로 직접 확인할 수 있습니다.
  4. 전에 받아 둔 checkpoint가 있으면 함께 넣으십시오. 기록이 잘리거나 바뀌었는지 알 수 있습니다.
     gate ledger verify 이 폴더 --vkey "키" --kept 보관한_checkpoint (여러 번 쓸 수 있습니다)
     로그 하나만으로는 두 가지 역사를 보여 주는 속임수를 알 수 없습니다.
  5. 이번 checkpoint를 안전한 곳에 보관하십시오.

This folder is the whole log of one entry gate
==============================================
It holds no name, face, card number, score or exact time: only a quarter-of-an-hour number (batch).

Files
  entries.jsonl      one record a line; its bytes without the line feed are a leaf of the tree
  checkpoint         the newest signed checkpoint: origin, number of records, root, signature
  checkpoints.jsonl  the checkpoints so far (oldest first, one JSON string a line)
  vkey               the gate's public verifier key

How to verify
  1. Compare vkey with the key you got elsewhere (transparency page, sign at the site).
  2. gate ledger verify THIS_FOLDER --vkey "KEY"
  3. You need not trust our program. checkpoint is a C2SP signed-note (Ed25519), the root is the
     Merkle tree hash of RFC 9162 section 2.1.1. Go's golang.org/x/mod/sumdb/note and tlog, or
     any other transparency-log tool, can check them.
  4. Add the checkpoints you kept from before: they show a log that was cut or rewritten. A log
     alone cannot show that it tells two people two histories.
     gate ledger verify THIS_FOLDER --vkey "KEY" --kept KEPT_CHECKPOINT (may be repeated)
  5. Keep this checkpoint in a safe place.
"""


def export(path: Path, folder: Path) -> int:
    """Write the log as it is at this moment into a new folder; return its number of entries.

    Works while the gate writes. It does not judge the log: that is `gate.ledger.verify`'s work.

    Args:
        path: the log file.
        folder: must not exist, or be empty.

    Raises:
        LedgerFault: the log cannot be read, or the folder cannot be written or is not empty.
    """
    if not path.is_file():
        raise LedgerFault(f"there is no log at {path}", "check the path")
    try:
        parent = folder.resolve().parent
        parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=parent))
    except OSError as error:
        raise _cannot_write(folder, error) from None
    try:
        size = _write(path, partial)
        partial.chmod(0o755)
        # On POSIX this replaces an empty folder and refuses any other.
        partial.rename(folder.resolve())
        _sync(parent)
    except sqlite3.Error:
        raise LedgerFault(f"cannot read the log {path}", "run as the gate's user") from None
    except OSError as error:
        raise _cannot_write(folder, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return size


def _write(path: Path, partial: Path) -> int:
    at_rest = not path.with_name(path.name + "-wal").exists()
    uri = f"file:{quote(str(path.resolve()))}?{'immutable=1' if at_rest else 'mode=ro'}"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
        db.execute("BEGIN")
        size = 0
        with (partial / "entries.jsonl").open("wb") as file:
            for (body,) in db.execute("SELECT body FROM entries ORDER BY seq"):
                file.write(body + b"\n")
                size += 1
            _flush(file)
        notes = [note for (note,) in db.execute("SELECT note FROM checkpoints ORDER BY size")]
        (vkey,) = db.execute("SELECT vkey FROM log").fetchone()
    lines = "".join(json.dumps(note) + "\n" for note in notes)
    for name, text in {
        "checkpoints.jsonl": lines,
        "checkpoint": notes[-1] if notes else "",
        "vkey": vkey + "\n",
        "README.txt": README,
    }.items():
        with (partial / name).open("wb") as file:
            file.write(text.encode())
            _flush(file)
    _sync(partial)
    return size


def _flush(file: IO[bytes]) -> None:
    os.fchmod(file.fileno(), PUBLIC)
    file.flush()
    os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(folder: Path, error: OSError) -> LedgerFault:
    return LedgerFault(
        f"cannot export to {folder}: {error.strerror}",
        "name a new folder on a disk with free space",
    )
