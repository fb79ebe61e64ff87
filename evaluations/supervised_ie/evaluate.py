"""Score a trained run on a split: each task with the epoch that was its best on dev."""

import argparse
import json
import sys

from common.device import add_device
from common.errors import run
from common.files import environment, write_atomically
from evaluations.supervised_ie import checkpoint
from evaluations.supervised_ie.data import read_sentences, split_path, write_sentences
from evaluations.supervised_ie.predict import extract
from evaluations.supervised_ie.scores import OVERALL, TASKS, count, summary, tasks_of


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--name", required=True, help="of the trained run")
    add("--data", required=True, help="directory of the prepared corpus")
    add("--split", help="what to score on; `test` by default, `dev` where the corpus has no test part")
    add_device(parser)
    args = parser.parse_args(argv)
    split = args.split or ("test" if split_path(args.data, "test").is_file() else "dev")
    sentences = read_sentences(split_path(args.data, split))
    directory = checkpoint.run_directory(args.name)
    best = checkpoint.read_best(directory)
    table, documents = {}, {}
    for epoch in sorted({epoch for epoch, _ in best.values()}):
        model, labels, tokenizer = checkpoint.load_model(directory, epoch)
        predicted = extract(model.to(args.device), tokenizer, labels, sentences)
        counts = count(sentences, predicted, labels.symmetric_relations)
        chosen = [task for task in tasks_of(labels) if best[task][0] == epoch]
        for task, line in summary(counts, chosen).items():
            table[task] = {"epoch": epoch, **line}
            documents[task] = {doc: of_tasks[TASKS.index(task)].tolist() for doc, of_tasks in counts.items()}
        if best[OVERALL][0] == epoch:
            write_sentences(directory / f"predictions-{split}.oneie.jsonl", predicted)
    for task, gold in zip(TASKS, sum(counts.values())[:, 2].tolist(), strict=True):
        if gold and task not in table:
            print(f"note: {gold} of {task} are not scored: the run was trained without any", file=sys.stderr)
    print(f"{split}, {len(sentences)} sentences of {len(documents['entity'])} documents")
    print(f"{'':24}{'P':>8}{'R':>8}{'F1':>8}   {'95% interval':16}epoch")
    for task in tasks_of(labels):
        line = table[task]
        interval = f"{line['low']:.2f} - {line['high']:.2f}"
        scores = "".join(f"{line[name]:8.2f}" for name in ("precision", "recall", "f1"))
        print(f"{task:24}{scores}   {interval:16}{line['epoch']:5}")
    documents = {task: documents[task] for task in tasks_of(labels)}  # in the usual order, for `compare`
    record = {"split": split, "scores": table, "documents": documents, "environment": environment()}
    write_atomically(directory / f"scores-{split}.json", json.dumps(record) + "\n")


if __name__ == "__main__":
    run(main)
