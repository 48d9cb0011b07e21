"""Headless Chromium for the browser tests, and a folder or a server to look at."""

import functools
import http.server
import sys
import threading
from contextlib import contextmanager

import pytest
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "site"))
from pdf import find_chromium


@contextmanager
def launched():
    """A Playwright browser; the test is skipped where no Chromium is installed."""
    from playwright.sync_api import sync_playwright

    found = find_chromium()
    if not found:
        pytest.skip(
            "Chromium was not found; run: apt-get install chromium, or set CHROMIUM to its path"
        )
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        yield browser
        browser.close()


@contextmanager
def served(folder):
    """The address on loopback under which the folder's files are read."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
