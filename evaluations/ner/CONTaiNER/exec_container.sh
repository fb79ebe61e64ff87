#!/usr/bin/env bash
# exec_container.sh TYPE GPU WAY SHOT NAME [--flags]: source training (once per TYPE and NAME), then the episodes.
# MODEL: the encoder. DATA: the data's directory. OUTPUT: the results'. PROCESSES: how many share the episodes.
set -euo pipefail
[ $# -ge 5 ] || { echo "usage: MODEL=... DATA=... bash exec_container.sh TYPE GPU WAY SHOT NAME [--flags]" >&2; exit 2; }
[ ! -e "${MODEL:-}" ] || MODEL=$(realpath -s "$MODEL") # else a hub id, or `minilm`
FLAGS=(--type "$1" --way "$3" --shot "$4" --name "$5" ${MODEL:+--model "$MODEL"}
    ${DATA:+--data "$(realpath -sm "$DATA")"} ${OUTPUT:+--output "$(realpath -sm "$OUTPUT")"} "${@:6}")
export CUDA_VISIBLE_DEVICES=$2
if ! nvidia-smi -L > /dev/null 2>&1; then # a GPU takes one process; a CPU one for each core, up to four
    PROCESSES=${PROCESSES:-$(nproc | awk '{ print $1 < 4 ? $1 : 4 }')}
fi
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
python -m evaluations.few_shot.train "${FLAGS[@]}"
python -m evaluations.few_shot.run --processes "${PROCESSES:-1}" "${FLAGS[@]}"
