"""Run the test episodes of one Few-NERD setting, by one process or several (torchrun, accelerate launch) together."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from multiprocessing.context import SpawnProcess
from typing import Any, NamedTuple

import torch
from torch import distributed
from tqdm import tqdm

from common.errors import UserError, run
from common.hardware import pick_device
from common.seeds import seed_of
from evaluations.bootstrap import f1_interval, micro_prf
from evaluations.few_shot.data import Episode, Split, identity, read_episodes, read_labels
from evaluations.few_shot.methods import METHODS, Method, parse_recipe
from evaluations.few_shot.recipe import Recipe
from evaluations.few_shot.records import EpisodeLog, accuracies, counts
from evaluations.few_shot.scores import SCORINGS, entity_counts
from runs import RunDirectory, check_alive, deaths, read_record, read_summary
from runs.directory import FINISHED, disk_errors

SAFE = "the finished episodes are kept, and the same command goes on from there"


def main(argv: list[str]) -> None:
    recipe = parse_recipe(argv, __doc__)
    rank, launched = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if launched > 1:
        distributed.init_process_group("gloo")
        recipe = replace(recipe, processes=launched)
    with deaths(safe=lambda: SAFE):
        run_episodes(recipe, rank, launched)


def run_episodes(recipe: Recipe, rank: int, launched: int) -> None:
    """Run the episodes that are missing, this process its share of them, and finish the run."""
    split, folder = Split(recipe.data, recipe.type), recipe.run / recipe.setting
    labels = read_labels(split.labels("test"))
    episodes = list(islice(read_episodes(split.episodes(recipe.way, recipe.shot), set(labels)), recipe.episodes))
    log = EpisodeLog(folder / "episodes.jsonl")
    with RunDirectory(folder) if rank == 0 else nullcontext() as directory:
        todo = [prepare(directory, recipe, labels, log, len(episodes)) if directory else []]
        if launched > 1:
            distributed.broadcast_object_list(todo)
        number = recipe.processes
        shares = [(todo[0][first::number], first, episodes, labels, recipe) for first in range(number)]
        if todo[0]:
            others = [] if launched > 1 else start(shares[1:])
            run_share(*shares[rank], others)
            for process in others:
                process.join()
            check_alive(others, SAFE)
        if launched > 1:
            distributed.barrier()
        if directory:
            finish(directory, log, recipe, len(episodes))


def prepare(directory: RunDirectory, recipe: Recipe, labels: list[str], log: EpisodeLog, number: int) -> list[int]:
    """Record what the run is made with, or check it against an earlier start's; returns the missing episodes.

    UserError if there is no source training, or its weights are gone; if the run was begun with another recipe, data or
    weights, or was finished and holds no episode any more.
    """
    kind, split = METHODS[recipe.method], Split(recipe.data, recipe.type)
    source = kind.source_folder(recipe)
    if not (source / FINISHED).exists():
        commands = "python -m evaluations.few_shot.train, or exec_container.sh"
        raise UserError(f"{source} holds no finished source training; train first: {commands}")
    inputs = identity(split, episodes=split.episodes(recipe.way, recipe.shot), labels=split.labels("test"))
    inputs |= kind.inputs(recipe, labels)
    trained = read_record(source)
    inputs |= {"source": read_summary(source)["weights"], "training": {k: trained[k] for k in ("arguments", "inputs")}}
    directory.begin(recipe.arguments(recipe.OF_SOURCE), inputs, frozenset({"training"}), recipe.resume, recipe.restart)
    log.repair(finished=directory.finished)
    done = log.read()
    todo = [index for index in range(number) if index not in done]
    if not todo and directory.finished:
        print(f"{directory.path} is finished; nothing to do")
    elif done:
        print(f"{directory.path}: goes on after {len(done)} episodes")
    if todo:
        kind.trained(source, recipe)  # here, lest each process says what has become of the weights
        directory.reopen()
    return todo


def start(shares: list[tuple]) -> list[SpawnProcess]:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=run_share, args=share, daemon=True) for share in shares if share[0]]
    for process in processes:
        process.start()
    return processes


def run_share(
    todo: list[int], rank: int, episodes: list[Episode], labels: list[str], recipe: Recipe, others: Sequence[Any] = ()
) -> None:
    """Run this process's episodes and append each to the log; process 0 shows how far all of them are, and ends where
    one of the others was killed."""
    torch.set_num_threads(recipe.threads)
    kind, device = METHODS[recipe.method], pick_device(recipe.device)
    if device.type == "cuda" and device.index is None:  # several processes share the visible GPUs of their machine
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
    source = kind.source_folder(recipe)
    trained_with = read_record(source)["arguments"]
    method = kind.load(source, replace(recipe, **{name: trained_with[name] for name in recipe.OF_SOURCE}))
    words, log = method.to(device).words, EpisodeLog(recipe.run / recipe.setting / "episodes.jsonl")
    parent = multiprocessing.parent_process()
    bar = tqdm(total=len(episodes), initial=len(log.read()), unit="episode", disable=rank > 0)
    for index in todo:
        if parent and not parent.is_alive():  # killed: its lock is gone, and another run may begin
            return
        check_alive(others, SAFE)
        begin, unknown, cut = time.perf_counter(), words.unknown, words.cut
        episode = episodes[index]
        outcome = run_episode(method, index, episode, labels)
        gold = [sentence.labels for sentence in episode.query]
        record = {"index": index, **{scoring: entity_counts(gold, outcome.labels, scoring) for scoring in SCORINGS}}
        record |= {"steps": len(outcome.losses), "unknown_words": words.unknown - unknown, "cut_words": words.cut - cut}
        record["empty_support"] = int(not any(sentence.words for sentence in episode.support))
        record |= {"measured": outcome.measured} if outcome.measured else {}
        if recipe.predictions:
            record["predictions"] = outcome.labels
        with disk_errors(log.path.parent):
            log.append(record | {"seconds": round(time.perf_counter() - begin, 3)})
        if rank == 0:
            records = log.read()
            bar.set_postfix_str(f"F1 {micro_prf(counts(records, recipe.scoring).sum(0))[2]:.2f}", refresh=False)
            bar.update(len(records) - bar.n)
    bar.close()


class Outcome(NamedTuple):
    """The labels of the query's words, the loss before each fine-tuning step, and the counts of `Method.measure`."""

    labels: list[list[str]]
    losses: list[float]
    measured: dict[str, list[int]]


