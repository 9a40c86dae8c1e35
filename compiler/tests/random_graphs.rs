//! Random graphs -> artifacts -> the same values as the reference evaluation, on the CPU and on a Vulkan device.
//!
//! A failure names its seed; `random_graph(SEED, OPS)` gives the graph again.

#[allow(dead_code)]
mod pipeline;

use pipeline::{CPU, DESKTOP, MIN, compile_model, difference, evaluate_text, expect_valid, has_vulkan, mlir_file, run, session};
use std::fmt::Write;
use winze_graph::testing::{RandomGraph, random_graph, random_graph_at, random_sized_graph};

const OPS: usize = 10;
/// f32 through a few dozen ops with bounded results.
const TOLERANCE: f64 = 2e-5;

/// Compiles and runs the graph of each seed; fails with every seed that differs.
fn check(seeds: impl IntoIterator<Item = u64>, targets: &[&str], threads: &[Option<usize>]) {
    check_made_by(random_graph, seeds, targets, threads);
}

fn check_made_by(make: fn(u64, usize) -> RandomGraph, seeds: impl IntoIterator<Item = u64>, targets: &[&str], threads: &[Option<usize>]) {
    let mut failures = String::new();
    for seed in seeds {
        let graph = make(seed, OPS);
        let outcome = std::panic::catch_unwind(|| try_seed(&graph, targets, threads));
        let outcome = outcome.unwrap_or_else(|panic| Some(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "panicked".into())));
        if let Some(why) = outcome {
            writeln!(failures, "seed {seed}, symbols {:?}: {why}\n{}", graph.symbols, graph.text).unwrap();
        }
    }
    assert!(failures.is_empty(), "{targets:?}\n{failures}");
    expect_valid();
}

fn try_seed(graph: &RandomGraph, targets: &[&str], threads: &[Option<usize>]) -> Option<String> {
    let expected = evaluate_text(&graph.text, &graph.inputs, &graph.symbols);
    let (_folder, model) = mlir_file(&graph.text);
    let artifact = compile_model(&model, targets, 1);
    threads.iter().find_map(|threads| {
        let actual = session(&artifact, *threads).and_then(|mut session| run(&mut session, &graph.inputs));
        match actual {
            Ok(actual) => difference(&actual, &expected, TOLERANCE),
            Err(why) => Some(why),
        }
    })
}

#[test]
fn cpu_agrees_with_the_reference() {
    check(0..30, &[CPU], &[Some(1), Some(2)]);
}

/// The profile `vulkan1.1-min` has no f64 and refuses graphs with it.
#[test]
fn vulkan_agrees_with_the_reference() {
    if has_vulkan("random_graphs") {
        let without_f64 = (100..).filter(|seed| !random_graph(*seed, OPS).text.contains("f64"));
        check(without_f64.take(8), &[MIN], &[None]);
        check(200..208, &[DESKTOP], &[None]);
    }
}

#[test]
fn sizes_found_while_running_agree_with_the_reference() {
    check_made_by(random_sized_graph, 300..320, &[CPU], &[Some(2)]);
    check_made_by(random_open_graph, 323..338, &[CPU], &[Some(2)]);
    if has_vulkan("random_graphs") {
        check_made_by(random_sized_graph, 320..323, &[DESKTOP], &[None]);
        check_made_by(random_open_graph, 338..341, &[DESKTOP], &[None]);
    }
}

/// A graph whose size is left open.
fn random_open_graph(seed: u64, ops: usize) -> RandomGraph {
    let graph = random_sized_graph(seed, ops);
    let (bounded, open) = ("affine_map<()[s0, s1] -> (0, s0 * s1)>", "affine_map<()[s0, s1, s2] -> (0, s2)>");
    assert!(graph.text.contains(bounded), "{}", graph.text);
    RandomGraph { text: graph.text.replace(bounded, open), ..graph }
}

/// One artifact for all sizes, at several of them in one session, and one that is compiled for the last of them alone.
#[test]
fn all_sizes_agree_with_the_reference_and_with_static_compilation() {
    let mut failures = String::new();
    for seed in 400..412 {
        let (_folder, model) = mlir_file(&random_graph(seed, OPS).text);
        let mut general = session(&compile_model(&model, &[CPU], 1), Some(2)).unwrap();
        let mut last = vec![];
        for symbols in [[1, 0], [3, 2], [2, 17], [8, 1], [19, 32]] {
            let graph = random_graph_at(seed, OPS, symbols, false);
            let expected = evaluate_text(&graph.text, &graph.inputs, &graph.symbols);
            last = run(&mut general, &graph.inputs).unwrap_or_else(|why| panic!("seed {seed}, {symbols:?}: {why}"));
            if let Some(why) = difference(&last, &expected, TOLERANCE) {
                writeln!(failures, "seed {seed}, symbols {symbols:?}: {why}\n{}", graph.text).unwrap();
            }
        }
        let graph = random_graph_at(seed, OPS, [19, 32], true);
        assert!(!graph.text.contains("affine_map"), "{}", graph.text);
        let (_folder, model) = mlir_file(&graph.text);
        let mut fixed = session(&compile_model(&model, &[CPU], 1), Some(2)).unwrap();
        let found = run(&mut fixed, &graph.inputs).unwrap_or_else(|why| panic!("seed {seed}, fixed: {why}"));
        if let Some(why) = difference(&found, &last, TOLERANCE) {
            writeln!(failures, "seed {seed}, fixed: {why}\n{}", graph.text).unwrap();
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
