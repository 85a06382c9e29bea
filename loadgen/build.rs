//! Gives the build a name by what it is made from, so that a controller and its agents can tell whether they are the same.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Sources of everything that takes part in measuring, from this crate's folder.
const SOURCES: [&str; 8] = [
    "src",
    "trial/src",
    "clock/src",
    "engine/src",
    "cluster/src",
    "cluster/kube/src",
    "../server/contract/src",
    "../Cargo.lock",
];

fn main() -> io::Result<()> {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
        let mut files = Vec::new();
        collect(Path::new(source), &mut files)?;
        files.sort();
        for file in files {
            // FNV-1a: nothing depends on it but whether two builds are the same.
            for byte in file.to_string_lossy().bytes().chain(fs::read(&file)?) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    println!("cargo::rustc-env=DRAINPROOF_SOURCE={hash:016x}");
    Ok(())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    // Tests measure nothing.
    if path.file_stem().is_some_and(|name| name == "tests" || name == "testing") {
        return Ok(());
    }
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "lock") {
        files.push(path.to_owned());
    }
    Ok(())
}
