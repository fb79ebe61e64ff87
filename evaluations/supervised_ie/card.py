"""The model card of an extraction run, from the files in its directory."""

from pathlib import Path

from huggingface_hub import EvalResult

from common.hub import corpus_of, origin, write_card
from evaluations.supervised_ie.checkpoint import read_best, read_json, read_settings
from evaluations.supervised_ie.labels import Labels

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")


def write_model_card(directory: Path) -> Path:
    """Write DIRECTORY/README.md: what the extractor finds, what it was trained on, its F1 on dev and, after
    `evaluate`, on other splits."""
    arguments = read_settings(directory)
    dataset, hub_datasets = corpus_of(str(arguments.get("data", "")))
    f1 = {("dev", task): value for task, (_, value) in read_best(directory).items()}
    for file in sorted(directory.glob("scores-*.json")):
        scores = read_json(file)
        f1 |= {(scores["split"], task): line["f1"] for task, line in scores["scores"].items()}
    metadata = {
        "model_name": directory.name,
        "tags": ["information-extraction", "token-classification"],
        "datasets": hub_datasets,
        "eval_results": [
            EvalResult(
                task_type="token-classification",
                dataset_type=dataset,
                dataset_name=dataset,
                dataset_split=split,
                metric_type="f1",
                metric_name=f"{task} F1",
                metric_value=round(value, 2),
            )
            for (split, task), value in f1.items()
        ],
        **origin(str(arguments.get("model", ""))),
    }
    fields = {"arguments": arguments, "dataset": dataset, "labels": Labels.load(directory / "labels.json"), "f1": f1}
    return write_card(directory, TEMPLATE, metadata, name=directory.name, **fields)
