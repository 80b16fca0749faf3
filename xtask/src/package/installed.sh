# Run by installed.rs in mount, network and process namespaces of its own, with a directory that holds the package.
shared=$1

ok() { printf 'ok       %s\n' "$*"; }
fail() { printf 'FAILED   %s\n' "$*" >&2; exit 1; }
until_true() { # what, command...
    what=$1; shift
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || fail "$what"
        sleep 0.1
    done
}

# This machine's files below, memory above.
memory=/mnt
mount -t tmpfs tmpfs "$memory"
mkdir "$memory/upper" "$memory/work" "$memory/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$memory/upper,workdir=$memory/work" "$memory/root"
root=$memory/root
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t bpf bpf "$root/sys/fs/bpf"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
chmod 1777 "$root/tmp"
mkdir "$root/run/shared"
mount --bind "$shared" "$root/run/shared"
in_root() { chroot "$root" "$@"; }
# What this machine itself has of a tcpwatch.
in_root rm -rf /var/lib/tcpwatch /var/log/tcpwatch /etc/tcpwatch /usr/share/doc/tcpwatch
# Some images leave out documentation; this one is to be whole.
in_root sh -c 'rm -f /etc/dpkg/dpkg.cfg.d/*'

ip link set lo up
ip link add eth0 type veth peer name peer
ip address add 192.0.2.1/24 dev eth0
ip link set eth0 up
ip link set peer up
ip neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev eth0
ip route add default via 192.0.2.2

unit=/lib/systemd/system/tcpwatch.service
in_root dpkg --install /run/shared/tcpwatch.deb >"$memory/log" 2>&1 || { cat "$memory/log"; fail "dpkg --install"; }
for file in /usr/bin/tcpwatch $unit /usr/lib/sysusers.d/tcpwatch.conf /usr/lib/tmpfiles.d/tcpwatch.conf \
    /etc/logrotate.d/tcpwatch /etc/tcpwatch/config.toml /etc/tcpwatch/bans /usr/share/doc/tcpwatch/copyright \
    /usr/share/doc/tcpwatch/service.md /usr/share/doc/tcpwatch/examples/config.toml /usr/share/man/man1/tcpwatch.1.gz \
    /usr/share/man/man1/tcpwatch-run.1.gz /usr/share/bash-completion/completions/tcpwatch \
    /usr/share/zsh/vendor-completions/_tcpwatch /usr/share/fish/vendor_completions.d/tcpwatch.fish; do
    [ -s "$root$file" ] || fail "$file is missing"
done
[ "$(in_root stat -c '%a %U' /usr/bin/tcpwatch)" = "755 root" ] || fail "mode of /usr/bin/tcpwatch"
for directory in /sys/fs/bpf/tcpwatch:700 /var/lib/tcpwatch:750 /var/log/tcpwatch:750; do
    [ "$(in_root stat -c '%n:%a %U' "${directory%:*}")" = "$directory tcpwatch" ] || fail "owner and mode of $directory"
done
conffiles=$(in_root dpkg-query --show --showformat='${Conffiles}' tcpwatch | awk '{print $1}' | sort | tr '\n' ' ')
[ "$conffiles" = "/etc/logrotate.d/tcpwatch /etc/tcpwatch/bans /etc/tcpwatch/config.toml " ] || fail "conffiles: $conffiles"
[ -z "$(in_root dpkg --verify tcpwatch)" ] || fail "dpkg --verify"
in_root cmp /run/shared/config.toml /etc/tcpwatch/config.toml
[ -L "$root/etc/systemd/system/multi-user.target.wants/tcpwatch.service" ] || fail "the unit is not enabled"
ok "installed: files, owners, modes, conffiles, user, unit enabled"

in_root systemd-analyze verify --man=no $unit >"$memory/log" 2>&1 || { cat "$memory/log"; fail "systemd-analyze verify"; }
if grep -q tcpwatch.service "$memory/log"; then cat "$memory/log"; fail "systemd-analyze verify is not clean"; fi
exposure=$(in_root systemd-analyze security --offline=true $unit | sed -n 's/.*exposure level for tcpwatch.service: \([0-9.]*\) .*/\1/p')
[ -n "$exposure" ] && awk "BEGIN { exit !($exposure <= 1.5) }" || fail "exposure is '$exposure', not 1.5 at most"
ok "systemd-analyze: verify is clean, exposure $exposure"

in_root tcpwatch --version | grep -q '^tcpwatch [0-9.]* (' || fail "$(in_root tcpwatch --version): no commit"
[ "$(in_root tcpwatch config | md5sum)" = "$(md5sum <"$root/usr/share/doc/tcpwatch/examples/config.toml")" ] || fail "template"
if command -v logrotate >/dev/null; then
    in_root logrotate --debug /etc/logrotate.d/tcpwatch >"$memory/log" 2>&1 || { cat "$memory/log"; fail "logrotate"; }
fi
ok "$(in_root tcpwatch --version)"

