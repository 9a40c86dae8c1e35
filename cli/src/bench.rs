//! `winze bench`: a program and inputs -> times of loading and running, and memory, as text or one JSON object.

use crate::{
    arguments::BenchOptions,
    console::{Console, Failure},
    inputs::{self, Wishes},
    model,
    session::{self, Ready},
};
use serde_json::json;
use std::time::{Duration, Instant};
use winze_runtime::{DeviceChoice, TensorView, artifact::reader::OpenOptions, cpu::pool};

pub fn bench(options: &BenchOptions, console: &Console) -> Result<(), Failure> {
    let general = &options.model;
    let opened = model::open(general, &OpenOptions::default(), console)?;
    let started = Instant::now();
    let Ready { mut session, function } = session::start(&opened.program, general, console)?;
    let load = opened.time + started.elapsed();
    let description = &opened.program.manifest().functions[function as usize];
    let wishes = Wishes { files: &general.input, seed: general.random_inputs, dims: &general.dim, steps: 1 };
    let inputs = inputs::gather(description, &wishes)?;
    let views: Vec<TensorView<'_>> = inputs.iter().zip(&description.inputs).map(|(input, port)| input.view(port, 0, 1)).collect();

    inputs::set_states(&mut session, function, &general.input)?;
    let held = (0..description.states.len() as u32).filter_map(|state| session.state_length(function, state).ok()?).max().unwrap_or(0);
    let mut timed = || {
        // Every run finds what grows as the first one did.
        session.truncate_states(function, held)?;
        let started = Instant::now();
        session.run_function(function, &views).map(|_| started.elapsed())
    };
    let first = timed()?;
    let mut times = (0..options.runs).map(|_| timed()).collect::<Result<Vec<_>, _>>()?;
    times.sort_unstable();
    session::report_notices(&session, console);
    if let Some(path) = &general.trace {
        session::write_trace(&session, path)?;
    }
    let symbols = inputs::bound_symbols(&session, function, &views);
    let weights = opened.program.requirements(session.variant(), function, &symbols)?.weights_bytes;
    // Sizes that are found while running and bounded dims count with the room that they have.
    let arena = session.memory().arena;
    // Threads work on CPU variants only, which is also where a session may have ended up.
    let on_cpu =
        general.device.parse::<DeviceChoice>().is_ok_and(|choice| choice == DeviceChoice::Cpu) || session.describe().starts_with("cpu");
    let threads = if on_cpu { general.threads.map_or_else(pool::available_threads, usize::from) } else { 1 };
    let (median, min) = (median(&times), times[0]);
    let peak = peak_rss_bytes().map(|bytes| bytes as f64 / f64::from(1 << 20));
    if options.json {
        let object = json!({
            "load_ms": ms(load), "first_run_ms": ms(first), "median_ms": ms(median), "min_ms": ms(min), "runs": options.runs,
            "peak_rss_mb": peak, "weights_bytes": weights, "arena_bytes": arena,
            "device": session.describe(), "threads": threads,
        });
        return console.result(&format!("{object}\n"));
    }
    let peak = peak.map_or_else(|| "unknown".to_owned(), |mb| format!("{mb:.1} MiB"));
    console.result(&format!(
        "device     {}\nthreads    {threads}\nload       {:.3} ms\nfirst run  {:.3} ms\nmedian     {:.3} ms of {} runs\nminimum    {:.3} ms\n\
         weights    {} bytes\narena      {} bytes\npeak rss   {peak}\n",
        session.describe(),
        ms(load),
        ms(first),
        ms(median),
        options.runs,
        ms(min),
        weights,
        arena,
    ))
}

/// Milliseconds, to the nanosecond.
fn ms(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

/// Of sorted times, at least one.
fn median(times: &[Duration]) -> Duration {
    let middle = times.len() / 2;
    if times.len() % 2 == 1 { times[middle] } else { (times[middle - 1] + times[middle]) / 2 }
}

/// Most memory that this process has held; `None` where the system does not say.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_middle() {
        let times = |list: &[u64]| median(&list.iter().map(|n| Duration::from_millis(*n)).collect::<Vec<_>>());
        assert_eq!(times(&[1, 2, 30]), Duration::from_millis(2));
        assert_eq!(times(&[1, 2, 4, 30]), Duration::from_millis(3));
    }

    #[test]
    fn a_process_has_a_peak() {
        assert!(peak_rss_bytes().is_none_or(|bytes| bytes > 100_000));
    }
}
