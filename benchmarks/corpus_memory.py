"""Peak memory of pretrain.py on a small and on a 1 GB corpus: it must not grow with the corpus.

    python benchmarks/corpus_memory.py [--megabytes 1000]

Two columns: anonymous memory is what the process itself holds; resident memory also counts the pages of
memory-mapped files that the system would drop at any time.
"""

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from data.bundled import bundled_corpus


def write_corpus(path: Path, megabytes: int) -> int:
    """Sentences of the news sample in random pairs, numbered so that no two are alike; returns how many."""
    sentences = bundled_corpus("lee_news").read_text().splitlines()
    generator = random.Random(0)
    size = 0
    with open(path, "w") as file:
        for number in itertools.count():
            if size >= megabytes * 1_000_000:
                return number
            line = f"{number} {generator.choice(sentences)} {generator.choice(sentences)}\n"
            size += len(line)
            file.write(line)


def field(status: str, name: str) -> int:
    """A memory figure of /proc/PID/status in bytes."""
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name + ":"))


def peak_memory(corpus: Path, work: Path) -> tuple[float, float, float]:
    """Peak anonymous and resident memory in GiB, and seconds, of a run of two steps, tokenisation included."""
    flags = ["--model", "minilm", "--data", str(corpus), "--max_steps", "2", "--eval_sentences", "32"]
    flags += ["--name", corpus.stem, "--output_dir", str(work)]
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "pretrain.py"), *flags],
        env=os.environ | {"HF_HOME": str(work / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
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
        sys.exit(f"pretrain.py ended with status {process.returncode}")
    return anonymous / 2**30, resident / 2**30, time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the large corpus")
    args = parser.parse_args()
    results = []
    print(f"{'corpus MB':>10}{'sentences':>12}{'anonymous GiB':>15}{'resident GiB':>14}{'seconds':>9}")
    with tempfile.TemporaryDirectory() as work:
        for megabytes in (10, args.megabytes):
            corpus = Path(work) / f"synthetic_{megabytes}.txt"
            sentences = write_corpus(corpus, megabytes)
            anonymous, resident, seconds = peak_memory(corpus, Path(work))
            print(f"{megabytes:10}{sentences:12,}{anonymous:15.2f}{resident:14.2f}{seconds:9.0f}", flush=True)
            results.append({"megabytes": megabytes, "sentences": sentences, "anonymous_gib": anonymous})
    print(json.dumps(results))


if __name__ == "__main__":
    main()
