#!/usr/bin/env bash
# Makes a video from a picture and a prompt: submits it, asks until it is final, and saves it. Needs curl and jq.
#
# SORA_URL=http://127.0.0.1:8080 SORA_KEY=sk-… ./generate.sh image.png '参考配图，使得动物们活跃起来' video.mp4
#
# With SORA_CALLBACK_URL it ends once the video is accepted: the gateway tells that URL when it is final (receive.sh).
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: $0 IMAGE PROMPT [TARGET]" >&2; exit 2; }
image=$1 prompt=$2 target=${3:-video.mp4}
videos=${SORA_URL:-http://127.0.0.1:8080}/v1/videos
: "${SORA_KEY:?is not set}"
answer=$(mktemp -d)
trap 'rm -r "$answer"' EXIT

fail() { echo "$*" >&2; exit 1; }

# Leaves the answer in two files. Every request may be repeated, the POST too: under one Idempotency-Key it makes one
# video, however often it arrives. The API key comes from a file, as `ps` shows everybody the arguments.
ask() {
    local status
    status=$(
        curl --silent --show-error --max-time 60 --retry 4 --retry-all-errors \
            --header @<(printf 'Authorization: Bearer %s' "$SORA_KEY") \
            --dump-header "$answer/head" --output "$answer/body" --write-out '%{http_code}' "$@"
    ) || fail "no answer from $videos"
    [ "$status" -lt 300 ] || fail "HTTP $status: $(
        video '.error | "\(.message) (code \(.code), param \(.param))"' 2> /dev/null || head -c 300 "$answer/body")"
}

video() { jq --raw-output "$1" "$answer/body"; }

# --form-string: with --form, a prompt that begins with @ or < would be the name of a file.
form=(--form-string "prompt=$prompt" --form-string size=1280x720 --form-string seconds=4)
form+=(--form "input_reference=@\"$image\"")
[ -z "${SORA_CALLBACK_URL:-}" ] || form+=(--form-string "callback_url=$SORA_CALLBACK_URL")
key=$(cat /proc/sys/kernel/random/uuid) # in a backend: what the video is for, such as the order's number
ask "$videos" --header "Idempotency-Key: $key" "${form[@]}"
id=$(video .id)
echo "$id is accepted"
[ -z "${SORA_CALLBACK_URL:-}" ] || exit 0

while ask "$videos/$id" && [[ $(video .status) =~ ^(queued|in_progress)$ ]]; do
    echo "$(video .status) $(video .progress) %"
    sleep "$(awk 'tolower($1) == "openai-poll-after-ms:" { print $2 / 1000 }' "$answer/head")"
done
[ "$(video .status)" = completed ] || fail "$id $(video '"\(.status): \(.error.message) (code \(.error.code))"')"

# The link carries its own permission and is good for a day: the key stays out of it.
curl --fail --progress-bar --retry 4 --retry-all-errors --speed-time 60 --output "$target.part" "$(video .url)"
sha256sum --check --quiet <<< "$(video .content.sha256)  $target.part"
mv "$target.part" "$target" # half a file never bears the name of a whole one
echo "saved $target"
