"""How two machines prove to each other that they are of the same cluster, before either believes a word.

Pure: bytes in, bytes out; no socket and no clock. Both sides know the cluster's token; neither sends it.

    client                                            server
      magic, protocol, version, nonce, flags ───▶
                                       ◀─────────     magic, protocol, version, nonce, flags, or a refusal
      proof of the client, purpose, payload ────▶
                                       ◀─────────     proof of the server, or a refusal
      TLS begins, if both flags say so ─────────▶

Versions are compared before the token is needed: a wrong version is the more useful thing to hear. A proof is an HMAC over who
speaks, both nonces, and everything that was said; a proof of one side is not one of the other (no reflection), and each
connection has new nonces (no replay). Nothing is decoded before its proof is right, and every length is bounded.

The handshake itself is in the clear, as the node that listens has to know who the connection is for before TLS begins: TLS ends
in that process (`tls.py`). What can be read on the way: versions, the purpose, and a payload of ids and of keys that are used
once. None of these is of use without the token, and nobody can change them. Whether TLS follows is a setting of each end, never
an
offer: a difference is refused, and the flag is part of what is proved, so that nobody in between can talk either end out of it.
"""

from __future__ import annotations

import hmac
import os
import struct

MAGIC = b"SKATE\n"
PROTOCOL = 2
NONCE_BYTES = 32
PROOF_BYTES = 32
VERSION_BYTES_MAX = 64
PURPOSE_BYTES_MAX = 32
PAYLOAD_BYTES_MAX = 4096
REFUSAL_BYTES_MAX = 512
_HELLO = struct.Struct("<6sHB")
_ASK = struct.Struct("<BH")
_YES = 0
_NO = 1
_TLS = 1
"""The only flag."""
_HOW = "--tls-cert, --tls-key and --tls-ca, or SKATE_TLS_CERT, SKATE_TLS_KEY and SKATE_TLS_CA"


class HandshakeError(ConnectionError):
    """The other end is not of this cluster; the message says why and what to do."""


class _Side:
    """What both ends do."""

    role = b""
    other = b""

    def __init__(self, token: str, version: str, tls: bool = False) -> None:
        self._token = token.encode()
        self._flags = bytes((_TLS if tls else 0,))
        self._version = version.encode()[:VERSION_BYTES_MAX]
        self._nonce = os.urandom(NONCE_BYTES)
        self._theirs = b""
        self._have = bytearray()
        self.done = False
        self.purpose = ""
        self.payload = b""

    @property
    def heard(self) -> bool:
        """Whether the other end has said anything yet."""
        return bool(self._have or self._theirs)

    @property
    def rest(self) -> bytes:
        """What came after the handshake."""
        return bytes(self._have)

    def _hello(self) -> bytes:
        return _HELLO.pack(MAGIC, PROTOCOL, len(self._version)) + self._version + self._nonce + self._flags

    def _read_hello(self) -> bool:
        """Whether all of the other's hello is there, and agrees with ours. Flags come only in this protocol."""
        have = self._have
        known = bytes(have[: len(MAGIC)])
        if not MAGIC.startswith(known):
            raise HandshakeError(f"the other end does not speak skate's protocol (it begins with {known!r})")
        if len(have) < _HELLO.size:
            return False
        _, protocol, size = _HELLO.unpack_from(have)
        if size > VERSION_BYTES_MAX:
            raise HandshakeError("the other end does not speak skate's protocol (its version is too long)")
        end = _HELLO.size + size + NONCE_BYTES
        if len(have) < end + (protocol == PROTOCOL):
            return False
        version = bytes(have[_HELLO.size : _HELLO.size + size]).decode("ascii", "replace")
        self._same_version(version, protocol == PROTOCOL)
        self._theirs = bytes(have[end - NONCE_BYTES : end])
        self._same_flags(bytes(have[end : end + 1]))
        del have[: end + 1]
        return True

    def _proof(self, role: bytes, purpose: bytes, payload: bytes) -> bytes:
        first, second = (self._nonce, self._theirs) if self.role == b"client" else (self._theirs, self._nonce)
        said = b"".join(
            len(part).to_bytes(4, "little") + part
            for part in (MAGIC, role, first, second, self._flags, purpose, payload)
        )
        return hmac.digest(self._token, said, "sha256")

    def _same_version(self, version: str, same_protocol: bool) -> None:
        own = self._version.decode()
        if not same_protocol or version != own:
            raise HandshakeError(
                f"this end has skate {own}, the other {version}: install the same version on all machines"
            )

    def _same_flags(self, flags: bytes) -> None:
        if flags == self._flags:
            return
        listens_with_tls = (self._flags if self.role == b"server" else flags) == bytes((_TLS,))
        if listens_with_tls:
            raise HandshakeError(f"this cluster uses TLS, and the end that connects does not: start it with {_HOW}")
        raise HandshakeError(
            f"this cluster does not use TLS, and the end that connects does: leave out {_HOW}, or start the head with them"
        )


