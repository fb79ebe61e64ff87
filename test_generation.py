"""Latent typing and reconstruction of any sentence.

    python test_generation.py --checkpoint checkpoints/quickstart "Rebels attacked the town near the border."

prints the sentence, its typed tokens with their types, and what the decoder rebuilds from them.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import torch

from common.errors import UserError, run
from common.text import read_lines
from model import load_autoencoder
from model.checkpoints import tokenizer_of
from model.describe import describe
from training.preflight import check_tokenizer


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("sentences", nargs="*", help="one argument each")
    add("--file", type=Path, help="text file with one sentence a line instead (blank lines count)")
    add("--checkpoint", type=Path, required=True, help="directory of the autoencoder")
    add("--tokenizer", help="instead of the checkpoint's own: hub id, `minilm` or directory")
    add("--json", action="store_true", help="print one JSON object a line")
    add("--num_beams", type=int, default=1, help="of the reconstruction; 1 is greedy search")
    add("--max_length", type=int, default=None, help="tokens read of a sentence (default: all the encoder can)")
    add("--device", choices=["auto", "cpu"], default="auto", help="cpu: leave GPUs alone")
    args = parser.parse_args(argv)
    if bool(args.sentences) == bool(args.file):
        raise UserError("what should be typed? Name sentences or --file, one of the two")
    if args.num_beams < 1:
        raise UserError("--num_beams must be at least 1")

    model = load_autoencoder(args.checkpoint)
    tokenizer = tokenizer_of(args.checkpoint, args.tokenizer)
    max_length = args.max_length if args.max_length is not None else model.config.encoder.max_position_embeddings
    if max_length < 3:
        raise UserError("--max_length must be at least 3: [CLS], a token and [SEP]")
    check_tokenizer(model, tokenizer, max_length)
    if args.device == "auto" and torch.cuda.is_available():
        model.cuda()

    for description in describe(model, tokenizer, args.sentences or read_lines(args.file), max_length, args.num_beams):
        print(json.dumps(dataclasses.asdict(description)) if args.json else description, flush=True)


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # where a terminal cannot show a character
    run(main)
