//! Damaged models and artifacts: every one ends with a documented exit code and a message, none with a crash, a hang or a panic. The models are small
//! and made here; the damage comes from a fixed seed. runtime/tests/damage.rs takes single parts of the artifact format apart.

#[allow(dead_code)]
mod pipeline;

use pipeline::onnx::{body, floats, graph, info, ints, longs, model, node};
use prost::Message;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};
use winze_compiler::import::proto::{
    DimensionProto, DimensionValue, GraphProto, ModelProto, StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto, TypeValue,
    ValueInfoProto, attribute_type, data_type,
};
use winze_runtime::Program;

/// Longer than any of these compilations, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

fn weight(name: &str, dims: &[i64]) -> TensorProto {
    let count = dims.iter().product::<i64>();
    floats(name, dims, &(0..count).map(|i| i as f32 / count as f32 - 0.5).collect::<Vec<_>>())
}

const F32: i32 = data_type::FLOAT;

/// Two layers; a convolution with pooling; both kinds of control flow; weights in a file of their own.
fn models() -> [(&'static str, ModelProto); 5] {
    let mlp = graph(
        vec![node("MatMul", &["x", "w"], &["m"], vec![]), node("Add", &["m", "b"], &["a"], vec![]), node("Relu", &["a"], &["y"], vec![])],
        vec![info("x", F32, &["2", "8"])],
        vec![info("y", F32, &["2", "4"])],
        vec![weight("w", &[8, 4]), weight("b", &[4])],
    );
    let convnet = graph(
        vec![
            node("Conv", &["x", "w"], &["c"], vec![ints("pads", &[1, 1, 1, 1])]),
            node("MaxPool", &["c"], &["p"], vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])]),
            node("Reshape", &["p", "s"], &["y"], vec![]),
        ],
        vec![info("x", F32, &["1", "3", "8", "8"])],
        vec![info("y", F32, &["1", "64"])],
        vec![weight("w", &[4, 3, 3, 3]), longs("s", &[1, -1])],
    );
    let branch = |op: &str, name: &str| graph(vec![node(op, &["x"], &[name], vec![])], vec![], vec![info(name, F32, &["3"])], vec![]);
    let branches = graph(
        vec![node("If", &["c"], &["y"], vec![body("then_branch", branch("Neg", "n")), body("else_branch", branch("Abs", "a"))])],
        vec![info("c", data_type::BOOL, &[]), info("x", F32, &["3"])],
        vec![info("y", F32, &["3"])],
        vec![weight("unused", &[2])],
    );
    let step = graph(
        vec![node("Identity", &["on"], &["on_out"], vec![]), node("Add", &["state", "w"], &["next"], vec![])],
        vec![info("i", data_type::INT64, &[]), info("on", data_type::BOOL, &[]), info("state", F32, &["4"])],
        vec![info("on_out", data_type::BOOL, &[]), info("next", F32, &["4"])],
        vec![],
    );
    let repeated = graph(
        vec![node("Loop", &["trips", "", "x"], &["y"], vec![body("body", step)])],
        vec![info("trips", data_type::INT64, &[]), info("x", F32, &["4"])],
        vec![info("y", F32, &["4"])],
        vec![weight("w", &[4])],
    );
    let mut outside = mlp.clone();
    for (tensor, offset) in outside.initializer.iter_mut().zip(["0", "128"]) {
        let entry = |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
        let length = tensor.raw_data.take().map_or(0, |data| data.len()).to_string();
        tensor.data_location = 1;
        tensor.external_data = vec![entry("location", "weights.bin"), entry("offset", offset), entry("length", &length)];
    }
    [("mlp", mlp), ("convnet", convnet), ("branches", branches), ("repeated", repeated), ("outside", outside)]
        .map(|(name, graph)| (name, model(graph)))
}

fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state as usize
}

