"""The OpenAPI document, made of the table of routes: so it names what there is, no more and no less."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..version import __version__

if TYPE_CHECKING:
    from .app import Operation

_IN_PATH = re.compile(r"{(\w+)}")


def document(routes: Iterable[Operation]) -> dict[str, Any]:
    """The document of these routes."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "skate dashboard",
            "version": __version__,
            "description": "What a skate cluster does, and Ray's REST routes. `/api/ui` is for the pages, and may change.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "The cluster's token; off loopback."}
            }
        },
        "security": [{}, {"token": []}],
    }


def _operation(route: Operation) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _IN_PATH.findall(route.path)
    ]
    for each in route.query:
        name, _, words = each.partition(": ")
        parameters.append({"name": name, "in": "query", "description": words, "schema": {"type": "string"}})
    words = re.sub(r"[^a-z0-9]+", "_", f"{route.method} {route.path}".lower()).strip("_")
    found: dict[str, Any] = {
        "operationId": words,
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "It is done."},
            "4XX": {"description": "It is refused: {error} says why."},
            "503": {"description": "The cluster does not answer: {error} says who."},
        },
    }
    if route.method in ("POST", "PUT"):
        content = "application/zip" if route.method == "PUT" else "application/json"
        found["requestBody"] = {
            "content": {content: {"schema": {"type": "string" if route.method == "PUT" else "object"}}}
        }
    return found
