"""Templates and the language of a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined

ROOT = Path(__file__).parent
LANGUAGES = ("ko", "en")


def templates(area: str) -> Jinja2Templates:
    """Return the templates of one area, and the shared ones."""
    folders = [ROOT / area / "templates", ROOT / "templates"]
    environment = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return Jinja2Templates(env=environment)


def language(request: Request) -> str:
    """Return "ko" or "en": what ?lang= says, else what the browser prefers, else Korean.

    Source: Accept-Language, RFC 9110, 12.5.4.
    """
    asked = request.query_params.get("lang")
    if asked in LANGUAGES:
        return str(asked)
    best, best_q = "ko", 0.0
    for part in request.headers.get("accept-language", "").split(","):
        tag, _, weight = part.strip().partition(";")
        try:
            q = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            continue
        primary = tag.strip().lower().partition("-")[0]
        if primary in LANGUAGES and q > best_q:
            best, best_q = primary, q
    return best


def page_context(request: Request, area: str, *, demo: bool) -> dict[str, Any]:
    """Return what templates/base.html needs. `t(ko, en)` says one of the two."""
    lang = language(request)
    return {
        "lang": lang,
        "other": "en" if lang == "ko" else "ko",
        "t": lambda ko, en: ko if lang == "ko" else en,
        "area": area,
        "demo": demo,
    }
