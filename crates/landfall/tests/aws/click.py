"""The page of a run in real Chromium, with Playwright: `click.py approve|reject|refused ADDRESS DIRECTORY`.

Without JavaScript, as the page needs none; by keyboard at a desk, by thumb on a phone in the dark. Screenshots go into DIRECTORY. Whoever
calls it looks at what has become of the run.
"""

import shutil
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import sync_playwright

DESK = {"viewport": {"width": 1100, "height": 1400}, "color_scheme": "light"}
PHONE = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark", "has_touch": True, "is_mobile": True}


def opened(browser, address, settings):
    page = browser.new_context(java_script_enabled=False, **settings).new_page()
    elsewhere = []
    here = urlsplit(address).netloc
    page.on("request", lambda request: urlsplit(request.url).netloc == here or elsewhere.append(request.url))
    answer = page.goto(address)
    assert answer.status == 200, answer.status
    assert "token" not in page.url, f"the token has left the address: {page.url}"
    assert not elsewhere, f"nothing is loaded from elsewhere: {elsewhere}"
    assert "default-src 'none'" in answer.headers.get("content-security-policy", ""), answer.headers
    return page


def tab_to(page, name):
    """Tab by Tab, to what has that id or text."""
    for _ in range(30):
        page.keyboard.press("Tab")
        at = page.locator(":focus")
        if at.count() and name in (at.get_attribute("id"), at.inner_text()):
            outline = at.evaluate("element => getComputedStyle(element).outlineStyle")
            assert outline != "none", f"{name}: whoever uses the keyboard sees where they are"
            return
    raise AssertionError(f"Tab never comes to {name}")


def says(page, text, limit=60):
    """Reloads until it does."""
    deadline = time.monotonic() + limit
    while text not in page.locator("body").inner_text():
        assert time.monotonic() < deadline, f"no {text!r} in: {page.locator('body').inner_text()}"
        time.sleep(0.2)
        page.reload()


def approve(browser, address, directory):
    page = opened(browser, address, DESK)
    shown = page.locator("main").inner_text()
    for line in ["stack shop-prod: is made", "+ add      WebService", "You decide as anna"]:
        assert line in shown, f"no {line!r} in: {shown}"
    page.screenshot(path=directory / "asked.png", full_page=True)
    tab_to(page, "Go to the decision")
    page.keyboard.press("Enter")
    tab_to(page, "comment")
    page.keyboard.type("looked at dev")
    tab_to(page, "Approve")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    says(page, "passed: 1111111 is in prod")
    assert "looked at dev" in page.locator("body").inner_text()
    assert page.locator("button").count() == 0, "there is nothing left to decide"
    page.screenshot(path=directory / "passed.png", full_page=True)
    # The link has decided once; it shows, and decides nothing more.
    assert opened(browser, address, DESK).locator("button").count() == 0


def reject(browser, address, directory):
    page = opened(browser, address, PHONE)
    assert "~ revise   WebTaskDefinition" in page.locator("main").inner_text()
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360, f"it scrolls sideways: {wide} px"
    page.locator("#comment").fill("not on a Friday")
    page.screenshot(path=directory / "phone.png", full_page=True)
    with page.expect_navigation():
        page.locator("button[value=reject]").tap()
    says(page, "rejected by")
    assert "not on a Friday" in page.locator("body").inner_text()
    page.screenshot(path=directory / "rejected.png", full_page=True)


def refused(browser, address, _):
    """A link that nobody signed."""
    page = browser.new_page()
    answer = page.goto(address)
    assert answer.status >= 400, answer.status
    assert "WebTaskDefinition" not in page.locator("body").inner_text()


what, address, directory = sys.argv[1:]
directory = Path(directory)
directory.mkdir(parents=True, exist_ok=True)
with sync_playwright() as playwright:
    program = shutil.which("chromium")
    assert program, "Debian's package chromium has it; ./test installs it"
    browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
    {"approve": approve, "reject": reject, "refused": refused}[what](browser, address, directory)
    browser.close()