/// What must be refused, by name. All but the unknown operator are errors of the model.
type Change = (&'static str, fn(&mut GraphProto));
const CHANGES: &[Change] = &[
    ("huge weight", |g| g.initializer[0].dims[0] = 1 << 40),
    ("overflowing weight", |g| g.initializer[0].dims = vec![i64::MAX, i64::MAX]),
    ("negative weight", |g| g.initializer[0].dims[0] = -4),
    ("weight of another type", |g| g.initializer[0].data_type = data_type::DOUBLE),
    ("weight of no type", |g| g.initializer[0].data_type = 77),
    ("two weights of one name", |g| {
        let twin = g.initializer[0].clone();
        g.initializer.push(twin);
    }),
    ("negative input", |g| set_dim(&mut g.input[0], -3)),
    ("input of no type", |g| set_element(&mut g.input[0], 77)),
    ("output of another type", |g| set_element(&mut g.output[0], data_type::STRING)),
    ("cycle", |g| {
        let last = g.node.len() - 1;
        g.node[0].input[0] = g.node[last].output[0].clone();
    }),
    ("result that is computed twice", |g| {
        let again = g.node[0].clone();
        g.node.push(again);
    }),
    ("operand that nothing computes", |g| g.node[0].input[0] = "nowhere".into()),
    ("output that nothing computes", |g| g.output[0].name = "nowhere".into()),
    ("unknown operator", |g| g.node[0].op_type = "Winzify".into()),
    ("no operands", |g| g.node[0].input.clear()),
    ("attribute of another type", |g| {
        g.node.iter_mut().for_each(|node| node.attribute.iter_mut().for_each(|a| a.r#type = attribute_type::FLOAT))
    }),
];
const EXTERNAL: &[Change] = &[
    ("data past the end", |g| external(g, "offset", "4096")),
    ("data at a negative place", |g| external(g, "offset", "-8")),
    ("data at an overflowing place", |g| external(g, "offset", "18446744073709551615")),
    ("data of another length", |g| external(g, "length", "12")),
    ("data in no file", |g| external(g, "location", "nowhere.bin")),
    ("data outside the folder", |g| external(g, "location", "../../../etc/passwd")),
];

fn set_dim(port: &mut ValueInfoProto, value: i64) {
    if let Some(TypeProto { value: Some(TypeValue::Tensor(tensor)) }) = &mut port.r#type {
        tensor.shape = Some(TensorShapeProto { dim: vec![DimensionProto { value: Some(DimensionValue::Value(value)) }] });
    }
}

fn set_element(port: &mut ValueInfoProto, element: i32) {
    if let Some(TypeProto { value: Some(TypeValue::Tensor(tensor)) }) = &mut port.r#type {
        tensor.elem_type = element;
    }
}

fn external(graph: &mut GraphProto, key: &str, value: &str) {
    graph.initializer[0].external_data.iter_mut().filter(|entry| entry.key == key).for_each(|entry| entry.value = value.into());
}

/// A damaged file, and whether it may be another valid one.
struct Damaged {
    what: String,
    bytes: Vec<u8>,
    may_work: bool,
}

fn damaged(name: &str, good: &ModelProto) -> Vec<Damaged> {
    let bytes = good.encode_to_vec();
    let must_fail = |what: &str, bytes: Vec<u8>| Damaged { what: format!("{name}: {what}"), bytes, may_work: false };
    let mut all = vec![must_fail("empty", vec![]), must_fail("text", b"not a model at all".to_vec())];
    all.extend([4, 2].map(|part| must_fail(&format!("first 1/{part}"), bytes[..bytes.len() / part].to_vec())));
    all.push(must_fail("last byte lost", bytes[..bytes.len() - 1].to_vec()));
    let changes = CHANGES.iter().chain(EXTERNAL.iter().filter(|_| name == "outside"));
    for (what, change) in
        changes.filter(|(what, _)| *what != "attribute of another type" || good.graph.iter().any(|g| !g.node[0].attribute.is_empty()))
    {
        let mut changed = good.clone();
        change(changed.graph.as_mut().expect("models have graphs"));
        all.push(must_fail(what, changed.encode_to_vec()));
    }
    for version in [0, -1, 1 << 40] {
        let mut changed = good.clone();
        changed.opset_import[0].version = version;
        all.push(must_fail(&format!("opset {version}"), changed.encode_to_vec()));
    }
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ bytes.len() as u64;
    for _ in 0..8 {
        let (at, bit) = (random(&mut state) % bytes.len(), random(&mut state) % 8);
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << bit;
        all.push(Damaged { what: format!("{name}: bit {bit} of byte {at}"), bytes: flipped, may_work: true });
    }
    all
}

/// What the compiler says about a model, and its exit code; `None` if it was ended because it took too long or died by a signal.
fn compile(path: &Path, out: &Path) -> (Option<i32>, String) {
    let messages = path.with_extension("txt");
    let mut command = Command::new(env!("CARGO_BIN_EXE_winze-compiler"));
    command.arg("compile").arg(path).arg("-o").arg(out).args(["--no-cache", "--quiet", "--jobs", "1", "--target", "cpu=x86-64-v3"]);
    let mut child = command.stdin(Stdio::null()).stderr(File::create(&messages).unwrap()).spawn().unwrap();
    let started = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status.code(),
            None if started.elapsed() > LIMIT => {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    (status, String::from_utf8_lossy(&fs::read(messages).unwrap()).into_owned())
}

/// Why an ending is not as documented.
fn complaint(damaged: &Damaged, code: Option<i32>, said: &str) -> Option<String> {
    let expected = match code {
        Some(0) => damaged.may_work,
        Some(1) => said.starts_with("error: "),
        Some(3) => said.starts_with("unsupported: "),
        _ => false,
    };
    // A reproducer would mean that a pass met what import should have refused.
    let clear = ["panicked", "reproducer", "defect"].iter().all(|word| !said.contains(word));
    (!expected || !clear).then(|| format!("{}: exit code {code:?}: {said}", damaged.what))
}

#[test]
fn damaged_models_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("weights.bin"), [0; 144]).unwrap();
    let all: Vec<Damaged> = models().iter().flat_map(|(name, good)| damaged(name, good)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut complaints = vec![];
        while let Some(index) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|index| *index < all.len()) {
            let path = folder.path().join(format!("{index}.onnx"));
            fs::write(&path, &all[index].bytes).unwrap();
            let (code, said) = compile(&path, &path.with_extension("wz"));
            complaints.extend(complaint(&all[index], code, &said));
        }
        complaints
    };
    let complaints: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(complaints.is_empty(), "{} of {}:\n{}", complaints.len(), all.len(), complaints.join("\n"));
}

