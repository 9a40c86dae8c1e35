//! ONNX's own cases, and trained models -> pass, unsupported or failure of each on one device, and docs/coverage.md.
//!
//! The cases come from the onnx package and from packages with models, all at pinned versions, installed and kept under target/conformance. A compiler per
//! core compiles one case after the other in its process and is replaced when it crashes or hangs; what it made is run by a `winze run` each. So a
//! case can end none but itself. Known misses stand in xtask/misses-DEVICE.txt, which may only shrink.

use crate::{Result, process, root};
use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    fs::{self, File},
    io::{self, BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
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
    let kind = device.split(':').next().unwrap_or(device);
    let place = |index| Bench::new(&target.join("debug"), &folder, device, index);
    let verdicts = judge(&wanted, place, |bench, case| bench.verdict(case));

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

/// Judges on all cores, each with a place of its own, in order.
fn judge<P>(cases: &[&Case], place: impl Fn(usize) -> P + Sync, judge: impl Fn(&mut P, &Case) -> Verdict + Sync) -> Vec<Verdict> {
    let (next, slots) = (AtomicUsize::new(0), Mutex::new(vec![Ok(()); cases.len()]));
    std::thread::scope(|scope| {
        for core in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let (next, slots, place, judge) = (&next, &slots, &place, &judge);
            scope.spawn(move || {
                let mut place = place(core);
                while let Some((index, case)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    cases.get(index).map(|case| (index, case))
                } {
                    let verdict = judge(&mut place, case);
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

/// How a command ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Code(i32),
    /// By a signal, or without an answer.
    Crash(String),
    TooLong,
}

/// Where one core compiles and runs cases.
struct Bench {
    programs: PathBuf,
    cases: PathBuf,
    device: String,
    /// What is compiled, and what the commands say about it.
    artifact: PathBuf,
    messages: PathBuf,
    compiler: Option<Compiler>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for file in [&self.artifact, &self.messages] {
            // There is none if nothing was compiled.
            let _ = fs::remove_file(file);
        }
    }
}

impl Bench {
    fn new(programs: &Path, folder: &Path, device: &str, core: usize) -> Self {
        let own = |suffix: &str| folder.join(format!("{}-{core}.{suffix}", std::process::id()));
        let (artifact, messages, cases) = (own("wz"), own("txt"), folder.join("cases"));
        Self { programs: programs.to_owned(), cases, device: device.to_owned(), artifact, messages, compiler: None }
    }

    fn verdict(&mut self, case: &Case) -> Verdict {
        let (inputs, outputs) = case.counts.ok_or_else(|| (Miss::Unsupported, "values that are no numeric tensors".to_owned()))?;
        let folder = self.cases.join(&case.name);
        let files = |kind: &str, count: usize| (0..count).map(|i| folder.join(format!("{kind}_{i}.npy"))).collect::<Vec<PathBuf>>();
        let (inputs, outputs) = (files("input", inputs), files("output", outputs));
        let end = self.compile(&folder.join("model.onnx"), &inputs);
        self.check(end)?;
        let mut command = Command::new(self.programs.join("winze"));
        command.args(["--quiet", "run"]).arg(&self.artifact).args(["--threads", "1", "--device", &self.device]);
        if self.device != "cpu" {
            command.arg("--require-device");
        }
        if !inputs.is_empty() {
            command.arg("--input").args(inputs);
        }
        if !outputs.is_empty() {
            command.arg("--expect").args(outputs);
            for (flag, value) in ["--rtol", "--atol"].iter().zip(&case.tolerance) {
                value.iter().for_each(|value| _ = command.args([flag, value.as_str()]));
            }
        }
        let messages = File::create(&self.messages);
        let end = messages.and_then(|file| run_for(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file), LIMIT));
        self.check(end)
    }

    fn check(&self, end: io::Result<End>) -> Verdict {
        let text = fs::read(&self.messages).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no message");
        match end {
            Ok(End::Code(0)) => Ok(()),
            Ok(End::Code(3)) => Err((Miss::Unsupported, line.to_owned())),
            Ok(End::Code(code)) => Err((Miss::Fails, format!("exit code {code}: {line}"))),
            Ok(End::Crash(how)) => Err((Miss::Fails, format!("{how}: {line}"))),
            Ok(End::TooLong) => Err((Miss::Fails, format!("took longer than {} s", LIMIT.as_secs()))),
            Err(error) => Err((Miss::Fails, format!("cannot run {}: {error}", self.programs.display()))),
        }
    }

    /// As `winze run MODEL` compiles.
    fn compile(&mut self, model: &Path, inputs: &[PathBuf]) -> io::Result<End> {
        let target = self.device.split(':').next().unwrap_or_default();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let (model, artifact) = (text(model), text(&self.artifact));
        let mut words: Vec<String> =
            [&model, "-o", &artifact, "--target", target, "--no-cache", "--quiet", "--jobs", "1"].map(str::to_owned).into();
        inputs.iter().for_each(|input| words.extend(["--input".into(), text(input)]));
        let mut compiler = match self.compiler.take() {
            Some(compiler) => compiler,
            None => Compiler::start(&self.programs.join("winze-compiler"), &self.messages)?,
        };
        let end = compiler.compile(&words, &self.messages)?;
        if matches!(end, End::Code(_)) {
            self.compiler = Some(compiler);
        }
        Ok(end)
    }
}

/// A process that compiles whatever it is asked for, until it crashes. Ended when dropped.
struct Compiler {
    process: Child,
    answers: Receiver<String>,
}

impl Drop for Compiler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Compiler {
    /// What it says goes to the end of `messages`.
    fn start(program: &Path, messages: &Path) -> io::Result<Self> {
        let messages = File::options().append(true).create(true).open(messages)?;
        let mut command = Command::new(program);
        let mut process = command.arg("batch").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(messages).spawn()?;
        let (send, answers) = channel();
        let lines = BufReader::new(process.stdout.take().expect("it was just piped")).lines();
        std::thread::spawn(move || lines.map_while(std::result::Result::ok).try_for_each(|line| send.send(line)));
        Ok(Self { process, answers })
    }

    /// Afterwards `messages` holds what was said about this compilation.
    fn compile(&mut self, words: &[String], messages: &Path) -> io::Result<End> {
        File::options().write(true).open(messages)?.set_len(0)?;
        let line = words.join("\t") + "\n";
        let asked = io::Write::write_all(self.process.stdin.as_mut().expect("it was piped"), line.as_bytes());
        match asked.map_err(|_| RecvTimeoutError::Disconnected).and_then(|()| self.answers.recv_timeout(LIMIT)) {
            Ok(code) => code.parse().map(End::Code).map_err(|_| io::Error::other(format!("\"{code}\" is no exit code"))),
            Err(RecvTimeoutError::Timeout) => Ok(End::TooLong),
            Err(RecvTimeoutError::Disconnected) => Ok(End::Crash(format!("the compiler ended with {}", self.process.wait()?))),
        }
    }
}

/// Runs a command, which is ended with all that it started if it takes too long.
fn run_for(command: &mut Command, limit: Duration) -> io::Result<End> {
    let mut child: Child = command.process_group(0).spawn()?;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code().map_or_else(|| End::Crash(status.to_string()), End::Code));
        }
        if started.elapsed() > limit {
            process::succeeds(Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]));
            child.wait()?;
            return Ok(End::TooLong);
        }
        std::thread::sleep(Duration::from_millis(1));
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
        let verdicts = judge(&cases, |_| (), |(), case| if case.name == "test_abs" { Ok(()) } else { miss(case) });
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
        assert_eq!(run("sleep 600 & wait", Duration::from_millis(50)), End::TooLong);
        assert_eq!(run("exit 3", Duration::from_secs(60)), End::Code(3));
        assert!(matches!(run("kill -SEGV $$", Duration::from_secs(60)), End::Crash(_)));
    }

    #[test]
    fn a_compiler_that_crashes_is_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("winze-conformance-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join("winze-compiler");
        let script = "#!/bin/sh\nwhile read -r line; do case $line in *test_abs/*) echo it hurts >&2; exit 9;; *) echo a reason >&2; echo 3;; esac; done\n";
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut bench = Bench::new(&folder, &folder, "cpu", 0);
        let cases = cases();
        let crash = Err((Miss::Fails, "the compiler ended with exit status: 9: it hurts".to_owned()));
        let refusal = Err((Miss::Unsupported, "a reason".to_owned()));
        let verdicts = [0, 1, 1, 0, 3].map(|case| bench.verdict(&cases[case]));
        assert_eq!(verdicts, [crash.clone(), refusal.clone(), refusal.clone(), crash, refusal]);
        drop(bench);
        fs::remove_file(&program).unwrap();
        fs::remove_dir(&folder).unwrap();
    }
}
