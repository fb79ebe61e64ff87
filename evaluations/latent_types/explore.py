"""Look at what a checkpoint learned: a page of its latent types and the tables behind it.

python -m evaluations.latent_types.explore --checkpoint checkpoints/NAME --data voa_corpus
"""

import csv
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError, run
from common.files import write_atomically
from common.flags import Count, Length, Seed, flag, parse
from common.hardware import pick_device
from encoders import max_positions
from evaluations.few_shot.data import BIO
from evaluations.latent_types import tables
from evaluations.latent_types.agreement import agreement, load_labelled
from evaluations.latent_types.page import curve_pictures, reconstruct, typed_runs
from evaluations.latent_types.typed_corpus import TypedCorpus, draw_sentences, load_checkpoint, type_corpus
from evaluations.pages import EXAMPLES, render

RECONSTRUCTIONS_SHOWN = 40
MEASURES = [
    ("v_measure", "V-measure", "%.3f"),
    ("nmi", "NMI", "%.3f"),
    ("purity", "purity", "%.3f"),
    ("typed_entities", "entity tokens typed", "%.3f"),
    ("typed_others", "others typed", "%.3f"),
    ("ratio", "ratio", "%.2f"),
]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    checkpoint: Path = flag(help="directory of a run, one of its steps, or a published checkpoint")
    data: str = flag(help="corpus, as for pretrain.py")
    tokenizer: str | None = flag(None, "instead of the checkpoint's own: hub id, `minilm` or directory")
    output: Path | None = flag(None, "directory of the page and the tables (default: CHECKPOINT/latent_types)")
    sentences: Count = flag(10_000, "sentences drawn from the corpus")
    reconstructions: Count = flag(200, "of them rebuilt, for BLEU")
    labelled: Path | None = flag(None, "file of `word TAB label` lines: compare types with gold entity types")
    bio: str = flag("refuse", "its labels `B-X` and `I-X`; convert: both are `X`", choices=BIO)
    labelled_sentences: Count = flag(2_000, "sentences drawn from it")
    plain_encoder: str | None = flag(None, "encoder of the k-means control (default: the one the run started from)")
    max_length: Length = flag(128, "tokens of a sentence; longer ones are cut")
    seed: Seed = flag(61820, "seed of what is drawn")
    device: str = flag("auto", "where to compute: auto, cpu, cuda, cuda:1, ...")


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
    recipe = parse(Recipe, argv, __doc__)
    output = recipe.output or recipe.checkpoint / "latent_types"

    # --- what is there ----------------------------------------------------------------------------------------------
    checkpoint = load_checkpoint(recipe.checkpoint, recipe.tokenizer, pick_device(recipe.device))
    model, tokenizer, name, run_directory, arguments = checkpoint
    max_length = min(recipe.max_length, max_positions(model.config.encoder))
    tokens, plain_encoder = None, recipe.plain_encoder or arguments.get("model", "")
    if recipe.labelled:
        if not plain_encoder:
            raise UserError(f"{run_directory} has no run.json that names the plain encoder; give --plain_encoder")
        drawn = (recipe.labelled_sentences, recipe.seed)
        tokens = load_labelled(recipe.labelled, tokenizer, max_length, *drawn, recipe.bio)

    # --- the corpus, typed and rebuilt ------------------------------------------------------------------------------
    lines, sentences = draw_sentences(recipe.data, tokenizer, max_length, recipe.sentences, recipe.seed)
    corpus = type_corpus(model, tokenizer, lines, sentences)
    usage = np.bincount(corpus.type_ids, minlength=corpus.num_types)[1:]
    shuffled = np.random.default_rng(recipe.seed).permutation(len(sentences))
    chosen, shown = np.sort(shuffled[: recipe.reconstructions]), np.sort(shuffled[: EXAMPLES[0]])
    rebuilt, bleu = reconstruct(model, tokenizer, lines[chosen].tolist(), [sentences[i] for i in chosen], max_length)

    # --- tables and page --------------------------------------------------------------------------------------------
    summary = {
        "name": name,
        "checkpoint": str(recipe.checkpoint),
        "data": recipe.data,
        "sentences": len(sentences),
        "tokens": len(corpus.token_ids),
        "share_typed": corpus.share_typed,
        "types_used": int((usage > 0).sum()),
        "num_types": corpus.num_types,
        "perplexity": 2 ** tables.entropy_bits(usage),
        "bleu": bleu,
        "reconstructed": len(rebuilt),
    }
    if tokens:
        summary |= {
            "labelled": str(recipe.labelled),
            "entity_tokens": int(tokens.entity.sum()),
            "other_tokens": int((~tokens.entity).sum()),
            "gold_types": len(set(tokens.labels[tokens.entity])),
        }
    found = {
        "types": tables.type_rows(corpus, recipe.seed),
        "by_frequency": tables.shares_by_frequency(corpus),
        "by_position": tables.shares_by_position(corpus),
        "agreement": agreement(model, tokenizer, tokens, plain_encoder, recipe.seed) if tokens else [],
        "reconstructions": rebuilt,
    }
    html = render(
        "explore.html.jinja",
        [(int(lines[i]), list(typed_runs(corpus, i))) for i in shown],
        title=f"Latent types of {name}",
        **summary,
        **found,
        usage=(usage / len(corpus.token_ids)).tolist(),
        fewest=tables.FEWEST_FOR_SPECIFIC,
        reconstructions_shown=RECONSTRUCTIONS_SHOWN,
        measures=MEASURES,
        trained=any(arguments.get(weight, 1) for weight in ("alpha", "beta", "gamma")),
        curves=curve_pictures(run_directory),
    )
    output.mkdir(parents=True, exist_ok=True)
    header = ["type", "tokens", "share", "words", "entropy_bits"]
    rows = [[row.type_id, row.tokens, row.share, row.words, row.entropy] for row in found["types"]]
    write_atomically(output / "types.csv", csv_text(header, rows))
    write_atomically(output / "words.csv", word_table(corpus))
    write_atomically(output / "tables.json", json.dumps(summary | found, default=asdict, ensure_ascii=False, indent=1))
    write_atomically(output / "index.html", html)

    in_use = f"{summary['types_used']} of {corpus.num_types - 1} types in use"
    print(f"{corpus.share_typed:.1%} of {len(corpus.token_ids):,} tokens typed, {in_use}, BLEU {bleu:.2f}")
    for result in found["agreement"]:
        means = [(title, form, result.mean(measure)) for measure, title, form in MEASURES]
        print(f"{result.name}:", ", ".join(f"{title} {form % mean}" for title, form, mean in means if mean is not None))
    print(f"Open {output / 'index.html'} in a browser")


if __name__ == "__main__":
    run(main)
