"""Peak memory of pretrain.py on a small and on a 1 GB corpus: it must not grow with the corpus.

    python -m benchmarks.corpus_memory --megabytes 1000

Two columns: anonymous memory is what the process itself holds; resident memory also counts the pages of
memory-mapped files that the system would drop at any time.
"""

import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError, run
from common.files import ROOT
from common.flags import Count, flag, parse
from data.bundled import bundled_corpus


@dataclass(frozen=True, kw_only=True)
class Recipe:
    megabytes: Count = flag(1000, "size of the large corpus")


def write_corpus(path: Path, megabytes: int) -> int:
    """Sentences of the news sample in random pairs, numbered so that no two are alike; returns how many."""
    sentences = bundled_corpus("lee_news").read_text().splitlines()
    generator = random.Random(0)
    size = 0
    with open(path, "w") as file:
        for number in itertools.count():
            if size >= megabytes * 1_000_000:
                break
            line = f"{number} {generator.choice(sentences)} {generator.choice(sentences)}\n"
            size += len(line)
            file.write(line)
    return number


def field(status: str, name: str) -> int:
    """A number of /proc/PID/status in bytes."""
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name + ":"))


def peak_memory(corpus: Path, work: Path) -> tuple[float, float, float]:
    """Peak anonymous and resident memory in GiB, and seconds, of a run of two steps, tokenisation included.

    Raises:
        UserError: the run failed.
    """
    command = [sys.executable, "pretrain.py", "--model", "minilm", "--data", str(corpus), "--max_steps", "2"]
    command += ["--eval_sentences", "32", "--device", "cpu", "--name", corpus.stem, "--output_dir", str(work)]
    started = time.monotonic()
    environment = os.environ | {"HF_HOME": str(work / "cache")}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet)
    anonymous = resident = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            anonymous = max(anonymous, field(status, "RssAnon"))
            resident = max(resident, field(status, "VmHWM"))
        except (FileNotFoundError, ProcessLookupError, StopIteration):  # it has just ended
            pass
        time.sleep(0.1)
    if process.returncode:
        raise UserError(f"{' '.join(command)} ended with status {process.returncode}")
    return anonymous / 2**30, resident / 2**30, time.monotonic() - started


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    results = []
    print(f"{'corpus MB':>10}{'sentences':>12}{'anonymous GiB':>15}{'resident GiB':>14}{'seconds':>9}")
    with tempfile.TemporaryDirectory() as work:
        for megabytes in (10, recipe.megabytes):
            corpus = Path(work) / f"synthetic_{megabytes}.txt"
            sentences = write_corpus(corpus, megabytes)
            anonymous, resident, seconds = peak_memory(corpus, Path(work))
            print(f"{megabytes:10}{sentences:12,}{anonymous:15.2f}{resident:14.2f}{seconds:9.0f}", flush=True)
            results.append({"megabytes": megabytes, "sentences": sentences, "anonymous_gib": anonymous})
    print(json.dumps(results))


if __name__ == "__main__":
    run(main)
