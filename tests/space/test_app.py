"""The page in a real browser: what people type, click, tab through and upload."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from modeling_paraclip import BASE_MODEL_DIR

ROOT = Path(__file__).parents[2]
pytest.importorskip("gradio", reason="needs gradio: pip install -r space/requirements.txt")
os.environ["GRADIO_ANALYTICS_ENABLED"] = "0"

import app  # noqa: E402 (gradio has to be there)
import figure  # noqa: E402
import search  # noqa: E402

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
WORDINGS = [
    "a red circle above a blue star",
    "a scarlet disc over an azure pentacle",
    "below a crimson ball, a cobalt star",
]
SCORE = '.panel b[data-model="{}"]'


# ----------------------------------------------------------------------------------------------------- without browser
def test_the_command_line_and_the_variables_of_a_space(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (app.parse_args([]).base, app.parse_args([]).model) == (str(BASE_MODEL_DIR), None)
    (tmp_path / "paraclip-out").mkdir()
    assert app.parse_args([]).model == "paraclip-out"
    monkeypatch.setenv("PARACLIP_BASE", "org/base")
    monkeypatch.setenv("PARACLIP_MODEL", "org/tuned")
    assert (app.parse_args([]).base, app.parse_args([]).model) == ("org/base", "org/tuned")
    assert app.parse_args(["--model", "mine"]).model == "mine"


def test_uploads_are_deleted_whatever_happens(base, tmp_path):
    for name, load in (("x.png", app.loaded_pictures), ("x.npz", app.loaded_index)):
        (tmp_path / name).write_bytes(b"no such thing")
        state, said = app.uploaded(load, [base], str(tmp_path / name), "earlier")
        assert state == "earlier" and 'class="problem"' in said and not (tmp_path / name).exists()


def test_examples_are_the_first_plain_captions():
    examples = app.examples_in(search.drawn_rows(30))
    assert len(examples) == app.EXAMPLES and examples[0][0] == "a blue cross around two black stars in sky"


def test_a_model_that_is_not_there_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "space" / "app.py", "--model", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("app.py: ")


# --------------------------------------------------------------------------------------------------------- the browser
@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A model that ranks differently from its base: the text projection is moved a little."""
    folder = tmp_path_factory.mktemp("models") / "tuned"
    shutil.copytree(BASE_MODEL_DIR, folder)
    weights = load_file(folder / "model.safetensors")
    weights["text_projection.weight"] = (
        weights["text_projection.weight"].roll(1, 0) * 0.3 + weights["text_projection.weight"]
    )
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    rows = [
        {"model": model, "dataset": dataset, "metric": "image_to_text_recall@1", "value": value}
        for model, value in (("base", 0.25), ("tuned", 0.5))
        for dataset in ("<b>x'</b>", "test_unseen/paraphrase_1")
    ]
    (folder / "results.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    """Where the server keeps its temporary files."""
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def address(tuned, uploads, tmp_path_factory):
    """The page, served from a folder without paraclip-out."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    environment = {**os.environ, "TMPDIR": str(uploads), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, ROOT / "space" / "app.py", "--model", tuned, "--port", str(port)]
    with (
        open(log, "w") as output,
        subprocess.Popen(command, env=environment, cwd=log.parent, stdout=output, stderr=subprocess.STDOUT) as server,
    ):
        try:
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None, log.read_text()
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()
    assert "Traceback" not in log.read_text(), log.read_text()[-3000:]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium, or its path in $CHROMIUM")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, address):
    """A function: a new user opens the page and waits for its first answer."""
    visits = []

    def opened(width=1280, **kwargs):
        context = browser.new_context(viewport={"width": width, "height": 900}, **kwargs)
        context.set_default_timeout(60_000)
        visits.append(context)
        page = context.new_page()
        page.requested = []
        page.on("request", lambda request: page.requested.append(request.url))
        page.goto(address)
        page.wait_for_selector(".panel")
        return page

    yield opened
    for context in visits:
        context.close()


def fill(page, *wordings):
    for box, text in zip(("#wish", "#rewording-1", "#rewording-2", "#rewording-3"), [*wordings, "", "", ""]):
        page.fill(f"{box} textarea", text)


def compare(page, *wordings):
    """Ask, and wait until the answer is the one to these wordings."""
    fill(page, *wordings)
    page.click("#compare")
    page.wait_for_function("text => document.querySelector('.heads bdi')?.title === text", arg=wordings[0])


def scores(page):
    return [page.inner_text(SCORE.format(label)) for label in ("Base", "ParaCLIP")]


@pytest.fixture(scope="module")
def models(base, tuned):
    return [base, search.Model.open("ParaCLIP", tuned)]


@pytest.fixture(scope="module")
def all_drawn(models):
    return search.drawn_scenes(search.drawn_rows(), models)


@pytest.mark.slow
def test_type_click_and_read_the_numbers(visit, models, all_drawn):
    page = visit()
    compare(page, *WORDINGS)
    expected = [figure.points(search.find(model, all_drawn, WORDINGS).overlap) for model in models]
    assert scores(page) == expected and expected[0] != expected[1]
    assert page.locator(".panel image").count() == 2 * 3 * figure.TOP
    assert page.locator(".panel").first.locator("path").count() > 0
    page.locator(".examples button").nth(1).click()
    page.wait_for_function("document.querySelector('.heads bdi').title.startsWith('a big blue square')")
    page.click("role=tab[name='What changed']")
    table = page.locator("table.changed").first
    assert "<b>x'</b>" in table.inner_text() and "+25.0" in table.inner_text()
    assert {url.split("/")[2] for url in page.requested if url.startswith("http")} == {page.url.split("/")[2]}


@pytest.mark.slow
def test_keyboard_only(visit):
    page = visit()
    order = []
    for _ in range(25):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.closest('[id]:not([id^=component])')?.id"))
        if order[-1] == "compare":
            break
    wanted = ["wish", "rewording-1", "rewording-2", "rewording-3", "source", "compare"]
    assert [name for name in dict.fromkeys(order) if name in wanted] == wanted
    while order and not page.evaluate("document.activeElement.closest('#wish')"):
        page.keyboard.press("Shift+Tab")
        order.pop()
    assert order
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for text in ("a green star", "an emerald asterisk", ""):
        page.keyboard.press("Control+A")
        page.keyboard.type(text) if text else page.keyboard.press("Delete")
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.heads bdi').title === 'a green star'")
    assert all(re.fullmatch(r"\d+\.\d", score) for score in scores(page))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_400_pixels_are_enough(visit, scheme):
    page = visit(width=400, color_scheme=scheme)
    compare(page, *WORDINGS, "w" * 300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    boxes = [panel.bounding_box() for panel in page.locator(".panel").all()]
    assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"]  # one above the other
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 400 for box in boxes)
    page.click("role=tab[name='What changed']")
    page.wait_for_selector("table.changed")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")


def write_pictures(folder, size=12):
    folder.mkdir()
    for i in range(size):
        Image.new("RGB", (60, 40), (20 * i, 90, 255 - 20 * i)).save(folder / f"mine-{i}.png")
    return folder


@pytest.mark.slow
def test_a_bad_upload_is_one_sentence_and_the_next_one_works(visit, uploads, tmp_path):
    page = visit()
    compare(page, *WORDINGS)
    page.click("text=My pictures")
    page.wait_for_selector("#result .note")
    (tmp_path / "bad <i>.png").write_bytes(b"no picture")
    choose(page, "#pictures", [tmp_path / "bad <i>.png"])
    page.wait_for_selector("#status .problem")
    said = page.inner_text("#status .problem")
    assert said.startswith("None of the 1 files can be read as a picture") and "\n" not in said
    choose(page, "#folder", write_pictures(tmp_path / "mine"))
    page.wait_for_selector(".panel")
    assert "12 pictures of yours" in page.inner_text("#status")
    assert "Searched in your pictures" in page.inner_text(".summary")
    page.click("text=My index of embeddings")
    page.wait_for_selector("#index")
    for name in ("bad.npz", "bad.txt"):
        (tmp_path / name).write_bytes(b"no index")
        choose(page, "#index", [tmp_path / name])
        page.wait_for_function(
            "name => document.querySelector('#status .problem')?.innerText.includes(name)", arg=name
        )
    np.savez(
        tmp_path / "index.npz",
        ids=[f"p{i} <b>" for i in range(30)],
        image_embeds=np.random.default_rng(0).normal(size=(30, 128)),
    )
    choose(page, "#index", [tmp_path / "index.npz"])
    page.wait_for_selector(".panel rect")
    assert "30 vectors of yours" in page.inner_text("#status")
    assert "<b>" in page.text_content(".panel svg text")
    assert "Traceback" not in page.content()
    assert not [file for file in uploads.rglob("*") if file.is_file() and file.suffix in {".png", ".npz", ".txt"}]


def choose(page, button, files):
    """Click an upload button and choose files, or a folder."""
    with page.expect_file_chooser() as chooser:
        page.click(button)
    chooser.value.set_files(files)


@pytest.mark.slow
def test_two_users_at_once(visit, models, all_drawn, tmp_path):
    one, two = visit(), visit()
    one.click("text=My pictures")
    one.wait_for_selector("#folder")
    choose(one, "#folder", write_pictures(tmp_path / "mine"))
    one.wait_for_selector(".panel")
    fill(one, *WORDINGS)
    fill(two, *reversed(WORDINGS))
    one.click("#compare")
    two.click("#compare")
    for page, first in ((one, WORDINGS[0]), (two, WORDINGS[-1])):
        page.wait_for_function("text => document.querySelector('.heads bdi')?.title === text", arg=first)
    assert "mine-" in one.inner_html("#result") and "mine-" not in two.content()
    expected = [figure.points(search.find(model, all_drawn, WORDINGS[::-1]).overlap) for model in models]
    assert scores(two) == expected
    two.click("text=My pictures")
    two.wait_for_selector("#result .note")
    assert "Choose your pictures" in two.inner_text("#result")
    one.reload()  # a visit that begins again has nothing of the earlier one
    one.wait_for_selector(".panel")
    one.click("text=My pictures")
    one.wait_for_selector("#result .note")


@pytest.mark.slow
def test_texts_are_shown_and_never_obeyed(visit):
    page = visit()
    text = '<img src=x onerror="window.obeyed = 1"> ${window.obeyed = 2} {{window.obeyed}} \x1b[31m'
    fill(page, text, text)
    page.click("#compare")
    page.wait_for_function("document.querySelector('.heads bdi').innerText.startsWith('<img')")
    assert page.inner_text(".heads bdi") == text.replace("\x1b", r"\x1b")
    assert page.evaluate("window.obeyed === undefined")
    fill(page, "")
    page.click("#compare")
    page.wait_for_selector("#result .problem")
    assert page.inner_text("#result .problem").startswith("Type a wish first")
