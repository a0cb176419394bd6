"""One HTML file, without the network, that a browser shows without complaints."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lightning_gen.cli import app
from lightning_gen.commands.report import write_report
from lightning_gen.errors import UserError
from lightning_gen.report.page import grouped, page
from tests.report.runs import recorded_run

DRAWN = "[...document.querySelectorAll('#curves [data-chart]')].every((one) => 'drawn' in one.dataset)"
OPEN = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
FIRST, SECOND = (11, 98, 168), (200, 84, 10)  # the colours of the first two settings in a light page
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=document.title='owned'>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    first = recorded_run(folder / "a", "model=vae", "seed=0", fid=2.0)
    again = recorded_run(folder / "b", "model=vae", "seed=1", fid=4.0)
    other = recorded_run(folder / "c", "model=vae", "model.objective.beta=2.0", fid=8.0, loss=90.0)
    return first, again, other


@pytest.fixture(scope="module")
def opened(runs, browser, tmp_path_factory):
    """The page of all three runs, written by the command."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    result = CliRunner().invoke(app, ["report", *(str(run.path) for run in runs), "-o", str(path)])
    assert result.exit_code == 0, result.output
    browser.resize(1400)
    browser.open(path.as_uri())
    browser.run(OPEN)
    browser.resize(1400, 4000)  # charts are drawn when they come into view
    browser.wait(DRAWN)
    yield browser
    assert browser.problems == []
    assert browser.requests == []


def seen(browser, path):
    """The colours of the pixels of each chart."""
    boxes = browser.run("""[...document.querySelectorAll('#curves .plot')].map((plot) => {
        const box = plot.getBoundingClientRect(); return [box.x, box.y + scrollY, box.width, box.height]; })""")
    colours = []
    for box in boxes:
        browser.screenshot(path, clip=box)
        colours.append({colour for _, colour in Image.open(path).convert("RGB").getcolors(1 << 20)})
    return colours


def test_curves_are_drawn_and_stand_over_what_is_chosen(opened, tmp_path):
    charts = seen(opened, tmp_path / "chart.png")
    assert len(charts) == 2  # the loss in training beside that of held-out images, and FID
    assert all({FIRST, SECOND} <= colours for colours in charts)
    x = "[...Bokeh.index.roots[0].model.references()].filter((m) => m.type === 'ColumnDataSource').map((s) => Math.max(...s.get_column('x')))"
    assert set(opened.run(x)) == {100}
    opened.run("document.querySelector('input[value=seconds]').click()")
    assert set(opened.run(x)) == {10}
    assert opened.run("Bokeh.index.roots[0].model.below[0].axis_label") == "seconds"
    opened.run("document.querySelector('input[value=step]').click()")
    visible = "[...Bokeh.index.roots[0].model.references()].filter((m) => m.type === 'GlyphRenderer' && m.tags[0].colour === 1).map((m) => m.visible)"
    opened.run("document.querySelector('#groups input[value=\"1\"]').click()")
    assert set(opened.run(visible)) == {False}


def test_the_slider_moves_the_pictures(opened):
    shown = "[...document.querySelectorAll('.albums img')].map((image) => [image.alt, image.src.length, image.naturalWidth])"
    last = opened.run(shown)
    opened.run("{ const s = document.getElementById('step'); s.value = 1; s.dispatchEvent(new Event('input')); }")
    opened.wait("[...document.querySelectorAll('.albums img')].every((image) => image.complete)")
    before = opened.run(shown)
    assert [alt for alt, _, _ in last] == ["Samples at step 100"] * 2 + ["Interpolations at step 100"] * 2
    assert [alt for alt, _, _ in before] == ["Samples at step 50"] * 2 + ["Interpolations at step 50"] * 2
    assert {width for *_, width in before} == {64}
    assert opened.run("document.getElementById('step-shown').textContent") == "50"


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_into_the_window_light_and_dark(opened, width, dark):
    opened.resize(width, 900, dark)
    opened.wait(f"document.documentElement.scrollWidth <= {width}")  # charts take their new width a little later
    back = opened.run("getComputedStyle(document.body).backgroundColor")
    plot = opened.run("Bokeh.index.roots[0].model.below[0].major_label_text_color")
    assert (max(map(int, re.findall(r"\d+", back))) < 60) == dark
    assert (plot == "#59636f") != dark
    opened.run("document.getElementById('theme').click()")  # the button turns it round
    assert (opened.run("Bokeh.index.roots[0].model.below[0].major_label_text_color") == "#59636f") == dark
    opened.run("document.getElementById('theme').click()")
    opened.run("sessionStorage.clear()")


