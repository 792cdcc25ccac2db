"""The page, driven in a headless Chromium that reaches nothing but the page's own address."""

import io
import re
import shutil
import types

import numpy as np
import pytest
from PIL import Image

from balle_li.codec.codec import Codec
from balle_li.demo import trials

pytest.importorskip("gradio", reason="gradio is missing: the page is the extra [demo]")
pytest.importorskip(
    "gradio_image_annotation", reason="gradio-image-annotation is missing: the page is the extra [demo]"
)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing, which drives the page")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to drive the page with: apt-get install chromium")

RELEASED_MODEL = trials.released_models()["tuned for MS-SSIM"]
SETTLED = """() => {
    const rows = document.querySelectorAll('#table tbody tr'), text = document.querySelector('#table').innerText;
    return rows.length == 2 && !/…|trying/.test(text);
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The page with the released model and two quick codecs."""
    from balle_li.demo.page import start

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "classical_titles", lambda: {"jpeg": "JPEG", "webp": "WebP"})
        blocks = start({"released": Codec.load(RELEASED_MODEL, "cpu")}, tmp_path_factory.mktemp("demo"))
    yield blocks.local_url.rstrip("/")
    blocks.close()


@pytest.fixture(scope="module")
def tab(site):
    """The opened page; `foreign` are the requests that it made to other addresses, `broken` the errors of its scripts."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.foreign, tab.broken = [], []
        tab.set_default_timeout(60_000)

        def guard(route):
            if route.request.url.startswith(site):
                route.continue_()
            else:
                tab.foreign.append(route.request.url)
                route.abort()

        tab.route("**/*", guard)
        tab.on("pageerror", lambda error: tab.broken.append(str(error)))
        tab.goto(site)
        tab.wait_for_selector(".stage[data-ready='3']")
        yield tab
        browser.close()


@pytest.fixture
def page(tab):
    """The page, settled; whatever a test does, nothing may be asked of another address, and no script may fail."""
    tab.wait_for_function(SETTLED)
    yield tab
    assert (tab.foreign, tab.broken) == ([], [])


def photograph(name="chelsea"):
    """A part of a photograph of the sample, as the content of a PNG file."""
    with Image.open(trials.samples()[name].path) as image:
        file = io.BytesIO()
        image.convert("RGB").crop((60, 40, 316, 232)).save(file, "PNG")
    return file.getvalue()


def drop(page, name, content):
    page.wait_for_selector("#file .upload-container")
    page.wait_for_timeout(500)  # the part takes the next file when it has let go of the last one
    page.set_input_files("#file input", files=[{"name": name, "mimeType": "", "buffer": content}])


def open_picture(page, name="cat.png", content=None):
    page.evaluate("document.querySelector('.stage').dataset.ready = ''")
    drop(page, name, content or photograph())
    page.wait_for_function("document.querySelector('.stage .name')?.innerText.includes('256')")
    page.wait_for_selector(".stage[data-ready='3']")
    page.wait_for_function(SETTLED)


def figures(page):
    """The numbers of the table's two rows."""
    rows = page.query_selector_all("#table tbody tr")
    return [[float(re.sub(r"[^\d.]", "", cell.inner_text())) for cell in row.query_selector_all("td")] for row in rows]


def change(page, action):
    """Do something and wait for another answer, whole."""
    before = page.evaluate("document.querySelector('.figures').outerHTML")
    action()
    page.wait_for_function("before => document.querySelector('.figures')?.outerHTML != before", arg=before)
    page.wait_for_function(SETTLED)


def slide(page, slider, fraction):
    page.locator(f"{slider} input[type=range]").scroll_into_view_if_needed()
    box = page.locator(f"{slider} input[type=range]").bounding_box()
    page.mouse.click(box["x"] + fraction * box["width"], box["y"] + box["height"] / 2)


def draw_box(page, x0, y0, x1, y1):
    box = page.locator("#drawn canvas").bounding_box()
    corners = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in ((x0, y0), (x1, y1))]
    page.mouse.move(*corners[0])
    page.mouse.down()
    page.mouse.move(*corners[1], steps=4)
    page.mouse.up()


def test_the_first_look(page):
    names = [name.inner_text() for name in page.query_selector_all(".stage .name")]
    assert [name.split(" · ")[0] for name in names] == ["Original", "Balle-Li", "JPEG"]
    (ours, bpp, psnr, similarity, inside, outside), (theirs, *_) = figures(page)
    assert 0.9 * ours <= theirs <= ours and bpp < 1 and psnr > 25 and similarity > 0.9
    assert inside > outside  # the sample's boxes count
    page.wait_for_selector("#strip svg")


def test_a_box_raises_what_is_inside_and_the_size_holds(page):
    open_picture(page)
    change(page, lambda: draw_box(page, 0.35, 0.3, 0.7, 0.7))
    (size, _, psnr, _, inside, outside), _ = figures(page)
    change(page, lambda: slide(page, "#weight", 0.003))
    (even_size, _, even_psnr, _, even_inside, even_outside), _ = figures(page)
    assert inside > even_inside + 0.5 and outside < even_outside and psnr != even_psnr
    assert size == pytest.approx(even_size, rel=0.015)


