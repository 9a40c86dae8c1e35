//! Optimized programs -> the same artifacts and results as those of the debug build. All other tests run without optimization, which hides what only
//! optimized code does wrong (a value that is dead too early, for one).

use crate::{Result, process, root};
use std::{fs, path::Path, process::Command};

const TARGETS: &[&str] = &["--target", "cpu=x86-64-v3", "--target", "vulkan=vulkan1.1-min"];
const LEVELS: &[&str] = &["-O0", "-O3"];

/// Builds with the profile `smoke` and compares.
pub fn run() -> Result<()> {
    process::run(process::cargo().args(["build", "--profile", "smoke", "--bins"]).current_dir(root()))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder));
    let folder = target.join("smoke/compared");
    fs::create_dir_all(&folder).map_err(|e| format!("smoke: {}: {e}", folder.display()))?;
    let (debug, smoke) = (target.join("debug/winze"), target.join("smoke/winze"));
    for level in LEVELS {
        let artifacts = [("debug", &debug), ("smoke", &smoke)].map(|(name, winze)| (winze, folder.join(format!("{name}{level}.wz"))));
        for (winze, artifact) in &artifacts {
            let mut compile = Command::new(winze);
            compile.arg("compile").arg(root().join("xtask/smoke.mlir")).args(TARGETS).args([level, "--no-cache", "-o"]).arg(artifact);
            process::run(&mut compile)?;
        }
        if read(&artifacts[0].1)? != read(&artifacts[1].1)? {
            return Err(format!("smoke: at {level} the optimized compiler makes another artifact than the debug build"));
        }
        let outputs = folder.join(format!("outputs{level}"));
        let run = |winze: &Path| {
            let mut run = Command::new(winze);
            run.arg("run").arg(&artifacts[0].1).args(["--random-inputs", "1", "--dim", "rows=3"]);
            run
        };
        process::run(run(&debug).arg("--output-dir").arg(&outputs))?;
        process::run(run(&smoke).arg("--expect").args([outputs.join("output_0.npy"), outputs.join("output_1.npy")]))?;
    }
    Ok(())
}

fn read(artifact: &Path) -> Result<Vec<u8>> {
    fs::read(artifact).map_err(|e| format!("smoke: {}: {e}", artifact.display()))
}
