"""What a program knows of the job that it is the entrypoint of, or was started by, and what it tells of itself.

The job's node has put it into the environment (`node/job_start.py`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..exceptions import GetTimeoutError
from ..wire.environments import merge

if TYPE_CHECKING:
    from .runtime import ClientRuntime

TELL_S = 5.0


def with_job(given: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """A runtime environment, with that of the job that this program is of for what it does not say; variables are merged."""
    text = os.environ.get("SKATE_JOB_CONFIG")
    if not text:
        return given
    import json

    of_job: dict[str, Any] = json.loads(text)["runtime_env"]
    return merge(of_job, given or {})


def submission() -> str:
    """The id of the job that this program is of; "": it was not submitted."""
    return os.environ.get("SKATE_JOB_ID", "")


def tell_job(runtime: ClientRuntime) -> None:
    """A driver has attached to a cluster: if it is of a submitted job, the head notes that, so that its tasks can be found."""
    ident = submission()
    if not ident:
        return
    try:
        runtime.links.head.ask("job_driver", {"id": ident, "job": runtime.welcome.job}, TELL_S)
    except (GetTimeoutError, ValueError) as error:
        print(f"skate: the head does not know that this is the program of job {ident}: {error}", file=sys.stderr)
