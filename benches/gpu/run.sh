#!/usr/bin/env bash
# Tests and times the model on an NVIDIA GPU, PyTorch in the same minutes, and prints the table:
#
#     benches/gpu/run.sh [FOLDER]        logs and table.md go there, by default to ./gpu-results
#
# Needs the CUDA toolkit, Rust, and a python3 with torch, transformers, numpy and Pillow. Where programs cannot
# be built, BT_GPU_PREBUILT names a folder that has them (as `benches/gpu/run.sh --build FOLDER` leaves them).
# Each part has its own time limit, and a failure costs that part alone. About six minutes on an H100.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)

# Builds the programs into a folder: bt-index, the benchmark, the golden tests, the operators' tests.
build() {
    mkdir -p "$1"
    (
        cd "$top" || exit
        cuda=(--features cuda --config .cargo/cuda.toml --message-format json)
        cargo build --release --bin bt-index "${cuda[@]}" || exit
        cargo test --release --no-run -p bridgetower-search -p bt-model --lib --test golden --bench gpu "${cuda[@]}"
    ) | python3 -c 'import json, shutil, sys
names = {"bt-index": "bt-index", "gpu": "gpu", "golden": "golden", "bt_model": "operators"}
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] in names:
        shutil.copy(message["executable"], sys.argv[1] + "/" + names[message["target"]["name"]])' "$1"
    strip "$1"/* && [ "$(ls "$1" | wc -l)" = 4 ]
}

if [ "${1:-}" = --build ]; then
    build "${2:?a folder}"
    exit
fi

out=${1:-$PWD/gpu-results}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
bin=${BT_GPU_PREBUILT:-}
if [ -z "$bin" ]; then
    bin=$work/bin
    build "$bin" || { echo "the programs cannot be built"; exit 2; }
fi

# Where pip or the toolkit have put CUDA's libraries.
libraries=$(python3 -c 'import glob,site,sys
folders = [f for s in site.getsitepackages() + [site.getusersitepackages()] for f in sorted(glob.glob(s + "/nvidia/*/lib"))]
print(":".join(folders + ["/usr/local/cuda/lib64"]))')
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" PYTHONUNBUFFERED=1
export HF_HUB_OFFLINE=1 BT_TREE=$top TORCHINDUCTOR_CACHE_DIR="$work/inductor"

# part NAME SECONDS COMMAND...: its output is NAME.log.
part() {
    local name=$1 limit=$2 start=$SECONDS
    shift 2
    timeout --kill-after 5 "$limit" "$@" >"$out/$name.log" 2>&1
    local code=$?
    echo "$name: exit $code after $((SECONDS - start)) s" | tee -a "$out/parts.log"
    [ $code = 0 ] || tail -n 4 "$out/$name.log"
}

# Seconds of a run of bt-index over the JPEGs, as a line of the table.
pipeline() {
    local what=$1 start
    shift
    start=$(date +%s.%N)
    "$bin/bt-index" "$work/jpegs" --index "$work/index-$what" --quiet "$@" || return
    python3 -c 'import sys; print(f"bt-index, 2,000 JPEGs, {sys.argv[1]}\t{2000 / (float(sys.argv[3]) - float(sys.argv[2])):.1f}\timages/s")' \
        "$what" "$start" "$(date +%s.%N)"
}
export -f pipeline
export bin work here

: >"$out/parts.log"
{ nvidia-smi; nproc; python3 -m pip list 2>/dev/null | grep -iE '^(torch|transformers|nvidia-cublas|triton) '; } >"$out/machine.log" 2>&1

part draw 60 python3 "$here/peer.py" draw "$work/jpegs" --pictures 2000 &
part make-golden 90 python3 "$top/tools/golden/make_golden.py" "$work/full" --only base &
part make-base 60 "$bin/gpu" --size base --write "$work/base" &
part make-large 90 "$bin/gpu" --size large --write "$work/large" &
BT_HOPPER=1 part operators 60 "$bin/operators" cuda exec settle --include-ignored --test-threads 1 --nocapture
BT_GOLDEN_DEVICE=cuda BT_GOLDEN_PRECISION=f32 part golden-f32 60 "$bin/golden" --test-threads 4
BT_GOLDEN_DEVICE=cuda BT_GOLDEN_PRECISION=bf16 part golden-bf16 60 "$bin/golden" --test-threads 4
wait
if [ -d "$work/full" ]; then
    for precision in f32 bf16; do
        BT_GOLDEN_FULL=$work/full BT_GOLDEN_DEVICE=cuda BT_GOLDEN_PRECISION=$precision \
            part golden-base-$precision 60 "$bin/golden" full::
    done
fi
part ceiling 30 python3 "$here/peer.py" ceiling
part ours-base 60 "$bin/gpu" --size base --checkpoint "$work/base" --precision bf16
part ours-large 60 "$bin/gpu" --size large --checkpoint "$work/large" --precision bf16 --batches 32,64,128
BT_HOPPER=1 part hopper-base 60 "$bin/gpu" --size base --checkpoint "$work/base" --precision bf16
BT_HOPPER=1 part hopper-large 60 "$bin/gpu" --size large --checkpoint "$work/large" --precision bf16 --batches 32,64,128
BT_HOPPER=1 BT_GOLDEN_DEVICE=cuda BT_GOLDEN_PRECISION=bf16 part hopper-golden 60 "$bin/golden" --test-threads 4
part torch-base 90 python3 "$here/peer.py" tower --model base --batch 128
part index-mini 40 bash -c 'pipeline mini --model mini --device cuda'
part index-base 40 bash -c 'pipeline base --model "$work/base" --device cuda'
if command -v nvcc >/dev/null; then
    part kernels 60 bash -c 'nvcc -std=c++17 -O3 -gencode arch=compute_90a,code=sm_90a "$here/kernels.cu" \
        -o "$work/kernels" -lcublas && "$work/kernels"'
fi
if command -v ncu >/dev/null; then
    part profile 60 ncu --metrics gpu__time_duration.sum --csv --clock-control none \
        "$bin/gpu" --size base --checkpoint "$work/base" --precision bf16 --batches 128 --once yes
fi
part torch-large 100 python3 "$here/peer.py" tower --model large --batch 64
part torch-pairs 40 python3 "$here/peer.py" pairs --model base
part ours-base-f32 40 "$bin/gpu" --size base --checkpoint "$work/base" --precision f32 --batches 64
part index-mini-cpu 40 bash -c 'pipeline mini-on-the-processor --model mini --device cpu'

python3 "$here/table.py" "$out" | tee "$out/table.md"
