#!/usr/bin/env bash
# A Ray cluster of the nodes of a SLURM job, and one command of this project on it:
#
#     sbatch --nodes 4 --cpus-per-task 16 --time 8:00:00 scripts/slurm.sh paper table2 --scale full
#
# What follows is the command without `python -m benchmarks.`; --engine ray and --address are added. Submit it from the
# project's folder, which all nodes see, with .venv in it; results are written by the first node alone. SLURM warns a
# minute before the time is over: the command saves, ends with status 143, and the job is put into the queue again.
#SBATCH --job-name fewshot
#SBATCH --ntasks-per-node 1
#SBATCH --signal B:TERM@60
#SBATCH --requeue
#SBATCH --open-mode append
set -euo pipefail

name=${1:?give a command: paper, sweep}
shift
source .venv/bin/activate
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
port=$((20000 + SLURM_JOB_ID % 20000))
address=${nodes[0]}:$port
start=(srun --nodes 1 --ntasks 1 --overlap)
workers=()

"${start[@]}" --nodelist "${nodes[0]}" ray start --head --port "$port" --num-cpus "$SLURM_CPUS_PER_TASK" --block &
workers+=($!)
until ray health-check --address "$address" 2> /dev/null; do sleep 2; done
for node in "${nodes[@]:1}"; do
    "${start[@]}" --nodelist "$node" ray start --address "$address" --num-cpus "$SLURM_CPUS_PER_TASK" --block &
    workers+=($!)
done

python -m "benchmarks.$name" "$@" --engine ray --address "$address" --storage "${STORAGE:-$PWD/results/checkpoints}" &
driver=$!
trap 'kill -TERM "$driver"' TERM # a wait that a signal interrupts returns at once: wait again for what is saved
status=0
wait "$driver" || status=$?
while kill -0 "$driver" 2> /dev/null; do
    wait "$driver" || status=$?
done
kill "${workers[@]}" 2> /dev/null || true
if [ "$status" -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
