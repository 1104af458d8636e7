"""The pages in a real Chromium: each of them, live, by keyboard, for a screen reader, and with many rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from skate.dashboard.guard import Guard
from skate.testing import eventually

from .conftest import Served

PAGES = {
    "": "Overview",
    "nodes": "Nodes",
    "jobs": "Jobs",
    "tasks": "Tasks",
    "actors": "Actors",
    "workers": "Workers",
    "objects": "Objects and memory",
    "placement-groups": "Placement groups",
    "datasets": "Datasets",
    "logs": "Logs",
    "events": "Events",
}
SLOW_MS = 50
"""A task of the browser's main thread that takes longer makes a frame late. It is processor time that is looked at: how long a
task has waited for a processor says how busy the machine is."""

UNNAMED = """() => {
  const wrong = [];
  const seen = (labels) => [...labels].filter((l) => l.checkVisibility()).map((l) => l.textContent).join(" ");
  const name = (e) => (e.getAttribute("aria-label") || (e.labels && seen(e.labels)) ||
    (e.getAttribute("aria-labelledby") && document.getElementById(e.getAttribute("aria-labelledby"))?.textContent) ||
    (e.tagName !== "SELECT" && e.textContent) || e.title || "").trim();
  for (const e of document.querySelectorAll("button, a, input, select, progress, dialog, [role=img], [role=grid], [role=tree]"))
    if (!name(e)) wrong.push(`without a name: ${e.outerHTML.slice(0, 120)}`);
  for (const e of document.querySelectorAll(":is(pre, div, p, span)[aria-label]:not([role])"))
    wrong.push(`a name that is not said: ${e.outerHTML.slice(0, 120)}`);
  for (const e of document.querySelectorAll("th")) if (!e.scope) wrong.push(`without a scope: ${e.outerHTML.slice(0, 120)}`);
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of ids) if (ids.filter((each) => each === id).length > 1) wrong.push(`twice: ${id}`);
  if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
  for (const [what, count] of [["header", 1], ["nav", 1], ["main", 1]])
    if (document.querySelectorAll(what + ":not(dialog *)").length !== count) wrong.push(`not one ${what}`);
  return wrong;
}"""
CONTRAST = """() => {
  const number = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const f = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = number(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255]; };
  const wrong = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !e.checkVisibility() || e.closest(".quiet, .skip, noscript, script, svg")) continue;
    const [a, b] = [light(number(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) wrong.add(`${ratio.toFixed(2)} ${e.tagName} ${e.className} ${walker.currentNode.data.trim().slice(0, 30)}`);
  }
  return [...wrong];
}"""


def visit(page: Any, served: Served, path: str = "") -> None:
    """Open a page, and wait until it is there and live."""
    page.goto(f"{served.url}/#/{path}")
    page.wait_for_selector("h1")
    page.wait_for_selector(".pulse.on")


def until(page: Any, expression: str) -> None:
    """Wait for an expression to become true. Playwright's own way needs `eval`, which the policy of the page forbids."""
    eventually(lambda: page.evaluate(expression), 10, expression)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_there_named_and_readable(page: Any, served: Served, path: str) -> None:
    visit(page, served, path)
    assert page.inner_text("h1") == PAGES[path]
    assert page.title().endswith("- skate")
    assert page.get_attribute("nav a[aria-current=page]", "data-page") == path
    until(page, "![...document.querySelectorAll('main dd, main td, main p')].some((e) => e.textContent === '…')")
    assert page.evaluate(UNNAMED) == []
    for theme in ("light", "dark"):
        page.select_option("#theme", theme)
        until(page, "getComputedStyle(document.documentElement).colorScheme === document.getElementById('theme').value")
        until(page, "document.getAnimations().length === 0")
        assert page.evaluate(CONTRAST) == [], theme
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is wider than a telephone"
    assert page.evaluate(UNNAMED) == [], "with what is left out on a telephone"


def test_everything_comes_from_the_dashboard_itself(page: Any, served: Served) -> None:
    sizes: dict[str, int] = {}
    page.on("response", lambda answer: sizes.__setitem__(answer.url, int(answer.headers.get("content-length", 0))))
    visit(page, served, "tasks")
    assert sizes and all(url.startswith(served.url) for url in sizes)
    assert sum(size for url, size in sizes.items() if "/static/" in url) < 500_000


def test_numbers_move_without_reloading(page: Any, served: Served) -> None:
    visit(page, served)
    figure = page.locator("dl.figures div", has_text="Tasks ended").locator("dd")
    first = figure.inner_text()
    until(page, f"document.querySelector('dl.figures').innerText.includes({first!r}) === false")
    until(page, "document.querySelectorAll('.plot path.line[d*=L]').length > 0")
    words = page.locator(".plot desc").first.text_content()
    assert re.search(r"machine \d.* %", words) and "from" in words
    assert page.locator("#announce").inner_text() == "", "a screen reader is not told of every tick"


