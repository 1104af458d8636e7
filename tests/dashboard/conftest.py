"""A real Chromium, and dashboards that it can look at."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from skate.dashboard.app import Dashboard
from skate.dashboard.guard import Guard
from skate.dashboard.serve import Server, listen
from skate.testing import eventually

from .fakes import FakeJobs, FakeSource

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


class Served:
    """A dashboard of a cluster that is not there, and how it is reached."""

    def __init__(self, guard: Guard) -> None:
        self.source, self.jobs = FakeSource(), FakeJobs()
        self.dashboard = Dashboard(self.source, self.jobs, guard, poll_s=0.2)
        self.listener = listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        app: Any = self.dashboard.app()
        config = uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1, ws="none")
        self.server = Server(config, self.dashboard, [], lambda: None)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]})
        self.thread.start()
        eventually(lambda: self.server.started, 10, "the dashboard answers")

    def close(self) -> None:
        """End it, and see that nothing of it is left."""
        self.server.should_exit = True
        self.thread.join(10)
        self.listener.close()
        assert not self.thread.is_alive() and not self.dashboard.live.polls


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """On loopback: 10,000 tasks and 1,000 actors."""
    found = Served(Guard())
    yield found
    found.close()


@pytest.fixture(scope="module")  # while it lives, this thread has a running event loop, which others start themselves
def chromium() -> Iterator[Any]:
    """The browser."""
    if not CHROMIUM:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, headless=True)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A new window without cookies, in which nothing may go wrong unseen."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(10_000)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"{error}"))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.allowed = lambda text: wrong.__setitem__(slice(None), [each for each in wrong if text not in each])
    yield page
    context.close()
    assert wrong == []
