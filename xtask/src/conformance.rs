//! ONNX's own cases, and trained models -> pass, unsupported or failure of each on one device, and docs/coverage.md.
//!
//! The cases come from the onnx package and from packages with models, all at pinned versions, installed and kept under target/conformance. Every case is a
//! process of its own with a time limit, so that none can end the others. Known misses stand in xtask/misses-DEVICE.txt, which may only shrink.

use crate::{Result, process, root};
use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const PACKAGES: &[&str] = &["onnx==1.23.2", "onnxruntime==1.31.1", "numpy==2.4.6"];
const DEVICES: &[&str] = &["cpu", "vulkan"];
/// A case that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(180);

/// A line of cases.txt.
#[derive(Debug, PartialEq, Eq)]
struct Case {
    name: String,
    operator: String,
    element: String,
    /// Inputs and outputs; `None` where a value is no numeric tensor.
    counts: Option<(usize, usize)>,
    /// Arguments of `--rtol` and `--atol`; `None` is the default of the element type.
    tolerance: [Option<String>; 2],
}

/// Why a case does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Miss {
    /// Refused, with a reason.
    Unsupported,
    /// A wrong result, an error, a crash, or no end.
    Fails,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Unsupported { "unsupported" } else { "fails" })
    }
}

/// Misses by case.
type Misses = BTreeMap<String, Miss>;

/// A miss comes with what the command said.
type Verdict = std::result::Result<(), (Miss, String)>;

pub fn run(device: &str, filter: &str) -> Result<()> {
    let started = Instant::now();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder));
    let folder = target.join("conformance");
    let cases = prepare(&folder)?;
    // As everyone builds: choosing packages would turn off features of others and build them again.
    process::run(process::cargo().args(["build", "--quiet"]).current_dir(root()))?;
    let wanted: Vec<&Case> = cases.iter().filter(|case| case.name.contains(filter)).collect();
    if wanted.is_empty() {
        return Err(format!("conformance: no case has \"{filter}\" in its name"));
    }
    let winze = target.join("debug/winze");
    let verdicts = judge(&wanted, |case| verdict(&winze, &folder.join("cases"), case, device));

    let kind = device.split(':').next().unwrap_or(device);
    let known = read_misses(kind)?;
    let mut found = Misses::new();
    for (case, verdict) in wanted.iter().zip(&verdicts) {
        if let Err((miss, why)) = verdict {
            found.insert(case.name.clone(), *miss);
            if known.as_ref().is_some_and(|known| is_new(known, &case.name, *miss)) {
                println!("NEW {} {miss}: {why}", case.name);
            }
        }
    }
    let count = |miss| found.values().filter(|found| **found == miss).count();
    println!(
        "{} passed, {} unsupported, {} failed of {} on {device} in {:.0} s",
        wanted.len() - found.len(),
        count(Miss::Unsupported),
        count(Miss::Fails),
        wanted.len(),
        started.elapsed().as_secs_f64()
    );
    let known = known.unwrap_or_else(|| found.clone());
    let new = found.iter().filter(|(name, miss)| is_new(&known, name, **miss)).count();
    let better: Vec<&String> =
        wanted.iter().map(|case| &case.name).filter(|name| known.contains_key(*name) && !found.contains_key(*name)).collect();
    better.iter().for_each(|name| println!("BETTER {name} passes; its line in {} goes", misses_file(kind).display()));
    if filter.is_empty() {
        // New misses stay out of the list, so that they fail until they are mended.
        let kept: Misses = known
            .into_iter()
            .filter_map(|(name, known)| {
                Some((name.clone(), if found.get(&name)? == &Miss::Unsupported { Miss::Unsupported } else { known }))
            })
            .collect();
        write_misses(kind, &kept)?;
        let misses = DEVICES.iter().map(|device| read_misses(device)).collect::<Result<Vec<_>>>()?;
        write_file(&root().join("docs/coverage.md"), &coverage(&cases, &misses))?;
    }
    if new == 0 { Ok(()) } else { Err(format!("conformance: {new} new misses; what and why stands above")) }
}

/// A case that was refused before may not answer wrongly now.
fn is_new(known: &Misses, name: &str, miss: Miss) -> bool {
    known.get(name).is_none_or(|known| *known == Miss::Unsupported && miss == Miss::Fails)
}

fn misses_file(kind: &str) -> PathBuf {
    root().join(format!("xtask/misses-{kind}.txt"))
}

