"""The secret of a cluster: where it is kept, and who may read it.

The head makes it; a node finds it in the environment, in the file that it is told of, or in the user's home. It is never on a
command line, in a log, or in an error.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path

from ..exceptions import AuthenticationError
from ..wire.metrics import reading_token as reading_token

TOKEN_BYTES = 32


def default_path() -> Path:
    """Where the token of this user's cluster is, unless an option says otherwise."""
    named = os.environ.get("SKATE_TOKEN_PATH") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if named:
        return Path(named)
    try:
        return Path.home() / ".skate" / "token"
    except RuntimeError:  # a user without a home, as in a container
        raise AuthenticationError(
            "this user has no home folder for a token: give --token-file, or set SKATE_TOKEN_PATH"
        ) from None


def make() -> str:
    """A new token."""
    return secrets.token_hex(TOKEN_BYTES)


def find() -> str | None:
    """The token from the environment, or from its file; None when there is none.

    Raises:
        AuthenticationError: the file is not safe to believe.
    """
    token = (os.environ.get("SKATE_TOKEN") or os.environ.get("RAY_AUTH_TOKEN") or "").strip()
    return token or read(default_path())


def of_node(is_head: bool, path: str = "") -> str:
    """The token that a node is to use. A head makes one where there is none.

    Args:
        is_head: whether the node is a head.
        path: the file to look in, and nowhere else; "": the environment, then the default file.

    Raises:
        AuthenticationError: there is none, or the file is not safe to believe.
    """
    found = read(Path(path)) if path else find()
    if found is not None:
        return found
    file = Path(path) if path else default_path()
    if not is_head:
        raise AuthenticationError(
            f"there is no token to join a cluster with: copy the head's token file to {file}, or set SKATE_TOKEN"
        )
    found = make()
    write(file, found)
    return found


def read(path: Path) -> str | None:
    """The token in a file; None when there is no file.

    Raises:
        AuthenticationError: others can read or have made the file, or it is empty.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = "it is a symbolic link, name the file itself" if error.errno == errno.ELOOP else error.strerror
        raise AuthenticationError(f"the token file {path} cannot be read: {reason}") from None
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise AuthenticationError(f"the token file {path} is not a file")
        if about.st_uid != os.getuid():
            raise AuthenticationError(f"the token file {path} belongs to another user: chown {os.getuid()} {path}")
        if stat.S_IMODE(about.st_mode) & 0o077:
            raise AuthenticationError(f"the token file {path} can be read or written by others: chmod 600 {path}")
        token = os.read(fd, 4096).decode("ascii", "replace").strip()
    finally:
        os.close(fd)
    if not token:
        raise AuthenticationError(f"the token file {path} is empty: remove it, and start the head again")
    return token


def write(path: Path, token: str) -> None:
    """Keep a token in a file of its own, readable by its owner only. Its folder is made, if it is missing.

    Raises:
        AuthenticationError: there is something else already, or no way to make it.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise AuthenticationError(f"there is a token file already: {path}") from None
    except OSError as error:
        raise AuthenticationError(
            f"no token file can be made, {error.filename}: {error.strerror}; name another with --token-file or SKATE_TOKEN_PATH"
        ) from None
    with os.fdopen(fd, "w") as file:
        file.write(token + "\n")