def test_a_cluster_that_does_not_answer_is_said(page: Any, served: Served) -> None:
    visit(page, served)
    served.source.trouble = "the head is away"
    page.wait_for_selector("text=the cluster does not answer: the head is away")
    served.source.trouble = ""
    page.wait_for_selector(".pulse.on")


def test_nobody_polls_for_a_window_that_was_closed(page: Any, served: Served) -> None:
    visit(page, served)
    assert served.dashboard.live.polls
    page.goto("about:blank")
    eventually(lambda: not served.dashboard.live.polls, 10, "the poller has ended")


def test_by_keyboard(page: Any, served: Served) -> None:
    visit(page, served, "tasks")
    page.wait_for_selector("tbody tr[tabindex='0']")
    page.locator("body").press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.type("state=FAILED function_1")
    page.wait_for_selector("text=/^29$/")
    until(page, "document.getElementById('announce').textContent === '29 tasks'")
    page.locator("tbody tr[tabindex='0']").focus()
    for key, row in (("ArrowDown", 3), ("ArrowDown", 4), ("End", 30), ("ArrowUp", 29), ("Home", 2)):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.ariaRowIndex") == str(row), key
    assert page.locator("tbody tr[tabindex='0']").count() == 1
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    assert page.evaluate("document.querySelector('dialog').contains(document.activeElement)")
    assert "it failed" in page.inner_text("dialog")
    page.wait_for_selector("dialog >> text=<b>not markup</b>")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert page.evaluate("document.activeElement.ariaRowIndex") == "2"


def test_a_dialog_closes_with_its_page(page: Any, served: Served) -> None:
    visit(page, served, "nodes")
    visit(page, served, "tasks")
    page.locator("tbody tr[aria-rowindex='2']").click()
    page.wait_for_selector("dialog[open]")
    page.go_back()
    page.wait_for_selector("dialog", state="detached")
    assert page.evaluate("location.hash") == "#/nodes"


def test_numbers_are_written_as_people_do(page: Any, served: Served) -> None:
    visit(page, served)
    written = """(async () => {
      const { holders, several } = await import("/static/dom.js");
      return [several(1, "worker"), several(1200, "object"), holders({ "driver 5": 2, "worker 6": 1 })];
    })()"""
    assert page.evaluate(written) == ["1 worker", "1,200 objects", "driver 5 x2, worker 6"]


def test_sorting_is_said_and_done(page: Any, served: Served) -> None:
    visit(page, served, "tasks")
    page.wait_for_selector("tbody tr[tabindex='0']")
    head = page.locator("th", has_text="Task")
    head.locator("button").click()
    page.wait_for_selector("tbody tr[aria-rowindex='2'] >> text=0000…0000270f")
    assert head.get_attribute("aria-sort") == "descending"
    head.locator("button").click()
    page.wait_for_selector("tbody tr[aria-rowindex='2'] >> text=0000…00000000")
    assert head.get_attribute("aria-sort") == "ascending"


def test_ids_and_states_are_seen_to_their_end(page: Any, served: Served) -> None:
    """An id differs at its end: cut off there, all rows would look alike."""
    first = served.source.tables["tasks"][0]
    before, first["state"] = first["state"], "PENDING_NODE_ASSIGNMENT"
    try:
        for path in ("tasks", "actors"):
            visit(page, served, path)
            page.wait_for_selector("tbody tr[tabindex='0']")
            cut = "[...document.querySelectorAll('th, tbody tr[aria-rowindex] td')].filter((e) => e.scrollWidth > e.clientWidth)"
            assert page.evaluate(f"{cut}.map((e) => e.textContent)") == []
    finally:
        first["state"] = before


def test_an_actor_has_a_log_a_stack_and_a_flame_graph(page: Any, served: Served) -> None:
    visit(page, served, "actors")
    page.locator("tbody tr[aria-rowindex='2']").click()
    page.wait_for_selector("dialog >> text=<b>not markup</b>")
    page.click("dialog >> text=Stack now")
    page.wait_for_selector("dialog >> text=main (program.py:1)")
    assert page.evaluate(UNNAMED) == []
    page.click("dialog >> text=Flame graph")
    page.wait_for_selector("[role=treeitem] >> text=main (program.py:1)")
    page.locator("[role=treeitem]").first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.textContent") == "main (program.py:1)"
    page.keyboard.press("Enter")
    until(page, "document.activeElement.getAttribute('aria-level') === '1'")


def test_the_timeline_is_drawn(page: Any, served: Served) -> None:
    visit(page, served, "tasks")
    page.get_by_role("tab", name="Table").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("canvas")
    until(
        page,
        "(() => { const c = document.querySelector('canvas');"
        " return c.height > 150 && c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(Boolean); })()",
    )
    assert "2980 tasks on" in page.get_attribute("canvas", "aria-label")
    assert page.get_attribute("[role=tab] >> nth=1", "aria-selected") == "true"