/// `None` where there is no list yet.
fn read_misses(kind: &str) -> Result<Option<Misses>> {
    let path = misses_file(kind);
    let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
    let parse = |line: &str| {
        let (name, miss) = line.split_once(' ')?;
        let miss = [Miss::Unsupported, Miss::Fails].into_iter().find(|known| known.to_string() == miss)?;
        Some((name.to_owned(), miss))
    };
    let misses = text.lines().map(|line| parse(line).ok_or_else(|| format!("conformance: {}: \"{line}\" is no miss", path.display())));
    misses.collect::<Result<_>>().map(Some)
}

fn write_misses(kind: &str, misses: &Misses) -> Result<()> {
    let text: String = misses.iter().map(|(name, miss)| format!("{name} {miss}\n")).collect();
    write_file(&misses_file(kind), &text)
}

/// Makes the environment and the cases, once per version.
fn prepare(folder: &Path) -> Result<Vec<Case>> {
    let list = folder.join("cases/cases.txt");
    let stamp = folder.join("version.txt");
    let version = format!("{PACKAGES:?}\n{}\n{}", include_str!("../conformance_cases.py"), include_str!("../conformance_models.toml"));
    if fs::read_to_string(&stamp).ok().as_deref() != Some(&version) || !list.exists() {
        fs::create_dir_all(folder).map_err(|e| format!("conformance: {}: {e}", folder.display()))?;
        let environment = folder.join("venv");
        process::run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        let python = environment.join("bin/python");
        process::run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES))?;
        let mut script = Command::new(&python);
        script.args(["-W", "ignore"]).arg(root().join("xtask/conformance_cases.py"));
        process::run(script.args([folder.join("cases"), folder.join("packages")]))?;
        write_file(&stamp, &version)?;
    }
    let text = fs::read_to_string(&list).map_err(|e| format!("conformance: {}: {e}", list.display()))?;
    text.lines().map(|line| parse(line).ok_or_else(|| format!("conformance: {}: \"{line}\" is no case", list.display()))).collect()
}

fn parse(line: &str) -> Option<Case> {
    let [name, operator, element, inputs, outputs, relative, absolute] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let count = |text: &str| text.parse::<i64>().ok();
    let counts = (count(inputs)?, count(outputs)?);
    Some(Case {
        name: name.into(),
        operator: operator.into(),
        element: element.into(),
        counts: usize::try_from(counts.0).ok().zip(usize::try_from(counts.1).ok()),
        tolerance: [relative, absolute].map(|text| (text != "-").then(|| text.to_owned())),
    })
}

/// Judges on all cores, in order.
fn judge(cases: &[&Case], judge: impl Fn(&Case) -> Verdict + Sync) -> Vec<Verdict> {
    let (next, slots) = (AtomicUsize::new(0), Mutex::new(vec![Ok(()); cases.len()]));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((index, case)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    cases.get(index).map(|case| (index, case))
                } {
                    let verdict = judge(case);
                    slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner())[index] = verdict;
                    if (index + 1).is_multiple_of(100) {
                        eprintln!("{} of {}", index + 1, cases.len());
                    }
                }
            });
        }
    });
    slots.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn verdict(winze: &Path, cases: &Path, case: &Case, device: &str) -> Verdict {
    let (inputs, outputs) = case.counts.ok_or_else(|| (Miss::Unsupported, "values that are no numeric tensors".to_owned()))?;
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
        command.arg("--expect").args(files("output", outputs));
        for (flag, value) in ["--rtol", "--atol"].iter().zip(&case.tolerance) {
            value.iter().for_each(|value| _ = command.args([flag, value.as_str()]));
        }
    }
    let messages = folder.join(format!("messages-{}.txt", device.replace(['/', ' '], "-")));
    let failed = |why: &dyn fmt::Display| (Miss::Fails, why.to_string());
    let status = File::create(&messages).and_then(|file| run_for(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file), LIMIT));
    let status = status.map_err(|error| failed(&format!("cannot run {}: {error}", winze.display())))?;
    let Some(status) = status else { return Err(failed(&format!("took longer than {} s", LIMIT.as_secs()))) };
    let text = fs::read(&messages).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no message").to_owned();
    match status.code() {
        Some(0) => Ok(()),
        Some(3) => Err((Miss::Unsupported, line)),
        _ => Err(failed(&format!("{status}: {line}"))),
    }
}

