"""Look at what a checkpoint learned: a page of its latent types and the tables behind it.

python -m evaluations.latent_types.explore --checkpoint checkpoints/NAME --data voa_corpus
"""

import argparse
import csv
import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from common.errors import UserError, run
from common.files import write_atomically
from evaluations.latent_types import tables
from evaluations.latent_types.agreement import agreement, load_labelled
from evaluations.latent_types.page import EXAMPLES, curve_pictures, render, typed_runs
from evaluations.latent_types.reconstructions import reconstruct
from evaluations.latent_types.typed_corpus import (
    TypedCorpus,
    display_name,
    draw_sentences,
    load_checkpoint,
    run_directory_of,
    type_corpus,
)
from training.report import read_run

RECONSTRUCTIONS_SHOWN = 40
MEASURES = [
    ("v_measure", "V-measure", "%.3f"),
    ("nmi", "NMI", "%.3f"),
    ("purity", "purity", "%.3f"),
    ("typed_entities", "entity tokens typed", "%.3f"),
    ("typed_others", "others typed", "%.3f"),
    ("ratio", "ratio", "%.2f"),
]


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="directory of a run, one of its steps, or a published one")
    add("--data", required=True, help="NAME of data/NAME.txt, a text file, a bundled corpus or a hub id")
    add("--output", type=Path, help="directory of the page and the tables (default: CHECKPOINT/latent_types)")
    add("--sentences", type=int, default=10_000, help="sentences drawn from the corpus")
    add("--reconstructions", type=int, default=200, help="of them rebuilt, for BLEU")
    add("--labelled", type=Path, help="two-column file (word TAB label): compare types with gold entity types")
    add("--labelled_sentences", type=int, default=2_000, help="sentences drawn from it")
    add("--plain_encoder", help="encoder of the k-means control (default: the one the run started from)")
    add("--max_length", type=int, default=128, help="tokens of a sentence; longer ones are cut")
    add("--seed", type=int, default=61820, help="of what is drawn")
    args = parser.parse_args(argv)
    for flag in ("sentences", "reconstructions", "labelled_sentences"):
        if getattr(args, flag) < 1:
            raise UserError(f"--{flag} must be at least 1")
    return args


def csv_text(header: list[str], rows: list[list]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([header, *rows])
    return buffer.getvalue()


def word_table(corpus: TypedCorpus) -> str:
    """Every word and type that occur together, as CSV."""
    words, counts = tables.type_word_counts(corpus)
    specificity = tables.npmi(counts)
    rows = [
        [type_id, corpus.vocabulary[words[w]], counts[type_id, w], f"{specificity[type_id, w]:.4f}"]
        for type_id, w in np.argwhere(counts)
    ]
    return csv_text(["type", "word", "count", "npmi"], rows)


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    output = args.output or args.checkpoint / "latent_types"

    # --- what is there ----------------------------------------------------------------------------------------------
    model, tokenizer = load_checkpoint(args.checkpoint)
    run_directory = run_directory_of(args.checkpoint)
    arguments = read_run(run_directory)["arguments"]
    max_length = min(args.max_length, model.config.encoder.max_position_embeddings)
    tokens, plain_encoder = None, args.plain_encoder or arguments.get("model")
    if args.labelled:
        if not plain_encoder:
            raise UserError(f"{run_directory} has no run.json that names the plain encoder; give --plain_encoder")
        tokens = load_labelled(args.labelled, tokenizer, max_length, args.labelled_sentences, args.seed)

    # --- the corpus, typed ------------------------------------------------------------------------------------------
    lines, sentences = draw_sentences(args.data, tokenizer, max_length, args.sentences, args.seed)
    corpus = type_corpus(model, tokenizer, lines, sentences)
    shuffled = np.random.default_rng(args.seed).permutation(len(sentences)).tolist()
    types = tables.type_rows(corpus, args.seed)
    by_frequency, by_position = tables.shares_by_frequency(corpus), tables.shares_by_position(corpus)
    usage = np.bincount(corpus.type_ids, minlength=corpus.num_types)[1:]

    # --- reconstructions, agreement ---------------------------------------------------------------------------------
    chosen = sorted(shuffled[: args.reconstructions])
    rebuilt, bleu = reconstruct(
        model, tokenizer, [int(lines[i]) for i in chosen], [sentences[i] for i in chosen], max_length
    )
    results = agreement(model, tokenizer, tokens, plain_encoder, args.seed) if tokens else []

    # --- tables and page --------------------------------------------------------------------------------------------
    summary = {
        "name": display_name(args.checkpoint),
        "checkpoint": str(args.checkpoint),
        "data": args.data,
        "sentences": len(sentences),
        "tokens": len(corpus.token_ids),
        "share_typed": corpus.share_typed,
        "types_used": int((usage > 0).sum()),
        "num_types": corpus.num_types,
        "perplexity": 2 ** tables.entropy_bits(usage),
        "bleu": bleu,
        "reconstructed": len(rebuilt),
    }
    labelled = {}
    if tokens:
        labelled = {
            "labelled": str(args.labelled),
            "entity_tokens": int(tokens.entity.sum()),
            "other_tokens": int((~tokens.entity).sum()),
            "gold_types": len(set(tokens.labels[tokens.entity])),
        }
    html = render(
        "explore.html.jinja",
        [(int(lines[i]), list(typed_runs(corpus, i))) for i in sorted(shuffled[: EXAMPLES[0]])],
        title=f"Latent types of {summary['name']}",
        **summary,
        **labelled,
        types=types,
        usage=(usage / len(corpus.token_ids)).tolist(),
        fewest=tables.FEWEST_FOR_SPECIFIC,
        by_frequency=by_frequency,
        by_position=by_position,
        reconstructions=rebuilt[:RECONSTRUCTIONS_SHOWN],
        results=results,
        measures=MEASURES,
        trained=any(arguments.get(weight, 1) for weight in ("alpha", "beta", "gamma")),
        curves=curve_pictures(run_directory / "metrics.jsonl"),
    )
    everything = (
        summary
        | labelled
        | {
            "types": [asdict(row) for row in types],
            "by_frequency": [asdict(row) for row in by_frequency],
            "by_position": [asdict(row) for row in by_position],
            "agreement": [asdict(result) for result in results],
            "reconstructions": [asdict(row) for row in rebuilt],
        }
    )
    output.mkdir(parents=True, exist_ok=True)
    header = ["type", "tokens", "share", "words", "entropy_bits"]
    rows = [[row.type_id, row.tokens, row.share, row.words, row.entropy] for row in types]
    write_atomically(output / "types.csv", csv_text(header, rows))
    write_atomically(output / "words.csv", word_table(corpus))
    write_atomically(output / "tables.json", json.dumps(everything, ensure_ascii=False, indent=1))
    write_atomically(output / "index.html", html)

    in_use = f"{summary['types_used']} of {corpus.num_types - 1} types in use"
    print(f"{corpus.share_typed:.1%} of {len(corpus.token_ids):,} tokens typed, {in_use}, BLEU {bleu:.2f}")
    for result in results:
        means = [(title, form, result.mean(measure)) for measure, title, form in MEASURES]
        print(
            f"{result.name}: " + ", ".join(f"{title} {form % mean}" for title, form, mean in means if mean is not None)
        )
    print(f"Open {output / 'index.html'} in a browser")


if __name__ == "__main__":
    run(main)
