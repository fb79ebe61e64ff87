"""The page and its tables from the command line, and the page in a real browser."""

import csv
import json
import re
import shutil
from collections import Counter

import numpy as np
import pytest
from checkpoint_cases import edit_config

from common.errors import UserError
from evaluations.latent_types import explore
from evaluations.latent_types.page import curve_pictures, typed_runs
from evaluations.latent_types.typed_corpus import TypedCorpus
from evaluations.pages import LARGEST_PAGE, render
from model import load_autoencoder

HOSTILE = "</script><script>x()</script><img src=x onerror=x()>&amp;"  # within the tiny model's 64 positions
LABELLED = "paris\tlocation\nthe\tO\nminister\tperson\n\nofficials\tperson\nmet\tO\nisland\tlocation\n"


@pytest.fixture(scope="module")
def page(tiny_encoder, tiny_tokenizer, sentences, tmp_path_factory):
    """The output directory of a whole run of the script; a hostile line is in the corpus."""
    import torch

    from model import SparseLTForPreTraining

    directory = tmp_path_factory.mktemp("explore")
    torch.manual_seed(1)
    model = SparseLTForPreTraining.from_encoder(str(tiny_encoder), num_types=8)
    checkpoint = directory / "run" / "step-2"
    model.save_pretrained(checkpoint)
    tiny_tokenizer.save_pretrained(checkpoint)
    (directory / "run" / "run.json").write_text(json.dumps({"arguments": {"model": str(tiny_encoder), "alpha": 0.05}}))
    lines = [{"step": 1, "loss": 3.0, "tau": 5.0}, {"step": 2, "loss": 2.0}, {"step": 2, "validation": {"bleu": 0.1}}]
    (directory / "run" / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (directory / "corpus.txt").write_text("\n".join([HOSTILE, *sentences]))
    (directory / "labelled.txt").write_text(LABELLED)
    arguments = ["--checkpoint", str(checkpoint), "--data", str(directory / "corpus.txt")]
    explore.main([*arguments, "--labelled", str(directory / "labelled.txt"), "--output", str(directory / "out")])
    return directory / "out"


@pytest.fixture(scope="module")
def found(page):
    return json.loads((page / "tables.json").read_text())


def test_files(page):
    assert sorted(path.name for path in page.iterdir()) == ["index.html", "tables.json", "types.csv", "words.csv"]


def test_tables_agree_with_each_other(page, found):
    with open(page / "types.csv", newline="") as file:
        types = list(csv.DictReader(file))
    with open(page / "words.csv", newline="") as file:
        words = list(csv.DictReader(file))
    assert sum(int(row["tokens"]) for row in types) == found["tokens"] == sum(int(row["count"]) for row in words)
    assert sum(float(row["share"]) for row in types if row["type"] != "0") == pytest.approx(found["share_typed"])
    for row in types:
        own = [word for word in words if word["type"] == row["type"]]
        assert len(own) == int(row["words"]) and sum(int(word["count"]) for word in own) == int(row["tokens"])


def test_the_page_shows_the_tables_numbers(page, found):
    html = (page / "index.html").read_text()
    for name in ("Agreement with annotated entities", "k-means, ", "random encoder and typer", "Curves of the run"):
        assert name in html
    assert found["name"] == "run/step-2" and "run/step-2" in html
    assert html.count("<svg") == 3  # total loss, temperature, BLEU
    assert f"{100 * found['share_typed']:.1f}%" in html
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids))


