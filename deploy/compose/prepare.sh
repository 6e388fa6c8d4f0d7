#!/bin/sh
# Prepare compose.yaml, as root: make its secrets in ./secrets (passwords, a token, a certificate for the
# pages), and give the files of the node to the user of its container, which trusts no other user's files.
# A secret that exists stays.
set -eu
cd "$(dirname "$0")"
if [ "$(id -u)" -ne 0 ]; then
    echo "prepare.sh: run it as root: sudo sh prepare.sh" >&2
    exit 1
fi
umask 077
mkdir -p secrets
cd secrets

random() {
    openssl rand -hex 24
}

[ -e database_password ] || random >database_password
[ -e database_url ] \
    || printf 'postgresql+psycopg://cxrd:%s@database/cxrd\n' "$(cat database_password)" >database_url
[ -e web_token ] || random >web_token
[ -e orthanc_users.json ] \
    || printf '{"RegisteredUsers": {"admin": "%s"}}\n' "$(random)" >orthanc_users.json
[ -e web_key.pem ] || openssl req -x509 -newkey rsa:3072 -nodes -sha256 -days 397 \
    -subj "/CN=localhost" -addext "subjectAltName = DNS:localhost,IP:127.0.0.1" \
    -keyout web_key.pem -out web_certificate.pem 2>/dev/null
chown 10001 ../config.yaml database_url web_token web_key.pem web_certificate.pem
