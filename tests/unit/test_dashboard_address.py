"""A server that is no dashboard, or says nothing, is an error in good time and not a traceback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from skate.client.observing import observe

ANSWER_S = 0.2
NOT_HTTP = b"220 mail.example.com\r\n"
CUT_OFF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
NO_OBJECT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """It gives one answer, and then closes; or none."""
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            if request.param:
                connection.sendall(request.param)
            else:
                over.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        thread.join()


@pytest.mark.parametrize(
    ("server", "said"),
    [(NOT_HTTP, "no dashboard"), (CUT_OFF, "no dashboard"), (NO_OBJECT, "does not say which"), (b"", "timed out")],
    indirect=["server"],
)
def test_what_is_no_dashboard_is_an_error_that_says_so(server: str, said: str) -> None:
    with pytest.raises(ConnectionError, match=f"{said}.*HOST:PORT of a node"):
        observe(server, answer_s=ANSWER_S)
