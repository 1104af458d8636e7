"""Ray's REST routes for jobs, without a server: a request in, a status and plain data out.

Ray's own `JobSubmissionClient` may use them, too. It names what it brings along by what is in it, as `gcs://NAME`, and asks first
whether that is there.

Whoever serves them has seen to it that the request may be made, and is no larger than `BODY_BYTES_MAX`. Only POST, PUT and DELETE
change anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from ..version import __version__
from . import parameters
from .jobs import NO_JOB, RAY_PACKAGE, JobsApi, hash_of, whole_log
from .packages import PACKAGE_BYTES_MAX, Package

BODY_BYTES_MAX = PACKAGE_BYTES_MAX + (1 << 20)
WAIT_S_MAX = 3.0
WHOLE_MAX = 64 << 20
"""So many characters of a log are given at once: a node keeps up to 1 GiB of it, and whoever serves this has it in memory."""

NO_PACKAGE = "there is no package "
RAY_VERSION = "2.60.0"
"""The version of Ray whose routes these are: its clients look at it, and ask an older one for less."""

Answer = tuple[int, Any]


def answer(jobs: JobsApi, method: str, path: str, query: Mapping[str, str], body: bytes) -> Answer | None:
    """The status and the JSON of an answer; None: it is no route for jobs.

    Args:
        jobs: of the cluster.
        method, path, query, body: of the request; the path as it came, with its escapes.
    """
    words = [unquote(word) for word in path.strip("/").split("/")]
    route = _route(words)
    if route is None:
        return None
    actions = _ROUTES[route]
    action = actions.get(method)
    if action is None:
        return 405, {"error": f"{path} knows {', '.join(sorted(actions))}"}
    try:
        return 200, action(jobs, words, query, body)
    except ConnectionError as error:
        return 503, {"error": str(error)}
    except (ValueError, TypeError) as error:
        return 404 if str(error).startswith((NO_JOB, NO_PACKAGE)) else 400, {"error": str(error)}


def _route(words: list[str]) -> str | None:
    if words == ["api", "version"]:
        return "version"
    if words[:2] == ["api", "jobs"]:
        rest = words[2:]
        if len(rest) < 2:
            return "job" if rest and rest[0] else "jobs"
        return rest[1] if len(rest) == 2 and rest[1] in ("stop", "logs") else None
    return (
        "package"
        if words[:2] == ["api", "packages"] and words[2:3] in (["skate"], ["gcs"]) and len(words) == 4
        else None
    )


def _submit(jobs: JobsApi, _: list[str], __: Mapping[str, str], body: bytes) -> Any:
    request = parameters.json_object(body)
    ident = jobs.submit({name: value for name, value in request.items() if value is not None})
    return {"job_id": ident, "submission_id": ident}


def _log(jobs: JobsApi, words: list[str], query: Mapping[str, str], _: bytes) -> Any:
    """The log, at most its last `WHOLE_MAX` characters.

    With `offset` it is a part, that may be held back for `wait_s` seconds until there is one.
    """
    if "offset" in query:
        offset = parameters.whole(query, "offset", 0, parameters.OFFSET_MAX)
        return jobs.log(words[2], offset, parameters.seconds(query, "wait_s", WAIT_S_MAX))
    return {"logs": whole_log(jobs, words[2], WHOLE_MAX)}


def _is_there(jobs: JobsApi, words: list[str], _: Mapping[str, str], __: bytes) -> Any:
    if not jobs.has(_hash(words)):
        raise ValueError(f"{NO_PACKAGE}{words[3]!r}")
    return {}


def _package(jobs: JobsApi, words: list[str], _: Mapping[str, str], body: bytes) -> Any:
    jobs.bring(Package(_hash(words), body))
    return {}


def _hash(words: list[str]) -> str:
    _, _, store, name = words
    return hash_of(f"{RAY_PACKAGE}{name}") if store == "gcs" else name.removesuffix(".zip")


_Action = Callable[[JobsApi, list[str], Mapping[str, str], bytes], Any]
_ROUTES: dict[str, dict[str, _Action]] = {
    "version": {
        "GET": lambda jobs, words, query, body: {
            "version": __version__,
            "ray_version": RAY_VERSION,
            "address": jobs.where(),
        }
    },
    "jobs": {"GET": lambda jobs, words, query, body: jobs.listed(), "POST": _submit},
    "job": {
        "GET": lambda jobs, words, query, body: jobs.info(words[2]),
        "DELETE": lambda jobs, words, query, body: {"deleted": jobs.delete(words[2])},
    },
    "stop": {"POST": lambda jobs, words, query, body: {"stopped": jobs.stop(words[2])}},
    "logs": {"GET": _log},
    "package": {"GET": _is_there, "PUT": _package},
}
