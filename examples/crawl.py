"""Crawl a web site: an actor remembers which pages are known, tasks fetch pages, several at a time.

The site is made up and served on this machine, so the example needs no network; its pages link to each other in cycles
and some links are dead. A fetch waits for the server and needs no core, hence `num_cpus=0`.

    python examples/crawl.py
    python examples/crawl.py --pages 300 --at-once 16
"""

from __future__ import annotations

import argparse
import re
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import skate

DELAY_S = 0.01
LINK = re.compile(r'href="([^"]+)"')


def links_of(page: int, pages: int) -> list[str]:
    """Where a page links to. Number 0 reaches every other one, as each links to its double and the next."""
    targets = [(2 * page) % pages, (2 * page + 1) % pages, (page * 7 + 3) % pages]
    dead = ["/gone"] if page % 10 == 9 else []
    return [f"/page/{target}" for target in targets] + dead


class Site(BaseHTTPRequestHandler):
    """The made-up site; every answer takes a while, as answers do."""

    pages = 0

    def do_GET(self) -> None:
        time.sleep(DELAY_S)
        found = re.fullmatch(r"/page/(\d+)", self.path)
        if found is None:
            self.send_error(404)
            return
        links = "".join(f'<a href="{link}">next</a>' for link in links_of(int(found[1]), self.pages))
        body = f"<html><title>Page {found[1]}</title>{links}</html>".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """The crawler reports, the server need not."""


@dataclass
class Page:
    path: str
    status: int
    links: list[str]


@skate.remote(num_cpus=0)
class Frontier:
    """Which pages are known. One actor decides, so that no page is fetched twice whoever finds it."""

    def __init__(self) -> None:
        self.known: set[str] = set()

    def unknown(self, paths: list[str]) -> list[str]:
        """Those of the paths that nobody has asked about before, each once."""
        new = [path for path in dict.fromkeys(paths) if path not in self.known]
        self.known.update(new)
        return new


@skate.remote(num_cpus=0)
def fetch(base: str, path: str, frontier: Any) -> Page:
    """Fetch a page; its `links` are those that are new to the frontier."""
    try:
        with urllib.request.urlopen(base + path, timeout=30) as answer:
            text, status = answer.read().decode(), answer.status
    except urllib.error.HTTPError as error:
        return Page(path, error.code, [])
    return Page(path, status, skate.get(frontier.unknown.remote(LINK.findall(text))))


def crawl(base: str, start: str, at_once: int) -> list[Page]:
    """Every page that can be reached from `start`, with at most `at_once` fetches under way."""
    frontier = Frontier.remote()
    waiting = skate.get(frontier.unknown.remote([start]))
    under_way: list[Any] = []
    pages: list[Page] = []
    while waiting or under_way:
        while waiting and len(under_way) < at_once:
            under_way.append(fetch.remote(base, waiting.pop(), frontier))
        ready, under_way = skate.wait(under_way)
        for page in skate.get(ready):
            pages.append(page)
            waiting.extend(page.links)
    return pages


def main() -> None:
    parser = argparse.ArgumentParser(description="Crawl a made-up web site on this machine.")
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=8, help="fetches under way (default: %(default)s)")
    options = parser.parse_args()
    if options.pages < 10 or options.at_once < 1:
        parser.error("at least 10 pages and one fetch at a time are needed")

    Site.pages = options.pages
    skate.init()
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        begin = time.perf_counter()
        pages = crawl(f"http://127.0.0.1:{server.server_port}", "/page/0", options.at_once)
        seconds = time.perf_counter() - begin
        server.shutdown()
    found = {page.path for page in pages if page.status == 200}
    dead = [page.path for page in pages if page.status != 200]
    print(
        f"{len(found)} pages and {len(dead)} dead link in {seconds:.2f} s; one at a time: {len(pages) * DELAY_S:.2f} s or more"
    )
    skate.shutdown()
    if found != {f"/page/{i}" for i in range(options.pages)} or dead != ["/gone"] or len(pages) != options.pages + 1:
        raise SystemExit(f"the crawl should find {options.pages} pages and 1 dead link, each once")


if __name__ == "__main__":
    main()
