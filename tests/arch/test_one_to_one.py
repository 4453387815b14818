"""1:1 only: a gallery, an index, a search or a second reference cannot come in unnoticed.

docs/one-to-one.md explains each rule. Every rule is also shown something that it must catch.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enrollment.registry import Registry
from gate.errors import ProtocolViolation
from gate.ledger.checkpoint import generate
from gate.ledger.columns import Hex, Within
from gate.ledger.record import SCHEMA
from gate.ledger.store import Ledger
from gate.template.context import Purpose, SealContext
from gate.template.envelope import ENVELOPE_MAX
from gate.template.protection import AUX_BYTES
from gate.verifier.job import JOB_MAX, Job
from gate.verifier.wire import RECORD_BYTES, Kind, Verdict
from models.types import Zone

ROOT = Path(__file__).parents[2]
PACKAGES = ("gate", "models", "firmware_bridge", "enrollment")
ENROLLED = re.compile(r"\b(Reference|Template)\b")
MANY = re.compile(
    r"\b(list|tuple|set|frozenset|dict|deque|Sequence|MutableSequence|Iterable|Iterator|Mapping"
    r"|MutableMapping|Collection|Generator|Set)\["
)
GALLERY = re.compile(
    r"gallery|watch_?list|nearest|neighbou?rs?\b|identify|candidates?_list|knn|top_?k\b"
    r"|search_faces?|face_?(db|database|index|search)|one_to_many|enrolled_(faces|people|templates)",
    re.IGNORECASE,
)
SEARCH_LIBRARIES = frozenset(
    {
        "faiss",
        "faiss-cpu",
        "faiss-gpu",
        "annoy",
        "hnswlib",
        "nmslib",
        "usearch",
        "scann",
        "voyager",
        "pynndescent",
        "scikit-learn",
        "scipy",
        "pgvector",
        "sqlite-vec",
        "sqlite-vss",
        "chromadb",
        "qdrant-client",
        "pymilvus",
        "milvus-lite",
        "weaviate-client",
        "pinecone",
        "lancedb",
        "elasticsearch",
        "opensearch-py",
        "redisvl",
        "face-recognition",
        "deepface",
        "insightface",
    }
)


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


# ---- types -----------------------------------------------------------------------------------


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[tuple[str, bool]]:
    """Return the annotation of each parameter, and whether it is a starred one."""
    a = node.args
    plain = [(x, False) for x in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    starred = [(x, True) for x in (a.vararg, a.kwarg) if x is not None]
    return [(ast.unparse(x.annotation), s) for x, s in plain + starred if x.annotation is not None]


def sins_of_types(tree: ast.AST) -> Iterator[str]:
    """Name what holds, takes or gives more than one enrolled vector."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                enrolled = [(t, s) for t, s in parameters(node) if ENROLLED.search(t)]
                # A callable is handed one reference when it is called: that is one function more.
                direct = [t for t, _ in enrolled if "Callable[" not in t]
                if len(direct) > 1 or any(s for _, s in enrolled):
                    yield f"{node.name} takes two references"
                if any(MANY.search(t) for t, _ in enrolled if "Callable[" not in t):
                    yield f"{node.name} takes many references"
                if node.returns is not None and many(ast.unparse(node.returns)):
                    yield f"{node.name} returns many references"
            case ast.AnnAssign() if many(ast.unparse(node.annotation)):
                yield f"{ast.unparse(node.target)} holds many references"
            case ast.ClassDef():
                fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
                held = [n for n in fields if ENROLLED.search(ast.unparse(n.annotation))]
                if len(held) > 1:
                    yield f"{node.name} holds two references"


def many(annotation: str) -> bool:
    enrolled, collected = ENROLLED.search(annotation), MANY.search(annotation)
    return bool(enrolled and collected and "Callable" not in annotation)


def test_no_type_holds_two_references() -> None:
    seen = 0
    for path in sources():
        text = path.read_text(encoding="utf-8")
        seen += bool(ENROLLED.search(text))
        for sin in sins_of_types(ast.parse(text)):
            pytest.fail(f"{path.relative_to(ROOT)}: {sin}")
    assert seen > 3, "the rule looks for the wrong type names"


@pytest.mark.parametrize(
    "source",
    [
        "def f(a: Reference, b: Reference): ...",
        "def f(live: Embedding, many: list[Reference]): ...",
        "def f(live: Embedding, many: Iterable[Reference]): ...",
        "def f(live: Embedding, *many: Reference): ...",
        "def f(live: Embedding, **many: Reference): ...",
        "def f(one: Template, *, other: Template | None = None): ...",
        "async def f(by_person: Mapping[bytes, Template]): ...",
        "def load() -> dict[str, Reference]: ...",
        "everyone: dict[str, Template] = {}",
        "class Two:\n    first: Reference\n    second: Reference",
        "class Staff:\n    def __init__(self) -> None:\n        self.all: list[Reference] = []",
    ],
)
def test_the_rule_of_types_catches_a_second_reference(source: str) -> None:
    assert list(sins_of_types(ast.parse(source)))


def test_only_one_function_compares() -> None:
    """Whoever takes both a live face and a reference is `models.compare.score_cos`."""
    both = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                taken = [t for t, _ in parameters(node) if "Callable[" not in t]
                if any("Embedding" in t for t in taken) and any(ENROLLED.search(t) for t in taken):
                    both.append(f"{path.relative_to(ROOT)}:{node.name}")
    assert both == ["models/compare.py:score_cos"]