def test_the_page_needs_no_network(page):
    html = (page / "index.html").read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)|url\((?!#)|@import""", html)


def test_typed_runs():
    corpus = TypedCorpus(
        np.array([1]), np.array([0, 5]), np.arange(5), np.array([0, 0, 3, 3, 0]), 4, ["a", "b", "c", "d", "e"]
    )
    assert list(typed_runs(corpus, 0)) == [(0, ["a", "b"]), (3, ["c"]), (3, ["d"]), (0, ["e"])]


def test_a_page_of_monstrous_sentences_stays_small():
    words = [(1, ['"' * 100]) for _ in range(128)]
    content = {"a": "A", "b": "B", "sentences": 1, "data": "d", "tokens": 1, "share_typed_a": 0.0, "share_typed_b": 0.0}
    movement = {"kept": 0, "kept_by_chance": 0.0, "moved": 0, "gained": 0, "lost": 0, "nmi": 0.0}
    examples = [(i, [(word[0], 1, 1, "kept") for _, word in words]) for i in range(300)]
    html = render("compare.html.jinja", examples, title="t", num_types=64, movement=movement, matches=[], **content)
    assert 10 <= html.count("<li ") < 300
    assert len(html.encode()) <= LARGEST_PAGE


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--checkpoint", "nowhere", "--data", "x.txt"], "nowhere"),
        (["--checkpoint", "nowhere", "--data", "x.txt", "--sentences", "0"], "--sentences"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        explore.main(arguments)


def test_a_published_checkpoint_takes_the_tokenizer_that_it_names(published, tiny_encoder, sentences, tmp_path):
    (tmp_path / "corpus.txt").write_text("\n".join(sentences))
    arguments = ["--checkpoint", str(published), "--data", str(tmp_path / "corpus.txt"), "--device", "cpu"]
    with pytest.raises(UserError, match=r"has no tokenizer and names none; .*--tokenizer"):
        explore.main(arguments)
    explore.main([*arguments, "--tokenizer", str(tiny_encoder), "--output", str(tmp_path / "by_flag")])
    edit_config(published, _name_or_path=str(tiny_encoder))
    explore.main([*arguments, "--output", str(tmp_path / "by_name")])
    by_flag, by_name = ((tmp_path / name / "words.csv").read_text() for name in ("by_flag", "by_name"))
    assert by_flag == by_name and ",paris," in by_name and "[UNK]" not in by_name
    with pytest.raises(UserError, match=r"the tokenizer has .* but the encoder embeds"):
        explore.main([*arguments, "--tokenizer", "minilm"])


def test_curves_of_any_name(tmp_path):
    name = 'loss of "x" <b>'
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 3.0, name: 2.0}))
    known, other = curve_pictures(tmp_path)
    assert 'aria-label="total loss"' in known and 'aria-label="loss of &#34;x&#34; &lt;b&gt;"' in other


def test_labels_without_a_plain_encoder_are_a_mistake(page, tmp_path):
    shutil.copytree(page.parent / "run" / "step-2", tmp_path / "alone")
    arguments = ["--checkpoint", str(tmp_path / "alone"), "--data", str(page.parent / "corpus.txt")]
    with pytest.raises(UserError, match="--plain_encoder"):
        explore.main([*arguments, "--labelled", str(page.parent / "labelled.txt")])
    assert not (tmp_path / "alone" / "latent_types").exists()


def test_a_checkpoint_without_its_run_has_a_page_too(page, tmp_path):
    shutil.copytree(page.parent / "run" / "step-2", tmp_path / "alone")
    explore.main(["--checkpoint", str(tmp_path / "alone"), "--data", str(page.parent / "corpus.txt")])
    html = (tmp_path / "alone" / "latent_types" / "index.html").read_text()
    assert "Latent types of alone" in html and "Curves of the run" not in html and "Agreement" not in html


# --- in a browser ---------------------------------------------------------------------------------------------------

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def browser(page, tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not CHROMIUM or not DRIVER:
        pytest.skip("chromium and chromium-driver are not installed")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, page):
    browser.get((page / "index.html").as_uri())
    return browser


def choose(browser, element: str, value: str) -> None:
    """Set a field of the filter as a user's hand would, with the events that follow."""
    browser.execute_script(
        "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event('input', {bubbles: true}))",
        element,
        value,
    )


def coloured(browser) -> list[tuple[str, str]]:
    """(type, word) of every token that is seen in colour."""
    return [
        tuple(pair)
        for pair in browser.execute_script(
            "return [...document.querySelectorAll('#examples b')].filter(b => b.checkVisibility() &&"
            "getComputedStyle(b).backgroundColor !== 'rgba(0, 0, 0, 0)').map(b => [b.dataset.type, b.firstChild.data])"
        )
    ]


@pytest.fixture(scope="module")
def typed_tokens(page, tiny_tokenizer, sentences):
    """(type, word) of every typed token of the corpus, from the model itself."""
    import torch

    model = load_autoencoder(page.parent / "run" / "step-2")
    tokens = []
    for sentence in [HOSTILE, *sentences]:
        ids = tiny_tokenizer(sentence, return_tensors="pt")
        with torch.no_grad():
            types = model.type_tokens(ids["input_ids"], ids["attention_mask"]).type_ids[0, 1:-1].tolist()
        words = tiny_tokenizer.tokenize(sentence)
        tokens += [(str(t), word) for t, word in zip(types, words, strict=True) if t]
    return tokens


def test_the_page_loads_without_errors(opened):
    assert opened.get_log("browser") == []
    assert opened.title == "Latent types of run/step-2"


def test_every_typed_token_is_coloured(opened, typed_tokens):
    assert Counter(coloured(opened)) == Counter(typed_tokens) and typed_tokens


