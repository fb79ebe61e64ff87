"""The study that PLAN.md lays down: what do types bring, what does reconstruction bring, what brings the text?

    python -m study run STUDY --texts abc.txt voa.txt    makes and evaluates the encoders, then reports
    python -m study dose STUDY      trains B and C for long, at the rates that were chosen, and evaluates them
    python -m study report STUDY    writes STUDY/tables.md and STUDY/plot.svg, as far as the runs have come
    python -m study gate STUDY --pretraining_seeds 61820    whether these seeds' stage 0 carries the sentence
    python -m study rates STUDY     writes STUDY/rates, the encoder's rate of each arm, and STUDY/choosing.md

A killed study goes on when the command is given again; started several times (once for each core, GPU or machine that
shares the directory), the starts share the work. All flags are those of `run` and `dose`.

`--pretraining_seeds 61821` makes that seed's part of the study: `git add STUDY` takes what is left of a part when the
weights are gone, and the next part goes on in a copy of it.
"""

from functools import partial

from common.errors import run
from common.files import write_atomically
from common.flags import parse
from study import design, jobs, report

# What git keeps of a study: all that was measured, but no weights. The corpus is made again: git ignores it, too.
KEPT = """\
*
!*/
!.gitignore
!run.json
!summary.json
!metrics.jsonl
!episodes.jsonl
!scores-*.json
!/rates
!/choosing.md
!/commands.sh
!/tables.md
!/plot.svg
!/done/*
/done/corpus
"""


def main(argv: list[str]) -> None:
    study = parse(design.Study, argv, __doc__)
    if study.command in ("run", "dose"):
        list(design.jobs(study))  # which refuses what cannot be
        study.directory.mkdir(parents=True, exist_ok=True)
        if not (ignored := study.directory / ".gitignore").exists():
            write_atomically(ignored, KEPT)
        jobs.run_all(study.directory, partial(design.jobs, study))
    if study.command == "gate":
        print(report.check_gate(study.directory, study.pretraining_seeds))
    elif study.command == "rates":
        print(report.choose_rates(study.directory, study.rates))
    else:
        print(report.write(study.directory))


if __name__ == "__main__":
    run(main)