def test_a_reference_is_made_in_two_places_only() -> None:
    """The opened template of this passage, and the frames of one person being enrolled."""
    made = {
        str(path.relative_to(ROOT))
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Reference"
    }
    assert made == {"gate/template/biometric.py", "enrollment/gathering.py"}


# ---- names -----------------------------------------------------------------------------------


def gallery_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names = [node.id]
        elif isinstance(node, ast.arg):
            names = [node.arg]
        else:
            continue
        yield from (name for name in names if GALLERY.search(name))


def test_nothing_is_named_like_a_gallery() -> None:
    for path in sources():
        found = list(gallery_names(ast.parse(path.read_text(encoding="utf-8"))))
        assert not found, f"{path.relative_to(ROOT)}: {found}"
        assert not GALLERY.search(path.stem), path


@pytest.mark.parametrize(
    "source",
    ["class Gallery: ...", "def identify(face): ...", "face_index = 1", "def f(watchlist): ..."],
)
def test_the_rule_of_names_catches_a_gallery(source: str) -> None:
    assert list(gallery_names(ast.parse(source)))


# ---- dependencies ----------------------------------------------------------------------------


def locked(path: Path) -> set[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {found[1] for line in lines if (found := re.match(r"([a-z0-9._-]+)==", line))}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_no_library_that_searches_vectors_is_locked(name: str) -> None:
    packages = locked(ROOT / name)
    assert len(packages) > 20, "the rule cannot read the lock file"
    assert not packages & SEARCH_LIBRARIES


def test_the_import_contract_forbids_search_libraries() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (rule,) = [c for c in contracts if c["name"].startswith("no 1:N")]
    assert set(rule["source_modules"]) == set(PACKAGES)
    assert {"faiss", "hnswlib", "sklearn", "pgvector"} <= set(rule["forbidden_modules"])


# ---- schemas ---------------------------------------------------------------------------------

COLUMNS = {
    "registry": {
        "credential": {"id", "status_index", "expires", "state", "reference"},
    },
}
"""Every column of a database that knows credentials. `reference` is the personnel office's own
file number, at most 64 characters of text."""


def columns(path: Path) -> dict[str, dict[str, str]]:
    with closing(sqlite3.connect(path)) as db:
        tables = [n for (n,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            table: {row[1]: row[2] for row in db.execute(f"PRAGMA table_info({table})")}
            for table in tables
        }


def test_the_registry_has_no_column_that_could_hold_a_face(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    Registry.create(path)
    found = columns(path)
    assert {table: set(kinds) for table, kinds in found.items()} == COLUMNS["registry"]
    blobs = [name for kinds in found.values() for name, kind in kinds.items() if kind == "BLOB"]
    assert blobs == ["id"]
    with closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO credential VALUES (?, 1, 1, 0, NULL)", (bytes(512),))
    with closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO credential VALUES (?, 1, 1, 0, ?)", (bytes(16), "7" * 512))


def test_no_record_of_the_log_holds_a_vector_or_an_identity() -> None:
    for record, schema in SCHEMA.items():
        for name, column in schema.items():
            assert "credential" not in name, record
            if isinstance(column.rule, Hex):
                assert name == "policy", record
            else:
                assert isinstance(column.rule, type | Within), record


def test_the_log_file_has_one_table_of_records(tmp_path: Path) -> None:
    signer = generate("gate.example/door", lambda n: bytes(n))
    with closing(Ledger.open(tmp_path / "log.db", signer, signer.name)):
        tables = columns(tmp_path / "log.db")
    assert [t for t, c in tables.items() if "body" in c] == ["entries"]
    assert set(tables["entries"]) == {"seq", "body"}


# ---- worker protocol -------------------------------------------------------------------------


def job(envelope: bytes = b"e" * 100) -> Job:
    context = SealContext(
        Purpose.TEMPLATE, bytes(16), "model", bytes(32), bytes(32), datetime(2030, 1, 1, tzinfo=UTC)
    )
    aux = bytes(AUX_BYTES)
    return Job("v4l2:0", Zone(), envelope, context, aux, nonce=bytes(8), deadline_ms=5000)


def test_a_job_names_one_card_and_one_envelope() -> None:
    kinds = {field.name: str(field.type) for field in dataclasses.fields(Job)}
    assert [name for name, kind in kinds.items() if kind == "SealContext"] == ["context"]
    assert [n for n, k in kinds.items() if k == "bytes"] == ["envelope", "template_aux", "nonce"]
    assert not any(MANY.search(kind) for kind in kinds.values())


def test_a_second_envelope_has_no_room_in_a_job() -> None:
    one = job().encode()
    assert Job.decode(one).envelope == b"e" * 100
    second = one[-102:]
    for many in (one + second, one + one, one + b"\0", one[:-1]):
        with pytest.raises(ProtocolViolation):
            Job.decode(many)
    # Nor does any job have room for two templates, whatever form they had.
    assert len(job(bytes(ENVELOPE_MAX)).encode()) + ENVELOPE_MAX > JOB_MAX


def test_an_answer_says_yes_or_no_and_nothing_about_who() -> None:
    assert RECORD_BYTES == 16
    assert {kind.name for kind in Kind} == {"READY", "CAMERA_ON", "GUIDANCE", "VERDICT"}
    assert [v.name for v in Verdict if "MATCH" in v.name] == ["MATCH", "NO_MATCH"]
