#!/usr/bin/env bash
# calc_micro.sh NAME [TYPE] [--flags]: micro precision, recall and F1 of the settings of a run. OUTPUT: the results.
set -euo pipefail
FLAGS=(${OUTPUT:+--output "$(realpath -sm "$OUTPUT")"} "$@")
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
python -m evaluations.few_shot.tables "${FLAGS[@]}"
