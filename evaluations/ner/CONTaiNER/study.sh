#!/usr/bin/env bash
# study.sh: does sparse latent typing help few-shot NER, all else equal? The same encoder, corpus, steps and order:
#   A: the encoder as it is; B: continued with masked language modelling alone; C: with sparse latent typing.
#   bash process_fewnerd.sh --release first-500 && TEXTS="abc.txt voa.txt" bash study.sh
# A killed study goes on when the command is given again; started several times (cores, GPUs, machines that share the
# directory), they share the work. Everything lies in STUDY; commands.sh there is what ran, with its end and seconds.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/../../.."
export PYTHONPATH="$HERE${PYTHONPATH:+:$PYTHONPATH}" DATA=${DATA:-$HERE/data/few-nerd} TQDM_MININTERVAL=30
STUDY=${STUDY:-$HERE/outputs/study}
CORPUS=${CORPUS:-news}                  # data/news.txt, made of TEXTS
ELSEWHERE=${ELSEWHERE:-wiki_sample}     # a corpus of another kind, for the perplexity
ENCODER=${ENCODER:-minilm} STEPS=${STEPS:-2000} PRECISION=${PRECISION:-no} # no or bf16
SEEDS=${SEEDS:-0 1 2}                   # of 1-shot; the other settings have the first seed only
SETTINGS=${SETTINGS:-5-1 5-5} EPISODES=${EPISODES:-500}
GRID=${GRID:-1e-4:0.1:20 5e-4:0.5:20 5e-4:1:20 1e-3:0.5:20 1e-3:0.5:100} # learning rate : encoder's share : warm-up
GRID_STEPS=${GRID_STEPS:-200}
VARIANTS=${VARIANTS:-} VARIANT_TYPES=${VARIANT_TYPES:-intra} # of B and C, in 5-way 1-shot: names from here on
declare -A FLAGS=([B]="--alpha 0 --beta 0 --gamma 0" [C]="--alpha 0.05 --beta 0.05 --gamma 0.1")
for arm in B C; do FLAGS[${arm}_gentle]="${FLAGS[$arm]} --encoder_lr_scale 0.05 --max_steps $((STEPS * 3 / 10))"; done
FLAGS[C_alpha0.5]="${FLAGS[C_gentle]} --alpha 0.5" FLAGS[C_beta0.2]="${FLAGS[C_gentle]} --beta 0.2"
FLAGS[C_sparsity]="${FLAGS[C_beta0.2]} --alpha 0 --gamma 0" FLAGS[C_kl_plain]="${FLAGS[C_gentle]} --kl_form plain"
FLAGS[C_annealed]="${FLAGS[C_gentle]} --temperature_decay 0.00383" # from 5 to 0.5 in 600 steps
mkdir -p "$STUDY"/{logs,done,locks}

