//! examples/minimal-runner in release form: small, and it runs an artifact. Ignored by default because it compiles with full optimisation:
//! `cargo test -p winze-runtime --test minimal_runner -- --ignored`.

mod fixture;

use fixture::*;
use std::{fs, path::Path, process::Command};
use tempfile::TempDir;

#[test]
#[ignore = "takes half a minute"]
fn is_below_a_megabyte_and_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/minimal-runner");
    assert!(Command::new(env!("CARGO")).args(["build", "--release", "--locked"]).current_dir(&folder).status().unwrap().success());
    let runner = folder.canonicalize().unwrap().join("target/release/minimal-runner");
    let size = fs::metadata(&runner).unwrap().len();
    assert!(size < 1_000_000, "{size} bytes");
    let artifact = add_scale(symbol("rows", 1, None), symbol("width", 1, None), 3.0).artifact();
    let inputs = TempDir::new().unwrap();
    fs::write(inputs.path().join("x.bin"), [1f32, 2.0].map(f32::to_le_bytes).concat()).unwrap();
    let status = Command::new(&runner).arg(&artifact.path).args(["x.bin:1x2", "x.bin:1x2"]).current_dir(&inputs).status().unwrap();
    assert!(status.success());
    assert_eq!(fs::read(inputs.path().join("output_0.bin")).unwrap(), [6f32, 12.0].map(f32::to_le_bytes).concat());
}
