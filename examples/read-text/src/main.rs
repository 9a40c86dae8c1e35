//! `read-text DETECTION.wz RECOGNITION.wz RECOGNITION.onnx PICTURE.png [OPTIONS]`: a picture -> its texts, each with its corners, and what
//! reading took. The models are those of PP-OCR (version 4): one finds lines of text, the other reads a line.

mod geometry;
mod picture;

mod detect;
mod recognize;

mod reference;

use geometry::Quad;
use picture::Picture;
use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};
use winze_runtime::{DeviceChoice, Program, Session, SessionOptions};

const USAGE: &str = "\
usage: read-text DETECTION.wz RECOGNITION.wz RECOGNITION.onnx PICTURE.png [OPTIONS]
  --device DEVICE   cpu (the default), vulkan, vulkan:INDEX or vulkan:NAME
  --threads N       CPU threads [default: one per core]
  --output FILE     write the picture with its boxes as a PNG
  --expect FILE     compare with a stored reading: exit code 1 if they differ
The characters that the second model knows stand in RECOGNITION.onnx.";

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A line of text: where it stands in the picture, and what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    pub corners: Quad,
    pub text: String,
}

#[derive(Debug, Default)]
struct Options {
    files: Vec<PathBuf>,
    device: Option<String>,
    threads: Option<usize>,
    output: Option<PathBuf>,
    expect: Option<PathBuf>,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                "--device" => options.device = Some(value()?),
                "--threads" => options.threads = Some(value()?.parse().map_err(|_| "--threads takes a number")?),
                "--output" => options.output = Some(value()?.into()),
                "--expect" => options.expect = Some(value()?.into()),
                option if option.starts_with('-') => return Err(format!("{option} is no option\n{USAGE}").into()),
                _ => options.files.push(word.into()),
            }
        }
        Ok(options)
    }
}

/// An opened model on a device, ready to run, and how long that took.
fn open(path: &Path, options: &Options) -> Result<(Session, Duration)> {
    let started = Instant::now();
    let program = Program::open(path)?;
    let device: DeviceChoice = options.device.as_deref().unwrap_or("cpu").parse()?;
    let mut session = Session::new(&program, &device, SessionOptions { threads: options.threads, ..SessionOptions::default() })?;
    session.prepare(0, &smallest_symbols(&session))?;
    Ok((session, started.elapsed()))
}

/// Where a model has dims that are known only when it runs, their smallest values.
fn smallest_symbols(session: &Session) -> Vec<i64> {
    session.program().manifest().functions[0].symbols.iter().map(|symbol| symbol.min).collect()
}

/// The memory of a model: weights, mapped from the file, and the arena that everything between input and output shares.
fn memory(session: &Session) -> Result<String> {
    let weights = session.program().requirements(session.variant(), 0, &smallest_symbols(session))?.weights_bytes;
    Ok(format!("weights {:.1} MB, arena {:.1} MB", weights as f64 / 1e6, session.memory().arena as f64 / 1e6))
}

/// Milliseconds.
fn ms(time: Duration) -> String {
    format!("{:8.2} ms", time.as_secs_f64() * 1e3)
}

fn run() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let [detection, recognition, model, picture] = &options.files[..] else { return Err(USAGE.into()) };
    let picture = Picture::open(picture)?;
    let characters = recognize::characters(model)?;
    let (mut detector, opened_detector) = open(detection, &options)?;
    let (mut recognizer, opened_recognizer) = open(recognition, &options)?;

    let started = Instant::now();
    let boxes = detect::lines(&mut detector, &picture)?;
    let found = started.elapsed();
    let started = Instant::now();
    let mut texts = vec![];
    for corners in boxes {
        if let Some(text) = recognize::text(&mut recognizer, &characters, &picture, &corners)? {
            texts.push(Text { corners, text });
        }
    }
    let read_all = started.elapsed();
    for line in &texts {
        println!("{line}");
    }
    println!("\n{}", detector.describe());
    println!("detection    opened {}, run {}, {}", ms(opened_detector), ms(found), memory(&detector)?);
    println!("recognition  opened {}, run {} for {} lines, {}", ms(opened_recognizer), ms(read_all), texts.len(), memory(&recognizer)?);
    if let Some(output) = &options.output {
        let mut picture = picture;
        texts.iter().for_each(|text| picture.outline(&text.corners, [255, 0, 160]));
        picture.save(output)?;
        println!("the picture with its boxes: {}", output.display());
    }
    if let Some(expected) = &options.expect {
        let overlap = reference::compare(&texts, &reference::read(expected)?)?;
        println!("all {} texts are as in {}, their boxes overlap by {overlap:.3} or more", texts.len(), expected.display());
    }
    Ok(())
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let corners = self.corners.0.map(|[x, y]| format!("{x:.0},{y:.0}"));
        write!(f, "{:<36}{}", corners.join(" "), self.text)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: read-text: {error}");
            ExitCode::FAILURE
        }
    }
}