# As the unit does, word for word where there is a word for it.
in_root install -d -m 0700 -o tcpwatch -g tcpwatch /sys/fs/bpf/tcpwatch
in_root install -d -m 0750 -o tcpwatch -g tcpwatch /run/tcpwatch
caps=-all,+bpf,+net_admin,+perfmon
start() {
    # chroot itself, not a function: each of them becomes the next, and the process identifier is tcpwatch's.
    chroot "$root" env -i PATH=/usr/bin:/bin NOTIFY_SOCKET=/run/shared/notify WATCHDOG_USEC=200000 \
        RUNTIME_DIRECTORY=/run/tcpwatch TCPWATCH_LOG=debug \
        setpriv --reuid tcpwatch --regid tcpwatch --clear-groups --inh-caps $caps --ambient-caps $caps \
        --bounding-set $caps --no-new-privs \
        /usr/bin/tcpwatch run --config /etc/tcpwatch/config.toml --interval 500ms >"$memory/stdout" 2>"$memory/stderr" &
    pid=$!
}
records=$root/var/log/tcpwatch/records.jsonl
has() { # Sends until a record has it.
    in_root bash -c "echo x >/dev/udp/$1/9" 2>/dev/null || true
    kill -0 "$pid" 2>/dev/null || { cat "$memory/stderr"; fail "tcpwatch has ended"; }
    grep -q "$1" "$records" 2>/dev/null
}
start
until_true "no record has the destination" has 198.51.100.7
status=/proc/$pid/status
mount -t proc proc /proc
for set in CapInh CapAmb; do
    grep -q "^$set:.0000000000000000$" "$status" || fail "$(grep "^$set" "$status")"
done
# CAP_NET_ADMIN is 12, CAP_PERFMON 38, CAP_BPF 39; the bounding set is the unit's.
for set in CapPrm CapEff; do
    grep -q "^$set:.0000008000001000$" "$status" || fail "$(grep "^$set" "$status")"
done
grep -q "^CapBnd:.000000c000001000$" "$status" || fail "$(grep ^CapBnd "$status")"
grep -q '^NoNewPrivs:.1$' "$status" || fail "no_new_privs"
[ "$(awk '/^Uid/ { print $2 }' "$status")" = "$(in_root id -u tcpwatch)" ] || fail "user"
ok "runs as tcpwatch, with two capabilities"

mv "$records" "$records.1"
kill -HUP "$pid"
until_true "the record file was not opened anew" has 198.51.100.8
kill -TERM "$pid"
wait "$pid" || { cat "$memory/stderr"; fail "tcpwatch did not end well"; }
[ ! -s "$memory/stdout" ] || fail "stdout is not empty: $(head -c 200 "$memory/stdout")"
[ -s "$root/var/lib/tcpwatch/history.db" ] || fail "no history"
ok "records, rotated by SIGHUP, and a history; nothing on stdout"

# The same with a higher version, over a configuration that was changed.
in_root sh -eu -c 'cd /tmp; dpkg-deb --raw-extract /run/shared/tcpwatch.deb tree
    sed -i "s/^Version: .*/&+later/" tree/DEBIAN/control; dpkg-deb -Zgzip -z1 --build tree later.deb' >/dev/null
echo '198.51.100.0/24' >>"$root/etc/tcpwatch/bans"
in_root dpkg --install /tmp/later.deb >"$memory/log" 2>&1 || { cat "$memory/log"; fail "upgrade"; }
in_root dpkg-query --show --showformat='${Version}' tcpwatch | grep -q later || fail "the version is the old one"
grep -q '^198.51.100.0/24' "$root/etc/tcpwatch/bans" || fail "the configuration was overwritten"
[ -s "$root/var/lib/tcpwatch/history.db" ] && [ -d "$root/sys/fs/bpf/tcpwatch" ] || fail "an upgrade took data away"
ok "upgraded: configuration, history and pins stay"

in_root dpkg --remove tcpwatch >"$memory/log" 2>&1 || { cat "$memory/log"; fail "dpkg --remove"; }
[ ! -e "$root/usr/bin/tcpwatch" ] && [ ! -e "$root$unit" ] && [ ! -e "$root/sys/fs/bpf/tcpwatch" ] || fail "remove left the program"
[ -s "$root/etc/tcpwatch/config.toml" ] && [ -s "$root/var/lib/tcpwatch/history.db" ] || fail "remove took data away"
ok "removed: program, unit and pins are gone, configuration and data stay"

in_root dpkg --purge tcpwatch >"$memory/log" 2>&1 || { cat "$memory/log"; fail "dpkg --purge"; }
# What was there before and is hidden is a character device in the upper layer.
left=$(cd "$memory/upper" && find . -path '*tcpwatch*' ! -type c | grep -v '^./var/lib/dpkg/info/tcpwatch' || true)
[ -z "$left" ] && [ ! -e "$root/run/tcpwatch" ] || fail "purge left $left"
if grep -q '^Package: tcpwatch$' "$root/var/lib/dpkg/status"; then fail "dpkg still knows it"; fi
ok "purged: nothing is left but the user"
