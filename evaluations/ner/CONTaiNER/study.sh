#!/usr/bin/env bash
# study.sh: does sparse latent typing help few-shot NER, all else equal? Three encoders on the same episodes:
#   A: MiniLM as it is; B: continued with masked language modelling alone; C: with sparse latent typing.
# A killed study goes on when it is started again. Everything lies in STUDY (outputs/study, relative to this file).
# More variables: CORPUS, STEPS, BATCH, SEEDS, EPISODES, PRECISION (no, bf16), DATA (prepared Few-NERD), and JOBS,
# how many commands run at a time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export STUDY=${STUDY:-outputs/study} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} TQDM_MININTERVAL=30
SEEDS=(${SEEDS:-0 1 2}) PRECISION=${PRECISION:-no} DATA=${DATA:-data/few-nerd}
mkdir -p "$STUDY"/{logs,done}

GRID="1e-4:0.1:20 3e-4:0.5:20 1e-3:0.5:20 1e-3:0.5:60 1e-3:1:20 3e-3:0.5:20" # peak rate : encoder's share : warm-up
BEST="1e-3:0.5:20"
declare -A WEIGHTS=([B]="--alpha 0 --beta 0 --gamma 0" [C]="--alpha 0.05 --beta 0.05 --gamma 0.1")

# Each function prints jobs: `cost name command`, the cost in minutes of one core, about.
pretrain() { # folder name cost arm rates steps
    IFS=: read -r rate share warmup <<< "$5"
    echo "$3 $1-$2 python ../../../pretrain.py --model minilm --data ${CORPUS:-news} --batch_size ${BATCH:-32}" \
        "--mixed_precision $PRECISION ${WEIGHTS[$4]} --learning_rate $rate --encoder_lr_scale $share" \
        "--warmup_steps $warmup --max_steps $6 --eval_steps 250 --save_steps 250 --keep_last 1" \
        "--output_dir $STUDY/$1 --name $2 --resume"
}
convert() { # arm
    echo "1 convert-$1 python ../../../convert_checkpoint.py --checkpoint $STUDY/pretrain/$1 --output $STUDY/encoders/$1"
}
few_shot() { # arm encoder seed shots
    for type in intra inter; do
        for shot in $4; do
            echo -n "$([ "$shot" = 1 ] && echo "12 $1-$3-$type-$4 " || echo "; ")"
            echo -n "MODEL=$2 DATA=$DATA OUTPUT=$STUDY/few-nerd PROCESSES=1 bash exec_container.sh $type 0 5 $shot" \
                "$1-$3 --seed $3 --episodes ${EPISODES:-500} --mixed_precision $PRECISION"
        done
        echo
    done
}
