"""For tests of pages: a static server on loopback, and headless Chromium driven by Playwright.

Tests that need a browser are skipped on a machine that has none, unless KERASFT_BROWSER=required, as in CI.
"""

import base64
import contextlib
import functools
import http.server
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# The machine of these tests may be closed off and run them as root.
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder as any static server would; yields its address, which ends in a slash."""
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def chromium(*arguments: str) -> Iterator[Any]:
    """A headless Chromium, started with further arguments: Playwright's Browser."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    missing = [name for name, there in (("Chromium", path), ("npm", shutil.which("npm"))) if not there]
    if missing:
        say = pytest.fail if os.environ.get("KERASFT_BROWSER") == "required" else pytest.skip
        say(f"{' and '.join(missing)} not found; on Debian: apt-get install chromium npm")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *arguments])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def visits(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages of folders; at the end, no script of them has failed and nothing came from elsewhere."""
    with contextlib.ExitStack() as stack:
        pages = []

        def open_page(folder: Path, state: str = "ready", script: str | None = None, **options: Any) -> Any:
            page = browser.new_page(**{"viewport": {"width": 1100, "height": 800}, **options})
            stack.callback(page.close)
            page.address = stack.enter_context(served(folder))
            page.requests, page.failures = [], []
            page.on("request", lambda request: page.requests.append(request.url))
            page.on("pageerror", lambda error: page.failures.append(str(error)))
            if script:
                page.add_init_script(script)
            page.goto(page.address)
            page.wait_for_selector(f"body[data-state={state}]")
            pages.append(page)
            return page

        yield open_page
        for page in pages:
            assert page.failures == []
            assert not [u for u in page.requests if not u.startswith((page.address, "blob:", "data:"))]


def choose(page: Any, name: str, content: bytes, kind: str = "image/png") -> np.ndarray:
    """Choose a file; returns the scores of the page."""
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})
    return scores_of(page, name)


def scores_of(page: Any, name: str) -> np.ndarray:
    """The scores of a file, once the page shows them."""
    page.wait_for_selector(f"#results[data-file='{name}']")
    return np.array(json.loads(page.get_attribute("#results", "data-scores")))


def drop(page: Any, selector: str, name: str, content: bytes, kind: str = "image/png") -> None:
    """Let a file fall on an element, or no file if it has no name."""
    left = page.evaluate(
        """([selector, name, kind, content]) => {
            const dataTransfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
            if (name) dataTransfer.items.add(new File([bytes], name, { type: kind }));
            const options = { dataTransfer, bubbles: true, cancelable: true };
            return ["dragover", "drop"].filter((type) =>
              document.querySelector(selector).dispatchEvent(new DragEvent(type, options)));
        }""",
        [selector, name, kind, base64.b64encode(content).decode()],
    )
    assert left == []  # what is left to the browser would open the file in place of the page
