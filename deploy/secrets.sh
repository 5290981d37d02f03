#!/bin/sh
# Makes up the passwords of a deployment with compose, once, as files in deploy/secrets.
#
# Only their directory keeps other users of this machine out: the files themselves must be readable,
# since the containers read them as users of their own.
set -eu
umask 022

secrets="$(dirname "$0")/secrets"
mkdir -p "$secrets"
chmod 700 "$secrets"
printf '*\n' > "$secrets/.gitignore"

password() {
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

keep() {
  if [ -e "$secrets/$1" ]; then
    echo "kept $secrets/$1"
  else
    printf '%s\n' "$2" > "$secrets/$1"
    echo "made $secrets/$1"
  fi
}

keep administrator_password "$(password)"
keep owner_url "postgresql://tertulia_owner:$(password)@database:5432/tertulia"
keep service_url "postgresql://tertulia_service:$(password)@database:5432/tertulia"
keep providers.env '# Keys of language models, one in a line, such as OPENAI_API_KEY=…'