/// `None` if the command was ended, with all that it started, because it took too long.
fn run_for(command: &mut Command, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let mut child: Child = command.process_group(0).spawn()?;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > limit {
            process::succeeds(Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]));
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What passes on each device, by operator and element type; `misses` are those of `DEVICES`, `None` where a device was never tried.
fn coverage(cases: &[Case], misses: &[Option<Misses>]) -> String {
    let passed = |cases: &[&Case], misses: &Option<Misses>| match misses {
        Some(misses) => cases.iter().filter(|case| !misses.contains_key(&case.name)).count().to_string(),
        None => "-".into(),
    };
    let row = |cases: &[&Case]| misses.iter().map(|misses| passed(cases, misses)).collect::<Vec<_>>().join(" | ");
    let (models, own): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| case.operator == "model");
    let mut by_operator: BTreeMap<(&str, &str), Vec<&Case>> = BTreeMap::new();
    for case in &own {
        by_operator.entry((&case.operator, &case.element)).or_default().push(case);
    }
    let devices = DEVICES.join(" | ");
    let mut text = format!(
        "# Coverage of ONNX\nWritten by `cargo xtask conformance`: how many cases of {} pass on each device, by operator and type of the first input, and \
         which trained models do. The rest is refused with a reason, or stands as `fails` in xtask/misses-DEVICE.txt.\n\n\
         | | {devices} | cases |\n|---|{}---|\n| all cases of the package | {} | {} |\n| trained models | {} | {} |\n\n\
         ## Trained models\n| model | {devices} |\n|---|{}\n",
        PACKAGES[0].replace("==", " "),
        "---|".repeat(DEVICES.len()),
        row(&own),
        own.len(),
        row(&models),
        models.len(),
        "---|".repeat(DEVICES.len()),
    );
    for model in models {
        let passes =
            misses.iter().map(|misses| misses.as_ref().map_or("-", |misses| if misses.contains_key(&model.name) { "no" } else { "yes" }));
        let _ = writeln!(text, "| {} | {} |", model.name, passes.collect::<Vec<_>>().join(" | "));
    }
    let _ = writeln!(text, "\n## Operators\n| operator | type | {devices} | cases |\n|---|---|{}---|", "---|".repeat(DEVICES.len()));
    for ((operator, element), cases) in by_operator {
        let _ = writeln!(text, "| {operator} | {element} | {} | {} |", row(&cases), cases.len());
    }
    text
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|e| format!("conformance: {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases() -> Vec<Case> {
        let lines = [
            "test_abs Abs float 1 1 - 1e-3",
            "test_abs_two Abs float 1 1 - -",
            "test_seq SequenceAt none -1 -1 - -",
            "rnet model float 1 2 1e-3 1e-4",
        ];
        lines.map(|line| parse(line).unwrap()).into()
    }

    #[test]
    fn reads_and_judges_cases() {
        let cases = cases();
        assert_eq!((cases[0].counts, cases[2].counts), (Some((1, 1)), None));
        assert_eq!(cases[0].tolerance, [None, Some("1e-3".to_owned())]);
        assert_eq!(parse("test_abs Abs 1"), None);
        let cases: Vec<&Case> = cases.iter().collect();
        let miss = |case: &Case| Err((Miss::Unsupported, case.name.clone()));
        let verdicts = judge(&cases, |case| if case.name == "test_abs" { Ok(()) } else { miss(case) });
        assert_eq!((&verdicts[0], &verdicts[2]), (&Ok(()), &miss(cases[2])));
    }

    #[test]
    fn counts_by_operator_type_and_device() {
        let misses = Misses::from([("test_seq".to_owned(), Miss::Unsupported), ("rnet".to_owned(), Miss::Fails)]);
        let text = coverage(&cases(), &[Some(misses), None]);
        for line in [
            "| all cases of the package | 2 | - | 3 |",
            "| rnet | no | - |",
            "| Abs | float | 2 | - | 2 |",
            "| SequenceAt | none | 0 | - | 1 |",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_was_refused_may_not_fail() {
        let known = Misses::from([("a".to_owned(), Miss::Unsupported), ("b".to_owned(), Miss::Fails)]);
        assert!(is_new(&known, "a", Miss::Fails) && is_new(&known, "c", Miss::Unsupported));
        assert!(!is_new(&known, "a", Miss::Unsupported) && !is_new(&known, "b", Miss::Unsupported));
    }

    #[test]
    fn ends_what_does_not_end() {
        let run = |script: &str, limit| run_for(Command::new("sh").args(["-c", script]), limit).unwrap();
        assert_eq!(run("sleep 600 & wait", Duration::from_millis(50)), None);
        assert_eq!(run("exit 3", Duration::from_secs(60)).and_then(|status| status.code()), Some(3));
    }
}
