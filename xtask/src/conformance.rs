//! ONNX's own node cases -> pass, miss or failure of each on one device, and docs/coverage.md.
//!
//! The cases come from the onnx package at a pinned version, installed into a virtual environment under target/. A miss is what `winze` calls
//! unsupported; anything else that is not the expected result is a failure. Known misses stand in xtask/misses-DEVICE.txt, which may only shrink.

use crate::{Result, process, root};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

const PACKAGES: &[&str] = &["onnx==1.23.2", "numpy"];
/// Reference values were computed in f32 by NumPy.
const TOLERANCE: [&str; 4] = ["--rtol", "1e-3", "--atol", "1e-5"];

/// A line of cases.txt.
#[derive(Debug, PartialEq, Eq)]
struct Case {
    name: String,
    operator: String,
    /// `None` where a value is no numeric tensor.
    counts: Option<(usize, usize)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    /// With what is unsupported.
    Miss(String),
    /// With what went wrong.
    Failure(String),
}

pub fn run(device: &str, filter: &str) -> Result<()> {
    let started = Instant::now();
    let folder = root().join("target/conformance");
    let cases = prepare(&folder)?;
    process::run(process::cargo().args(["build", "--quiet", "-p", "winze", "-p", "winze-compiler"]).current_dir(root()))?;
    let winze = root().join("target/debug/winze");
    let wanted: Vec<&Case> = cases.iter().filter(|case| case.name.contains(filter)).collect();
    if wanted.is_empty() {
        return Err(format!("conformance: no case has \"{filter}\" in its name"));
    }
    let verdicts = judge(&wanted, |case| verdict(&winze, &folder.join("cases"), case, device));

    let kind = device.split(':').next().unwrap_or(device);
    let list = root().join(format!("xtask/misses-{kind}.txt"));
    let known: Option<BTreeSet<String>> = fs::read_to_string(&list).ok().map(|text| text.lines().map(str::to_owned).collect());
    let mut passed = 0;
    let (mut misses, mut failed) = (BTreeSet::new(), vec![]);
    for (case, verdict) in wanted.iter().zip(&verdicts) {
        match verdict {
            Verdict::Pass => passed += 1,
            Verdict::Miss(why) => {
                if known.as_ref().is_some_and(|known| !known.contains(&case.name)) {
                    failed.push(format!("{}: a new miss: {why}", case.name));
                }
                misses.insert(case.name.clone());
            }
            Verdict::Failure(why) => failed.push(format!("{}: {why}", case.name)),
        }
    }
    failed.iter().for_each(|line| println!("FAIL {line}"));
    println!(
        "{passed} passed, {} unsupported, {} failed of {} on {device} in {:.0} s",
        misses.len(),
        failed.len(),
        wanted.len(),
        started.elapsed().as_secs_f64()
    );
    if filter.is_empty() {
        // New misses are failures and stay out of the list.
        let kept: Vec<&str> =
            misses.iter().filter(|name| known.as_ref().is_none_or(|known| known.contains(*name))).map(String::as_str).collect();
        write_file(&list, &(kept.join("\n") + "\n"))?;
        if kind == "cpu" {
            write_file(&root().join("docs/coverage.md"), &coverage(&wanted, &verdicts))?;
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("conformance: {} cases failed; what and why stands above", failed.len())) }
}

/// Makes the environment and the cases, once per version.
fn prepare(folder: &Path) -> Result<Vec<Case>> {
    let list = folder.join("cases/cases.txt");
    let stamp = folder.join("version.txt");
    let script = include_str!("../conformance_cases.py");
    let version = format!("{PACKAGES:?}\n{script}");
    if fs::read_to_string(&stamp).ok().as_deref() != Some(&version) || !list.exists() {
        let environment = folder.join("venv");
        process::run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        let python = environment.join("bin/python");
        process::run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES))?;
        let cases = folder.join("cases");
        if cases.exists() {
            fs::remove_dir_all(&cases).map_err(|e| format!("conformance: {}: {e}", cases.display()))?;
        }
        fs::create_dir_all(&cases).map_err(|e| format!("conformance: {}: {e}", cases.display()))?;
        process::run(Command::new(&python).args(["-W", "ignore"]).arg(root().join("xtask/conformance_cases.py")).arg(&cases))?;
        write_file(&stamp, &version)?;
    }
    let text = fs::read_to_string(&list).map_err(|e| format!("conformance: {}: {e}", list.display()))?;
    text.lines().map(|line| parse(line).ok_or_else(|| format!("conformance: {}: \"{line}\" is no case", list.display()))).collect()
}

