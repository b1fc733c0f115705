#!/bin/sh
# Makes the secrets of compose.yaml in deploy/secrets/, once: a file that is there stays as it is.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# A file, what it holds, and the user of the container that reads it. Compose mounts files as they are, so it must be
# theirs; only root can give it away, and without root they stay yours.
keep() {
    [ -e "secrets/$1" ] || printf '%s' "$2" >"secrets/$1"
    chmod 0400 "secrets/$1"
    if [ "$(id -u)" = 0 ]; then chown "$3" "secrets/$1"; fi
}

keep postgres_password "$(random)" 0
keep store_url "postgresql+psycopg://streaming:$(cat secrets/postgres_password)@postgres/streaming" 10001
keep grafana_password "$(random)" 472
keep metrics_key "$(random)" 65534
keep api_keys "$(random):ops:admin, $(cat secrets/metrics_key):prometheus:metrics:read" 10001

[ "$(id -u)" = 0 ] || echo "Not root: the files are yours. Give them to the users of the containers:" \
    "sudo deploy/secrets.sh" >&2
echo "The key of the principal ops stands first in deploy/secrets/api_keys, the password of Grafana's admin in grafana_password."
