//! What a new shape costs a session before its first kernel starts: `cargo bench -p winze-runtime --bench new_shape -- MODEL.wz N...`.
//!
//! Every symbol of the first function takes each of the values N in turn, so that each call finds other dims than the one before. Prints the least and
//! the median time of a call that checks the dims, resolves all buffers and sizes, and shapes the outputs.

use std::time::{Duration, Instant};
use winze_runtime::{
    device::DeviceChoice,
    program::Program,
    session::{Session, SessionOptions},
};

const ROUNDS: usize = 200;

fn main() {
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let (Some(path), values) = (words.first(), words.iter().skip(1).filter_map(|word| word.parse::<i64>().ok()).collect::<Vec<_>>()) else {
        eprintln!("give an artifact and values of its dims: cargo bench -p winze-runtime --bench new_shape -- model.wz 1 2 7");
        return;
    };
    let program = Program::open(path).expect("the artifact opens");
    let mut session = Session::new(&program, &DeviceChoice::Cpu, SessionOptions::default()).expect("this machine runs the artifact");
    let symbols = program.manifest().functions[0].symbols.len();
    let mut prepare = |value: i64| {
        let dims = vec![value; symbols];
        let started = Instant::now();
        session.prepare(0, &dims).expect("the dims are in range");
        started.elapsed()
    };
    for value in &values {
        prepare(*value);
    }
    let mut times: Vec<Duration> = (0..ROUNDS).flat_map(|_| &values).map(|value| prepare(*value)).collect();
    times.sort_unstable();
    match times.get(times.len() / 2) {
        Some(median) if values.len() > 1 => println!("{path}: a new shape takes {:?} at least, {median:?} in the median", times[0]),
        _ => eprintln!("give at least two values"),
    }
}
