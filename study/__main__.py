"""The study: does sparse latent typing help few-shot NER, all else equal?

    python -m study run STUDY --texts abc.txt voa.txt    makes and evaluates the encoders, then reports
    python -m study report STUDY    writes STUDY/tables.md and STUDY/plot.svg, as far as the runs have come
    python -m study rates STUDY     writes STUDY/rates and STUDY/grid.md, of the runs in STUDY/grid

A killed study goes on when the command is given again; started several times (once for each core, GPU or machine that
shares the directory), the starts share the work. `python -m study run --help` lists the parameters.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.errors import UserError, run
from common.flags import argument, parse
from study import design, jobs, report


@dataclass(frozen=True, kw_only=True)
class Place:
    """What `report` and `rates` read."""

    directory: Path = argument("directory of the study", "STUDY")


def main(argv: list[str]) -> None:
    command, *rest = argv or ["--help"]
    if command == "run":
        study = parse(design.Study, rest, __doc__)
        jobs.run_all(study.directory, partial(design.jobs, study))
        print(report.write(study.directory))
    elif command in ("report", "rates"):
        directory = parse(Place, rest, __doc__).directory
        print(report.write(directory) if command == "report" else report.choose_rates(directory))
    elif command in ("-h", "--help"):
        print(__doc__)
    else:
        raise UserError(f"{command}: no such command; there are run, report and rates")


if __name__ == "__main__":
    run(main)
