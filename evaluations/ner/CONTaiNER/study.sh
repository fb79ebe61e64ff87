#!/usr/bin/env bash
# study.sh: does sparse latent typing help few-shot NER, all else equal? The same encoder, corpus, steps and order:
#   A: the encoder as it is; B: continued with masked language modelling alone; C: with sparse latent typing.
# A killed study goes on when the same command is given again. Everything lies in STUDY; commands.sh there is what ran.
#   TEXTS="a.txt b.txt" bash process_fewnerd.sh && bash study.sh
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/../../.."
export PYTHONPATH="$HERE${PYTHONPATH:+:$PYTHONPATH}" OUTPUT DATA=${DATA:-$HERE/data/few-nerd} TQDM_MININTERVAL=30
STUDY=${STUDY:-$HERE/outputs/study} OUTPUT=$STUDY/few-nerd
CORPUS=${CORPUS:-news}                  # of pretrain.py's --data; data/news.txt is made of TEXTS
ENCODER=${ENCODER:-minilm} STEPS=${STEPS:-2000} PRECISION=${PRECISION:-no} # no or bf16
SEEDS=${SEEDS:-0 1 2}                   # of 1-shot; the other settings have the first seed only
SETTINGS=${SETTINGS:-5-1 5-5} EPISODES=${EPISODES:-500}
GRID=${GRID:-1e-4:0.1:20 5e-4:0.5:20 1e-3:0.5:20 1e-3:0.5:100 1e-3:1:20 2e-3:0.5:20} # rate:encoder's share:warm-up
GRID_STEPS=${GRID_STEPS:-200}
declare -A LOSSES=([B]="--alpha 0 --beta 0 --gamma 0" [C]="--alpha 0.05 --beta 0.05 --gamma 0.1")
mkdir -p "$STUDY"/{logs,done}

# job MINUTES NAME COMMAND...: run it unless it was done before; MINUTES (a guess for two cores) serve the estimate.
planned=0 finished=0 started=$SECONDS counting=yes
job() {
    local minutes=$1 name=$2 begin=$SECONDS
    shift 2
    [ ! -e "$STUDY/done/$name" ] || return 0
    if [ "$counting" ]; then planned=$((planned + minutes)); return; fi
    local left=$((planned - finished))
    [ "$finished" = 0 ] || left=$((left * (SECONDS - started) / finished / 60))
    echo "$(date +%H:%M) $name; about $left minutes to go"
    printf '%q ' "$@" >> "$STUDY/commands.sh" && echo >> "$STUDY/commands.sh"
    "$@" < /dev/null > "$STUDY/logs/$name" 2>&1 || { tail -n 5 "$STUDY/logs/$name" >&2; exit 1; }
    finished=$((finished + minutes))
    echo $((SECONDS - begin)) > "$STUDY/done/$name" # seconds of the last start
}
pretrain() { # MINUTES FOLDER NAME ARM RATE:SHARE:WARMUP STEPS
    local rate share warmup
    IFS=: read -r rate share warmup <<< "$5"
    # shellcheck disable=SC2086 # the weights are several words
    job "$1" "$2-$3" python pretrain.py --model "$ENCODER" --data "$CORPUS" --mixed_precision "$PRECISION" ${LOSSES[$4]} \
        --learning_rate "$rate" --encoder_lr_scale "$share" --warmup_steps "$warmup" --max_steps "$6" \
        --eval_steps 200 --save_steps 200 --keep_last 1 --output_dir "$STUDY/$2" --name "$3" --resume
}
few_shot() { # ARM ENCODER SEED SETTINGS
    local type setting
    for type in intra inter; do
        for setting in $4; do
            job 4 "few_shot-$1-$3-$type-$setting" env MODEL="$2" bash "$HERE/exec_container.sh" "$type" 0 "${setting%-*}" \
                "${setting#*-}" "$1-$3" --seed "$3" --episodes "$EPISODES" --mixed_precision "$PRECISION"
        done
    done
}

study() {
    [ -z "${TEXTS:-}" ] || job 1 corpus python -m data.prepare $TEXTS --output "data/$CORPUS.txt"
    local rates arm seed
    for rates in $GRID; do
        for arm in B C; do pretrain 2 grid "$arm-${rates//:/-}" "$arm" "$rates" "$GRID_STEPS"; done
    done
    rates=$([ "$counting" ] && echo 0:0:0 || python -m container.study rates "$STUDY")
    pretrain 8 pretrain B B "$rates" "$STEPS"
    pretrain 18 pretrain C C "$rates" "$STEPS"
    for arm in B C; do
        job 1 "convert-$arm" python convert_checkpoint.py --checkpoint "$STUDY/pretrain/$arm" --output "$STUDY/encoders/$arm"
    done
    job 1 perplexity-held_out python -m evaluations.perplexity --held_out_by "$STUDY/pretrain/C" "$ENCODER" "$STUDY"/encoders/{B,C}
    job 1 perplexity-wiki_sample python -m evaluations.perplexity --data wiki_sample "$ENCODER" "$STUDY"/encoders/{B,C}
    for seed in $SEEDS; do
        local settings=$([ "$seed" = "${SEEDS%% *}" ] && echo "$SETTINGS" || tr ' ' '\n' <<< "$SETTINGS" | grep -e -1)
        few_shot A "$ENCODER" "$seed" "$settings"
        for arm in B C; do few_shot "$arm" "$STUDY/encoders/$arm" "$seed" "$settings"; done
    done
}
study
counting=
echo "$planned minutes of work, about, in $STUDY"
study
python -m container.study report "$STUDY"
