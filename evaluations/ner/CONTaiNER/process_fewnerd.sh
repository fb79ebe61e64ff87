#!/usr/bin/env bash
# process_fewnerd.sh [--flags]: data/raw (or RAW) checked, lower-cased and counted into data/few-nerd (or DATA).
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$HERE${PYTHONPATH:+:$PYTHONPATH}"
python -m container.process --raw "${RAW:-$HERE/data/raw}" --output "${DATA:-$HERE/data/few-nerd}" \
    ${EPISODES:+--episodes "$EPISODES"} "$@"
