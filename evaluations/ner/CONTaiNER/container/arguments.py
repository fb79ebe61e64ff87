"""The arguments of source training and of the episodes: one list, because users give both in one command."""

import argparse
from pathlib import Path

from common.device import add_device
from container.data import SETTINGS, TYPES
from container.episode import METHODS
from container.gaussian import DISTANCES
from container.scores import SCORINGS


def parse_args(argv: list[str], description: str) -> argparse.Namespace:
    """Arguments with the recipe as defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--type", choices=TYPES, required=True, help="split of Few-NERD")
    add("--way", type=int, choices=sorted({way for way, _ in SETTINGS}), default=5, help="types per episode")
    add("--shot", type=int, choices=sorted({shot for _, shot in SETTINGS}), default=1, help="entities per type")
    add("--name", required=True, help="name of the run; its source training is shared by all settings")
    add("--model", default="../../../checkpoints/for_container/", help="a BERT: directory, hub id or `minilm`")
    add("--data", type=Path, default="data/few-nerd", help="directory laid out like the published data")
    add("--output", type=Path, default="outputs/few-nerd", help="where results go")
    add_device(parser)
    add("--mixed_precision", choices=("no", "bf16"), default="no", help="bf16: the encoder computes in bfloat16")
    add("--seed", type=int, default=0, help="of the new heads, the order of the data and dropout")

    add("--embedding_dimension", type=int, default=128, help="of the Gaussians")
    add("--distance", choices=DISTANCES, default="kl", help="between tokens in the training loss")
    add("--learning_rate", type=float, default=1e-4, help="of the heads")
    add("--encoder_learning_rate", type=float, default=1e-5, help="of the encoder")
    add("--dropout", type=float, default=0.1, help="in the encoder and before the heads, while training")
    add("--max_length", type=int, default=128, help="word pieces per sentence, [CLS] and [SEP] included")
    add("--epochs", type=int, default=1, help="of source training; 0: the encoder as it is")
    add("--batch_size", type=int, default=32, help="sentences per step of source training")

    add("--episodes", type=int, default=500, help="test episodes to run, from the first")
    add("--method", choices=METHODS, default="container", help="CONTaiNER, or a baseline without fine-tuning")
    add("--no_viterbi", action="store_true", help="tag by the nearest neighbour alone")
    add("--temp_trans", type=float, default=0.01, help="power of the transition probabilities")
    add("--max_steps", type=int, default=100, help="fine-tuning steps at most, should the loss never rise")
    add("--processes", type=int, default=1, help="that share the episodes (torchrun and accelerate launch say it)")
    add("--threads", type=int, default=1, help="per process on the CPU; another number rounds otherwise")
    add("--scoring", choices=SCORINGS, default="full", help="which score to show; both are stored")
    add("--predictions", action="store_true", help="store the predicted labels of every episode too")
    return parser.parse_args(argv)
