#!/usr/bin/env bash
# download.sh [--flags]: the training splits from the hub (TRAIN), the zip of episodes from a path or address (EPISODES).
set -euo pipefail
for SOURCE in TRAIN EPISODES; do # paths are seen from here, hub ids and addresses from everywhere
    [ ! -e "${!SOURCE:-}" ] || declare "$SOURCE=$(realpath -s "${!SOURCE}")"
done
FLAGS=(${TRAIN:+--train "$TRAIN"} ${EPISODES:+--episodes "$EPISODES"} "$@")
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
python -m evaluations.few_shot.download "${FLAGS[@]}"
