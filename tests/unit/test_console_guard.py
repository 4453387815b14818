"""Who may ask what, and in which language the answer comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.requests import Request

from gate.console.guard import is_same_origin
from gate.console.pages import language

HOST = "127.0.0.1:8080"


def ask(reads: bool, **headers: str) -> bool:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return is_same_origin(Headers({"host": HOST, **named}), reads=reads)


@pytest.mark.parametrize("reads", [True, False])
def test_another_site_may_neither_read_nor_act(reads: bool) -> None:
    for site in ("cross-site", "same-site", "", "Same-Origin", "unknown"):
        assert not ask(reads, sec_fetch_site=site)
        assert not ask(reads, sec_fetch_site=site, origin=f"http://{HOST}")
    for origin in ("http://evil.example", "null", "", "http://127.0.0.1:9", "http://[", "http://"):
        assert not ask(reads, origin=origin)
        assert not ask(reads, origin=origin, sec_fetch_site="same-origin")


def test_our_own_page_may_act() -> None:
    assert ask(False, sec_fetch_site="same-origin", origin=f"http://{HOST}")
    assert ask(False, sec_fetch_site="same-origin")
    assert ask(False, origin=f"https://{HOST}")


def test_a_request_that_no_page_vouches_for_may_read_but_not_act() -> None:
    assert ask(True)
    assert not ask(False)
    # The address bar.
    assert ask(True, sec_fetch_site="none")
    assert not ask(False, sec_fetch_site="none")


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60))
def test_no_origin_but_our_own_passes(origin: str) -> None:
    assert not ask(False, origin=origin)
    assert not ask(False, origin=f"http://{HOST}{origin}") or not origin


def said(query: str, accept: str) -> str:
    scope = {
        "type": "http",
        "query_string": query.encode(),
        "headers": [(b"accept-language", accept.encode("latin-1"))],
    }
    return language(Request(scope))


@pytest.mark.parametrize(
    ("query", "accept", "lang"),
    [
        ("", "", "ko"),
        ("", "fr, de;q=0.5", "ko"),
        ("", "en-US,en;q=0.9,ko;q=0.8", "en"),
        ("", "ko-KR,ko;q=0.9,en-US;q=0.8", "ko"),
        ("", "fr;q=1, en;q=0.4, ko;q=0.6", "ko"),
        ("", "en;q=nonsense", "ko"),
        ("", "en;q=0", "ko"),
        ("lang=en", "ko", "en"),
        ("lang=ko", "en", "ko"),
        ("lang=xx", "en", "en"),
    ],
)
def test_the_language_is_asked_for_or_preferred_or_korean(
    query: str, accept: str, lang: str
) -> None:
    assert said(query, accept) == lang


@given(
    st.text(st.characters(max_codepoint=255), max_size=80),
    st.text(st.characters(max_codepoint=127), max_size=20),
)
def test_any_header_gives_one_of_the_two_languages(accept: str, query: str) -> None:
    assert said(query, accept) in ("ko", "en")
