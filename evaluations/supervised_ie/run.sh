#!/usr/bin/env bash
# Train and score one run: run.sh DATA NAME [ENCODER] [flags of train]
#   DATA     directory with {train,dev,test}.oneie.jsonl (prepare.py makes one; test may be missing)
#   NAME     of the run, its folder in outputs/
#   ENCODER  directory, hub id or `minilm` (bert-base-uncased by default)
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,5s/^# *//p' "$0" >&2
    exit 2
fi
data=$(realpath "$1") name=$2 encoder=bert-base-uncased
shift 2
case ${1:--} in -*) ;; *) encoder=$1 && shift ;; esac
[ -d "$encoder" ] && encoder=$(realpath "$encoder")
case $name in */*) name=$(realpath -m "$name") ;; esac
cd "$(dirname "$0")/../.."
python -m evaluations.supervised_ie.train --model "$encoder" --data "$data" --name "$name" "$@"
python -m evaluations.supervised_ie.evaluate --data "$data" --name "$name"