class Client(_Side):
    """The end that dials."""

    role, other = b"client", b"server"

    def __init__(self, token: str, purpose: str, payload: bytes, version: str, tls: bool = False) -> None:
        super().__init__(token, version, tls)
        if len(payload) > PAYLOAD_BYTES_MAX or len(purpose) > PURPOSE_BYTES_MAX:
            raise ValueError("purpose or payload is too long for a handshake")
        self.purpose = purpose
        self.payload = payload
        self._state = 0

    def feed(self, data: bytes) -> bytes:
        """Take what has come; returns what to send. Call it with nothing first.

        Raises:
            HandshakeError: the other end refuses, or is not of this cluster.
        """
        self._have += data
        out = b""
        if self._state == 0:
            self._state = 1
            out = self._hello()
        if self._state == 1:
            self._look_for_refusal()
            if self._read_hello():
                self._state = 2
                purpose = self.purpose.encode()
                out += self._proof(self.role, purpose, self.payload)
                out += _ASK.pack(len(purpose), len(self.payload)) + purpose + self.payload
        if self._state == 2 and self._have:
            self._look_for_refusal()
            if self._have[0] == _YES and len(self._have) > PROOF_BYTES:
                proof = bytes(self._have[1 : 1 + PROOF_BYTES])
                if not hmac.compare_digest(proof, self._proof(self.other, self.purpose.encode(), self.payload)):
                    raise HandshakeError("the other end does not know this cluster's token")
                del self._have[: 1 + PROOF_BYTES]
                self.done = True
                self._state = 3
        return out

    def _look_for_refusal(self) -> None:
        have = self._have
        if have and have[0] == _NO:
            size = int.from_bytes(have[1:3], "little")
            if len(have) >= 3 and (size > REFUSAL_BYTES_MAX or len(have) >= 3 + size):
                raise HandshakeError(bytes(have[3 : 3 + size]).decode("utf-8", "replace"))


class Server(_Side):
    """The end that listens."""

    role, other = b"server", b"client"

    def __init__(self, token: str, version: str, tls: bool = False) -> None:
        super().__init__(token, version, tls)
        self._greeted = False

    def feed(self, data: bytes) -> bytes:
        """Take what has come; returns what to send.

        Raises:
            HandshakeError: the other end is not of this cluster; `refusal` is what to send before closing.
        """
        self._have += data
        out = b""
        if not self._greeted:
            if not self._read_hello():
                return b""
            self._greeted = True
            out = self._hello()
        if not self.done:
            out += self._read_proof()
        return out

    def _read_proof(self) -> bytes:
        have = self._have
        head = PROOF_BYTES + _ASK.size
        if len(have) < head:
            return b""
        purpose_size, payload_size = _ASK.unpack_from(have, PROOF_BYTES)
        if purpose_size > PURPOSE_BYTES_MAX or payload_size > PAYLOAD_BYTES_MAX:
            raise HandshakeError("the other end does not speak skate's protocol (its request is too long)")
        end = head + purpose_size + payload_size
        if len(have) < end:
            return b""
        purpose, payload = bytes(have[head : head + purpose_size]), bytes(have[head + purpose_size : end])
        if not hmac.compare_digest(bytes(have[:PROOF_BYTES]), self._proof(self.other, purpose, payload)):
            raise HandshakeError(
                "the token is not this cluster's: copy the head's ~/.skate/token, or set SKATE_TOKEN to what it says"
            )
        del have[:end]
        self.purpose, self.payload = purpose.decode("ascii", "replace"), payload
        self.done = True
        return bytes((_YES,)) + self._proof(self.role, purpose, payload)


def refusal(reason: str) -> bytes:
    """What a server sends before it closes."""
    text = reason.encode()[:REFUSAL_BYTES_MAX]
    return bytes((_NO,)) + len(text).to_bytes(2, "little") + text
