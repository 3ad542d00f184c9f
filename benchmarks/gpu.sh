#!/usr/bin/env bash
# Everything that a GPU has to show, in under 10 minutes: one command, one folder of logs, one summary.
#
#   benchmarks/gpu.sh                              all stages, into gpu-DATE-TIME/
#   benchmarks/gpu.sh FOLDER attention compile     these stages only
#   benchmarks/gpu.sh --tiny FOLDER                small sizes on any machine: whether every command runs
#
# It needs `pip install -c constraints.txt -e ".[test]"` with a torch that is built for CUDA; the Python is $PYTHON, or
# the one in the PATH. A stage that fails or runs out of its time is named, and the next one begins. The limits add up
# to less than 10 minutes; LIMIT=0 turns them off, as --tiny does. The first GPU is used, or the one in
# CUDA_VISIBLE_DEVICES. Nothing is downloaded.
set -u
tiny=
if [ "${1-}" = --tiny ]; then tiny=1 LIMIT=0 && shift; fi
out=$(realpath -m "${1:-gpu-$(date +%Y%m%d-%H%M%S)}")
[ $# = 0 ] || shift
python=${PYTHON:-python}
export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES-0} HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
cd "$(dirname "$0")/.." && mkdir -p "$out" || exit 2
only=
failed=0

# stage NAME SECONDS COMMAND...
stage() {
    local name=$1 limit=${LIMIT-$2} begun=$SECONDS status said
    shift 2
    case "$only" in "" | *" $name "*) ;; *) return 0 ;; esac
    # pytest reports what it has when it is interrupted
    timeout --signal=INT --kill-after=3 "$limit" "$@" >"$out/$name.log" 2>"$out/$name.err"
    status=$?
    case $status in
        0) said="done" ;;
        124 | 137) said="stopped after $limit s: the log has what it printed until then" ;;
        *) said="failed with status $status" ;;
    esac
    [ $status = 0 ] || failed=1
    echo "| $name | $((SECONDS - begun)) | $said |" | tee -a "$out/summary.md"
    return $status
}

# sized FULL... -- TINY...: which arguments
sized() {
    local found=()
    while [ "$1" != -- ]; do found+=("$1") && shift; done
    shift
    if [ -n "$tiny" ]; then found=(--tiny "$@"); fi
    arguments=("${found[@]}")
}

printf '| stage | seconds | outcome |\n| --- | ---: | --- |\n' | tee "$out/summary.md"
stage environment 30 "$python" -c '
import platform, sys, torch
print("Python", platform.python_version(), "torch", torch.__version__, "CUDA", torch.version.cuda)
if not torch.cuda.is_available() and not sys.argv[1:]:
    why = "no GPU is visible" if torch.version.cuda else "this torch is built for the CPU only; install one for CUDA"
    sys.exit(f"gpu.sh: torch {torch.__version__} cannot use a GPU: {why}.")
for n in range(torch.cuda.device_count()):
    print(torch.cuda.get_device_properties(n))
' ${tiny:+tiny} || { tail -n 1 "$out/environment.err" >&2; exit 1; }
if [ $# != 0 ]; then only=" $* "; fi

tests=(tests/modeling_paraclip tests/test_train.py tests/eval)
if [ -n "$tiny" ]; then tests=(tests/modeling_paraclip/test_packing.py); fi
stage tests 120 "$python" -m pytest -q -m "not slow" --durations=5 "${tests[@]}"

sized --batch 128 --steps 7 --only ours ours-fp32 hf hf-tuned st st-cached -- --batch 8 --steps 1 --only ours hf
stage training 120 "$python" benchmarks/train.py "${arguments[@]}"

sized --only ours --batch 256 4096 --steps 5 -- --only ours --batch 8 16 --steps 1
stage batches 45 "$python" benchmarks/train.py "${arguments[@]}"
stage compile 60 "$python" benchmarks/train.py "${arguments[@]}" --torch_compile

sized --only ours --batch 65536 --steps 1 -- --only ours --batch 1024 --steps 1
stage batch-65536 95 "$python" benchmarks/train.py "${arguments[@]}"

sized -- --repeats 1
stage attention 45 "$python" benchmarks/attention.py "${arguments[@]}"

sized --
stage embedding 45 "$python" benchmarks/embedding.py "${arguments[@]}"

for name in environment tests training batches compile batch-65536 attention embedding; do
    [ -f "$out/$name.log" ] && printf '\n## %s\n\n```\n%s\n```\n' "$name" "$(tail -n 20 "$out/$name.log")"
done >>"$out/summary.md"
echo "$out/summary.md has it all; .log and .err beside it are what each stage printed"
exit $failed
