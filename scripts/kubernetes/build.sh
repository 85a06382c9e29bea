# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154
# Sourced by scripts/cluster: the Kubernetes binary, built once for each version and kept outside the repository.

# The version that go.mod asks for; any other patch of the same minor can be asked for by --version.
default_version=$(sed -n 's|^\tk8s.io/kubernetes v||p' "$module/go.mod")

# Where the binary of this version, built from this module, belongs. Its folder also has a link for each component.
binary_dir() {
    local hash
    hash=$(cat "$module"/{go.mod,go.sum,main.go} | sha256sum | cut -c1-12)
    echo "$cache/kubernetes-$version-$hash"
}

# Copies the module to $1 and moves it to $version; for the default version, that is the tested go.sum as it stands.
checkout_module() {
    cp "$module"/{go.mod,go.sum,main.go} "$1"
    if [ "$version" = "$default_version" ]; then return; fi
    sed -i "s/v1\.${default_version#1.}\b/v$version/; s/v0\.${default_version#1.}\b/v0.${version#1.}/" "$1/go.mod"
    # What goes wrong, it says for every package.
    (cd "$1" && go mod tidy 2>&1 | tail -n 3 >&2)
}

# Builds unless built. The folder appears whole or not at all, so an interrupted build is never mistaken for a cached one.
build() {
    local target name minor=${version%.*} ldflags=() start=$SECONDS
    target=$(binary_dir)
    [ -x "$target/kubernetes" ] && return
    command -v go >/dev/null || die "building Kubernetes needs Go (1.24 or newer) on the PATH"
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/.build.XXXXXX")
    say "building Kubernetes $version (minutes, once)"
    trap 'rm -rf "$work"' EXIT
    checkout_module "$work" || die "Kubernetes $version cannot be had: not every module of every patch is served with its checksum"
    for name in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        ldflags+=(-X "$name.gitVersion=v$version" -X "$name.gitMajor=1" -X "$name.gitMinor=${minor#1.}" -X "$name.gitTreeState=clean")
    done
    (cd "$work" && CGO_ENABLED=0 nice -n 10 go build -mod=readonly -trimpath -buildvcs=false -ldflags "-s -w ${ldflags[*]}" -o kubernetes .) ||
        die "Kubernetes $version does not build"
    for name in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do
        ln -s kubernetes "$work/$name"
    done
    rm -rf "$target"
    chmod 755 "$work"
    mv -T "$work" "$target"
    trap - EXIT
    say "built Kubernetes $version in $((SECONDS - start)) s"
}
