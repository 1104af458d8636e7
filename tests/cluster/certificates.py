"""Certificates for tests: a CA, and files of one node."""

from __future__ import annotations

import datetime
from pathlib import Path

import trustme

from skate.wire.tls import Tls

_DAY = datetime.timedelta(days=1)


def make(folder: Path, ca: trustme.CA, trusted: trustme.CA | None = None, expired: bool = False) -> Tls:
    """A certificate of `ca`, for a node that believes certificates of `trusted`, or else of the same."""
    folder.mkdir(parents=True)
    now = datetime.datetime.now(datetime.UTC)
    end = now - _DAY if expired else None
    leaf = ca.issue_cert("node.skate.test", not_before=now - 9 * _DAY, not_after=end)
    leaf.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "key.pem").chmod(0o600)
    for blob in leaf.cert_chain_pems:
        blob.write_to_path(folder / "cert.pem", append=True)
    (trusted or ca).cert_pem.write_to_path(folder / "ca.pem")
    return Tls(str(folder / "cert.pem"), str(folder / "key.pem"), str(folder / "ca.pem"))
