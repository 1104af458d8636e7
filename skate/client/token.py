"""The secret of a cluster: where it is kept, and who may read it.

The head makes it; a node finds it in the environment or in the user's home. It is never on a command line, in a log, or in an
error.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from ..exceptions import AuthenticationError

TOKEN_BYTES = 32


def default_path() -> Path:
    """Where the token of this user's cluster is, unless the environment says otherwise."""
    named = os.environ.get("SKATE_TOKEN_PATH") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else Path.home() / ".skate" / "token"


def make() -> str:
    """A new token."""
    return secrets.token_hex(TOKEN_BYTES)


def find() -> str | None:
    """The token from the environment or from its file; None when there is none.

    Raises:
        AuthenticationError: the file is not safe to believe.
    """
    token = os.environ.get("SKATE_TOKEN") or os.environ.get("RAY_AUTH_TOKEN")
    return token.strip() if token else read(default_path())


def read(path: Path) -> str | None:
    """The token in a file; None when there is no file.

    Raises:
        AuthenticationError: others can read or have made the file, or it is empty.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AuthenticationError(f"the token file {path} cannot be read: {error}") from None
    with os.fdopen(fd) as file:
        about = os.fstat(fd)
        if about.st_uid != os.getuid() or stat.S_IMODE(about.st_mode) & 0o077:
            raise AuthenticationError(
                f"the token file {path} must be yours, and nobody else's to read: chmod 600 {path}"
            )
        token = file.read(4096).strip()
    if not token:
        raise AuthenticationError(f"the token file {path} is empty: remove it, and start the head again")
    return token


def write(path: Path, token: str) -> None:
    """Keep a token in a file of its own, readable by its owner only.

    Raises:
        AuthenticationError: there is something else already.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise AuthenticationError(f"there is a token file already: {path}") from None
    with os.fdopen(fd, "w") as file:
        file.write(token + "\n")
