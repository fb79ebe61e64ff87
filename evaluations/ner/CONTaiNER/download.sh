#!/usr/bin/env bash
# download.sh [--flags]: the training splits from the hub (TRAIN), the zip of episodes from a path or address (EPISODES).
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$HERE${PYTHONPATH:+:$PYTHONPATH}"
python -m container.download --output "$HERE/data/raw" \
    ${TRAIN:+--train "$TRAIN"} ${EPISODES:+--episodes "$EPISODES"} "$@"
