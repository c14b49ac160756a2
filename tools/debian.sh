# Debian's packages: installed as root, unpacked into .servers/root as anyone else. Sourced by ./dev.

unpacked=$PWD/.servers/root

on_debian() {
    command -v apt-get >/dev/null && command -v dpkg >/dev/null
}

is_root() {
    [ "$(id -u)" = 0 ]
}

say() {
    echo "dev: $*" >&2
}

fail() {
    say "$*"
    exit 1
}

# Packages may be installed, but the services in them may not start: policy-rc.d says so for as long as this takes.
install_packages() {
    say "installing $*"
    policy=/usr/sbin/policy-rc.d kept=/usr/sbin/policy-rc.d.before-flask-outbox
    [ ! -e $policy ] || [ -e $kept ] || mv $policy $kept
    trap 'restore_policy; exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    status=0
    apt_as_root "$@" || status=$?
    restore_policy
    trap - INT TERM HUP
    return $status
}

restore_policy() {
    rm -f $policy
    [ ! -e $kept ] || mv $kept $policy
}

apt_as_root() {
    export DEBIAN_FRONTEND=noninteractive
    # A Postfix without a configuration of its own is not started at the next boot either.
    echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
    update_lists
    apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 install "$@" >.servers/apt.log 2>&1 || {
        tail -n 20 .servers/apt.log >&2
        return 1
    }
}

# The same without root: apt resolves and downloads into folders of our own, dpkg unpacks; nothing is registered.
unpack_packages() {
    say "unpacking $* into .servers"
    apt=$PWD/.servers/apt
    mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$unpacked"
    cat >"$apt/apt.conf" <<EOF
Dir::State "$apt";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$apt";
Debug::NoLocking "true";
APT::Sandbox::User "";
APT::Install-Recommends "false";
EOF
    APT_CONFIG=$apt/apt.conf update_lists
    APT_CONFIG=$apt/apt.conf apt-get -qq -y --download-only install "$@" >.servers/apt.log 2>&1 || {
        tail -n 20 .servers/apt.log >&2
        return 1
    }
    for deb in "$apt"/archives/*.deb; do
        [ ! -e "$deb" ] || dpkg -x "$deb" "$unpacked"
    done
    rm -f "$apt"/archives/*.deb
    patch_python
}

# What depends on Python brings it again. Its libraries are beside it and not in the system's folders: written into the
# program itself, so that .venv/bin/python works without any variable, also for what the tests start with an
# environment of their own.
patch_python() {
    [ -e "$unpacked/usr/bin/patchelf" ] || return 0
    library_path='$ORIGIN/../lib/@:$ORIGIN/../../lib/@'
    library_path=$(echo "$library_path" | sed "s,@,$(multiarch),g")
    "$unpacked/usr/bin/patchelf" --force-rpath --set-rpath "$library_path" "$unpacked"/usr/bin/python3.[0-9]*[0-9]
}

# Once is enough, for the system's lists and for those of our own. One unreachable source of many is no reason to stop:
# what is missing shows in the next step.
update_lists() {
    case " ${updated:-} " in *" ${APT_CONFIG:-system} "*) return ;; esac
    apt-get -qq update || true
    updated="${updated:-} ${APT_CONFIG:-system}"
}

# The folder name under which Debian keeps this machine's libraries: x86_64-linux-gnu.
multiarch() {
    basename "$unpacked"/usr/lib/*-linux-gnu*
}
