#!/usr/bin/env bash
# A private Postfix, for tests: everything it reads or writes is below one directory, it listens and
# sends on loopback addresses only, it never looks at DNS, and it does not know of the system's own
# Postfix (whose programs it runs), nor of other instances of itself.
#
#   postfix.sh run DIR SERVICES [NAME=VALUE...]
#       SERVICES is a file of master.cf lines for the smtpd services. The other services and a main.cf
#       are added; NAME=VALUE are further main.cf settings. Prints "ready" when every smtpd accepts
#       connections, and runs until its standard input ends: whoever started it may die in any way,
#       Postfix does not outlive it. DIR/maillog is the log. DIR may be used again.
#   postfix.sh kill DIR
#       Ends all its processes with SIGKILL. The one that runs it has its standard input to end still.
#   postfix.sh remove DIR
#
# Needs root (Postfix changes users) and a DIR that the user postfix can reach.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

die() { printf 'postfix.sh: %s\n' "$*" >&2; exit 1; }
[ $# -ge 2 ] || die 'usage: postfix.sh run DIR SERVICES [NAME=VALUE...] | kill DIR | remove DIR'
action=$1 dir=$(readlink -m "$2")
shift 2
conf=$dir/etc spool=$dir/spool

configure() {
  local services=$1
  shift
  mkdir -p "$conf" "$spool" "$dir/data"
  chmod 755 "$dir" "$conf" "$spool"
  chown postfix: "$dir/data"
  chmod 700 "$dir/data"
  # postlogd would create it unreadable for the tests of an ordinary user.
  : >>"$dir/maillog"
  chmod 644 "$dir/maillog"

  # smtpd listens where SERVICES says; inet_interfaces binds the sending side to loopback too.
  cat >"$conf/main.cf" <<MAIN
compatibility_level = 3.6
queue_directory = $spool
data_directory = $dir/data
meta_directory = $(postconf -dh meta_directory)
daemon_directory = $(postconf -dh daemon_directory)
command_directory = $(postconf -dh command_directory)
multi_instance_name =
maillog_file = $dir/maillog
maillog_file_prefixes = $dir
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = postfix.example.com
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
relay_domains =
smtp_host_lookup = native
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_tls_security_level = none
smtp_tls_security_level = none
smtpd_relay_restrictions = permit_mynetworks, reject
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
MAIN
  # qmgr is woken each second, not every 300: a message whose next try lay in the future when Postfix
  # was killed is put back into the incoming queue, which otherwise nothing looks at before new mail.
  cat "$services" - >"$conf/master.cf" <<'MASTER'
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
MASTER
  local setting
  for setting; do postconf -c "$conf" -e "$setting"; done
}

# The listeners, as HOST PORT lines. Continuation lines of master.cf begin with a blank.
listeners() {
  sed -nE 's/^([0-9.]+):([0-9]+)[[:blank:]]+inet[[:blank:]].*/\1 \2/p' "$1"
}

# Its processes, by their working directory: a daemon may be in a process group of its own.
processes() {
  find /proc -maxdepth 2 -path '/proc/[0-9]*/cwd' -lname "$spool" 2>/dev/null | cut -d / -f 3 || true
}

stop() {
  postfix -c "$conf" stop >/dev/null 2>&1 || true
  wait "$postfix" || true
  local left
  left=$(processes)
  [ -z "$left" ] || kill $left 2>/dev/null || true
}

# The master first, or it would start others. Two rounds, for those that were being started.
kill_all() {
  ours
  local left master
  master=$(tr -d '[:blank:]' <"$spool/pid/master.pid")
  kill -STOP "$master"
  left=$(processes)
  kill -KILL $left "$master" 2>/dev/null || true
  left=$(processes)
  [ -z "$left" ] || kill -KILL $left 2>/dev/null || true
}

ours() {
  [ ! -e "$dir" ] || grep -q "^queue_directory = $spool\$" "$conf/main.cf" || die "$dir is not ours"
}

wait_ready() {
  local host port deadline=$((SECONDS + 30))
  while read -r host port; do
    until (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null; do
      if [ $SECONDS -ge $deadline ] || ! kill -0 "$postfix" 2>/dev/null; then
        cat "$dir/start" >&2
        tail -n 20 "$dir/maillog" >&2
        die "$host:$port does not answer"
      fi
      sleep 0.05
    done
  done
}

run() {
  [ $# -gt 0 ] || die 'SERVICES is missing'
  local services=$1
  [ "$(id -u)" -eq 0 ] || die 'needs root'
  command -v postfix >/dev/null || die 'Postfix is not installed; .ci/setup installs it'
  [ -n "$(listeners "$services")" ] || die "no HOST:PORT inet service in $services"
  configure "$@"
  # In a session of its own, since "postfix stop" signals master's process group; in the
  # foreground of that, so that it is our child and leaves no zombie where init does not reap.
  setsid postfix -c "$conf" start-fg >"$dir/start" 2>&1 </dev/null &
  postfix=$!
  trap stop EXIT
  wait_ready < <(listeners "$services")
  # So that tests of an ordinary user get to services of type unix.
  chmod o+x "$spool/public"
  echo ready
  cat >/dev/null
}

case $action in
run) run "$@" ;;
kill) kill_all ;;
remove)
  ours
  rm -rf "$dir"
  ;;
*) die "unknown action $action" ;;
esac
