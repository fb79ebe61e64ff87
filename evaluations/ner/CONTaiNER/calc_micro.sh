#!/usr/bin/env bash
# calc_micro.sh NAME [TYPE] [--flags]: micro precision, recall and F1 of the settings of a run.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$HERE${PYTHONPATH:+:$PYTHONPATH}"
python -m container.calc_micro --output "${OUTPUT:-$HERE/outputs/few-nerd}" "$@"
