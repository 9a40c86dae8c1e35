//! Memory of compiled models: fixed for bounded dims, and for sizes that inputs decide as large as runs have asked for.

#[path = "../../runtime/tests/fixture/counting.rs"]
mod counting;
#[allow(dead_code)]
mod pipeline;

use counting::allocations;
use pipeline::{
    CPU, compile_for,
    onnx::{floats, graph, info, int, longs, model, node, write},
    session,
};
use winze_compiler::{
    compile::CompileOptions,
    import::{ImportOptions, proto::data_type},
};
use winze_runtime::{Program, Session, TensorView};

/// y [n, 8] = softmax(softmax(x [n, 16] * w)), and z [count[0], n, 1] of its rows' sums; gives the artifact's bytes.
fn artifact(dims: &[&str]) -> Vec<u8> {
    let weights: Vec<f32> = (0..16 * 8).map(|i| (i % 7) as f32 - 3.0).collect();
    let nodes = vec![
        node("MatMul", &["x", "w"], &["product"], vec![]),
        node("Softmax", &["product"], &["shares"], vec![]),
        node("Softmax", &["shares"], &["y"], vec![]),
        node("ReduceSum", &["y", "one"], &["sums"], vec![]),
        node("Concat", &["count", "one", "one"], &["shape"], vec![int("axis", 0)]),
        node("Expand", &["sums", "shape"], &["wide"], vec![]),
        node("Softmax", &["wide"], &["z"], vec![]),
    ];
    let inputs = vec![info("x", data_type::FLOAT, &["n", "16"]), info("count", data_type::INT64, &["1"])];
    let outputs = vec![info("y", data_type::FLOAT, &["n", "8"]), info("z", data_type::FLOAT, &["c", "n", "1"])];
    let (folder, model) = write(&model(graph(nodes, inputs, outputs, vec![floats("w", &[16, 8], &weights), longs("one", &[1])])));
    let out = folder.path().join("model.wz");
    let max_sizes = if dims.is_empty() { vec![] } else { vec!["shape=200".parse().unwrap()] };
    let import = ImportOptions { dims: dims.iter().map(|dim| dim.parse().unwrap()).collect(), max_sizes, ..Default::default() };
    let options = CompileOptions { targets: vec![CPU.parse().unwrap()], import, bind: vec![], jobs: 2, emit: None };
    compile_for(&model, &options, &out).unwrap();
    std::fs::read(out).unwrap()
}

/// Runs with `n` rows and a count; gives the arena's bytes and the allocations.
fn run(session: &mut Session, n: i64, count: i64) -> Result<(u64, u64), String> {
    let x: Vec<f32> = (0..n * 16).map(|i| (i % 5) as f32 / 4.0).collect();
    let (dims, count) = ([n, 16], [count]);
    let inputs = [TensorView::of(&dims, &x), TensorView::of(&[1], &count)];
    let before = allocations();
    let outputs = session.run(&inputs).map_err(|error| error.to_string())?;
    let allocations = allocations() - before;
    let (y, z) = (outputs.get(0).unwrap(), outputs.get(1).unwrap());
    assert_eq!((y.dims, z.dims), (&[n, 8][..], &[count[0], n, 1][..]));
    let sum: f32 = y.as_slice::<f32>().unwrap().iter().sum();
    assert!((sum - n as f32).abs() <= 1e-4 * n as f32, "{sum}");
    assert!(z.as_slice::<f32>().unwrap().iter().all(|share| *share == 1.0));
    Ok((session.memory().arena, allocations))
}

#[test]
fn memory_follows_from_bounds_and_from_what_runs_ask_for() {
    // Dims and sizes with bounds: everything is there from the first run on, however small.
    let bounded = artifact(&["n<=200"]);
    let program = Program::from_bytes(&bounded).unwrap();
    let function = &program.manifest().functions[0];
    let largest: Vec<i64> = function.symbols.iter().map(|symbol| symbol.max.unwrap_or(200)).collect();
    let planned = program.requirements(0, 0, &largest).unwrap().arena_bytes;
    let mut small_first = session(&bounded, Some(1)).unwrap();
    assert_eq!(run(&mut small_first, 1, 1).unwrap().0, planned);
    for n in [200, 7, 64, 1, 199, 200, 0] {
        for count in [3, 1] {
            assert_eq!(run(&mut small_first, n, count), Ok((planned, 0)), "{n} rows, {count} times");
        }
    }
    let message = run(&mut small_first, 201, 1).unwrap_err();
    assert!(message.contains("dim n is 201 by dim 0 of input \"x\", the model was compiled for 0 to 200"), "{message}");
    let message = run(&mut small_first, 200, 201).unwrap_err();
    assert!(message.contains("is 201; it must be 0 to 200"), "{message}");

    // Without bounds: what runs have asked for.
    let mut open = session(&artifact(&[]), Some(1)).unwrap();
    run(&mut open, 50, 4).unwrap();
    let (arena, _) = run(&mut open, 50, 4).unwrap();
    for (n, count) in [(50, 4), (50, 1), (20, 4), (50, 0)] {
        run(&mut open, n, count).unwrap();
        assert_eq!(run(&mut open, n, count), Ok((arena, 0)), "{n} rows, {count} times");
    }
    assert!(run(&mut open, 50, 40).unwrap().0 > arena);
    let message = run(&mut open, 50, 1 << 40).unwrap_err();
    assert!(message.contains("extents of the shape of wide") || message.contains("is 1099511627776"), "{message}");
    assert!(message.contains("bytes") && message.contains("give inputs that ask for less"), "{message}");
    assert!(run(&mut open, 50, 2).is_ok());
}
