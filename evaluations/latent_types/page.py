"""The page of types: one HTML file with everything in it, which asks the network for nothing."""

import base64
import hashlib
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure

from common.errors import UserError
from common.plots import STYLE, svg
from evaluations.latent_types.typed_corpus import TypedCorpus
from runs import read_metrics
from training.report import CURVES, curves, draw_curve

TEMPLATES = Path(__file__).with_name("templates")
LARGEST_PAGE = 5_000_000  # bytes; what mail servers let through
EXAMPLES = (300, 100, 30, 10)  # example sentences: the first number with which the page is small enough

# Okabe and Ito (2008), without black: eight types share a hue, the number beside the word tells them apart.
HUES = ["0 114 178", "230 159 0", "0 158 115", "204 121 167", "86 180 233", "213 94 0", "240 228 66"]


def hue(type_id: int) -> str:
    """The colour of a type as the red, green and blue of CSS."""
    return HUES[(type_id - 1) % len(HUES)]


def typed_runs(corpus: TypedCorpus, sentence: int) -> Iterator[tuple[int, list[str]]]:
    """A sentence's tokens for the page: (type, [word]) for each typed one, (0, words) for a stretch of untyped ones."""
    start, end = corpus.bounds[sentence : sentence + 2]
    pairs = zip(corpus.type_ids[start:end].tolist(), corpus.tokens(start, end), strict=True)
    for type_id, run in groupby(pairs, key=lambda pair: pair[0]):
        words = [word for _, word in run]
        yield from [(0, words)] if type_id == 0 else [(type_id, [word]) for word in words]


def curve_pictures(run_directory: Path) -> list[Markup]:
    """A small SVG of each curve of a run, coloured by the page it stands in; none where nothing was recorded."""
    training, validation = curves(read_metrics(run_directory))
    pictures = []
    for number, name in enumerate(training | validation):
        with rc_context(STYLE):
            figure = Figure(figsize=(3, 2), layout="constrained")
            draw_curve(figure.add_subplot(), name, training.get(name, []), validation.get(name, []))
        text = svg(figure, transparent=True)
        text = text[text.index("<svg") :].replace("#000000", "currentColor")
        # matplotlib's ids repeat from picture to picture
        text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>curve{number}-", text)
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        label = escape(CURVES.get(name, name))
        pictures.append(Markup(text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)))
    return pictures


def environment() -> Environment:
    """jinja2 with every value escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["hue"] = hue
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}%"
    return environment


def render(template: str, examples: list, **content: object) -> str:
    """Fill in a page with as many of the examples as `LARGEST_PAGE` has room for.

    Only the page's own script may run, whatever the corpus holds: the page's security policy names its hash.

    Raises:
        UserError: the page is too large even so.
    """
    pages = environment()
    script = (TEMPLATES / "page.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    for number in EXAMPLES:
        html = pages.get_template(template).render(
            examples=examples[:number], script=Markup(script), script_hash=digest, **content
        )
        if len(html.encode()) <= LARGEST_PAGE:
            return html
    raise UserError(f"the page is over {LARGEST_PAGE:,} bytes; the model has too many types for one page")
