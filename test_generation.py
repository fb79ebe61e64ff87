"""Latent typing and reconstruction of any sentence.

    python test_generation.py                                   # of what is typed in, by the newest finished run
    python test_generation.py --checkpoint checkpoints/quickstart "Rebels attacked the town near the border."

prints the sentence, its typed tokens with their types, and what the decoder rebuilds from them.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import StringIO, TextIOWrapper
from pathlib import Path

from common.errors import UserError, run
from common.flags import Count, Length, argument, flag, parse
from common.hardware import pick_device
from common.text import read_lines
from encoders import check_tokenizer, max_positions
from model import load_autoencoder, tokenizer_of
from model.describe import describe
from training.checkpoints import newest_run

EXAMPLES = [
    "The president met the foreign minister in Paris on Monday.",
    "Rebels attacked the town near the border, killing three people.",
]


@dataclass(frozen=True, kw_only=True)
class Generation:
    sentences: list[str] = argument(
        "sentences, one an argument (default: read from the terminal)", "SENTENCE", nargs="*"
    )
    file: Path | None = flag(None, "text file with one sentence a line instead (blank lines count)")
    checkpoint: Path | None = flag(None, "directory of the autoencoder (default: the newest finished run)")
    tokenizer: str | None = flag(None, "tokenizer instead of the checkpoint's own: hub id, `minilm` or directory")
    json: bool = flag(False, "whether to print one JSON object a line")
    num_beams: Count = flag(1, "beams of the reconstruction; 1 is greedy search")
    max_length: Length | None = flag(None, "tokens read of a sentence (default: all the encoder can)")
    device: str = flag("auto", "where to compute: auto, cpu, cuda, cuda:1, ...")

    def __post_init__(self) -> None:
        if self.sentences and self.file:
            raise UserError("name sentences or --file, not both")


def typed_in() -> Iterator[str]:
    """The lines of standard input as they come, up to an empty one where it is a terminal; two examples where it is
    empty or there is none."""
    lines = sys.stdin if sys.stdin and not sys.stdin.closed else StringIO()
    if isinstance(lines, TextIOWrapper):
        lines.reconfigure(errors="replace")
    if prompted := lines.isatty():
        print("Type a sentence and press Enter; an empty line ends.", file=sys.stderr)
    found = False
    for line in lines:
        if prompted and line == "\n":
            return
        found = True
        yield line.removesuffix("\n")
    if not (prompted or found):
        yield from EXAMPLES


def main(argv: list[str]) -> None:
    flags = parse(Generation, argv, __doc__)
    checkpoint = flags.checkpoint or newest_run(Path("checkpoints"))
    if not flags.checkpoint:
        print(f"checkpoint: {checkpoint}", file=sys.stderr)
    model = load_autoencoder(checkpoint)
    tokenizer = tokenizer_of(checkpoint, flags.tokenizer)
    max_length = flags.max_length or max_positions(model.config.encoder)
    check_tokenizer(model.config.encoder, tokenizer, max_length)
    model.to(pick_device(flags.device))  # pyright: ignore[reportArgumentType]

    sentences = flags.sentences or (read_lines(flags.file) if flags.file else typed_in())
    batch_size = 32 if flags.sentences or flags.file else 1  # what is typed in is answered before more is read
    for description in describe(model, tokenizer, sentences, max_length, flags.num_beams, batch_size):
        print(json.dumps(asdict(description)) if flags.json else description, flush=True)


if __name__ == "__main__":
    run(main)
