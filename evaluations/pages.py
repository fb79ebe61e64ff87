"""Pages for people: one HTML file with everything in it, which asks the network for nothing."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from common.errors import UserError

TEMPLATES = [Path(__file__).parent / folder / "templates" for folder in ("latent_types", "few_shot")]
LARGEST_PAGE = 5_000_000  # bytes; what mail servers let through
EXAMPLES = (300, 100, 30, 10)  # example sentences: the first number with which the page is small enough

# Okabe and Ito (2008), without black: eight types share a hue, the number beside the word tells them apart.
HUES = ["0 114 178", "230 159 0", "0 158 115", "204 121 167", "86 180 233", "213 94 0", "240 228 66"]


def render(template: str, examples: list, numbers: Sequence[int] = EXAMPLES, **content: object) -> str:
    """Fill in a page, every value escaped, with as many examples, of these numbers, as `LARGEST_PAGE` has room for.

    Only the page's own script may run, whatever the corpus holds: the page's security policy names its hash.

    Raises:
        UserError: the page is too large even so.
    """
    options = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    pages = Environment(loader=FileSystemLoader(TEMPLATES), **options)
    pages.globals["hue"] = lambda type_id: HUES[(type_id - 1) % len(HUES)]  # red, green and blue, as CSS has them
    pages.filters["percent"] = lambda share: f"{100 * share:.1f}%"
    script = (TEMPLATES[0] / "page.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    for number in numbers:
        html = pages.get_template(template).render(
            examples=examples[:number], script=Markup(script), script_hash=digest, **content
        )
        if len(html.encode()) <= LARGEST_PAGE:
            return html
    raise UserError(f"the page is over {LARGEST_PAGE:,} bytes; there are too many types for one page")
