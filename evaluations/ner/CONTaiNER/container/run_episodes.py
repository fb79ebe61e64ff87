"""Run the test episodes of one Few-NERD setting, by one process or several (torchrun, accelerate launch) together."""

import json
import multiprocessing
import os
import time
from argparse import Namespace
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

import torch
from torch import distributed
from tqdm import tqdm

from common.bootstrap import f1_interval, micro_prf
from common.errors import UserError, run
from common.files import environment, write_atomically
from container.arguments import parse_args
from container.data import Episode, Split, identity, read_episodes, read_labels
from container.episode import Tagger
from container.model import WordPieces, load
from container.records import FINISHED, EpisodeLog, counts, kept, locked
from container.scores import SCORINGS, entity_counts

RECIPE = ("type", "way", "shot", "method", "no_viterbi", "seed", "distance", "learning_rate", "encoder_learning_rate",
          "dropout", "max_length", "max_steps", "temp_trans", "threads", "mixed_precision")  # fmt: skip


def main(argv: list[str]) -> None:
    args = parse_args(argv, __doc__)
    rank, launched = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if launched > 1:
        distributed.init_process_group("gloo")
        args.processes = launched
    split, folder = Split(args.data, args.type), args.output / args.type / args.name / variant(args)
    labels = read_labels(split.labels("test"))
    episodes = list(islice(read_episodes(split.episodes(args.way, args.shot), set(labels)), args.episodes))
    log = EpisodeLog(folder / "episodes.jsonl")
    with locked(folder) if rank == 0 else nullcontext():
        todo = [prepare(folder, split, args, log, len(episodes)) if rank == 0 else []]
        if launched > 1:
            distributed.broadcast_object_list(todo)
        shares = [
            (todo[0][first :: args.processes], first, episodes, labels, log, args) for first in range(args.processes)
        ]
        if todo[0]:
            others = [] if launched > 1 else start(shares[1:])
            run_share(*shares[rank])
            for process in others:
                process.join()
        elif rank == 0:
            print(f"{folder}: all {len(episodes)} episodes were done before")
        if launched > 1:
            distributed.barrier()
        if rank == 0:
            finish(folder, log, args, len(episodes))


def start(shares: list[tuple]) -> list:
    """Start a process for each of the shares that have an episode."""
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=run_share, args=share, daemon=True) for share in shares if share[0]]
    for process in processes:
        process.start()
    return processes


def variant(args: Namespace) -> str:
    """The setting's folder: `5-1`, with the method and `no_viterbi` behind it where they are not the defaults."""
    method = [args.method] if args.method != "container" else []
    return "-".join([str(args.way), str(args.shot), *method, *["no_viterbi"] * args.no_viterbi])


def prepare(folder: Path, split: Split, args: Namespace, log: EpisodeLog, number: int) -> list[int]:
    """Record what the run is made with, or check it against an earlier start's; returns the missing episodes.

    Raises:
        UserError: there is no source training, or the run was begun with another recipe, data or weights.
    """
    source = folder.parent / "source" / "source.json"
    if not source.exists():
        raise UserError(f"{source} is missing; train first: python -m container.train_source, or exec_container.sh")
    trained = json.loads(source.read_text())
    record = {
        "recipe": {key: getattr(args, key) for key in RECIPE},
        "data": identity(split, episodes=split.episodes(args.way, args.shot), labels=split.labels("test")),
        "source": {"weights": trained["weights"]},
    }
    if not kept(folder / "run.json", record):
        record |= {"training": trained, "environment": environment()}
        write_atomically(folder / "run.json", json.dumps(record, indent=1))
    log.repair()
    done = log.read()
    if any(index not in done for index in range(number)):
        (folder / FINISHED).unlink(missing_ok=True)
    return [index for index in range(number) if index not in done]


def run_share(
    todo: list[int], rank: int, episodes: list[Episode], labels: list[str], log: EpisodeLog, args: Namespace
) -> None:
    """Run this process's episodes and append each to the log; process 0 shows how far all of them are."""
    torch.set_num_threads(args.threads)
    source = log.path.parent.parent / "source"
    model, tokenizer = load(source, args.mixed_precision)
    words = WordPieces(tokenizer, args.max_length)
    statistics = json.loads((source / "source.json").read_text())["transitions"]
    tagger = Tagger(model.to(device(args, rank)), words, labels, statistics, args)
    parent = multiprocessing.parent_process()
    bar = tqdm(total=len(episodes), initial=len(log.read()), unit="episode", disable=rank > 0)
    for index in todo:
        if parent and not parent.is_alive():  # killed: its lock is gone, and another run may begin
            return
        begin, unknown, cut = time.perf_counter(), words.unknown, words.cut
        episode = episodes[index]
        outcome = tagger.run(index, episode)
        gold = [sentence.labels for sentence in episode.query]
        record = {"index": index, **{scoring: entity_counts(gold, outcome.labels, scoring) for scoring in SCORINGS}}
        record |= {"steps": len(outcome.losses), "unknown_words": words.unknown - unknown, "cut_words": words.cut - cut}
        record["empty_support"] = int(not any(sentence.words for sentence in episode.support))
        if args.predictions:
            record["predictions"] = outcome.labels
        log.append(record | {"seconds": round(time.perf_counter() - begin, 3)})
        if rank == 0:
            records = log.read()
            bar.set_postfix_str(f"F1 {micro_prf(counts(records, args.scoring).sum(0))[2]:.2f}", refresh=False)
            bar.update(len(records) - bar.n)
    bar.close()


def device(args: Namespace, rank: int) -> torch.device:
    """The device of a process: several processes share the visible GPUs of their machine."""
    if args.device != "cuda":
        return torch.device(args.device)
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())


def finish(folder: Path, log: EpisodeLog, args: Namespace, number: int) -> None:
    """Order the log, write the summary and print its line.

    Raises:
        UserError: episodes are missing, because a process ended early.
    """
    records = log.read().values()
    if missing := number - sum(record["index"] < number for record in records):
        raise UserError(f"{log.path}: {missing} episodes are missing, a process ended early; start again to go on")
    log.repair()  # several processes wrote in the order of finishing
    summary = {"episodes": len(records)}
    for key in ("steps", "seconds", "unknown_words", "cut_words", "empty_support"):
        summary[key] = round(sum(record[key] for record in records), 3)
    for scoring in SCORINGS:
        table = counts(log.read(), scoring)
        summary[scoring] = dict(zip(("precision", "recall", "f1"), micro_prf(table.sum(0)).tolist(), strict=True))
        summary[scoring]["interval"] = f1_interval(table)
    write_atomically(folder / FINISHED, json.dumps(summary, indent=1))
    scores = summary[args.scoring]
    print(
        f"{args.type} {args.way}-way {args.shot}-shot, {len(records)} episodes, {args.scoring} scoring: precision "
        f"{scores['precision']:.2f}, recall {scores['recall']:.2f}, F1 {scores['f1']:.2f} "
        f"(95% interval {scores['interval'][0]:.2f} to {scores['interval'][1]:.2f}), "
        f"{summary['seconds'] / len(records):.2f} s and {summary['steps'] / len(records):.1f} steps per episode"
    )


if __name__ == "__main__":
    run(main)
