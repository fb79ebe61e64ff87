"""Score a trained run on a split: each task with the epoch that was its best on dev."""

import json
import sys
from dataclasses import dataclass

import numpy as np

from common.errors import run
from common.files import environment, write_atomically
from common.flags import flag, parse
from common.hardware import pick_device
from evaluations.supervised_ie import checkpoint
from evaluations.supervised_ie.card import write_model_card
from evaluations.supervised_ie.data import read_sentences, split_path, write_sentences
from evaluations.supervised_ie.predict import extract
from evaluations.supervised_ie.scores import OVERALL, TASKS, count, summary, tasks_of


@dataclass(frozen=True, kw_only=True)
class Recipe:
    name: str = flag(help="name of the trained run")
    data: str = flag(help="directory of the prepared corpus")
    split: str | None = flag(None, "what to score on; none: `test`, or `dev` where the corpus has no test part")
    device: str = flag("auto", "where to compute: auto, cpu, cuda, cuda:1, ...")


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    device = pick_device(recipe.device)
    split = recipe.split or ("test" if split_path(recipe.data, "test").is_file() else "dev")
    sentences = read_sentences(split_path(recipe.data, split))
    directory = checkpoint.run_directory(recipe.name)
    best = checkpoint.read_best(directory)
    table, documents, counts, tasks = {}, {}, {}, []
    for epoch in sorted({epoch for epoch, _ in best.values()}):
        model, tokenizer = checkpoint.load_model(directory, epoch)
        predicted = extract(model.to(device), tokenizer, sentences)
        counts = count(sentences, predicted, model.labels.symmetric_relations)
        tasks = tasks_of(model.labels)
        for task, line in summary(counts, [task for task in tasks if best[task][0] == epoch]).items():
            table[task] = {"epoch": epoch, **line}
            documents[task] = {doc: of_tasks[TASKS.index(task)].tolist() for doc, of_tasks in counts.items()}
        if best[OVERALL][0] == epoch:
            write_sentences(directory / f"predictions-{split}.oneie.jsonl", predicted)
    for task, gold in zip(TASKS, np.sum([*counts.values()], axis=0)[:, 2].tolist(), strict=True):
        if gold and task not in table:
            print(f"note: {gold} of {task} are not scored: the run was trained without any", file=sys.stderr)
    print(f"{split}, {len(sentences)} sentences of {len(counts)} documents")
    print(f"{'':24}{'P':>8}{'R':>8}{'F1':>8}   {'95% interval':17}epoch")
    for task in tasks:
        line = table[task]
        interval = f"{line['low']:.2f} to {line['high']:.2f}"
        scores = "".join(f"{line[name]:8.2f}" for name in ("precision", "recall", "f1"))
        print(f"{task:24}{scores}   {interval:17}{line['epoch']:5}")
    documents = {task: documents[task] for task in tasks}  # in the usual order, for `compare`
    record = {"split": split, "scores": table, "documents": documents, "environment": environment()}
    write_atomically(directory / f"scores-{split}.json", json.dumps(record) + "\n")
    write_model_card(directory)


if __name__ == "__main__":
    run(main)
