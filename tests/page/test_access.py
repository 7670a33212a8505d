"""Keyboard, screen readers, colours and narrow screens."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from test_page import rows

NARROW = {"viewport": {"width": 390, "height": 760}, "has_touch": True, "is_mobile": True}


def violations(page):
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [(one["id"], one["help"], [node["html"][:200] + " " + node["failureSummary"][:200] for node in one["nodes"][:3]]) for one in found]


def show(page, served, view):
    """Goes to a view and waits for it: until then the rows are those of the one before.

    They are drawn in the frame after. A click on one of the old rows, which is hidden then, would wait for it in vain."""
    page.goto(f"{served.url}/brine#{view}")
    expect(page.locator("body")).to_have_attribute("data-view", view)
    page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    expect(rows(page).first).to_be_visible()


@pytest.mark.parametrize("look", ["light", "dark", "narrow"])
def test_axe_finds_nothing_in_any_view(served, open_page, picture, look):
    options = NARROW if look == "narrow" else {"color_scheme": look}
    page = open_page(served, "#events", logs_in=False, **options)
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert violations(page) == []
    from conftest import log_in

    log_in(page)
    for view in ["events", "jobs", "minions", "readers"]:
        show(page, served, view)
        assert violations(page) == [], view
        if (look, view) in [("dark", "jobs"), ("narrow", "events")]:
            picture(page, f"page-{look}-{view}")
        rows(page).first.click()
        expect(page.get_by_role("complementary", name="Details")).to_be_visible()
        assert violations(page) == [], f"{view} with details"
        page.keyboard.press("Escape")
        page.locator("#list").focus()
        page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keyboard")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("h")
    expect(page.get_by_role("heading", name="Go to a time")).to_be_visible()
    assert violations(page) == []


def test_everything_is_reached_by_keyboard(served, open_page):
    page = open_page(served)
    expect(page.locator("#list")).to_be_focused()
    page.reload()
    page.evaluate("document.activeElement.blur()")
    expect(rows(page).first).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the list")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#list")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.locator(".row[aria-selected=true]")).to_have_count(1)
    active = page.locator("#list").get_attribute("aria-activedescendant")
    expect(page.locator(f"#{active}")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("k")
    expect(page.locator("#list")).not_to_have_attribute("aria-activedescendant", active)
    page.keyboard.press("Enter")
    tree = page.get_by_role("tree", name="Data")
    expect(tree.get_by_role("treeitem").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(tree.get_by_role("treeitem").nth(1)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#list")).to_be_focused()
    page.keyboard.press("N")
    expect(page.locator(".row[aria-selected=true]")).to_contain_text("failed")
    page.keyboard.press("f")
    expect(page.get_by_label("Tags")).to_be_focused()
    page.keyboard.type("j?2 ")
    expect(page.get_by_label("Tags")).to_have_value("j?2 ")
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    expect(page.get_by_role("link", name="Jobs")).to_have_attribute("aria-current", "page")
    page.keyboard.press("?")
    page.get_by_label("Single keys act as shortcuts").uncheck()
    page.get_by_role("button", name="Close", exact=True).click()
    page.keyboard.press("3")
    expect(page.get_by_role("link", name="Jobs")).to_have_attribute("aria-current", "page")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".row[aria-selected=true]")).to_be_visible()


def test_a_narrow_screen_needs_no_scrolling_sideways(served, open_page):
    page = open_page(served, **NARROW)
    for view in ["events", "jobs", "minions", "readers"]:
        show(page, served, view)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
    show(page, served, "events")
    rows(page).first.click()
    box = page.get_by_role("complementary", name="Details").bounding_box()
    assert box["width"] >= 389 and box["height"] >= 759


def test_colours_follow_the_system_and_the_button(served, open_page):
    page = open_page(served, color_scheme="dark")
    ground = lambda: page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = ground()
    page.get_by_role("button", name="Dark or light").click()
    page.get_by_role("button", name="Dark or light").click()
    assert ground() != dark
    page.reload()
    assert ground() != dark


def test_what_changes_is_said_politely(served, open_page):
    page = open_page(served)
    expect(page.locator("#link")).to_have_text("live")
    page.keyboard.press(" ")
    expect(page.get_by_role("status").filter(has_text="Paused")).to_have_text("Paused")