#[test]
fn damaged_artifacts_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("weights.bin"), [0; 144]).unwrap();
    for (name, good) in models() {
        let path: PathBuf = folder.path().join(name).with_extension("onnx");
        fs::write(&path, good.encode_to_vec()).unwrap();
        let out = path.with_extension("wz");
        assert_eq!(compile(&path, &out), (Some(0), String::new()), "{name}");
        let bytes = fs::read(out).unwrap();
        let reference = Program::from_bytes(&bytes).unwrap();
        let covered = |at: usize| at < 64 || reference.reader().sections().iter().any(|section| section.range().contains(&at));
        for part in 0..10 {
            assert!(Program::from_bytes(&bytes[..bytes.len() * part / 10]).is_err(), "{name}: first {part}/10");
        }
        let mut state = 0x2545_f491_4f6c_dd1d ^ bytes.len() as u64;
        for _ in 0..200 {
            let (at, bit) = (random(&mut state) % bytes.len(), random(&mut state) % 8);
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            match Program::from_bytes(&flipped) {
                Err(error) => assert!(error.to_string().starts_with("artifact: "), "{name}: bit {bit} of byte {at}: {error}"),
                Ok(program) => {
                    assert!(!covered(at), "{name}: bit {bit} of byte {at} went unnoticed");
                    assert_eq!(program.manifest(), reference.manifest());
                }
            }
        }
    }
}
