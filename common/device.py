"""The flag --device of the evaluations: where to compute."""

import argparse

import torch


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device` to a parser: a GPU where there is one, else the CPU; what is not there is refused."""
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", type=usable, default=default, help="where to compute: cpu, cuda, cuda:1, ...")


def usable(name: str) -> str:
    """The name of a device that is there.

    Raises:
        argparse.ArgumentTypeError: it is not, or torch knows no such kind.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"`{name}` is no device: cpu, cuda, cuda:1, ...") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise argparse.ArgumentTypeError(f"there is no GPU `{name}` that torch can use")
    return name