def run_episode(method: Method, index: int, episode: Episode, labels: list[str]) -> Outcome:
    """Tag the query set of episode number `index`; the method is left as it was.

    The index and the recipe's seed decide what is random, whatever was run before in this process. Words beyond
    `max_length` are tagged O, and so is everything if the support set has no word; without words in the query set
    nothing is done.
    """
    torch.manual_seed(seed_of(method.recipe.seed, index))
    if not all(any(sentence.words for sentence in part) for part in episode):
        return Outcome([["O"] * len(sentence.words) for sentence in episode.query], [], {})
    losses = method.fit(episode.support, labels)
    tags = method.tag([sentence.words for sentence in episode.query])
    measured = method.measure(episode.query)
    method.restore()
    padded = [found + ["O"] * (len(s.words) - len(found)) for found, s in zip(tags, episode.query, strict=True)]
    return Outcome(padded, losses, measured)


def finish(directory: RunDirectory, log: EpisodeLog, recipe: Recipe, number: int) -> None:
    """Order the log, write the summary and print its line; UserError if episodes are missing."""
    records = log.read()
    if missing := len(set(range(number)) - records.keys()):
        raise UserError(f"{log.path}: {missing} episodes are missing, a process ended early; start again to go on")
    log.repair()  # several processes wrote in the order of finishing
    summary: dict[str, Any] = {"episodes": len(records)}
    for key in ("steps", "seconds", "unknown_words", "cut_words", "empty_support"):
        summary[key] = round(sum(record[key] for record in records.values()), 3)
    for scoring in SCORINGS:
        table = counts(records, scoring)
        summary[scoring] = dict(zip(("precision", "recall", "f1"), micro_prf(table.sum(0)).tolist(), strict=True))
        summary[scoring]["interval"] = f1_interval(table)
    measured = accuracies(records)
    directory.finish(summary | measured)
    scores = summary[recipe.scoring]
    print(
        f"{recipe.type} {recipe.way}-way {recipe.shot}-shot, {len(records)} episodes, {recipe.scoring} scoring: "
        f"precision {scores['precision']:.2f}, recall {scores['recall']:.2f}, F1 {scores['f1']:.2f} "
        f"(95% interval {scores['interval'][0]:.2f} to {scores['interval'][1]:.2f}), "
        f"{summary['seconds'] / len(records):.2f} s and {summary['steps'] / len(records):.1f} steps per episode"
        + "".join(f", {name} accuracy {accuracy:.2f}" for name, accuracy in measured.items())
        + f"; {summary['cut_words']:,} words beyond what is read of a sentence" * bool(summary["cut_words"])
    )


if __name__ == "__main__":
    run(main, training=True)
