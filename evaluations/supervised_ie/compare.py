"""Whether run B scores other than run A on the same documents: paired bootstrap of the F1 difference."""

import argparse

import numpy as np

from common.bootstrap import micro_prf, paired_difference
from common.errors import UserError, run
from evaluations.supervised_ie import checkpoint


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("a", help="name of the run to compare with, evaluated")
    parser.add_argument("b", help="name of the run in question, evaluated on the same split")
    parser.add_argument("--split", default="test", help="which evaluation to compare")
    args = parser.parse_args(argv)
    paths = [checkpoint.run_directory(name) / f"scores-{args.split}.json" for name in (args.a, args.b)]
    a, b = (checkpoint.read_json(path)["documents"] for path in paths)
    if a.keys() != b.keys() or any(a[task].keys() != b[task].keys() for task in a):
        raise UserError(f"{paths[0]} and {paths[1]} are not of the same tasks and documents")
    print(f"{'':24}{'F1 A':>8}{'F1 B':>8}{'B - A':>8}   {'95% interval':18}p")
    for task in a:
        of_a, of_b = (np.array([run[task][doc] for doc in a[task]]) for run in (a, b))  # (documents, 3) each
        f1 = [micro_prf(counts.sum(axis=0))[2] for counts in (of_a, of_b)]
        d = paired_difference(of_a, of_b)
        interval = f"{d['low']:+.2f} - {d['high']:+.2f}"
        print(f"{task:24}{f1[0]:8.2f}{f1[1]:8.2f}{d['difference']:+8.2f}   {interval:18}{d['p_value']:.4f}")


if __name__ == "__main__":
    run(main)