fn parse(line: &str) -> Option<Case> {
    let [name, operator, inputs, outputs] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let count = |text: &str| text.parse::<i64>().ok();
    let counts = (count(inputs)?, count(outputs)?);
    Some(Case { name: name.into(), operator: operator.into(), counts: usize::try_from(counts.0).ok().zip(usize::try_from(counts.1).ok()) })
}

/// Judges on all cores, in order.
fn judge(cases: &[&Case], judge: impl Fn(&Case) -> Verdict + Sync) -> Vec<Verdict> {
    let (next, slots) = (AtomicUsize::new(0), Mutex::new(vec![Verdict::Failure("not run".into()); cases.len()]));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((index, case)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    cases.get(index).map(|case| (index, case))
                } {
                    let verdict = judge(case);
                    slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner())[index] = verdict;
                }
            });
        }
    });
    slots.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn verdict(winze: &Path, cases: &Path, case: &Case, device: &str) -> Verdict {
    let Some((inputs, outputs)) = case.counts else { return Verdict::Miss("values that are no numeric tensors".into()) };
    let folder = cases.join(&case.name);
    let files = |kind: &str, count: usize| (0..count).map(|i| folder.join(format!("{kind}_{i}.npy"))).collect::<Vec<PathBuf>>();
    let mut command = Command::new(winze);
    command.args(["--quiet", "run"]).arg(folder.join("model.onnx")).args([
        "--no-cache",
        "--jobs",
        "1",
        "--threads",
        "1",
        "--device",
        device,
    ]);
    if device != "cpu" {
        command.arg("--require-device");
    }
    if inputs > 0 {
        command.arg("--input").args(files("input", inputs));
    }
    if outputs > 0 {
        command.arg("--expect").args(files("output", outputs)).args(TOLERANCE);
    }
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => return Verdict::Failure(format!("cannot start {}: {error}", winze.display())),
    };
    let message = String::from_utf8_lossy(&output.stderr);
    let line = message.lines().find(|line| !line.trim().is_empty()).unwrap_or("no message").to_owned();
    match output.status.code() {
        Some(0) => Verdict::Pass,
        Some(3) => Verdict::Miss(line),
        _ => Verdict::Failure(line),
    }
}

/// A table of operators.
fn coverage(cases: &[&Case], verdicts: &[Verdict]) -> String {
    let mut rows: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (case, verdict) in cases.iter().zip(verdicts) {
        let row = rows.entry(&case.operator).or_default();
        row.0 += usize::from(*verdict == Verdict::Pass);
        row.1 += 1;
    }
    let passed: usize = rows.values().map(|row| row.0).sum();
    let mut text = format!(
        "# Coverage of ONNX operators\nWritten by `cargo xtask conformance`: the node cases of {} that the CPU passes, {passed} of {}.\n\n\
         | operator | passed | cases |\n|---|---|---|\n",
        PACKAGES[0].replace("==", " "),
        cases.len()
    );
    for (operator, (passed, cases)) in rows {
        let _ = writeln!(text, "| {operator} | {passed} | {cases} |");
    }
    text
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|e| format!("conformance: {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cases_and_counts_them_per_operator() {
        let cases = ["test_abs Abs 1 1", "test_abs_two Abs 1 1", "test_seq SequenceAt -1 -1"].map(|line| parse(line).unwrap());
        assert_eq!((cases[0].counts, cases[2].counts), (Some((1, 1)), None));
        assert_eq!(parse("test_abs Abs 1"), None);
        let cases: Vec<&Case> = cases.iter().collect();
        let verdicts = judge(&cases, |case| if case.name == "test_abs" { Verdict::Pass } else { Verdict::Miss(case.name.clone()) });
        assert_eq!(verdicts[2], Verdict::Miss("test_seq".into()));
        let text = coverage(&cases, &verdicts);
        assert!(text.contains("1 of 3") && text.contains("| Abs | 1 | 2 |\n| SequenceAt | 0 | 1 |"), "{text}");
    }
}
