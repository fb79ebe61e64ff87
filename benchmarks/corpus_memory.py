"""Peak memory of pretrain.py on a small and on a 1 GB corpus: it must not grow with the corpus.

    python -m benchmarks.corpus_memory --megabytes 1000

Two columns: anonymous memory is what the process itself holds; resident memory also counts the pages of
memory-mapped files that the system would drop at any time.
"""

import json
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import measure
from common.errors import run
from common.flags import Count, flag, parse
from data.bundled import bundled_corpus


@dataclass(frozen=True, kw_only=True)
class Recipe:
    megabytes: Count = flag(1000, "size of the large corpus")


def write_corpus(path: Path, megabytes: int) -> int:
    """Sentences of the news sample in random pairs, numbered so that no two are alike; returns how many."""
    sentences = bundled_corpus("lee_news").read_text().splitlines()
    generator = random.Random(0)
    number = size = 0
    with open(path, "w") as file:
        while size < megabytes * 1_000_000:
            size += file.write(f"{number} {generator.choice(sentences)} {generator.choice(sentences)}\n")
            number += 1
    return number


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    results = []
    print(f"{'corpus MB':>10}{'sentences':>12}{'anonymous GiB':>15}{'resident GiB':>14}{'seconds':>9}")
    with tempfile.TemporaryDirectory() as work:
        for megabytes in (10, recipe.megabytes):
            corpus = Path(work) / f"synthetic_{megabytes}.txt"
            sentences = write_corpus(corpus, megabytes)
            flags = ("--model", "minilm", "--data", corpus, "--max_steps", 2, "--eval_sentences", 32, "--device", "cpu")
            place = ("--name", corpus.stem, "--output_dir", work)
            used = measure("pretrain.py", *flags, *place, HF_HOME=f"{work}/cache")  # the tokenised corpus goes there
            memory = f"{used.anonymous:15.2f}{used.resident:14.2f}"
            print(f"{megabytes:10}{sentences:12,}{memory}{used.seconds:9.0f}", flush=True)
            results.append({"megabytes": megabytes, "sentences": sentences, "anonymous_gib": used.anonymous})
    print(json.dumps(results))


if __name__ == "__main__":
    run(main)
