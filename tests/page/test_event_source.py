"""The browser's own client of event streams: it logs in by cookie alone and resumes by itself."""

from conftest import comes_true
from served import Served


def test_an_event_source_reads_and_goes_on_after_a_restart(tmp_path, open_page):
    served = Served(tmp_path / "b").start()
    page = open_page(served)
    page.evaluate(
        """() => {
            window.seen = [];
            window.source = new EventSource('/events?tag=source/*');
            const take = (event) => window.seen.push([event.type, JSON.parse(event.data).tag, event.lastEventId]);
            for (const type of ['message', 'gap']) window.source.addEventListener(type, take);
        }"""
    )
    comes_true(page, "window.source.readyState === EventSource.OPEN")
    served.fire(("source/1", {"text": "two\nlines"}))
    comes_true(page, "window.seen.length === 1")
    served.stop()
    comes_true(page, "window.source.readyState === EventSource.CONNECTING")
    served.start()
    served.fire(("source/2", {}), ("other", {}), ("source/3", {}))
    comes_true(page, "window.seen.length >= 3")
    seen = page.evaluate("window.seen")
    assert [one[:2] for one in seen] == [["message", f"source/{number}"] for number in (1, 2, 3)]
    assert len({one[2] for one in seen}) == 3
    served.stop()
