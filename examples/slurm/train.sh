#!/bin/bash
# One run on a cluster, queued again until it has results:
#
#   sbatch examples/slurm/train.sh runs/street --dataset camvid --save_steps 200
#
# More processes: sbatch --ntasks-per-node=4 --gpus-per-node=4; more machines: --nodes=2. docs/scale.md says more.
#SBATCH --nodes=1 --ntasks-per-node=1 --gpus-per-node=1 --cpus-per-task=8 --time=4:00:00
#SBATCH --signal=USR1@180
#SBATCH --requeue --open-mode=append
set -e
export OUTPUT=$1 MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1) MASTER_PORT
# A port of the job's own: another job of yours may run on the same machine.
MASTER_PORT=${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 10000))}
# which srun no longer takes from sbatch by itself (Slurm 22.05 and later)
[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
began=$(date +%s)
srun --kill-on-bad-exit=1 bash -c 'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS exec ctcl-hf train "$@" \
    --output_dir "$OUTPUT" --resume_from_checkpoint auto' train "${@:2}" ||
    # A process that is lost takes the others with it. What fails before it has saved anything would fail again.
    find "$OUTPUT" -maxdepth 1 -name 'checkpoint-*' -newermt "@$began" 2> /dev/null | grep -q .
[ -e "$OUTPUT/results.json" ] || scontrol requeue "$SLURM_JOB_ID"
