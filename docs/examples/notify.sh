#!/bin/sh
# Sends one notification through the relay, with nothing but curl and openssl.
#
#   RELAY_URL=http://localhost:8066 WEBHOOK_SECRET=whsec_… SERVER=my-server TARGET=my-app DEVICE=… ./notify.sh
#
# Prints the relay's answer; fails unless the device was reached or the push waits at the relay, which then goes on trying. For a try and for cron jobs: `openssl` takes the key as an
# argument, which other users of the same machine can see. A program signs with a library, as notify.py and notify.mjs do.
set -eu
: "${RELAY_URL:?}" "${WEBHOOK_SECRET:?}" "${SERVER:?}" "${TARGET:?}" "${DEVICE:?}"

# The signature covers exactly these bytes. Nothing is escaped here: neither value may hold a quote or a backslash.
body='{"target":"'$TARGET'","devices":["'$DEVICE'"],"kind":"alert","title":"Town Square","body":"Hello from curl",
"sound":"default","data":{"channel":"town-square"},"ttl_s":3600}'

id="msg_$(openssl rand -hex 16)"
timestamp=$(date +%s)
key=$(printf '%s' "${WEBHOOK_SECRET#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \n')
signature=$(printf '%s.%s.%s' "$id" "$timestamp" "$body" |
  openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)

answer=$(curl --silent --show-error --fail-with-body --max-time 40 \
  --header 'content-type: application/json' \
  --header "pushrelay-server: $SERVER" \
  --header "webhook-id: $id" \
  --header "webhook-timestamp: $timestamp" \
  --header "webhook-signature: v1,$signature" \
  --data-binary "$body" "$RELAY_URL/v1/notifications") || { printf '%s\n' "$answer" >&2; exit 1; }
printf '%s\n' "$answer"
case $answer in *'"status":"delivered"'* | *'"status":"queued"'*) ;; *) exit 1 ;; esac