def test_the_size_is_what_the_slider_says(page):
    open_picture(page)
    change(page, lambda: slide(page, "#size", 0.6))
    asked = float(page.input_value("#size input[type=number]"))
    (ours, *_), (theirs, *_) = figures(page)
    assert 0.98 * asked <= ours <= asked and 0.9 * ours <= theirs <= ours


def test_another_codec_takes_the_place_beside(page):
    open_picture(page)
    change(page, lambda: page.click("#codec label:has-text('WebP')"))
    assert page.inner_text("#table tbody tr:nth-child(2) th").startswith("WebP, quality")
    # The stage follows the table when the picture has come.
    page.wait_for_function("document.querySelectorAll('.stage .name')[2].innerText.startsWith('WebP')")


def test_what_cannot_be_opened_is_one_line_and_the_page_lives_on(page):
    damaged = bytearray(Codec.load(RELEASED_MODEL, "cpu").compress(Image.new("RGB", (64, 48), "teal")))
    damaged[-20] ^= 255
    for name, content in (("notes.txt", b"hello"), ("cut.png", photograph()[:5000]), ("damaged.bli", bytes(damaged))):
        drop(page, name, content)
        page.wait_for_function("name => document.querySelector('.line.failed')?.innerText.startsWith(name)", arg=name)
        assert "\n" not in page.inner_text(".line.failed")
    assert page.query_selector(".stage[data-ready='3']")
    open_picture(page)
    assert page.query_selector(".line.failed") is None


def test_a_saved_file_is_opened_again(page):
    open_picture(page)
    with page.expect_download() as saving:
        page.click("#save")
    saved = saving.value
    assert saved.suggested_filename == "cat.bli"
    data = saved.path().read_bytes()
    assert Codec.load(RELEASED_MODEL, "cpu").decompress(data).size == (256, 192)
    drop(page, "cat.bli", data)
    page.wait_for_selector(".stage[data-ready='1']")
    assert "cat.bli holds 256 × 192 pixels" in page.inner_text(".line.note")
    page.click("[data-name=clock]")
    page.wait_for_selector(".stage[data-ready='3']")


def test_overlays_and_zoom_are_the_viewers_own(page):
    open_picture(page)
    page.click("#viewer button:text-is('Bits')")
    page.wait_for_selector(".stage .layer:nth-child(2) .overlay")
    assert "bits for 16 × 16 pixels" in page.inner_text("#viewer .ramp")
    page.click("#viewer button:text-is('4 : 1')")
    page.wait_for_function("document.querySelector('#viewer .scale').innerText == '400 %'")
    assert page.evaluate("getComputedStyle(document.querySelector('.stage .photo')).imageRendering") == "pixelated"
    cut = page.locator(".cut").first
    cut.focus()
    before = page.evaluate("document.querySelector('.stage .layer').style.clipPath")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.querySelector('.stage .layer').style.clipPath") != before


def test_the_strip_ends_when_another_photograph_comes(tmp_path):
    from balle_li.demo.answers import Answers, Session

    answers, session = Answers({"released": Codec.load(RELEASED_MODEL, "cpu")}, tmp_path), Session()
    answers.open_sample("clock", session)
    strip = answers.curves(session)
    shown = [next(strip) for _ in range(3)]
    assert all('role="progressbar"' in one for one in shown) and "point 3 of" in shown[-1]
    answers.open_sample("chelsea", session)
    assert list(strip) == []


def test_the_strip_has_a_curve_for_every_codec(tmp_path, monkeypatch):
    from balle_li.demo.answers import Answers, Session

    monkeypatch.setattr(trials, "classical_titles", lambda: {"jpeg": "JPEG", "webp": "WebP"})
    answers, session = Answers({"released": Codec.load(RELEASED_MODEL, "cpu")}, tmp_path), Session()
    answers.open_sample("clock", session)
    *_, last = answers.curves(session)
    assert "progressbar" not in last
    assert all(f">{title}<" in last for title in ("Balle-Li", "JPEG", "WebP", "PSNR (dB)", "MS-SSIM (dB)"))


def test_boxes_survive_the_margins_of_a_tall_picture():
    from balle_li.boxes import Box
    from balle_li.demo.answers import _boxes, _drawable

    pixels, box = np.zeros((300, 100, 3), np.uint8), Box(0.25, 0.1, 0.75, 0.5, "Cat")
    drawn = _drawable(pixels, [box])
    assert drawn["image"].size == (400, 300)
    assert _boxes(drawn, pixels, 2.0) == (Box(0.25, 0.1, 0.75, 0.5, "Cat", weight=2.0),)


def test_what_cannot_be_served_is_one_line(tmp_path, site):
    from balle_li.demo.page import start
    from balle_li.errors import BalleLiError

    port = int(site.rsplit(":", 1)[1])
    one_rate = types.SimpleNamespace(variable_rate=False, name="balle")
    with pytest.raises(BalleLiError, match="balle has one rate"):
        start({"balle": one_rate}, tmp_path)
    with pytest.raises(BalleLiError, match=f"port {port}"):
        start({"released": Codec.load(RELEASED_MODEL, "cpu")}, tmp_path, port=port)
