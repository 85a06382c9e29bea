# shellcheck shell=bash
# Sourced: an OCI archive of one layer, by hand. The format is four small JSON files, and this needs no image builder, no
# storage and no registry, and gives the same bytes for the same files.

# Moves file $1 into the blobs of layout $2 and prints its digest.
add_blob() {
    local digest
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    mv "$1" "$2/blobs/sha256/$digest"
    echo "sha256:$digest"
}

# Writes archive $2 with image $1, whose files are those of folder $3; $4 is the image's configuration (OCI `config`).
write_image() {
    local name=$1 archive=$2 files=$3 config=$4 layout arch layer layer_size image image_size manifest manifest_size
    case $(uname -m) in
    x86_64) arch=amd64 ;;
    aarch64) arch=arm64 ;;
    *) arch=$(uname -m) ;;
    esac
    mkdir -p "$(dirname "$archive")"
    layout=$(mktemp -d -p "$(dirname "$archive")")
    mkdir -p "$layout/blobs/sha256"
    local tar=(tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner)
    "${tar[@]}" -C "$files" -cf "$layout/blob" .
    layer_size=$(stat -c %s "$layout/blob")
    layer=$(add_blob "$layout/blob" "$layout")
    printf '{"architecture":"%s","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":["%s"]}}' \
        "$arch" "$config" "$layer" >"$layout/blob"
    image_size=$(stat -c %s "$layout/blob")
    image=$(add_blob "$layout/blob" "$layout")
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":%s}]}' \
        "$image" "$image_size" "$layer" "$layer_size" >"$layout/blob"
    manifest_size=$(stat -c %s "$layout/blob")
    manifest=$(add_blob "$layout/blob" "$layout")
    # Both annotations: containerd takes the whole name from the first, other tools the tag from the second.
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%s,"platform":{"architecture":"%s","os":"linux"},"annotations":{"io.containerd.image.name":"docker.io/%s","org.opencontainers.image.ref.name":"%s"}}]}' \
        "$manifest" "$manifest_size" "$arch" "$name" "${name##*:}" >"$layout/index.json"
    echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
    "${tar[@]}" -C "$layout" -cf "$archive" blobs index.json oci-layout
    rm -rf "$layout"
}
