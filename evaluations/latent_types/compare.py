"""Compare the latent types of two checkpoints, or of two steps of one run, on the same sentences.

python -m evaluations.latent_types.compare checkpoints/NAME/step-1000 checkpoints/NAME
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError, run
from common.files import write_atomically
from common.flags import Count, Length, Seed, argument, flag, parse
from common.hardware import pick_device
from encoders import max_positions
from evaluations.latent_types.matching import Match, Movement, matches, movement
from evaluations.latent_types.typed_corpus import TypedCorpus, draw_sentences, load_checkpoint, type_corpus
from evaluations.pages import EXAMPLES, render


@dataclass(frozen=True, kw_only=True)
class Recipe:
    a: Path = argument("directory of a run, one of its steps, or a published checkpoint", "DIR_A")
    b: Path = argument("another one, with the same vocabulary", "DIR_B")
    data: str | None = flag(None, "corpus, as for pretrain.py (default: what A was trained on)")
    tokenizer: str | None = flag(None, "instead of the checkpoints' own: hub id, `minilm` or directory")
    output: Path | None = flag(None, "directory of the page and the tables (default: DIR_B/latent_types_compared)")
    sentences: Count = flag(2_000, "sentences drawn from the corpus")
    max_length: Length = flag(128, "tokens of a sentence; longer ones are cut")
    seed: Seed = flag(61820, "seed of what is drawn")
    device: str = flag("auto", "where to compute: auto, cpu, cuda, cuda:1, ...")


def changes(a: TypedCorpus, b: TypedCorpus, partner: dict[int, int], sentence: int) -> list[tuple[str, int, int, str]]:
    """A sentence's tokens for the page: (word, type in A, type in B, what became of it)."""
    start, end = a.bounds[sentence : sentence + 2]
    types_a, types_b = (typed.type_ids[start:end].tolist() for typed in (a, b))

    def change(type_a: int, type_b: int) -> str:
        if type_a and type_b:
            return "kept" if partner.get(type_a) == type_b else "moved"
        return "gained" if type_b else "lost" if type_a else "untyped"

    tokens = zip(a.tokens(start, end), types_a, types_b, strict=True)
    return [(word, type_a, type_b, change(type_a, type_b)) for word, type_a, type_b in tokens]


def report(moved: Movement, matched: list[Match], tokens: int) -> str:
    """The comparison as lines of text."""
    return "\n".join(
        [
            f"{tokens:,} tokens: {moved.kept:,} keep their (matched) type, by chance {moved.kept_by_chance:,.0f}; "
            f"{moved.moved:,} change it, {moved.gained:,} are typed in B only, {moved.lost:,} in A only, "
            f"{moved.untyped:,} in neither; NMI of the two typings {moved.nmi:.3f}",
            f"{'A':>5} {'B':>5} {'in A':>8} {'in B':>8} {'shared':>8} {'overlap':>8}  words",
            *(
                f"{m.type_a:>5} {m.type_b:>5} {m.tokens_a:>8,} {m.tokens_b:>8,} {m.shared:>8,} {m.overlap:>8.2f}  "
                f"{' '.join(m.words_a)} | {' '.join(m.words_b)}"
                for m in matched
            ),
        ]
    )


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    device = pick_device(recipe.device)
    output = recipe.output or recipe.b / "latent_types_compared"
    pair = [load_checkpoint(path, recipe.tokenizer, device) for path in (recipe.a, recipe.b)]
    data = recipe.data or pair[0].arguments.get("data")
    if not data:
        raise UserError(f"{recipe.a} has no run.json that names its corpus; give --data")
    tokenizer, other_tokenizer = (one.tokenizer for one in pair)
    if tokenizer.get_vocab() != other_tokenizer.get_vocab():
        raise UserError(f"{recipe.a} and {recipe.b} have different vocabularies; their tokens cannot be compared")
    longest = min(recipe.max_length, *(max_positions(one.model.config.encoder) for one in pair))
    lines, sentences = draw_sentences(data, tokenizer, longest, recipe.sentences, recipe.seed)
    a, b = (type_corpus(pair[i].model, tokenizer, lines, sentences, f"typing by {'AB'[i]}") for i in (0, 1))

    moved, matched = movement(a, b, recipe.seed), matches(a, b)
    partner = {match.type_a: match.type_b for match in matched}
    chosen = sorted(np.random.default_rng(recipe.seed).permutation(len(sentences))[: EXAMPLES[0]].tolist())
    summary = {
        "a": pair[0].name,
        "b": pair[1].name,
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
    everything = summary | {"movement": moved, "matches": matched}
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(output / "comparison.json", json.dumps(everything, default=asdict, ensure_ascii=False, indent=1))
    write_atomically(output / "index.html", html)
    print(report(moved, matched, len(a.token_ids)))
    print(f"Open {output / 'index.html'} in a browser")


if __name__ == "__main__":
    run(main)
