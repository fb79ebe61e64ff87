#!/usr/bin/env bash
# process_fewnerd.sh [--flags]: data/raw (or RAW) checked, lower-cased and counted into data/few-nerd (or DATA).
set -euo pipefail
FLAGS=(${RAW:+--raw "$(realpath -sm "$RAW")"} ${DATA:+--output "$(realpath -sm "$DATA")"}
    ${EPISODES:+--episodes "$(realpath -sm "$EPISODES")"} "$@")
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
python -m evaluations.few_shot.process "${FLAGS[@]}"
