//! The tree -> one verdict: formatting, lints, build, tests, lit tests, examples, optimized programs, in this order. Every step runs even if one before it failed
//! (but nothing runs after a failed build), and the last line says `N passed, N failed`.

use crate::{Result, process, root};
use std::{
    fmt,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

const LLVM_TOOLS: &str = "/usr/lib/llvm-22/bin";
/// Where lit looks for tests: every `.mlir` file with a RUN line (lit.cfg.py).
const LIT_FOLDERS: &[&str] = &["lit-tests", "dialects", "compiler"];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// How a step says what it counted, and on which stream.
#[derive(Clone, Copy, Debug)]
enum Report {
    /// It does not: the step itself counts as one test.
    Verdict,
    /// `test result: ok. 12 passed; 0 failed; ...` per binary, on stdout.
    Libtest,
    /// `Summary [0.1s] 12 tests run: 11 passed, 1 failed, 0 skipped`, on stderr.
    Nextest,
    /// `Passed: 12 (100.00%)`, `Failed: 1 (...)`, on stdout.
    Lit,
}

impl Report {
    fn read(self, line: &str) -> Tally {
        match self {
            Self::Verdict => Tally::default(),
            Self::Libtest => {
                let Some(counts) = line.strip_prefix("test result: ") else { return Tally::default() };
                Tally { passed: number_before(counts, "passed"), failed: number_before(counts, "failed") }
            }
            Self::Nextest => {
                let Some((_, counts)) = line.split_once(" run: ").filter(|(before, _)| before.contains("Summary")) else {
                    return Tally::default();
                };
                Tally { passed: number_before(counts, "passed"), failed: number_before(counts, "failed") + number_before(counts, "timed") }
            }
            Self::Lit => {
                let Some((label, rest)) = line.trim().split_once(':') else { return Tally::default() };
                let count = rest.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
                match label.trim_end() {
                    "Passed" | "Expectedly Failed" => Tally { passed: count, failed: 0 },
                    "Failed" | "Unresolved" | "Timed Out" | "Unexpectedly Passed" => Tally { passed: 0, failed: count },
                    _ => Tally::default(),
                }
            }
        }
    }
}

/// The number in front of a word: `number_before("ok. 12 passed; 0 failed", "passed")` is 12.
fn number_before(text: &str, word: &str) -> u64 {
    let words: Vec<&str> = text.split([' ', ';', ',']).filter(|word| !word.is_empty()).collect();
    words.windows(2).find(|pair| pair[1] == word).and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

/// Runs one step, passing on what it prints.
fn step(name: &str, report: Report, command: &mut Command) -> Result<Tally> {
    let started = Instant::now();
    let line = process::text(command);
    println!("\n== {name} ==\n$ {line}");
    let on_stderr = matches!(report, Report::Nextest);
    match report {
        Report::Verdict => {}
        Report::Nextest => _ = command.stderr(Stdio::piped()),
        Report::Libtest | Report::Lit => _ = command.stdout(Stdio::piped()),
    }
    let mut child = command.spawn().map_err(|error| format!("test: {name}: `{line}` cannot be started: {error}"))?;
    let mut tally = Tally::default();
    let streams = [child.stdout.take().map(|s| Box::new(s) as Box<dyn std::io::Read>), child.stderr.take().map(|s| Box::new(s) as _)];
    for stream in streams.into_iter().flatten() {
        for line in BufReader::new(stream).split(b'\n').map_while(std::result::Result::ok) {
            let line = String::from_utf8_lossy(&line);
            tally += report.read(&line);
            if on_stderr { eprintln!("{line}") } else { println!("{line}") }
        }
    }
    let status = child.wait().map_err(|error| format!("test: {name}: {error}"))?;
    if matches!(report, Report::Verdict) && status.success() {
        tally.passed += 1;
    }
    if !status.success() && tally.failed == 0 {
        tally.failed += 1;
    }
    println!("== {name}: {tally} in {:.1} s ==", started.elapsed().as_secs_f64());
    Ok(tally)
}

fn cargo(arguments: &str) -> Command {
    let mut command = process::cargo();
    command.args(arguments.split(' ')).current_dir(root());
    command
}

pub fn run(quick: bool) -> Result<()> {
    let root = root();
    let started = Instant::now();
    let mut total = Tally::default();
    total += step("format", Report::Verdict, &mut cargo("fmt --all --check"))?;
    let build = step("build", Report::Verdict, &mut cargo("build --workspace --all-targets"))?;
    total += build;
    if build.failed == 0 {
        if !quick {
            total += step(
                "lints",
                Report::Verdict,
                cargo("clippy --workspace --all-targets --quiet -- -D warnings").env("CARGO_TERM_COLOR", "never"),
            )?;
        }
        if process::succeeds(&mut cargo("nextest --version")) {
            total += step("tests", Report::Nextest, &mut cargo("nextest run --workspace --no-fail-fast"))?;
            total += step("documentation tests", Report::Libtest, &mut cargo("test --workspace --doc --no-fail-fast"))?;
        } else {
            total += step("tests", Report::Libtest, &mut cargo("test --workspace --no-fail-fast"))?;
        }
        total += step("lit tests", Report::Lit, &mut lit(&root))?;
        if !quick {
            total += step("minimal runner", Report::Libtest, &mut cargo("test -p winze-runtime --test minimal_runner -- --ignored"))?;
            total += examples(&root)?;
            total += step("optimized programs", Report::Verdict, &mut cargo("xtask smoke"))?;
        }
    }
    println!("\nwhole run: {:.0} s", started.elapsed().as_secs_f64());
    println!("{total}");
    if total.failed == 0 { Ok(()) } else { Err(format!("test: {} failed; what and why stands above", total.failed)) }
}

fn lit(root: &Path) -> Command {
    let mut lit = Command::new(Path::new(LLVM_TOOLS).join("lit"));
    lit.args(["-v", "--no-progress-bar"]).args(LIT_FOLDERS.iter().filter(|folder| root.join(folder).is_dir())).current_dir(root);
    lit
}

/// Every crate under examples/ is a workspace of its own, as a user's would be, but shares the target folder.
fn examples(root: &Path) -> Result<Tally> {
    let mut total = Tally::default();
    let Ok(entries) = root.join("examples").read_dir() else { return Ok(total) };
    let mut folders: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    folders.sort();
    for folder in folders {
        let name = format!("example {}", folder.file_name().unwrap_or_default().to_string_lossy());
        if folder.join("Cargo.toml").exists() {
            let mut command = process::cargo();
            command.args(["test", "--target-dir"]).arg(root.join("target")).current_dir(&folder);
            total += step(&name, Report::Libtest, &mut command)?;
        } else if folder.join("test.sh").exists() {
            total += step(&name, Report::Verdict, Command::new("bash").arg("test.sh").current_dir(&folder))?;
        }
    }
    Ok(total)
}

/// Runs the tests with insta told to accept, then shows what changed.
pub fn bless() -> Result<()> {
    process::run(cargo("test --workspace --no-fail-fast --quiet").env("INSTA_UPDATE", "always").env("INSTA_FORCE_PASS", "1"))?;
    process::run(Command::new("git").args(["--no-pager", "diff", "--stat", "--", "*.snap"]).current_dir(root()))?;
    println!("review the snapshots with `git diff`, then commit them with the change that caused them");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64) -> Tally {
        Tally { passed, failed }
    }

    #[test]
    fn reads_libtest() {
        let line = "test result: FAILED. 10 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(Report::Libtest.read(line), tally(10, 2));
        assert_eq!(Report::Libtest.read("test a::b ... ok"), tally(0, 0));
    }

    #[test]
    fn reads_nextest() {
        assert_eq!(Report::Nextest.read("     Summary [   0.034s] 12 tests run: 11 passed (1 slow), 1 failed, 0 skipped"), tally(11, 1));
        assert_eq!(Report::Nextest.read("     Summary [   0.034s] 12 tests run: 11 passed, 1 timed out, 0 skipped"), tally(11, 1));
        assert_eq!(Report::Nextest.read("        PASS [   0.004s] xtask::bin/xtask tests::run: 3 passed"), tally(0, 0));
    }

    #[test]
    fn reads_lit() {
        assert_eq!(Report::Lit.read("  Passed           : 7 (87.50%)"), tally(7, 0));
        assert_eq!(Report::Lit.read("  Failed: 1 (12.50%)"), tally(0, 1));
        assert_eq!(Report::Lit.read("PASS: winze :: a.mlir (1 of 8)"), tally(0, 0));
    }

    #[test]
    fn a_failing_step_without_counts_is_one_failure() {
        assert_eq!(step("false", Report::Verdict, &mut Command::new("false")), Ok(tally(0, 1)));
        assert_eq!(step("true", Report::Verdict, &mut Command::new("true")), Ok(tally(1, 0)));
        let mut counted = Command::new("sh");
        counted.args(["-c", "echo 'test result: ok. 3 passed; 0 failed;'; exit 1"]);
        assert_eq!(step("sh", Report::Libtest, &mut counted), Ok(tally(3, 1)));
    }
}
