"""Draws docs/architecture.svg: python -m docs.architecture"""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from common.files import write_atomically
from common.plots import STYLE, svg

INK, MUTED = "#222222", "#666666"
BOXES = {  # name: (x, y, width, text, fill)
    "clean": (0.2, 0.3, 2.0, "clean sentence", "#eeeeee"),
    "masked": (0.2, 3.3, 2.0, "15% masked", "#eeeeee"),
    "bert": (3.0, 1.8, 2.0, "BERT encoder\n(what is kept)", "#cfe2f3"),
    "typer": (6.1, 0.3, 2.1, "latent typer\n64 types, 0 = none", "#fff2cc"),
    "gate": (8.8, 0.3, 1.9, "gate\nstate * type", "#fff2cc"),
    "decoder": (11.5, 0.3, 2.1, "decoder, 1 layer\nrebuilds", "#d9ead3"),
    "mlm": (11.5, 3.3, 2.1, "MLM head", "#d9ead3"),
}
LOSSES = {"mlm": "L_mlm", "decoder": "α L_rec", "typer": "β L_sparse + γ L_kl"}
ARROWS = [
    ("clean", "bert"),
    ("masked", "bert"),
    ("bert", "typer"),
    ("typer", "gate"),
    ("gate", "decoder"),
    ("bert", "mlm"),
]
HEIGHT = 0.95

with rc_context(STYLE), rc_context({"font.size": 9}):
    figure = Figure(figsize=(10.2, 3.5))
    axes = figure.add_subplot()
    for x, y, width, text, fill in BOXES.values():
        axes.add_patch(FancyBboxPatch((x, y), width, HEIGHT, boxstyle="round,pad=0.08", fc=fill, ec=INK, lw=0.9))
        axes.text(x + width / 2, y + HEIGHT / 2, text, ha="center", va="center", color=INK)
    for source, target in ARROWS:
        x0, y0, width, *_ = BOXES[source]
        x1, y1, *_ = BOXES[target]
        start, end = (x0 + width + 0.1, y0 + HEIGHT / 2), (x1 - 0.1, y1 + HEIGHT / 2)
        axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 0.9})
    for name, text in LOSSES.items():
        x, y, width, *_ = BOXES[name]
        axes.text(x + width / 2, y - 0.45, text, ha="center", color="#a61c00", fontsize=10, style="italic")
    axes.text(9.75, 1.5, "untyped tokens pass as zero vectors", ha="center", color=MUTED, fontsize=8)
    axes.set(xlim=(0, 13.9), ylim=(-0.5, 4.5))
    axes.axis("off")
write_atomically(Path(__file__).with_suffix(".svg"), svg(figure, bbox_inches="tight"))