# job MINUTES NAME NEEDS COMMAND...: once the jobs NEEDS are done, unless it is done or someone is at it.
# A pass over the jobs runs the first that it can; MINUTES, a guess, serve the estimate.
job() {
    local minutes=$1 name=$2 needed begin=$SECONDS
    [ ! -e "$STUDY/done/$name" ] || return 0
    left=$((left + minutes))
    [ -z "$ran" ] || return 0
    for needed in $3; do [ -e "$STUDY/done/$needed" ] || return 0; done
    exec 9> "$STUDY/locks/$name"
    flock -n 9 && [ ! -e "$STUDY/done/$name" ] || return 0
    shift 3
    echo "$(date +%H:%M) $name"
    "$@" < /dev/null > "$STUDY/logs/$name" 2>&1 9>&- || { tail -n 5 "$STUDY/logs/$name" >&2; exit 1; }
    echo "$(printf '%q ' "$@") # $(date -Is), $((SECONDS - begin)) s" >> "$STUDY/commands.sh"
    touch "$STUDY/done/$name"
    left=$((left - minutes)) spent=$((spent + SECONDS - begin)) guessed=$((guessed + minutes)) ran=$name
}
pretrain() { # MINUTES FOLDER NAME NEEDS ARM RATE:SHARE:WARMUP STEPS
    local rate share warmup
    IFS=: read -r rate share warmup <<< "$6"
    job "$1" "$2-$3" "$4" python pretrain.py --model "$ENCODER" --data "$CORPUS" --mixed_precision "$PRECISION" \
        --learning_rate "$rate" --encoder_lr_scale "$share" --warmup_steps "$warmup" --max_steps "$7" \
        --eval_steps 200 --save_steps 200 --keep_last 1 --output_dir "$STUDY/$2" --name "$3" --resume ${FLAGS[$5]}
}
few_shot() { # FOLDER ARM SEED TYPES SETTINGS FLAGS...
    local folder=$1 arm=$2 seed=$3 encoder=$STUDY/encoders/$2 converted=convert-$2 type setting needs
    [ "$arm" != A ] || encoder=$ENCODER converted=
    for type in $4; do
        needs=$converted
        for setting in $5; do
            job 6 "$folder-$arm-$seed-$type-$setting" "$needs" env MODEL="$encoder" OUTPUT="$STUDY/$folder" \
                bash "$HERE/exec_container.sh" "$type" 0 "${setting%-*}" "${setting#*-}" "$arm-$seed" --seed "$seed" \
                --mixed_precision "$PRECISION" "${@:6}"
            needs="$converted $folder-$arm-$seed-$type-${5%% *}" # which did the source training
        done
    done
}

study() {
    local text= rates arm grid= seed settings
    [ -z "${TEXTS:-}" ] || { job 1 corpus "" python -m data.prepare $TEXTS --output "data/$CORPUS.txt"; text=corpus; }
    for rates in $GRID; do
        for arm in B C; do
            pretrain 3 grid "$arm-${rates//:/-}" "$text" "$arm" "$rates" "$GRID_STEPS"
            grid+="grid-$arm-${rates//:/-} "
        done
    done
    job 1 rates "$grid" python -m container.study rates "$STUDY"
    rates=$(cat "$STUDY/rates" 2> /dev/null || echo 0:0:0)
    for arm in C B $VARIANTS; do
        pretrain 25 pretrain "$arm" rates "$arm" "$rates" "$STEPS"
        job 1 "convert-$arm" "pretrain-$arm" \
            python convert_checkpoint.py --checkpoint "$STUDY/pretrain/$arm" --output "$STUDY/encoders/$arm"
        job 1 "states-$arm" "convert-$arm" \
            python -m evaluations.states --data "$ELSEWHERE" "$ENCODER" "$STUDY/encoders/$arm"
    done
    job 1 perplexity-held_out "convert-B convert-C" \
        python -m evaluations.perplexity --held_out_by "$STUDY/pretrain/C" "$ENCODER" "$STUDY"/encoders/{B,C}
    job 1 perplexity-elsewhere "convert-B convert-C" \
        python -m evaluations.perplexity --data "$ELSEWHERE" "$ENCODER" "$STUDY"/encoders/{B,C}
    settings=$SETTINGS
    for seed in $SEEDS; do
        for arm in A B C; do few_shot few-nerd $arm "$seed" "intra inter" "$settings" --episodes "$EPISODES"; done
        settings=$(tr ' ' '\n' <<< "$SETTINGS" | grep -e '-1$' | tr '\n' ' ')
        for arm in $VARIANTS; do few_shot variants "$arm" "$seed" "$VARIANT_TYPES" 5-1 --episodes "$EPISODES"; done
    done
    # Is a gain lost in source training? The encoders as they are, on the episodes that serve choosing.
    for arm in A B C $VARIANTS; do few_shot untrained "$arm" 0 intra 5-1 --episodes 100 --epochs 0 --method nnshot; done
}

left=0 spent=0 guessed=0
while ran='' left=0 && study && [ "$left" -gt 0 ]; do
    [ "$ran" ] || { sleep 20 && continue; } # what is left is being done, or waits for what is
    echo "$ran done, about $((guessed ? left * spent / guessed / 60 : left)) minutes of work to go"
done
python -m container.study report "$STUDY"
