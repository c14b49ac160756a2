# Write requirements/*.txt again: pinned, hashed, for every platform and Python that is supported, naming no index.
# Versions stay as they are unless pyproject.toml asks for others; `./dev lock --upgrade` takes the newest.
set -eu
compile() {
    uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
        --custom-compile-command "./dev lock" pyproject.toml "$@"
}

compile --group tests --output-file requirements/tests.txt "$@"
# One environment holds them all, so the others follow the tests' versions.
for group in demo lint bench docs; do
    compile --group $group --constraints requirements/tests.txt --output-file requirements/$group.txt "$@"
done
# The lowest versions that pyproject.toml promises to work with.
compile --resolution lowest-direct --output-file requirements/minimum.txt "$@"
