#!/usr/bin/env bash
# exec_container.sh TYPE GPU WAY SHOT NAME [--flags]: source training (once per TYPE and NAME), then the episodes.
# MODEL: the encoder. DATA: the data's directory. OUTPUT: the results'. PROCESSES: how many share the episodes.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -ge 5 ] || { echo "usage: MODEL=... DATA=... bash exec_container.sh TYPE GPU WAY SHOT NAME [--flags]" >&2; exit 2; }
TYPE=$1 GPU=$2 WAY=$3 SHOT=$4 NAME=$5
shift 5
export CUDA_VISIBLE_DEVICES=$GPU PYTHONPATH="$HERE${PYTHONPATH:+:$PYTHONPATH}"
ARGUMENTS=(--type "$TYPE" --way "$WAY" --shot "$SHOT" --name "$NAME"
    --model "${MODEL:-$HERE/../../../checkpoints/for_container/}"
    --data "${DATA:-$HERE/data/few-nerd}" --output "${OUTPUT:-$HERE/outputs/few-nerd}" "$@")
if ! nvidia-smi -L > /dev/null 2>&1; then # a GPU takes one process; a CPU one for each core, up to four
    PROCESSES=${PROCESSES:-$(nproc | awk '{ print $1 < 4 ? $1 : 4 }')}
fi
python -m container.train_source "${ARGUMENTS[@]}"
python -m container.run_episodes --processes "${PROCESSES:-1}" "${ARGUMENTS[@]}"