SCROLL = """async () => {
  const sheet = document.querySelector(".sheet");
  const end = sheet.scrollHeight - sheet.clientHeight;
  for (let step = 0; step <= 60; step += 1) {
    sheet.scrollTop = (end * step) / 60;
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  } }"""


def main_thread(trace: bytes) -> list[tuple[float, float]]:
    """(processor time, elapsed time) of each task of the pages' main threads, in milliseconds."""
    events = json.loads(trace)["traceEvents"]
    mains = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    return [
        (event["tdur"] / 1000, event["dur"] / 1000)
        for event in events
        if "tdur" in event and event["name"].endswith("RunTask") and (event["pid"], event["tid"]) in mains
    ]


@pytest.mark.parametrize("path, total", [("tasks", 10_000), ("actors", 1_000)])
def test_many_rows_without_a_slow_frame(page: Any, served: Served, path: str, total: int) -> None:
    visit(page, served, path)
    page.wait_for_selector("tbody tr[tabindex='0']")
    assert page.get_attribute("table", "aria-rowcount") == str(total + 1)
    assert page.locator("tbody tr[tabindex]").count() < 60, "only what is seen is there"
    browser = page.context.browser
    browser.start_tracing(page=page, categories=["toplevel"])
    page.evaluate(SCROLL)
    page.wait_for_selector(f"tbody tr[aria-rowindex='{total + 1}'] >> text=/[0-9a-f]{{4}}…[0-9a-f]{{8}}/")
    tasks = main_thread(browser.stop_tracing())
    slowest, longest = max(tasks)[0], max(elapsed for _, elapsed in tasks)
    print(
        f"{path}: {len(tasks)} tasks; at most {slowest:.1f} ms of the processor, and {longest:.1f} ms on this busy machine"
    )
    assert len(tasks) > 60 and slowest < SLOW_MS


def test_a_job_is_stopped_by_a_post_after_a_second_click(page: Any, served: Served) -> None:
    served.source.tables["jobs"] = [{"submission_id": "job_1", "status": "RUNNING", "entrypoint": "python x.py"}]
    visit(page, served, "jobs")
    page.locator("tbody tr[aria-rowindex='2']").click()
    page.wait_for_selector("dialog >> text=hello")
    page.click("dialog >> text=Stop this job")
    assert served.jobs.changes == []
    page.click("dialog >> text=Stop it, really")
    page.wait_for_selector("dialog >> text=It is being stopped")
    assert served.jobs.changes == ["stop"]


@pytest.fixture
def locked() -> Iterator[Served]:
    """A dashboard that wants a token."""
    found = Served(Guard(token="the-token"))
    yield found
    found.close()


def test_logging_in_and_out(locked: Served, page: Any) -> None:
    """The window is closed before the dashboard is: it may still fetch its icon."""
    page.goto(locked.url)
    assert page.url == f"{locked.url}/login"
    assert page.evaluate(CONTRAST) == []
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=that is not the token of this cluster")
    page.fill("#token", "the-token")
    page.keyboard.press("Enter")
    page.wait_for_selector(".pulse.on")
    cookies = page.context.cookies()
    assert [(each["httpOnly"], each["sameSite"]) for each in cookies] == [(True, "Strict")]
    assert page.evaluate("document.cookie") == "" and "the-token" not in page.url
    page.click("text=Log out")
    page.wait_for_selector("text=Log in to skate")
    page.goto(locked.url)
    assert page.url == f"{locked.url}/login"
    page.allowed("401")


def test_another_site_gets_nothing(page: Any, served: Served) -> None:
    """A page of another origin tries all that a browser lets it try."""
    changes = list(served.jobs.changes)
    page.route("http://evil.example/*", lambda route: route.fulfill(content_type="text/html", body="<h1>evil</h1>"))
    page.goto("http://evil.example/")
    tries = """async (url) => {
      const seen = [];
      const ways = [{}, { mode: "no-cors" }, { method: "POST", mode: "no-cors", body: "{}" }, { method: "DELETE" }];
      for (const options of ways)
        for (const path of ["/api/jobs/", "/api/jobs/job_1/stop", "/nodes"])
          try {
            const answer = await fetch(url + path, options);
            seen.push(answer.type === "opaque" ? "" : await answer.text());
          } catch (error) { seen.push(""); }
      return seen; }"""
    before = len(served.source.calls)
    assert set(page.evaluate(tries, served.url)) == {""}
    assert served.jobs.changes == changes and len(served.source.calls) == before
    for text in ("CORS", "ERR_FAILED", "403", "ERR_BLOCKED", "Failed to load"):
        page.allowed(text)
