"""The page as people use it: what it shows, what it keeps, what it says when something is missing."""

import re
import time

from playwright.sync_api import expect

from conftest import comes_true, log_in
from kinds import job, jid, ret
from served import SOON, Flood, Served


def rows(page):
    return page.locator("#list .row:visible")


def row(page, text):
    return rows(page).filter(has_text=text)


def in_view(page):
    """What the rows say that one sees, from top to bottom; elements are in an order of their own."""
    return page.evaluate(
        """() => {
            const box = document.getElementById('list').getBoundingClientRect();
            return [...document.querySelectorAll('#list .row:not([hidden])')]
                .map((row) => [row.getBoundingClientRect(), row.innerText])
                .filter(([place]) => place.top >= box.top && place.bottom <= box.bottom)
                .sort(([a], [b]) => a.top - b.top).map(([, text]) => text);
        }"""
    )


def until(condition, act):
    """Does something again and again until it has had its effect."""
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        act()
        time.sleep(0.05)


def test_a_wrong_password_is_said_and_a_right_one_opens_the_page(served, open_page):
    page = open_page(served, logs_in=False)
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    log_in(page, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    log_in(page)
    expect(page.locator("#link")).to_have_text("live")
    assert "token" not in page.url
    page.reload()
    expect(page.locator("#link")).to_have_text("live")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_events_come_as_they_happen_and_pausing_holds_them(served, open_page):
    page = open_page(served)
    expect(page.locator("#link")).to_have_text("live")
    served.fire(("live/1", {"x": 1}))
    expect(row(page, "live/1")).to_be_visible()
    page.keyboard.press(" ")
    expect(page.locator("#link")).to_have_text("paused")
    before = in_view(page)
    served.fire(*[(f"live/more/{number}", {}) for number in range(200)])
    expect(page.get_by_role("button", name="200 new events")).to_be_visible()
    assert in_view(page) == before
    page.get_by_role("button", name="200 new events").click()
    expect(row(page, "live/more/199")).to_be_visible()
    expect(page.locator("#link")).to_have_text("live")


def test_filters_are_those_of_watch_and_in_the_address(served, open_page):
    page = open_page(served)
    page.get_by_label("Tags").fill("salt/job/*/ret/* shop/*")
    page.get_by_label("Without").fill("shop/order/*")
    page.get_by_label("Fields").fill("ok:false")
    page.get_by_label("Fields").press("Enter")
    expect(rows(page).first).to_be_visible()
    expect(rows(page).filter(has_not_text="failed").filter(has_not_text="oldest event")).to_have_count(0)
    assert page.url.endswith("#events?tag=salt/job/*/ret/*&tag=shop/*&exclude=shop/order/*&filter=ok:false")
    other = open_page(served, page.url.split("/brine")[1])
    expect(other.get_by_label("Fields")).to_have_value("ok:false")
    expect(rows(other).filter(has_text="failed").first).to_be_visible()
    other.get_by_label("Fields").fill("nonsense")
    other.get_by_label("Fields").press("Enter")
    expect(other.locator("#notice")).to_be_visible()
    other.get_by_role("button", name="Clear").click()
    expect(other.locator("#notice")).to_be_hidden()
    other.go_back()
    expect(other.locator("#notice")).to_be_visible()


def test_text_is_searched_in_what_is_loaded(served, open_page):
    served.fire(("search/a", {"note": "The Needle"}), ("search/b", {"note": "hay"}))
    page = open_page(served)
    expect(row(page, "search/b")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("needle")
    expect(row(page, "search/b")).to_have_count(0)
    expect(row(page, "search/a").locator("mark")).to_have_text("Needle")
    expect(page.locator("#counts")).to_contain_text("1 of")
    assert "q=needle" in page.url


def test_data_open_and_fold_and_are_exact(served, open_page, picture):
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    served.fire(("data/1", {"big": 2**63 - 1, "html": hostile, "deep": {"a": {"b": {"c": [1, [2, [3]]]}}}, "many": list(range(1000))}))
    page = open_page(served, "#events?tag=data/*")
    page.locator("#list .row").filter(has_text="data/1").click()
    detail = page.get_by_role("complementary", name="Details")
    expect(detail).to_contain_text("9223372036854775807")
    expect(detail).to_contain_text(hostile)
    assert page.locator("#detail img, #detail script, #list img").count() == 0
    branch = detail.get_by_role("treeitem").filter(has_text="many").first
    expect(branch).to_have_attribute("aria-expanded", "false")
    branch.locator(".twig").click()
    expect(detail.get_by_role("button", name="800 more…")).to_be_visible()
    detail.get_by_role("button", name="Fold all").click()
    expect(detail.get_by_text("c:", exact=True)).to_be_hidden()
    detail.get_by_role("button", name="Expand all").click()
    expect(detail).to_contain_text("199")
    picture(page, "page-data")
    detail.get_by_role("button", name="Only this tag").click()
    expect(page.get_by_label("Tags")).to_have_value("data/1")


def test_jobs_show_who_is_missing_and_what_cannot_be_known(served, open_page, picture):
    first, second = jid(), "20990101000000000001"
    served.fire(*job(first, "pkg.upgrade", ["web1", "web2", "db1"], missing=["db1"], failed=["web2"]), ret(second, "cmd.run", "web3"))
    page = open_page(served, "#jobs")
    expect(row(page, "pkg.upgrade").first).to_be_visible()
    page.get_by_label("Text").fill(first)
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_have_attribute("aria-label", "pkg.upgrade on list: web1,web2,db1: 1 failed; expected 3, returned 2, failed 1, missing 1")
    rows(page).click()
    detail = page.get_by_role("complementary", name="Details")
    expect(detail.get_by_role("listitem").filter(has_text="db1")).to_have_text("db1 missing")
    expect(detail.get_by_role("listitem").filter(has_text="web2")).to_contain_text("failed (2)")
    detail.get_by_role("listitem").filter(has_text="web2").get_by_role("button", name="Return").click()
    expect(detail).to_contain_text("command not found")
    page.get_by_label("Text").fill("")
    picture(page, "page-jobs")
    page.get_by_label("Text").fill(second)
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_have_attribute("aria-label", "cmd.run on unknown: unknown; expected unknown, returned 1, failed 0, missing unknown")


def test_the_row_that_is_pressed_opens_wherever_it_is_when_the_button_is_released(served, open_page):
    page = open_page(served)
    expect(page.locator("#link")).to_have_text("live")
    detail = page.get_by_role("complementary", name="Details")
    served.fire(("press/1", {"n": 1}))
    row(page, "press/1").hover()
    page.mouse.down()
    served.fire(*[(f"press/more/{number}", {}) for number in range(7)])
    expect(row(page, "press/more/6")).to_be_visible()
    page.mouse.up()
    expect(detail.get_by_role("heading")).to_have_text("press/1")
    # The list stays where it is while one looks at a row, and a press that ends elsewhere opens nothing.
    page.keyboard.press("Escape")
    box = row(page, "press/1").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 50, box["y"] - 60)
    page.mouse.up()
    assert page.locator("#detail").is_hidden()
    page.keyboard.press("2")
    expect(page.get_by_role("heading", name="Jobs")).to_be_attached()
    # Newer jobs come above those that are there.
    number = jid()
    served.fire(*job(number, "press.job", ["web1"]))
    row(page, "press.job").hover()
    page.mouse.down()
    served.fire(*job(jid(), "press.later", ["web1"]), *job(jid(), "press.later", ["web2"]))
    expect(row(page, "press.later")).to_have_count(2)
    page.mouse.up()
    expect(detail).to_contain_text(number)


def test_minions_and_subscribers_are_listed(served, open_page, picture):
    page = open_page(served, "#minions")
    expect(row(page, "web1").first).to_be_visible()
    page.keyboard.press("4")
    expect(row(page, "stream").first).to_be_visible()
    expect(row(page, "0 events").first).to_be_visible()
    picture(page, "page-subscribers")


def test_the_past_is_read_back_and_forth(served, open_page, picture):
    served.fire(*[(f"past/{number}", {"n": number}) for number in range(1, 2501)])
    page = open_page(served, "#events?tag=past/*")
    expect(row(page, "past/2500")).to_be_visible()
    page.keyboard.press("g")
    # Reading back loads what was before, up to the first of all.
    first = rows(page).filter(has_text=re.compile(r"past/1\D"))
    until(lambda: first.count(), lambda: page.keyboard.press("Home"))
    expect(first.first).to_be_visible()
    expect(rows(page).first).to_contain_text("The oldest event")
    sequence = served.read("/events?tag=past/1200&from=earliest")[-1]["seq"]
    page.goto(f"{served.url}/brine#events?tag=past/*&at={sequence}")
    expect(page.locator("#link")).to_have_text("history")
    expect(row(page, "past/1200")).to_be_visible()
    page.locator("#list").hover()
    until(lambda: row(page, "past/2500").count(), lambda: page.mouse.wheel(0, 3000))
    expect(row(page, "past/2500")).to_be_visible()
    picture(page, "page-history")
    page.keyboard.press("End")
    expect(page.locator("#link")).to_have_text("live")
    page.keyboard.press("h")
    page.get_by_label("Or in words").fill("1h")
    page.get_by_role("button", name="Go", exact=True).click()
    expect(page.locator("#link")).to_have_text("history")
    assert page.url.endswith("&at=1h")
    page.keyboard.press("h")
    page.get_by_label("Or in words").fill("soonish")
    page.get_by_role("button", name="Go", exact=True).click()
    expect(page.locator("#notice")).to_be_visible()


def test_a_lost_connection_comes_back_and_the_gap_is_drawn(tmp_path, open_page, picture):
    served = Served(tmp_path / "b", history=False).start()
    served.fire(*[(f"before/{number}", {}) for number in range(5)])
    page = open_page(served)
    expect(row(page, "before/4")).to_be_visible()
    served.stop()
    expect(page.locator("#link")).to_have_text("reconnecting")
    served.start()
    served.fire(("after/1", {}))
    expect(row(page, "after/1")).to_be_visible()
    expect(page.locator(".row.hole.gap")).to_contain_text("cannot be had any more")
    expect(row(page, "before/4")).to_be_visible()
    expect(page.locator("#link")).to_have_text("live")
    picture(page, "page-gap")
    served.stop()


def test_after_a_crash_numbers_that_were_never_used_are_no_events(tmp_path, open_page):
    served = Served(tmp_path / "crash").start()
    served.fire(*[(f"before/{number}", {}) for number in range(3)])
    page = open_page(served)
    expect(row(page, "before/2")).to_be_visible()
    served.kill()
    expect(page.locator("#link")).to_have_text("reconnecting")
    served.start()
    # The newest number is billions away now, and nothing is behind.
    expect(page.locator("#link")).to_have_text("live")
    page.reload()
    served.fire(*[(f"after/{number}", {}) for number in range(600)])
    page.goto(f"{served.url}/brine#events?tag=before/*&tag=after/*")
    expect(row(page, "after/599")).to_be_visible()
    expect(page.locator("#link")).to_have_text("live")
    first = rows(page).filter(has_text="before/0")
    until(lambda: first.count(), lambda: page.keyboard.press("Home"))
    expect(rows(page).first).to_contain_text("The oldest event")
    served.stop()


def test_an_ended_session_asks_again_and_goes_on(served, open_page):
    page = open_page(served)
    expect(page.locator("#link")).to_have_text("live")
    page.evaluate("sessionStorage.setItem('brine.token', '0'.repeat(40))")
    page.evaluate("location.hash = '#events?tag=a'")
    expect(page.locator("#login-why")).to_contain_text("ended")
    log_in(page)
    expect(page.locator("#link")).to_have_text("live")
    expect(page.get_by_label("Tags")).to_have_value("a")


def test_under_a_flood_it_answers_and_accounts_for_every_event(served, open_page, picture):
    page = open_page(served)
    expect(page.locator("#link")).to_have_text("live")
    # A second stream of the page's own kind adds up what it hands over, skips and misses.
    page.evaluate(
        """async () => {
            const { EventStream } = await import('/brine/stream.js');
            const sum = window.sum_ = { first: 0, last: 0, events: 0, skipped: 0, missed: 0, isOver: false };
            const stream = new EventStream('last=1', (rows) => {
                for (const row of rows) {
                    if (row.kind === 'skip') { sum.skipped += row.count; sum.first ||= row.from; }
                    else if (row.kind === 'gap') sum.missed += row.missed;
                    else { sum.events += 1; sum.first ||= row.seq; sum.last = row.seq; }
                    if (row.tag === 'flood/over') { sum.isOver = true; stream.stop(); }
                }
            });
            stream.start();
        }"""
    )
    comes_true(page, "window.sum_.events > 0")
    flood = Flood(served, 5000, 4)
    # Whatever comes, it does what it is asked.
    for _ in range(3):
        page.keyboard.press(" ")
        expect(page.locator("#link")).to_have_text("paused")
        page.keyboard.press(" ")
        expect(page.locator("#link")).to_have_text("live")
    page.get_by_label("Tags").fill("salt/*")
    page.get_by_label("Tags").press("Enter")
    expect(page.locator("#link")).to_have_text("live")
    page.go_back()
    picture(page, "page-live")
    fired = flood.wait()
    served.fire(("flood/over", {}))
    expect(row(page, "flood/over")).to_be_visible()
    comes_true(page, "window.sum_.isOver")
    found = page.evaluate("window.sum_")
    assert found["events"] + found["skipped"] + found["missed"] == found["last"] - found["first"] + 1, found
    assert found["last"] - found["first"] >= fired, (found, fired)
    # Few rows are drawn, and not more are kept than it says.
    assert page.evaluate("document.querySelectorAll('#list .row').length") < 120
    kept = int(re.sub(r"\D", "", page.locator("#counts").inner_text()))
    assert kept <= 20_000