def test_what_a_config_says_is_text(browser, tmp_path):
    run = recorded_run(tmp_path / "x<b>", "model=ae")
    run.config.dataset.name = HOSTILE
    summary = run.read_summary()
    summary |= {"status": HOSTILE, "warnings": [HOSTILE], "provenance": {"device": HOSTILE, "git": HOSTILE}}
    summary["metrics"][f"eval/{HOSTILE}"] = 1.0
    (run.path / "summary.json").write_text(json.dumps(summary))
    rows = (run.path / "metrics.csv").read_text().replace("train/loss", f"train/{HOSTILE}")
    (run.path / "metrics.csv").write_text(rows)
    (run.path / "samples").rename(run.path / "<img src=x onerror=alert(1)>")
    path = tmp_path / "page.html"
    path.write_text(page(grouped([run])), encoding="utf-8")
    browser.open(path.as_uri())
    browser.run(OPEN)
    assert HOSTILE in browser.run("document.title")
    assert HOSTILE in browser.run("document.body.textContent")
    assert browser.run("document.querySelectorAll('img[src=x], body > script').length") == 3  # the page's own scripts
    assert browser.problems == browser.requests == []


def test_only_pictures_are_embedded(tmp_path):
    """A run directory may come from a stranger: a link to a file of the reader's does not show its content."""
    run = recorded_run(tmp_path / "run", "model=ae")
    (tmp_path / "secret").write_text("a password")
    (run.path / "samples" / "step_00000200.png").symlink_to(tmp_path / "secret")
    (run.path / "samples" / "step_00000300.png").write_text("a password")
    html = page(grouped([run]))
    assert "YSBwYXNzd29yZA" not in html  # in base64
    assert '"steps":[0,50,100]' in html


def test_a_page_is_small_and_needs_no_directory(runs):
    html = page(grouped(list(runs)))
    pictures = sum(len(uri) for uri in re.findall(r"data:image/png;base64,[A-Za-z0-9+/=]+", html))
    assert len(html) - pictures < 3_000_000
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=[\"']?(?!data:)[a-z/.]", html)


def test_many_pictures_are_thinned_and_the_page_says_so(tmp_path):
    run = recorded_run(tmp_path, "model=ae")
    picture = (tmp_path / "samples" / "step_00000000.png").read_bytes()
    for step in np.arange(1, 61) * 1000:
        (tmp_path / "samples" / f"step_{step:08d}.png").write_bytes(picture)
    html = page(grouped([run]))
    assert "the pictures are chosen evenly" in html
    samples = json.loads(re.search(r'id="data">(.*?)</script>', html)[1])["pictures"]["samples"][0]
    assert len(samples) == 25
    assert samples[-1][0] == 60_000
    assert "the pictures are chosen evenly" not in page(grouped([recorded_run(tmp_path / "few", "model=ae")]))


def test_a_run_without_numbers_has_a_page(tmp_path):
    run = recorded_run(tmp_path, "model=ae")
    for name in ("metrics.csv", "summary.json"):
        (tmp_path / name).unlink()
    assert "What ran" in page(grouped([run]))


def test_a_report_is_an_html_file(tmp_path):
    with pytest.raises(UserError, match=r"r\.pdf: the report is an HTML page: name a file that ends in \.html"):
        write_report([tmp_path], tmp_path / "r.pdf")
