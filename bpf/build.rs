// SPDX-License-Identifier: GPL-3.0-or-later
//! Compiles every `src/*.bpf.c`, links them into one object, writes its skeleton, and makes the Rust
//! types of `src/wire.h`.

use std::env;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

/// One file per concern; the order means nothing.
const SOURCES: [&str; 6] = ["maps", "process", "flow", "older", "peer", "name"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let linked = out.join("picosnitch.bpf.o");
    let mut objects = Vec::new();
    for name in SOURCES {
        let object = out.join(format!("{name}.bpf.o"));
        SkeletonBuilder::new()
            .source(format!("src/{name}.bpf.c"))
            .obj(&object)
            // v3: 32-bit arithmetic and atomic compare-and-swap.
            .clang_args(["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-mcpu=v3"])
            .build()?;
        objects.push(object);
    }
    let mut linker = libbpf_rs::Linker::new(&linked)?;
    for object in &objects {
        linker.add_file(object)?;
    }
    linker.link()?;
    // Not every toolchain has rustfmt, and nobody reads what is made here: a formatter that is not there is
    // left out.
    let none = out.join("no-rustfmt");
    SkeletonBuilder::new().obj(&linked).rustfmt(none).generate(out.join("picosnitch.skel.rs"))?;

    bindgen::Builder::default()
        .header("src/wire.h")
        .allowlist_item("(ps|PS)_.*")
        .prepend_enum_name(false)
        .derive_default(true)
        .layout_tests(true)
        .formatter(bindgen::Formatter::None)
        .generate()?
        .write_to_file(out.join("wire.rs"))?;
    println!("cargo:rerun-if-changed=src");
    Ok(())
}
