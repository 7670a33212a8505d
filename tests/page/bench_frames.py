"""How smooth the page is under 5,000 events a second: a benchmark, run by name.

    tests/page/run bench_frames.py -s [--minute]
"""

import time

from playwright.sync_api import expect

from served import Flood


def test_frames(served, open_page, request):
    seconds = 60 if request.config.getoption("--minute") else 4
    page = open_page(served)
    expect(page.locator("#link")).to_have_text("live")
    flood = Flood(served, 5000, seconds)
    page.evaluate(
        """() => {
            window.frames_ = [];
            let last = performance.now();
            const frame = (now) => { window.frames_.push(now - last); last = now; requestAnimationFrame(frame); };
            requestAnimationFrame(frame);
        }"""
    )
    time.sleep(seconds)
    fired = flood.wait()
    frames = sorted(page.evaluate("window.frames_"))
    heap = page.evaluate("performance.memory.usedJSHeapSize") / 1e6

    def at(share):
        return frames[min(len(frames) - 1, int(len(frames) * share))]

    print(
        f"\n{fired} events in {seconds} s; {len(frames)} frames: median {at(0.5):.0f} ms, p95 {at(0.95):.0f} ms, "
        f"p99 {at(0.99):.0f} ms, longest {frames[-1]:.0f} ms; heap {heap:.0f} MB"
    )
