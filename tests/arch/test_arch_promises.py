"""What must not exist in the source: a second reference, a gallery, a classifier of people."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("gate", "models", "firmware_bridge", "enrollment")
MANY = re.compile(
    r"(list|tuple|set|frozenset|dict|Sequence|Iterable|Mapping|Iterator|Collection)\["
)


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def references_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Annotations of parameters that hold an enrolled reference or an opened template."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
    written = [ast.unparse(a.annotation) for a in every if a.annotation is not None]
    return [text for text in written if re.search(r"\b(Reference|Template)\b", text)]


def breaks_one_to_one(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    found = references_of(function)
    stars = [a for a in (function.args.vararg, function.args.kwarg) if a and a.annotation]
    starred = any(re.search(r"\b(Reference|Template)\b", ast.unparse(a.annotation)) for a in stars)
    return starred or len(found) > 1 or any(MANY.search(text) for text in found)


def test_no_function_takes_two_references() -> None:
    seen = 0
    for path in sources():
        for function in functions(path):
            seen += len(references_of(function))
            assert not breaks_one_to_one(function), f"{path}: {function.name} takes two references"
    assert seen > 0, "the rule looks at the wrong type names"


@pytest.mark.parametrize(
    "source",
    [
        "def f(a: Reference, b: Reference): ...",
        "def f(live: Embedding, many: list[Reference]): ...",
        "def f(live: Embedding, *many: Reference): ...",
        "def f(one: Template, *, other: Template | None = None): ...",
    ],
)
def test_the_rule_catches_what_it_forbids(source: str) -> None:
    (function,) = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)]
    assert breaks_one_to_one(function)


@pytest.mark.parametrize(
    "word", ["emotion", "gender", "ethnic", "watchlist", "watch_list", "identify_person", "1:n"]
)
def test_no_code_classifies_or_searches_people(word: str) -> None:
    for path in sources():
        for number, line in enumerate(path.read_text(encoding="utf-8").lower().splitlines(), 1):
            if word in line:
                assert "no " in line or "never" in line, f"{path}:{number} speaks of {word}"


def test_no_test_replaces_what_it_tests() -> None:
    banned = re.compile("unittest" + r"\.mock|monkey" + "patch")
    for path in sorted((ROOT / "tests").rglob("*.py")):
        assert not banned.search(path.read_text(encoding="utf-8")), path
