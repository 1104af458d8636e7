"""Where this machine's certificate for TLS is: options of `skate start`, skate's environment variables, or Ray's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..exceptions import AuthenticationError
from ..wire.tls import Tls

_NAMES = ("certificate", "key", "CA")
_OPTIONS = ("--tls-cert", "--tls-key", "--tls-ca")
_SKATE = ("SKATE_TLS_CERT", "SKATE_TLS_KEY", "SKATE_TLS_CA")
_RAY = ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")
_FALSE = ("", "0", "false", "no", "off")


def find(cert: str = "", key: str = "", ca: str = "") -> Tls | None:
    """The files that TLS is to use, checked; None: no TLS. Options go before skate's variables, file by file, and those before
    Ray's.

    Raises:
        AuthenticationError: some are missing, cannot be used, or the key is not only its owner's to read; the message says which.
    """
    ray = os.environ.get("RAY_USE_TLS", "").lower() not in _FALSE
    found = [
        option or os.environ.get(own) or (os.environ.get(theirs, "") if ray else "")
        for option, own, theirs in zip((cert, key, ca), _SKATE, _RAY, strict=True)
    ]
    if not ray and not any(found):
        return None
    for at, path in enumerate(found):
        if not path:
            raise AuthenticationError(f"TLS needs a {_NAMES[at]}, too: give {_OPTIONS[at]}, or set {_SKATE[at]}")
    tls = Tls(*map(os.path.abspath, found))
    try:
        mode = stat.S_IMODE(Path(tls.key).stat().st_mode)
    except OSError as error:
        raise AuthenticationError(f"the key of TLS cannot be read: {error}") from None
    if mode & 0o007:
        raise AuthenticationError(f"the key of TLS, {tls.key}, can be read by everybody: chmod 600 {tls.key}")
    from ..wire.tls_socket import TlsError, check

    try:
        check(tls)
    except TlsError as error:
        raise AuthenticationError(str(error)) from None
    return tls
