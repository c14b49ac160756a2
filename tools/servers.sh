# The real servers that tests and benchmarks talk to. Sourced by ./dev. What is missing afterwards, the tests list.

# ensure_servers NAME...: postfix, dovecot, exim, postgres, mariadb, redis, rabbitmq, chromium, systemd.
ensure_servers() {
    PATH=$PATH:/usr/sbin:$PWD/.servers/bin
    export PATH
    on_debian || return 0
    if is_root; then
        install_servers "$@"
        # Debian lets no machine have it beside Postfix.
        case " $* " in *" exim "*) unpack_exim ;; esac
    else
        unpack_servers "$@"
    fi
}

install_servers() {
    missing=
    for package in $(packages_of "$@"); do
        dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
            missing="$missing $package"
    done
    # shellcheck disable=SC2086
    [ -z "$missing" ] || install_packages $missing || say "could not install$missing"
}

packages_of() {
    for server; do
        case $server in
        postfix) echo postfix libsasl2-modules sasl2-bin ;;
        dovecot) echo dovecot-lmtpd ;;
        postgres) echo postgresql ;;
        mariadb) echo mariadb-server-core mariadb-client-core ;; # the programs alone: no service, no account
        redis) echo redis-server ;;
        rabbitmq) echo rabbitmq-server ;; # and the Erlang it runs on
        chromium) echo chromium ;;
        systemd) echo systemd ;; # for systemd-analyze: it is not started
        esac
    done
}

# Postfix itself wants root; its smtp-sink and smtp-source do not.
unpack_servers() {
    for server; do
        case $server in
        postfix) unpack_server postfix usr/sbin/smtp-source usr/sbin/smtp-sink ;;
        postgres) unpack_postgres ;;
        mariadb) unpack_mariadb ;;
        redis) unpack_server redis-server usr/bin/redis-server ;;
        rabbitmq) unpack_rabbitmq ;;
        chromium) unpack_server chromium usr/lib/chromium/chromium ;;
        esac
    done
}

# Like Postfix it wants root; only its files need not be installed for that.
unpack_exim() {
    [ ! -e .servers/bin/exim4 ] || return 0
    unpack_packages exim4-daemon-light libnss-wrapper || { say "could not unpack exim4-daemon-light" && return; }
    mkdir -p .servers/bin
    write_wrapper "$unpacked/usr/sbin/exim4" .servers/bin/exim4
}

# Its programs lie in a folder that bears the version's number.
unpack_postgres() {
    ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || return 0
    [ ! -e .servers/bin/initdb ] || return 0
    unpack_packages postgresql || { say "could not unpack postgresql" && return; }
    mkdir -p .servers/bin
    for program in "$unpacked"/usr/lib/postgresql/*/bin/*; do
        case ${program##*/} in initdb | postgres) write_wrapper "$program" ".servers/bin/${program##*/}" ;; esac
    done
}

# What makes its data calls a program of the client.
unpack_mariadb() {
    ! command -v mariadb-install-db >/dev/null || return 0
    unpack_packages mariadb-server-core mariadb-client-core || { say "could not unpack mariadb-server-core" && return; }
    mkdir -p .servers/bin
    write_wrapper "$unpacked/usr/sbin/mariadbd" .servers/bin/mariadbd
    write_wrapper "$unpacked/usr/bin/mariadb-install-db" .servers/bin/mariadb-install-db
}

# Erlang's programs are started by a script that knows one place for them.
unpack_rabbitmq() {
    ! command -v rabbitmq-server >/dev/null || return 0
    unpack_packages rabbitmq-server || { say "could not unpack rabbitmq-server" && return; }
    mkdir -p .servers/bin
    erlang=$unpacked/usr/lib/erlang
    sed -i "s|^\( *ROOTDIR=\).*|\1$erlang|" "$erlang/bin/erl"
    for program in erl epmd erl_call; do write_wrapper "$erlang/bin/$program" ".servers/bin/$program"; done
    write_wrapper "$unpacked/usr/lib/rabbitmq/bin/rabbitmq-server" .servers/bin/rabbitmq-server
}

# unpack_server PACKAGE PROGRAM...: .servers/bin/PROGRAM starts the unpacked program with the unpacked libraries.
unpack_server() {
    package=$1
    shift
    for program; do
        command -v "$(basename "$program")" >/dev/null || {
            unpack_packages "$package" || { say "could not unpack $package" && return; }
            break
        }
    done
    mkdir -p .servers/bin
    for program; do
        wrapper=.servers/bin/$(basename "$program")
        [ ! -e "$unpacked/$program" ] || [ -e "$wrapper" ] || write_wrapper "$unpacked/$program" "$wrapper"
    done
}

write_wrapper() {
    lib=$unpacked/usr/lib/$(multiarch)
    cat >.servers/fonts.conf <<EOF
<fontconfig><dir>$unpacked/usr/share/fonts</dir><cachedir>$PWD/.servers/fonts</cachedir></fontconfig>
EOF
    cat >"$2" <<EOF
#!/bin/sh
export LD_LIBRARY_PATH="$lib:$unpacked/lib/$(multiarch):$lib/pulseaudio:$unpacked/usr/lib/postfix"
export FONTCONFIG_FILE="$PWD/.servers/fonts.conf"
exec "$1" "\$@"
EOF
    chmod 755 "$2"
}

# The one peer of the benchmarks that runs on node. Without a lock file, which would name a registry's host.
nodemailer=10.6.1

ensure_nodemailer() {
    ! grep -qs "\"version\": \"$nodemailer\"" .servers/node/node_modules/nodemailer/package.json || return 0
    command -v node >/dev/null && command -v npm >/dev/null || {
        say "nodemailer is not measured: node and npm are not here"
        return 0
    }
    say "installing nodemailer"
    mkdir -p .servers/node
    npm install --prefix .servers/node --no-save --no-package-lock --ignore-scripts --no-audit --no-fund \
        "nodemailer@$nodemailer" >.servers/npm.log 2>&1 ||
        say "could not install nodemailer; what npm said is in .servers/npm.log"
}
