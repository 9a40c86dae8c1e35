//! Random graphs before and after the `graph` stage -> the same values by reference evaluation.

#[allow(dead_code)]
mod pipeline;

use pipeline::{CPU, compile_model, difference, evaluate, evaluate_text, mlir_file, run, session};
use winze_compiler::{constants::ConstantStore, context::new_context, graph::simplify};
use winze_graph::testing::{RandomGraph, random_graph, random_layers};
use winze_mlir::melior::ir::Module;

/// f32 through chains of layers whose weights are changed.
const TOLERANCE: f64 = 5e-4;

fn check(what: &str, seed: u64, graph: &RandomGraph) {
    let expected = evaluate_text(&graph.text, &graph.inputs, &graph.symbols);
    let context = new_context();
    let mut module = Module::parse(&context, &graph.text).unwrap_or_else(|| panic!("{what} {seed} does not parse:\n{}", graph.text));
    let mut store = ConstantStore::new();
    simplify(&context, &mut module, &mut store).unwrap_or_else(|e| panic!("{what} {seed}: {e}\n{}", graph.text));
    let after = module.as_operation();
    let actual = evaluate(&module, &store, &graph.inputs, &graph.symbols).unwrap_or_else(|e| panic!("{what} {seed}: {e}\n{after}"));
    let largest = expected.iter().flat_map(|tensor| (0..tensor.count()).map(|i| tensor.get(i).f64().abs())).fold(1.0, f64::max);
    if let Some(why) = difference(&actual, &expected, TOLERANCE * largest.min(1e6)) {
        panic!("{what} {seed}, symbols {:?}: {why}\n{}\n{after}", graph.symbols, graph.text);
    }
}

#[test]
fn layers_keep_their_values() {
    (0..150).for_each(|seed| check("layers", seed, &random_layers(seed, 8)));
}

#[test]
fn graphs_keep_their_values() {
    (1000..1040).for_each(|seed| check("graph", seed, &random_graph(seed, 12)));
}

#[test]
fn compiled_layers_agree_with_the_reference() {
    for seed in 0..8 {
        let graph = random_layers(seed, 6);
        let expected = evaluate_text(&graph.text, &graph.inputs, &graph.symbols);
        let (_folder, model) = mlir_file(&graph.text);
        let actual = session(&compile_model(&model, &[CPU], 1), Some(1)).and_then(|mut session| run(&mut session, &graph.inputs));
        let actual = actual.unwrap_or_else(|e| panic!("layers {seed}: {e}\n{}", graph.text));
        let largest = expected.iter().flat_map(|tensor| (0..tensor.count()).map(|i| tensor.get(i).f64().abs())).fold(1.0, f64::max);
        if let Some(why) = difference(&actual, &expected, TOLERANCE * largest) {
            panic!("layers {seed}, symbols {:?}: {why}\n{}", graph.symbols, graph.text);
        }
    }
}
