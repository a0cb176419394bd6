"""Take the pictures of docs/reports.md: the report of a run and that of a search, as Chromium shows them.

python docs/images/make_reports.py RUN SWEEP
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from lightning_gen.commands.report import page_of
from tests.browser import Browser, find_chromium

FOLDER = Path(__file__).parent
COLOURS = 128  # of a picture, which makes it three times smaller


def take(browser: Browser, html: str, name: str, size: tuple[int, int], dark: bool = False, show: str = "") -> None:
    """Save what a window of this size shows of a page, from the section `show` on."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        page.write_text(html, encoding="utf-8")
        browser.resize(*size, dark=dark)
        browser.open(page.as_uri())
        if show:
            browser.run(f"document.getElementById('{show}').scrollIntoView(); scrollBy(0, 62)")
        inside = "(({ top, bottom }) => bottom > 0 && top < innerHeight)(one.getBoundingClientRect())"
        browser.wait(
            f"[...document.querySelectorAll('[data-chart]')].every((one) => !{inside} || 'drawn' in one.dataset)"
        )
        browser.run("new Promise((done) => setTimeout(done, 1000))")  # charts are painted in the next frames
        path = FOLDER / f"{name}.png"
        browser.screenshot(path, whole=False)
    Image.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def main(run: Path, sweep: Path) -> None:
    executable = find_chromium()
    assert executable is not None, "there is no Chromium: apt-get install chromium"
    browser = Browser(executable)
    try:
        html = page_of([run])
        take(browser, html, "report_light", (1200, 900))
        take(browser, html, "report_dark", (1200, 900), dark=True, show="curves")
        take(browser, html, "report_narrow", (400, 900), show="pictures")
        take(browser, page_of([sweep]), "report_search", (1200, 1500))
    finally:
        browser.close()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
