// SPDX-License-Identifier: GPL-3.0-or-later
//! Compiles the empty programs that ours are compared with.

use std::env;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    SkeletonBuilder::new()
        .source("src/empty.bpf.c")
        .clang_args(["-Wall", "-Wextra", "-Werror"])
        .build_and_generate(out.join("empty.skel.rs"))?;
    println!("cargo:rerun-if-changed=src/empty.bpf.c");
    Ok(())
}
