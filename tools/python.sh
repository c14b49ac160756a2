# A Python, the environment .venv, and what is installed there. Sourced by ./dev.

# ensure_environment GROUP...: .venv exists and holds the project and requirements/GROUP.txt of each group.
ensure_environment() {
    mkdir -p .servers
    .venv/bin/python -m pip --version >/dev/null 2>&1 || make_environment
    groups=
    for group; do groups="$groups requirements/$group.txt"; done
    # shellcheck disable=SC2086
    stamp=.venv/.installed-$(cat pyproject.toml $groups | cksum | tr -d ' ')
    [ ! -e "$stamp" ] || return 0
    say "installing$groups"
    trust_certificates
    # shellcheck disable=SC2086
    pip_install --require-hashes $(printf -- '-r %s ' $groups)
    pip_install --no-deps --no-build-isolation --editable .
    touch "$stamp"
}

# A warning about somebody's own pip settings is not about this project: it is seen only when something fails.
pip_install() {
    .venv/bin/python -m pip install -q --disable-pip-version-check "$@" >.servers/pip.log 2>&1 || {
        tail -n 20 .servers/pip.log >&2
        fail "pip could not install; all it said is in .servers/pip.log"
    }
}

make_environment() {
    python=$(find_python)
    if [ -z "$python" ]; then
        get_python
        python=$(find_python)
        [ -n "$python" ] || fail "no Python 3.11 or newer here; install one and run this again"
    fi
    say "making .venv with $python"
    rm -rf .venv
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv .venv
    elif on_debian && is_root; then
        install_packages python3-venv
        "$python" -m venv .venv
    elif on_debian; then
        "$python" -m venv --without-pip .venv
        add_pip
    else
        fail "$python cannot make virtual environments: it lacks the modules venv and ensurepip"
    fi
}

# The first Python that is new enough, or nothing. Only old ones here is an error that says what to do.
find_python() {
    old=
    for name in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[1-9]*/bin/python "$unpacked/usr/bin/python3"; do
        version=$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            "$name" -c 'import sys; print(sys.executable)'
            return
        fi
        old="$old $name ($version)"
    done
    [ -z "$old" ] || fail "needs Python 3.11 or newer, and here is only$old." \
        "Install a newer one, or name it: PYTHON=/path/to/python3.13 ./dev ..."
}

get_python() {
    on_debian || fail "no Python here; install Python 3.11 or newer and run this again"
    if is_root; then
        install_packages python3 python3-venv ca-certificates
        return
    fi
    unpack_packages python3 python3-pip-whl ca-certificates patchelf
}

# Debian keeps pip's wheel in a package of its own, which is all that a Python without ensurepip needs.
add_pip() {
    wheel=$(ls "$unpacked"/usr/share/python-wheels/pip-*.whl /usr/share/python-wheels/pip-*.whl 2>/dev/null | head -n 1)
    if [ -z "$wheel" ]; then
        unpack_packages python3-pip-whl
        wheel=$(ls "$unpacked"/usr/share/python-wheels/pip-*.whl | head -n 1)
    fi
    .venv/bin/python "$wheel/pip" install -qq --no-index --no-deps "$wheel"
}

# A machine without certificates gets the unpacked ones, for pip alone.
trust_certificates() {
    bundle=$PWD/.servers/ca-certificates.pem
    [ ! -e /etc/ssl/certs/ca-certificates.crt ] && [ -d "$unpacked/usr/share/ca-certificates" ] || return 0
    [ -e "$bundle" ] || cat "$unpacked"/usr/share/ca-certificates/*/*.crt >"$bundle"
    export PIP_CERT="${PIP_CERT:-$bundle}"
}
