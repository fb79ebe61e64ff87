"""Compare the latent types of two checkpoints, or of two steps of one run, on the same sentences.

python -m evaluations.latent_types.compare checkpoints/NAME/step-1000 checkpoints/NAME
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from common.errors import UserError, run
from common.files import write_atomically
from evaluations.latent_types.matching import Match, Movement, matches, movement
from evaluations.latent_types.page import EXAMPLES, render
from evaluations.latent_types.typed_corpus import (
    TypedCorpus,
    display_name,
    draw_sentences,
    load_checkpoint,
    run_directory_of,
    type_corpus,
)
from training.report import read_run


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("a", type=Path, metavar="DIR_A", help="directory of a run, one of its steps, or a published checkpoint")
    add("b", type=Path, metavar="DIR_B", help="another one, with the same vocabulary")
    add("--data", help="NAME of data/NAME.txt, a text file, a bundled corpus or a hub id (default: what A trained on)")
    add("--output", type=Path, help="directory of the page and the tables (default: DIR_B/latent_types_compared)")
    add("--sentences", type=int, default=2_000, help="sentences drawn from the corpus")
    add("--max_length", type=int, default=128, help="tokens of a sentence; longer ones are cut")
    add("--seed", type=int, default=61820, help="of what is drawn")
    args = parser.parse_args(argv)
    if args.sentences < 1:
        raise UserError("--sentences must be at least 1")
    return args


def changes(a: TypedCorpus, b: TypedCorpus, partner: dict[int, int], sentence: int) -> list[tuple[str, int, int, str]]:
    """A sentence's tokens for the page: (word, type in A, type in B, what became of it)."""
    start, end = a.bounds[sentence : sentence + 2]
    found = []
    for word, type_a, type_b in zip(
        a.tokens(start, end), a.type_ids[start:end].tolist(), b.type_ids[start:end].tolist(), strict=True
    ):
        if type_a and type_b:
            change = "kept" if partner.get(type_a) == type_b else "moved"
        else:
            change = "gained" if type_b else "lost" if type_a else "untyped"
        found.append((word, type_a, type_b, change))
    return found


def report(moved: Movement, matched: list[Match], tokens: int) -> str:
    """The comparison as lines of text."""
    lines = [
        f"{tokens:,} tokens: {moved.kept:,} keep their (matched) type, by chance {moved.kept_by_chance:,.0f}; "
        f"{moved.moved:,} change it, {moved.gained:,} are typed in B only, {moved.lost:,} in A only, "
        f"{moved.untyped:,} in neither; NMI of the two typings {moved.nmi:.3f}",
        f"{'A':>5} {'B':>5} {'in A':>8} {'in B':>8} {'shared':>8} {'overlap':>8}  words",
    ]
    for match in matched:
        lines.append(
            f"{match.type_a:>5} {match.type_b:>5} {match.tokens_a:>8,} {match.tokens_b:>8,} {match.shared:>8,} "
            f"{match.overlap:>8.2f}  {' '.join(match.words_a)} | {' '.join(match.words_b)}"
        )
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    output = args.output or args.b / "latent_types_compared"
    data = args.data or read_run(run_directory_of(args.a))["arguments"].get("data")
    if not data:
        raise UserError(f"{args.a} has no run.json that names its corpus; give --data")

    model, tokenizer = load_checkpoint(args.a)
    other_model, other_tokenizer = load_checkpoint(args.b)
    if tokenizer.get_vocab() != other_tokenizer.get_vocab():
        raise UserError(f"{args.a} and {args.b} have different vocabularies; their tokens cannot be compared")
    longest = min(m.config.encoder.max_position_embeddings for m in (model, other_model))
    lines, sentences = draw_sentences(data, tokenizer, min(args.max_length, longest), args.sentences, args.seed)
    a = type_corpus(model, tokenizer, lines, sentences, "typing by A")
    b = type_corpus(other_model, tokenizer, lines, sentences, "typing by B")

    moved, matched = movement(a, b, args.seed), matches(a, b)
    partner = {match.type_a: match.type_b for match in matched}
    chosen = sorted(np.random.default_rng(args.seed).permutation(len(sentences))[: EXAMPLES[0]].tolist())
    summary = {
        "a": display_name(args.a),
        "b": display_name(args.b),
        "data": data,
        "sentences": len(sentences),
        "tokens": len(a.token_ids),
        "share_typed_a": a.share_typed,
        "share_typed_b": b.share_typed,
    }
    html = render(
        "compare.html.jinja",
        [(int(lines[i]), changes(a, b, partner, i)) for i in chosen],
        title=f"Latent types of {summary['a']} and {summary['b']}",
        **summary,
        num_types=max(a.num_types, b.num_types),
        movement=moved,
        matches=matched,
    )
    everything = summary | {
        "movement": asdict(moved),
        "matches": [asdict(match) | {"overlap": match.overlap} for match in matched],
    }
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(output / "comparison.json", json.dumps(everything, ensure_ascii=False, indent=1))
    write_atomically(output / "index.html", html)
    print(report(moved, matched, len(a.token_ids)))
    print(f"Open {output / 'index.html'} in a browser")


if __name__ == "__main__":
    run(main)
