"""The page in a browser without a network: narrow and wide, light and dark."""

import pytest
import stored_run
import web_page

from kerasft.report.page import SECTIONS, write_page

MARGINS = """(svg) => {
  const box = svg.getBBox(), view = svg.viewBox.baseVal;
  return [box.x, box.y, view.width - box.x - box.width, view.height - box.y - box.height];
}"""


@pytest.fixture(scope="module")
def chromium():
    with web_page.chromium() as started:
        yield started


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored") / "out"
    stored_run.write(folder, report=stored_run.report(), evidence=stored_run.evidence())
    return write_page(folder)[0]


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored") / "search"
    stored_run.write(folder, trials=stored_run.trials() * 20, evidence=stored_run.evidence())
    return write_page(folder)[0]


def opened(chromium, path, width, scheme="light"):
    """A page that is open, and what it has asked for and complained of."""
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    page, requests, complaints = context.new_page(), [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.goto(path.as_uri())
    return page, requests, complaints


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_run(chromium, path, width, scheme):
    page, requests, complaints = opened(chromium, path, width, scheme)
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    count = len([section for section in SECTIONS if "finetune" in section.kinds])
    assert page.locator("section").count() == page.locator("nav a").count() == count
    assert page.locator("svg[role=img]").count() == 4
    assert page.locator(".matrix tbody td").count() == 9  # of three classes
    assert page.locator(".matrix td.right").all_inner_texts() == ["2", "3", "2"]
    assert page.locator(".wrong li").count() == 3
    loaded = "[...document.images].map((i) => i.complete && i.naturalWidth)"
    assert page.evaluate(loaded) == [32, 96]
    assert stored_run.HOSTILE in page.locator("#confusion").inner_text()
    for chart in page.locator("svg").all():  # nothing of a chart is cut off
        assert min(chart.evaluate(MARGINS)) >= 0
    page.locator("summary", has_text="Learning rates by epoch").click()
    assert page.locator("#stages details table").is_visible()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    text = page.evaluate("getComputedStyle(document.querySelector('svg text')).fill")
    assert (background, text) == {
        "light": ("rgb(255, 255, 255)", "rgb(28, 28, 28)"),
        "dark": ("rgb(22, 22, 22)", "rgb(236, 236, 236)"),
    }[scheme]
    page.context.close()


def test_the_page_of_a_search(chromium, search):
    page, _, complaints = opened(chromium, search, 360)
    assert complaints == [] and page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.locator("#trials tbody tr").count() == 60
    assert page.locator("#trials svg path").count() == 2 * 20 + 2  # trials with a score, and two keys
    page.context.close()
