#!/usr/bin/env bash
# What the tests need beside Python: RabbitMQ, PostgreSQL, slirp4netns, and for container images crun or runc, skopeo and umoci. Installs them with apt-get and root, else names the command.
set -euo pipefail
wanted=()
command -v rabbitmqctl >/dev/null || wanted+=(rabbitmq-server)
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || wanted+=(postgresql)
command -v slirp4netns >/dev/null || wanted+=(slirp4netns)
# crun of Debian 12 does not run where version 1 and 2 of control groups are mixed; runc does
command -v runc >/dev/null || command -v crun >/dev/null || wanted+=(runc)
command -v skopeo >/dev/null || wanted+=(skopeo)
command -v umoci >/dev/null || wanted+=(umoci)
[ ${#wanted[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "the tests need ${wanted[*]}: sudo apt-get install ${wanted[*]}" >&2
  [ -n "${CI:-}" ] && exit 1
  echo 'going on without; what needs them is skipped' >&2
  exit 0
fi
echo "installing ${wanted[*]}"
# the tests start servers of their own: the system's need not run
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d.fnrunner
chmod +x /usr/sbin/policy-rc.d.fnrunner
if [ ! -e /usr/sbin/policy-rc.d ]; then
  cp /usr/sbin/policy-rc.d.fnrunner /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d /usr/sbin/policy-rc.d.fnrunner' EXIT
else
  trap 'rm -f /usr/sbin/policy-rc.d.fnrunner' EXIT
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
