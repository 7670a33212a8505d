"""One browser and one running Brine for all tests; a page of its own for each."""

import os
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from kinds import batches
from served import EAUTH, PASSWORD, SOON, USER, Served

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / "crates/brine-api/src/page/assets"
SHOTS = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "page" / "shots"


def comes_true(page, expression):
    """Asks again and again from here: the page's policy does not let the browser evaluate a text by itself."""
    end = time.monotonic() + SOON
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"waited in vain for {expression}"
        page.wait_for_timeout(50)


def pytest_addoption(parser):
    parser.addoption("--minute", action="store_true", help="bench_frames.py: a minute, not seconds")
    parser.addoption("--assets", action="store_true", help="try the page's files as they are, not as they were built in")
    parser.addoption("--pictures", action="store_true", help="make the pictures of docs/page.md anew")


def pytest_configure():
    expect.set_options(timeout=SOON * 1000)
    SHOTS.mkdir(parents=True, exist_ok=True)


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        # Tests run as root on machines without a GPU, where shared memory may be small.
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("s") / "b").start()
    events = batches()
    for _ in range(6):
        served.fire(*[event for _ in range(40) for event in next(events)])
    yield served
    served.stop()


@pytest.fixture
def open_page(browser, request):
    """Opens the page of a server, logged in; fails the test if the page complained of anything."""
    contexts, complaints = [], []

    def open_page(served, fragment="", logs_in=True, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "timezone_id": "UTC", "locale": "en-GB", **options})
        contexts.append(context)
        if request.config.getoption("--assets"):
            context.route("**/brine/*", lambda route: route.fulfill(path=ASSETS / route.request.url.rsplit("/", 1)[1]))
            context.route("**/brine", lambda route: route.fulfill(path=ASSETS / "index.html"))
        page = context.new_page()
        page.set_default_timeout(SOON * 1000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" and "Failed to load resource" not in message.text else None)
        page.goto(f"{served.url}/brine{fragment}")
        if logs_in:
            log_in(page)
            # What is typed behind the dialog, which nobody can, is gone when the login has ended.
            expect(page.locator("#login")).to_be_hidden()
        return page

    yield open_page
    for number, context in enumerate(contexts):
        for page in context.pages:
            page.screenshot(path=SHOTS / f"{request.node.name}-{number}.png")
        context.close()
    assert not complaints, complaints


def log_in(page, password=PASSWORD):
    page.get_by_label("User").fill(USER)
    page.get_by_label("Password").fill(password)
    page.get_by_label("Authentication").fill(EAUTH)
    page.get_by_role("button", name="Log in").click()


@pytest.fixture
def picture(request):
    """Makes a picture for the documentation, if asked to."""

    def picture(page, name):
        if request.config.getoption("--pictures"):
            (ROOT / "docs/pictures").mkdir(exist_ok=True)
            page.screenshot(path=ROOT / f"docs/pictures/{name}.jpg", type="jpeg", quality=78)

    return picture
