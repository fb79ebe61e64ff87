"""Micro precision, recall and F1 of every setting of a run as one table, the published numbers beside them."""

import glob
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError, run
from common.flags import argument, flag, parse
from evaluations.bootstrap import f1_interval, micro_prf, paired_difference
from evaluations.few_shot.compare import check
from evaluations.few_shot.data import SETTINGS, TYPES
from evaluations.few_shot.recipe import PLACE
from evaluations.few_shot.records import Run, Selection, accuracies, read_run
from runs.directory import FINISHED

# Few-NERD micro F1 in the order of SETTINGS, by whether label names are read
PUBLISHED = {
    False: {
        "CONTaiNER, BERT-base": {"intra": (40.43, 53.70, 33.84, 47.49), "inter": (55.95, 61.83, 48.35, 57.12)},
        "CONTaiNER, BERT-SparseLT": {"intra": (47.20, 59.67, 40.48, 53.04), "inter": (57.14, 66.17, 52.75, 62.43)},
    },
    True: {
        "TadNER": {"intra": (60.78, 67.94, 55.44, 60.87), "inter": (64.83, 72.12, 64.06, 69.94)},
        "NuNER": {"intra": (62.48, 69.16, 57.63, 62.99), "inter": (67.37, 73.50, 66.54, 71.04)},
    },
}
DIFFERENCES = """\
Published rows: 5,000 episodes, the published training split and scorer (compare them with --scoring published).
BERT-base: Few-NERD's first release of the episodes, learning rate 5e-5 for everything. BERT-SparseLT: the later
release, 1e-4 (encoder 1e-5). The two differ in more than the encoder. TadNER (2023): the public code normalises over
all query spans and tags with dropout, as `-transductive` does here. NuNER (2024): its encoder under TadNER."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Selection):
    name: str = argument("the run", "NAME")
    type: str | None = argument("intra, inter or that of other episodes; all if not given", "TYPE", nargs="?")
    output: Path = flag(PLACE / "outputs/few-nerd", "directory of the results")


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    named = recipe.output.glob(f"*/{glob.escape(recipe.name)}")
    of_others = sorted({path.relative_to(recipe.output).parts[0] for path in named} - set(TYPES))
    folders = [
        folder.parent
        for split in ([recipe.type] if recipe.type else [*TYPES, *of_others])
        for folder in sorted((recipe.output / split / recipe.name).glob("*/run.json"))
    ]
    if not folders:
        raise UserError(f"{recipe.output} holds no run of the name {recipe.name}")
    finished = [folder for folder in folders if (folder / FINISHED).exists()]
    runs = {folder: read_run(folder, recipe.skip_episodes, recipe.episodes) for folder in finished}
    titles = {False: "Methods that do not read label names", True: "Methods that read label names, another setting"}
    for reads, title in titles.items():
        if chosen := {folder: result for folder, result in runs.items() if result.reads_label_names == reads}:
            print(f"{title}\n", *table(chosen, runs, recipe.scoring, PUBLISHED[reads]), "", sep="\n")
    for folder, result in runs.items():
        for name, accuracy in accuracies(result.records).items():
            print(f"{setting(folder)}: {name} accuracy {accuracy:.2f}")
        print(f"{setting(folder)}, F1 per type (gold entities): {per_type(result, recipe.scoring)}")
        inputs = result.made["inputs"]
        print(f"data version {inputs['version'] or 'not recorded'}, episodes sha256 {inputs['episodes']}\n")
    for folder in sorted(set(folders) - set(finished)):
        print(f"{setting(folder)} is not finished\n")
    print(DIFFERENCES)


def setting(folder: Path) -> str:
    return f"{folder.parent.parent.name} {folder.name}"


def table(chosen: dict[Path, Run], runs: dict[Path, Run], scoring: str, published: dict[str, dict]) -> list[str]:
    """A head, the row of each chosen setting, and why one has no difference to CONTaiNER's; that is among `runs`."""
    head = f"| setting | episodes | precision | recall | F1 ({scoring}) | 95% interval | - CONTaiNER | s / episode |"
    lines = [head + "".join(f" {name} |" for name in published), "| --- |" + " ---: |" * (7 + len(published))]
    reasons = list[str]()
    for folder, result in chosen.items():
        made, counts = result.made["arguments"], result.counts(scoring)
        precision, recall, f1 = micro_prf(counts.sum(0))
        low, high = f1_interval(counts)
        container, difference = folder.with_name(f"{made['way']}-{made['shot']}"), ""
        if container in runs and container != folder:
            try:
                check({str(container): runs[container], str(folder): result}, own_flags=False)
                difference = against(runs[container], result, scoring)
            except UserError as error:
                reasons += ["", f"{setting(folder)}, no difference to CONTaiNER: {error}"]
        seconds = np.mean([record["seconds"] for record in result.records.values()])
        line = f"| {setting(folder)} | {len(counts)} | {precision:.2f} | {recall:.2f} | {f1:.2f} "
        line += f"| {low:.2f} to {high:.2f} | {difference} | {seconds:.2f} |"
        for rows in published.values():
            of_settings = dict(zip(SETTINGS, rows.get(made["type"], ()), strict=False))
            found = of_settings.get((made["way"], made["shot"]))
            line += f" {found:.2f} |" if found else "  |"
        lines.append(line)
    return lines + reasons


def against(container: Run, result: Run, scoring: str) -> str:
    """The paired difference of F1 to CONTaiNER's run of the same setting."""
    difference = paired_difference(container.counts(scoring), result.counts(scoring))
    return f"{difference['difference']:+.2f} ({difference['low']:+.2f} to {difference['high']:+.2f})"


def per_type(result: Run, scoring: str) -> str:
    """F1 of every type with its number of gold entities, the best first."""
    sums = {kind: counts.sum(0) for kind, counts in result.type_counts(scoring).items()}
    scores = [(micro_prf(counts)[2], kind, counts[2]) for kind, counts in sums.items()]
    return ", ".join(f"{kind} {f1:.1f} ({gold})" for f1, kind, gold in sorted(scores, key=lambda score: -score[0]))


if __name__ == "__main__":
    run(main)