def test_filtering_by_type_leaves_exactly_its_tokens(opened, typed_tokens):
    for type_id in sorted({t for t, _ in typed_tokens}):
        choose(opened, "type", type_id)
        expected = [pair for pair in typed_tokens if pair[0] == type_id]
        assert Counter(coloured(opened)) == Counter(expected)
        assert opened.execute_script("return document.getElementById('found').value").startswith(f"{len(expected)} ")
    opened.execute_script("document.querySelector('#filter button').click()")
    opened.execute_async_script("setTimeout(arguments[0], 50)")
    assert Counter(coloured(opened)) == Counter(typed_tokens)


def test_filtering_by_word_leaves_its_sentences(opened, sentences):
    choose(opened, "word", "Paris")
    shown = opened.execute_script(
        "return [...document.querySelectorAll('#examples > li')].filter(li => li.checkVisibility()).map(li => li.value)"
    )
    assert shown == [i + 2 for i, sentence in enumerate(sentences) if "paris" in sentence.split()]
    hits = opened.execute_script("return [...document.querySelectorAll('.hit')].map(e => e.firstChild.data)")
    assert set(hits) == {"paris"} and len(hits) == len(shown)


def column(browser, number: int) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll('#type-table tbody tr')].map(r => r.cells[arguments[0]].dataset.value)",
        number,
    )


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_sorting(opened, number):
    def click():
        opened.execute_script(
            "document.querySelectorAll('#type-table thead th')[arguments[0]].firstChild.click()", number
        )
        return [float(value) for value in column(opened, number)]

    before = [float(value) for value in column(opened, number)]
    one_way, other_way = click(), click()
    assert len(before) > 1
    assert one_way == sorted(before, reverse=True) and other_way == sorted(before)


def test_sorting_by_words(opened):
    button = "document.querySelectorAll('#type-table thead th')[4].firstChild.click()"
    words = "return [...document.querySelectorAll('#type-table tbody tr')].map(r => r.cells[4].textContent.trim())"
    before = opened.execute_script(words)
    opened.execute_script(button)
    after = opened.execute_script(words)
    expected = opened.execute_script("return arguments[0].sort((a, b) => a.localeCompare(b))", before)
    assert after == expected


def test_html_in_the_corpus_is_text(opened, tiny_tokenizer):
    assert opened.execute_script("return document.querySelectorAll('main img, main script').length") == 0
    shown = opened.execute_script(
        "const li = document.querySelector('#examples > li').cloneNode(true);"
        "for (const number of li.querySelectorAll('sub')) number.remove();"
        "return li.textContent.trim().split(/\\s+/)"
    )
    assert shown == tiny_tokenizer.tokenize(HOSTILE)


def test_a_script_that_got_into_the_page_would_not_run(browser, page, tmp_path):
    html = (page / "index.html").read_text()
    (tmp_path / "index.html").write_text(html.replace("<main>", "<main><script>document.title = 'hacked'</script>"))
    browser.get((tmp_path / "index.html").as_uri())
    assert browser.title == "Latent types of run/step-2"
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_sticks_out_sideways(browser, page, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((page / "index.html").as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_are_readable_on_every_colour(browser, page, scheme):
    """Contrast of at least 4.5 (WCAG 2 level AA) between text and ground, for each hue and for untyped tokens."""
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.get((page / "index.html").as_uri())
    colours = browser.execute_script(
        "const css = e => getComputedStyle(e);"
        "return [...document.querySelectorAll('#examples b, #examples i')].map("
        "  e => [css(e).color, css(e).backgroundColor, css(document.body).backgroundColor])"
    )
    assert {tuple(colour) for colour in colours}
    for text, tint, ground in {tuple(colour) for colour in colours}:
        assert contrast(numbers(text)[:3], blend(numbers(tint), numbers(ground)[:3])) >= 4.5, (text, tint, ground)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def numbers(css: str) -> list[float]:
    return [float(number) for number in re.findall(r"[\d.]+", css)]


def blend(tint: list[float], ground: list[float]) -> list[float]:
    alpha = tint[3] if len(tint) > 3 else 1.0
    return [alpha * t + (1 - alpha) * g for t, g in zip(tint, ground, strict=False)]


def contrast(a: list[float], b: list[float]) -> float:
    """Of two sRGB colours in 0..255, as WCAG 2 defines it."""

    def luminance(colour: list[float]) -> float:
        linear = [c / 3294.6 if c <= 10.31 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    light, dark = sorted([luminance(a), luminance(b)], reverse=True)
    return (light + 0.05) / (dark + 0.05)
