"""One style for pictures: SVG that does not change from one writing to the next, with text that stays text."""

from io import BytesIO
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sparse latent typing",
    "font.family": "sans-serif",
    "font.size": 8,
}
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#999999"  # Okabe and Ito (2008): told apart by everyone


def svg(figure: Figure, **options: Any) -> str:
    """A figure as SVG text; `options` are those of matplotlib's `savefig`."""
    with rc_context(STYLE):
        buffer = BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, **options)
    return buffer.getvalue().decode()
