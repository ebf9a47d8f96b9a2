#!/usr/bin/env bash
# Receives one callback on its standard input: verifies it, answers at once, and saves the finished video. Whatever
# hands connections to programs can run it, such as socat or inetd. It needs curl, jq and openssl, and no API key.
#
# SORA_WEBHOOK_SECRET=whsec_… socat TCP-LISTEN:9000,bind=127.0.0.1,reuseaddr,fork EXEC:./receive.sh
set -euo pipefail
: "${SORA_WEBHOOK_SECRET:?is not set}"
TMOUT=10 # seconds that `read` waits
body=$(mktemp)
trap 'rm "$body"' EXIT

say() { echo "$*" >&2; } # standard output is the answer

answer() {
    printf 'HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' "$1"
    [ $# = 1 ] || { say "$1: $2"; exit; }
}

read -r method path _
id='' timestamp='' signatures='' length=''
while IFS=: read -r name value && [ "$name" != $'\r' ]; do
    read -r value <<< "${value%$'\r'}"
    case ${name,,} in
        webhook-id) id=$value ;;
        webhook-timestamp) timestamp=$value ;;
        webhook-signature) signatures=$value ;;
        content-length) length=$value ;;
    esac
done
[ "$method $path" = 'POST /hook' ] || answer '404 Not Found' "$method $path"
[[ $length =~ ^[0-9]{1,6}$ ]] || answer '413 Content Too Large' "a body of '$length' bytes"
timeout "$TMOUT" head -c "$length" > "$body"

# Standard Webhooks: the HMAC of "id.timestamp.body", at most five minutes off. (While openssl runs, `ps` shows the key:
# on a machine that others use, take one of the other receivers.)
[[ $timestamp =~ ^[0-9]{1,12}$ ]] || answer '400 Bad Request' 'there is no timestamp'
age=$(($(date +%s) - 10#$timestamp))
[ "${age#-}" -le 300 ] || answer '400 Bad Request' 'the timestamp is more than five minutes off'
key=$(base64 --decode <<< "${SORA_WEBHOOK_SECRET#whsec_}" | od -An -v -tx1 | tr -d ' \n')
expected=v1,$(cat <(printf '%s.%s.' "$id" "$timestamp") "$body" |
    openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64)
read -ra several <<< "$signatures" # while a secret is rotated
for signature in "${several[@]}"; do
    # Hashes are compared: how long that takes says nothing of the signature itself.
    [ "$(sha256sum <<< "$signature")" != "$(sha256sum <<< "$expected")" ] || verified=yes
done
[ "${verified:-}" = yes ] || answer '400 Bad Request' 'no signature matches'

# A repeat has the id of the first. In a backend both are in the database: what was answered with 204 is not sent again.
mkdir -p seen
mkdir "seen/$id" 2> /dev/null || {
    [ -d "seen/$id" ] || answer '500 Internal Server Error' "$id cannot be kept"
    answer '204 No Content' "$id is here already"
}
answer '204 No Content'

save() {
    local id=$1 url=$2 sha256=$3 target=$1.mp4
    if curl --fail --silent --show-error --retry 4 --retry-all-errors --speed-time 60 --output "$target.part" "$url" &&
        sha256sum --check --quiet <<< "$sha256  $target.part" &&
        mv "$target.part" "$target"; then # half a file never bears the name of a whole one
        say "$id is saved: $target"
    else
        say "$id is not saved"
    fi
}

event=$(< "$body")
field() { jq --raw-output "$1" <<< "$event"; }

case $(field .type) in
    video.completed)
        # Apart from the connection, which whoever runs this may close, and this process with it.
        save "$(field .data.id)" "$(field .data.url)" "$(field .data.content.sha256)" < /dev/null > /dev/null &
        ;;
    video.failed) say "$(field '"\(.data.id) failed: \(.data.error.message) (code \(.data.error.code))"')" ;;
    *) say "$(field '"\(.data.id) \(.type)"')" ;;
esac
