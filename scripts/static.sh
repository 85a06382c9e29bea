# shellcheck shell=bash
# Sourced by whoever builds what goes into images, which hold nothing but the binary and so need it static. Everybody
# else links as their distribution does: the C library as an archive is not there on each.
# An explicit target keeps the flag from build scripts and procedural macros, and the two builds apart.
triple=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_BUILD_TARGET=$triple
variable=CARGO_TARGET_${triple//-/_}_RUSTFLAGS
export "${variable^^}=-C target-feature=+crt-static"
