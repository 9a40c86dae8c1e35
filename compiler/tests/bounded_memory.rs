//! Memory of compiled models: fixed for bounded dims, and for sizes that inputs decide as large as runs have asked for. Counts every allocation of the
//! process, so this file has one test.

#[allow(dead_code)]
mod pipeline;

use prost::Message;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering},
};
use winze_compiler::{
    compile::{CompileOptions, compile},
    import::{
        ImportOptions,
        proto::{
            DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
            TensorTypeProto, TypeProto, TypeValue, ValueInfoProto, data_type,
        },
    },
};
use winze_runtime::{DeviceChoice, Program, Session, SessionOptions, TensorView};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: defers to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn info(name: &str, element: i32, dims: &[&str]) -> ValueInfoProto {
    let dim = |text: &&str| DimensionProto {
        value: Some(text.parse().map_or_else(|_| DimensionValue::Param((*text).into()), DimensionValue::Value)),
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let value = Some(TypeValue::Tensor(TensorTypeProto { elem_type: element, shape }));
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { value }) }
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    let input = inputs.iter().map(ToString::to_string).collect();
    NodeProto { name: output.into(), op_type: op.into(), input, output: vec![output.into()], ..Default::default() }
}

/// y [n, 8] = relu(x [n, 16] * w), twice through a softmax; `count` makes a second output, z [count[0], n] of sums.
fn program(dims: &[&str]) -> Program {
    let weights: Vec<u8> = (0..16 * 8).flat_map(|i| ((i % 7) as f32 - 3.0).to_le_bytes()).collect();
    let w = TensorProto {
        name: "w".into(),
        dims: vec![16, 8],
        data_type: data_type::FLOAT,
        raw_data: Some(weights.into()),
        ..Default::default()
    };
    let two = TensorProto { name: "last".into(), dims: vec![1], data_type: data_type::INT64, int64_data: vec![1], ..Default::default() };
    let one = TensorProto { name: "one".into(), dims: vec![1], data_type: data_type::INT64, int64_data: vec![1], ..Default::default() };
    let nodes = vec![
        node("MatMul", &["x", "w"], "product"),
        node("Softmax", &["product"], "shares"),
        node("Softmax", &["shares"], "y"),
        node("ReduceSum", &["y", "last"], "sums"),
        node("Concat", &["count", "one", "one"], "shape"),
        node("Expand", &["sums", "shape"], "wide"),
        node("Softmax", &["wide"], "z"),
    ];
    let mut nodes = nodes;
    nodes[4].attribute = vec![winze_compiler::import::proto::AttributeProto {
        name: "axis".into(),
        r#type: winze_compiler::import::proto::attribute_type::INT,
        i: Some(0),
        ..Default::default()
    }];
    let graph = GraphProto {
        node: nodes,
        name: "g".into(),
        initializer: vec![w, two, one],
        input: vec![info("x", data_type::FLOAT, &["n", "16"]), info("count", data_type::INT64, &["1"])],
        output: vec![info("y", data_type::FLOAT, &["n", "8"]), info("z", data_type::FLOAT, &["c", "n", "1"])],
        ..Default::default()
    };
    let version = OperatorSetIdProto { domain: String::new(), version: 21 };
    let model = ModelProto { ir_version: 10, opset_import: vec![version], graph: Some(graph), functions: vec![] };
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("model.onnx"), folder.path().join("model.wz"));
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    let import = ImportOptions {
        dims: dims.iter().map(|dim| dim.parse().unwrap()).collect(),
        max_sizes: if dims.is_empty() { vec![] } else { vec!["shape=200".parse().unwrap()] },
        ..Default::default()
    };
    compile(
        &path,
        Some(&out),
        &CompileOptions { targets: vec![pipeline::CPU.parse().unwrap()], import, bind: vec![], jobs: 2, emit: None },
    )
    .unwrap();
    Program::from_bytes(&std::fs::read(&out).unwrap()).unwrap()
}

/// Runs with `n` rows and a count; gives the arena's bytes and the allocations.
fn run(session: &mut Session, n: i64, count: i64) -> Result<(u64, u64), String> {
    let x: Vec<f32> = (0..n * 16).map(|i| (i % 5) as f32 / 4.0).collect();
    let (dims, count) = ([n, 16], [count]);
    let inputs = [TensorView::of(&dims, &x), TensorView::of(&[1], &count)];
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let outputs = session.run(&inputs).map_err(|error| error.to_string())?;
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let (y, z) = (outputs.get(0).unwrap(), outputs.get(1).unwrap());
    assert_eq!((y.dims, z.dims), (&[n, 8][..], &[count[0], n, 1][..]));
    let sum: f32 = y.as_slice::<f32>().unwrap().iter().sum();
    assert!((sum - n as f32).abs() <= 1e-4 * n as f32, "{sum}");
    assert!(z.as_slice::<f32>().unwrap().iter().all(|share| *share == 1.0));
    Ok((session.memory().arena, allocations))
}

fn session(program: &Program) -> Session {
    Session::new(program, &DeviceChoice::Cpu, SessionOptions { threads: Some(1), ..Default::default() }).unwrap()
}

#[test]
fn memory_follows_from_bounds_and_from_what_runs_ask_for() {
    // Dims and sizes with bounds: everything is there from the first run on, however small.
    let bounded = program(&["n<=200"]);
    let function = &bounded.manifest().functions[0];
    let largest: Vec<i64> = function.symbols.iter().map(|symbol| symbol.max.unwrap_or(200)).collect();
    let planned = bounded.requirements(0, 0, &largest).unwrap().arena_bytes;
    let mut small_first = session(&bounded);
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
    let mut open = session(&program(&[]));
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
