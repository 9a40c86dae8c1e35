//! Small decoders in the forms that exporters write -> one artifact with states, which gives step by step what the model gives that is fed its own outputs,
//! on the CPU and on Vulkan.

#[allow(dead_code)]
mod pipeline;

use pipeline::{
    CPU, DESKTOP, MIN, compile_for, compile_model, difference, expect_valid, has_vulkan,
    onnx::{floats, graph, info, int, ints, longs, model_of, node, string, write},
    run, session,
};
use winze_compiler::{
    compile::CompileOptions,
    import::{
        ImportOptions,
        proto::{AttributeProto, DimensionValue, GraphProto, NodeProto, TensorProto, TypeValue, data_type},
    },
};
use winze_graph::{
    tensor::{Scalar, Tensor},
    types::ElementType,
};
use winze_runtime::{Program, Session, error::Error};

const LAYERS: usize = 2;
const HEADS: usize = 2;
const WIDTH: usize = 4;
const MODEL: usize = HEADS * WIDTH;
const IDS: i64 = 6;
/// Parts of states with so many rows start where Vulkan cannot bind them, and with the other where it can.
const CAPACITY: usize = 20;
const ALIGNED: usize = 32;

/// How a decoder keeps keys and values.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Form {
    /// `[batch, heads, past, width]`, an input for the keys and one for the values of each layer.
    Separate,
    /// The same with keys `[batch, heads, width, past]`.
    KeysTransposed,
    /// `[batch, past, heads, width]`, with the transposed cache in front of the concatenation and behind it.
    PositionsFirst,
    /// `[batch, past, heads * width]`
    Flat,
    /// `[layers, 2, batch, heads, past, width]`
    Stacked,
    /// `[layers, batch, 2, heads, past, width]`
    StackedBehindBatch,
    /// `[past, batch, layers, 2, heads, width]`
    StackedBehindPositions,
    /// `Separate` by the cache of the Attention operator.
    Attention,
    /// `Separate` with new rows in front, which cannot be appended.
    InFront,
}

struct Decoder {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    form: Form,
}

impl Decoder {
    fn add_as(&mut self, output: &str, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        self.nodes.push(node(op, inputs, &[output], attributes));
        output.into()
    }

    fn add(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let output = format!("v{}", self.nodes.len());
        self.add_as(&output, op, inputs, attributes)
    }

    fn numbers(&mut self, values: &[i64]) -> String {
        let name = format!("c{}", self.constants.len());
        self.constants.push(longs(&name, values));
        name
    }

    fn weight(&mut self, rows: usize, columns: usize) -> String {
        let name = format!("c{}", self.constants.len());
        let values: Vec<f32> = (0..rows * columns).map(|i| ((i * 37 + self.constants.len() * 11) % 23) as f32 / 23.0 - 0.5).collect();
        self.constants.push(floats(&name, &[rows as i64, columns as i64], &values));
        name
    }

    fn transpose(&mut self, x: &str, permutation: &[i64]) -> String {
        self.add("Transpose", &[x], vec![ints("perm", permutation)])
    }

    fn reshape(&mut self, x: &str, dims: &[i64]) -> String {
        let dims = self.numbers(dims);
        self.add("Reshape", &[x, &dims], vec![])
    }

    fn concat(&mut self, parts: &[&str], axis: i64) -> String {
        self.add("Concat", parts, vec![int("axis", axis)])
    }

    fn unsqueeze(&mut self, x: &str, axes: &[i64]) -> String {
        let axes = self.numbers(axes);
        self.add("Unsqueeze", &[x, &axes], vec![])
    }

    /// Element `i` of an axis, which goes.
    fn select(&mut self, x: &str, i: usize, axis: i64) -> String {
        let [first, last, axes] = [i as i64, i as i64 + 1, axis].map(|value| self.numbers(&[value]));
        let part = self.add("Slice", &[x, &first, &last, &axes], vec![]);
        self.add("Squeeze", &[&part, &axes], vec![])
    }

    /// What the model's input of this layer holds of the keys (0) or values (1), `[batch, heads, past, width]`.
    fn past(&mut self, layer: usize, which: usize) -> String {
        match self.form {
            Form::Stacked => {
                let layer = self.select("past", layer, 0);
                self.select(&layer, which, 0)
            }
            Form::StackedBehindBatch => {
                let layer = self.select("past", layer, 0);
                self.select(&layer, which, 1)
            }
            Form::StackedBehindPositions => {
                let layer = self.select("past", layer, 2);
                let past = self.select(&layer, which, 2);
                self.transpose(&past, &[1, 2, 0, 3])
            }
            _ => format!("past.{layer}.{which}"),
        }
    }

    /// All rows, `[batch, heads, total, width]`, of those held and new ones `[batch, n, heads, width]`.
    fn extended(&mut self, layer: usize, which: usize, rows: &str) -> String {
        let (past, present) = (self.past(layer, which), format!("present.{layer}.{which}"));
        match self.form {
            Form::KeysTransposed if which == 0 => {
                let rows = self.transpose(rows, &[0, 2, 3, 1]);
                let all = self.add_as(&present, "Concat", &[&past, &rows], vec![int("axis", 3)]);
                self.transpose(&all, &[0, 1, 3, 2])
            }
            Form::PositionsFirst => {
                let (past, rows) = (self.transpose(&past, &[0, 2, 1, 3]), self.transpose(rows, &[0, 2, 1, 3]));
                let all = self.concat(&[&past, &rows], 2);
                self.add_as(&present, "Transpose", &[&all], vec![ints("perm", &[0, 2, 1, 3])]);
                all
            }
            Form::Flat => {
                let rows = self.reshape(rows, &[0, 0, MODEL as i64]);
                let all = self.add_as(&present, "Concat", &[&past, &rows], vec![int("axis", 1)]);
                let all = self.reshape(&all, &[0, 0, HEADS as i64, WIDTH as i64]);
                self.transpose(&all, &[0, 2, 1, 3])
            }
            form => {
                let rows = self.transpose(rows, &[0, 2, 1, 3]);
                let parts = if form == Form::InFront { [&rows[..], &past] } else { [&past[..], &rows] };
                self.add_as(&present, "Concat", &parts, vec![int("axis", 2)])
            }
        }
    }

    /// `[batch, heads, n, width]` of queries, with keys and values `[batch, n, heads, width]`.
    fn attention(&mut self, layer: usize, queries: &str, [keys, values]: [&str; 2]) -> String {
        if self.form == Form::Attention {
            let [keys, values] = [keys, values].map(|rows| self.transpose(rows, &[0, 2, 1, 3]));
            let past = [0, 1].map(|which| format!("past.{layer}.{which}"));
            let [attended, k, v] = [format!("attended.{layer}"), format!("present.{layer}.0"), format!("present.{layer}.1")];
            self.nodes.push(node("Attention", &[queries, &keys, &values, "", &past[0], &past[1]], &[&attended, &k, &v], vec![]));
            return attended;
        }
        let [keys, values] = [self.extended(layer, 0, keys), self.extended(layer, 1, values)];
        let keys = self.transpose(&keys, &[0, 1, 3, 2]);
        let scores = self.add("MatMul", &[queries, &keys], vec![]);
        let weights = self.add("Softmax", &[&scores], vec![]);
        self.add("MatMul", &[&weights, &values], vec![])
    }

    /// What becomes `present` where layers are stacked.
    fn stack(&mut self) {
        let (pair_axis, layer_axis, order) = match self.form {
            Form::Stacked => (0, 0, None),
            Form::StackedBehindBatch => (1, 0, None),
            Form::StackedBehindPositions => (2, 2, Some([2, 0, 1, 3])),
            _ => return,
        };
        let mut layers = vec![];
        for layer in 0..LAYERS {
            let pair = [0, 1].map(|which| {
                let rows = format!("present.{layer}.{which}");
                let rows = order.map_or(rows.clone(), |order| self.transpose(&rows, &order));
                self.unsqueeze(&rows, &[pair_axis])
            });
            let pair = self.concat(&[&pair[0], &pair[1]], pair_axis);
            layers.push(self.unsqueeze(&pair, &[layer_axis]));
        }
        let layers: Vec<&str> = layers.iter().map(|layer| &layer[..]).collect();
        self.add_as("present", "Concat", &layers, vec![int("axis", layer_axis)]);
    }
}

/// Inputs with the rows of the past, and the outputs that are their next values, with their dims.
fn caches(form: Form) -> Vec<(String, String, Vec<&'static str>)> {
    let dims = |which: usize| match form {
        Form::Stacked => vec!["2", "2", "batch", "2", "past", "4"],
        Form::StackedBehindBatch => vec!["2", "batch", "2", "2", "past", "4"],
        Form::StackedBehindPositions => vec!["past", "batch", "2", "2", "2", "4"],
        Form::KeysTransposed if which == 0 => vec!["batch", "2", "4", "past"],
        Form::PositionsFirst => vec!["batch", "past", "2", "4"],
        Form::Flat => vec!["batch", "past", "8"],
        _ => vec!["batch", "2", "past", "4"],
    };
    match form {
        Form::Stacked | Form::StackedBehindBatch | Form::StackedBehindPositions => vec![("past".into(), "present".into(), dims(0))],
        _ => (0..LAYERS)
            .flat_map(|layer| [0, 1].map(|which| (format!("past.{layer}.{which}"), format!("present.{layer}.{which}"), dims(which))))
            .collect(),
    }
}

/// x `[batch, n, 8]` and ids `[n]` -> y `[batch, n, 8]`, which ends in a look-up of the ids, and the caches.
fn decoder(form: Form) -> GraphProto {
    let mut d = Decoder { nodes: vec![], constants: vec![], form };
    let mut x = String::from("x");
    for layer in 0..LAYERS {
        let [queries, keys, values] = [0; 3].map(|_| {
            let weight = d.weight(MODEL, MODEL);
            let rows = d.add("MatMul", &[&x, &weight], vec![]);
            d.reshape(&rows, &[0, 0, HEADS as i64, WIDTH as i64])
        });
        let queries = d.transpose(&queries, &[0, 2, 1, 3]);
        let attended = d.attention(layer, &queries, [&keys, &values]);
        let attended = d.transpose(&attended, &[0, 2, 1, 3]);
        let attended = d.reshape(&attended, &[0, 0, MODEL as i64]);
        x = d.add("Add", &[&x, &attended], vec![]);
    }
    d.stack();
    let table = d.weight(IDS as usize, MODEL);
    let looked_up = d.add("Gather", &[&table, "ids"], vec![]);
    d.add_as("y", "Add", &[&x, &looked_up], vec![]);
    let mut inputs = vec![info("x", data_type::FLOAT, &["batch", "n", "8"]), info("ids", data_type::INT64, &["n"])];
    let mut outputs = vec![info("y", data_type::FLOAT, &["batch", "n", "8"])];
    for (past, present, dims) in caches(form) {
        inputs.push(info(&past, data_type::FLOAT, &dims));
        let dims: Vec<&str> = dims.into_iter().map(|dim| if dim == "past" { "total" } else { dim }).collect();
        outputs.push(info(&present, data_type::FLOAT, &dims));
    }
    graph(d.nodes, inputs, outputs, d.constants)
}

/// An artifact with states on a device, and the model without them on the CPU.
struct Pair {
    bound: Session,
    plain: Session,
    held: Vec<Tensor>,
    warnings: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Device {
    Cpu,
    Vulkan(&'static str),
}

impl Device {
    fn target(self) -> &'static str {
        match self {
            Self::Cpu => CPU,
            Self::Vulkan(profile) => profile,
        }
    }

    fn open(self, artifact: &[u8], threads: usize) -> Session {
        session(artifact, (self == Self::Cpu).then_some(threads)).unwrap()
    }
}

/// Inputs for rows from `first` on.
fn rows(batch: usize, first: usize, count: usize) -> Vec<Tensor> {
    let values: Vec<f32> = (0..batch * count * MODEL).map(|i| ((i * 13 + first * 29 + batch) % 31) as f32 / 31.0 - 0.5).collect();
    let ids: Vec<i64> = (0..count).map(|i| (first + i) as i64 % IDS).collect();
    vec![Tensor::new(&[batch, count, MODEL], &values), Tensor::new(&[count], &ids)]
}

fn empty(form: Form, batch: usize) -> Vec<Tensor> {
    let extent = |dim: &&str| match *dim {
        "batch" => batch,
        "past" => 0,
        number => number.parse().unwrap(),
    };
    caches(form).iter().map(|(.., dims)| Tensor::new::<f32>(&dims.iter().map(extent).collect::<Vec<_>>(), &[])).collect()
}

fn compile_bound(model: &std::path::Path, form: Form, capacity: usize, device: Device) -> (Vec<u8>, Vec<String>) {
    let dims = vec![format!("past<={capacity}").parse().unwrap()];
    let bind = caches(form).into_iter().map(|(past, present, _)| format!("{present}={past}")).collect();
    let import = ImportOptions { dims, ..Default::default() };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bound.wz");
    let options = CompileOptions { targets: vec![device.target().parse().unwrap()], import, bind, jobs: 2, emit: None };
    let warnings = compile_for(model, &options, &out).unwrap_or_else(|e| panic!("{form:?}: {e}"));
    (std::fs::read(out).unwrap(), warnings)
}

impl Pair {
    fn new(form: Form, batch: usize, capacity: usize, device: Device) -> (Self, Vec<u8>) {
        let version = if form == Form::Attention { 23 } else { 21 };
        let (_folder, model) = write(&model_of(version, decoder(form)));
        let (artifact, warnings) = compile_bound(&model, form, capacity, device);
        let bound = device.open(&artifact, 1);
        let plain = session(&compile_model(&model, &[CPU], 2), Some(1)).unwrap();
        (Self { bound, plain, held: empty(form, batch), warnings }, artifact)
    }

    /// Runs both on rows from `first` on; the caches are compared too.
    fn step(&mut self, batch: usize, first: usize, count: usize) {
        let inputs = rows(batch, first, count);
        let mut expected = run(&mut self.plain, &[inputs.clone(), self.held.clone()].concat()).unwrap();
        self.held = expected.split_off(1);
        let actual = run(&mut self.bound, &inputs).unwrap_or_else(|e| panic!("row {first}: {e}"));
        if let Some(difference) = difference(&actual, &expected, 1e-5) {
            panic!("row {first}: {difference}");
        }
        self.compare_states();
    }

    fn compare_states(&self) {
        let states = (0..self.held.len() as u32).map(|state| {
            let state = self.bound.read_state(0, state).unwrap();
            let shape: Vec<usize> = state.dims().iter().map(|extent| *extent as usize).collect();
            Tensor::from_bytes(ElementType::F32, &shape, state.bytes()).unwrap()
        });
        assert_eq!(difference(&states.collect::<Vec<_>>(), &self.held, 1e-5), None);
    }
}

fn check(form: Form, in_place: bool) {
    check_on(form, in_place, CAPACITY, Device::Cpu);
    if has_vulkan("states") {
        check_on(form, in_place, CAPACITY, Device::Vulkan(MIN));
        expect_valid();
    }
}

/// Prefill, steps, failures, the bound, and from the start again.
fn check_on(form: Form, in_place: bool, capacity: usize, device: Device) {
    for batch in [1, 2] {
        let (mut pair, artifact) = Pair::new(form, batch, capacity, device);
        assert_eq!(pair.warnings.is_empty(), in_place, "{form:?}: {:?}", pair.warnings);
        pair.step(batch, 0, 5);
        (5..12).for_each(|row| pair.step(batch, row, 1));
        pair.step(batch, 12, 4);
        if device == Device::Cpu {
            // The look-up of the ids fails after rows were appended. Vulkan kernels report nothing.
            let mut wrong = rows(batch, 16, 2);
            wrong[1] = Tensor::new(&[2], &[0, IDS]);
            let error = run(&mut pair.bound, &wrong).unwrap_err();
            assert!(error.contains("index inputs are in range"), "{form:?}: {error}");
            pair.compare_states();
        }
        pair.bound.cancel_handle().cancel();
        assert_eq!(run(&mut pair.bound, &rows(batch, 16, 1)).unwrap_err(), "run: cancelled");
        pair.compare_states();
        let error = run(&mut pair.bound, &rows(batch + 1, 16, 1)).unwrap_err();
        assert!(error.contains("batch") && error.contains("reset the states"), "{form:?}: {error}");
        pair.compare_states();
        let beyond = capacity + 1 - 16;
        let views: Vec<Vec<u8>> = rows(batch, 16, beyond).iter().map(Tensor::to_bytes).collect();
        let dims = [[batch as i64, beyond as i64, MODEL as i64].to_vec(), vec![beyond as i64]];
        let elements = [winze_runtime::ElementType::F32, winze_runtime::ElementType::I64];
        let views: Vec<_> = (0..2).map(|i| winze_runtime::TensorView::new(elements[i], &dims[i], &views[i])).collect();
        let full = pair.bound.run(&views).map(|_| ()).unwrap_err();
        let Error::StateFull { held: 16, wanted, capacity: most, .. } = full else { panic!("{form:?}: {full}") };
        assert_eq!((wanted, most), (capacity as i64 + 1, capacity as u64));
        pair.compare_states();
        pair.step(batch, 16, 4);
        // Takes rows back, and goes on.
        pair.bound.truncate_states(0, 0).unwrap();
        pair.held = empty(form, batch);
        pair.step(batch, 3, 2);
        pair.bound.reset_states(0).unwrap();
        pair.held = empty(form, batch);
        pair.step(batch, 0, 3);
        // Another session goes on where this one is.
        let mut other = device.open(&artifact, 2);
        for state in 0..pair.held.len() as u32 {
            let tensor = pair.bound.read_state(0, state).unwrap();
            other.set_state(0, state, &tensor.view()).unwrap();
        }
        pair.bound = other;
        pair.step(batch, 3, 1);
        if in_place {
            copies_nothing_held(form, &Program::from_bytes(&artifact).unwrap(), batch, capacity);
        }
    }
}

/// A run moves as much with empty states as with states that it makes full.
fn copies_nothing_held(form: Form, program: &Program, batch: usize, capacity: usize) {
    let symbols = |past: usize| -> Vec<i64> {
        let value = |name: &str| match name {
            "past" => past as i64,
            "batch" => batch as i64,
            _ => 1,
        };
        program.manifest().functions[0].symbols.iter().map(|symbol| value(&symbol.name)).collect()
    };
    let copied = |past: usize| program.copied_bytes(0, 0, &symbols(past)).unwrap();
    assert_eq!(copied(0), copied(capacity - 1), "{form:?}: copies what it holds");
}

#[test]
fn separate_keys_and_values() {
    check(Form::Separate, true);
}

#[test]
fn keys_transposed() {
    check(Form::KeysTransposed, true);
}

#[test]
fn transposes_around_the_concatenation() {
    check(Form::PositionsFirst, true);
}

#[test]
fn heads_in_one_axis() {
    check(Form::Flat, true);
}

#[test]
fn stacked_layers() {
    check(Form::Stacked, true);
}

#[test]
fn stacked_behind_the_batch() {
    check(Form::StackedBehindBatch, true);
}

#[test]
fn stacked_behind_positions() {
    check(Form::StackedBehindPositions, true);
}

#[test]
fn cache_of_the_attention_operator() {
    check(Form::Attention, true);
}

/// Layers are parts of the buffer, which Vulkan binds from an offset on.
#[test]
fn stacked_layers_that_can_be_bound() {
    check_on(Form::Stacked, true, ALIGNED, Device::Cpu);
    if has_vulkan("states") {
        check_on(Form::Stacked, true, ALIGNED, Device::Vulkan(DESKTOP));
        expect_valid();
    }
}

#[test]
fn rows_in_front_are_copied() {
    check(Form::InFront, false);
}

/// A step computes what it did: the rows that a failed run wrote are never read.
#[test]
fn a_failed_run_changes_no_later_one() {
    let (mut failed, _) = Pair::new(Form::Stacked, 1, CAPACITY, Device::Cpu);
    failed.step(1, 0, 2);
    let mut wrong = rows(1, 9, 3);
    wrong[1] = Tensor::new(&[3], &[0, 0, -IDS - 1]);
    run(&mut failed.bound, &wrong).unwrap_err();
    let (mut fresh, _) = Pair::new(Form::Stacked, 1, CAPACITY, Device::Cpu);
    fresh.step(1, 0, 2);
    let [a, b] = [&mut failed, &mut fresh].map(|pair| run(&mut pair.bound, &rows(1, 2, 1)).unwrap());
    assert_eq!(a[0].to_bytes(), b[0].to_bytes());
}

/// Feeds a model its own outputs, without states on the CPU, and compares step by step with one that keeps them as states, on the CPU and, where there is one,
/// a Vulkan device. States come last among inputs and outputs, in the same order; `held` is what they start with. Returns what compiling warned of, and the
/// program for one of the devices.
fn feed_back(version: i64, graph: GraphProto, dims: &[&str], held: &[Tensor], steps: &[Vec<Tensor>]) -> (Vec<String>, Program) {
    let names = |ports: &[winze_compiler::import::proto::ValueInfoProto]| {
        ports[ports.len() - held.len()..].iter().map(|port| port.name.clone()).collect::<Vec<_>>()
    };
    let bind: Vec<String> = names(&graph.output).iter().zip(names(&graph.input)).map(|(next, past)| format!("{next}={past}")).collect();
    let (folder, model) = write(&model_of(version, graph));
    let mut plain = session(&compile_model(&model, &[CPU], 2), Some(1)).unwrap();
    let (mut last, mut expected) = (held.to_vec(), vec![]);
    for step in steps {
        let mut outputs = run(&mut plain, &[step.clone(), last].concat()).unwrap();
        last = outputs.split_off(outputs.len() - held.len());
        expected.push(outputs);
    }
    let mut devices = vec![Device::Cpu];
    devices.extend(has_vulkan("states").then_some(Device::Vulkan(DESKTOP)));
    let compile = |device: Device| {
        let import = ImportOptions { dims: dims.iter().map(|dim| dim.parse().unwrap()).collect(), ..Default::default() };
        let targets = vec![device.target().parse().unwrap()];
        let out = folder.path().join("bound.wz");
        let options = CompileOptions { targets, import, bind: bind.clone(), jobs: 2, emit: None };
        let warnings = compile_for(&model, &options, &out).unwrap_or_else(|e| panic!("{device:?}: {e}"));
        let artifact = std::fs::read(&out).unwrap();
        let mut bound = device.open(&artifact, 1);
        for (index, (step, expected)) in steps.iter().zip(&expected).enumerate() {
            let actual = run(&mut bound, step).unwrap_or_else(|e| panic!("{device:?}, step {index}: {e}"));
            assert_eq!(difference(&actual, expected, 1e-5), None, "{device:?}, step {index}");
        }
        let states = last.iter().zip(0..).map(|(last, state)| {
            let state = bound.read_state(0, state).unwrap();
            let shape: Vec<usize> = state.dims().iter().map(|extent| *extent as usize).collect();
            Tensor::from_bytes(last.element(), &shape, state.bytes()).unwrap()
        });
        assert_eq!(difference(&states.collect::<Vec<_>>(), &last, 1e-5), None, "{device:?}");
        expect_valid();
        (warnings, Program::from_bytes(&artifact).unwrap())
    };
    let mut compiled: Vec<_> = devices.into_iter().map(compile).collect();
    compiled.pop().unwrap()
}

const ELEMENTS: [(ElementType, i32); 8] = [
    (ElementType::Bool, data_type::BOOL),
    (ElementType::I8, data_type::INT8),
    (ElementType::U8, data_type::UINT8),
    (ElementType::I16, data_type::INT16),
    (ElementType::I32, data_type::INT32),
    (ElementType::I64, data_type::INT64),
    (ElementType::F16, data_type::FLOAT16),
    (ElementType::F32, data_type::FLOAT),
];

/// Small whole numbers.
fn numbers(element: ElementType, shape: &[usize], seed: usize) -> Tensor {
    let most = if element == ElementType::Bool { 2 } else { 5 };
    Tensor::from_fn(element, shape, |i| Scalar::of(element, ((i * 7 + seed * 5) % most) as i64))
}

#[test]
fn states_of_all_elements_grow() {
    for (element, proto) in ELEMENTS {
        let nodes = vec![
            node("Concat", &["past", "x"], &["present"], vec![int("axis", 0)]),
            node("Cast", &["present"], &["y"], vec![int("to", data_type::FLOAT.into())]),
        ];
        let inputs = vec![info("x", proto, &["n", "3"]), info("past", proto, &["held", "3"])];
        let outputs = vec![info("y", data_type::FLOAT, &["total", "3"]), info("present", proto, &["total", "3"])];
        let steps: Vec<Vec<Tensor>> = [3, 1, 2].iter().map(|rows| vec![numbers(element, &[*rows, 3], *rows)]).collect();
        let (warnings, _) = feed_back(21, graph(nodes, inputs, outputs, vec![]), &["held<=7"], &[numbers(element, &[0, 3], 0)], &steps);
        assert!(warnings.is_empty(), "{element:?}: {warnings:?}");
    }
}

#[test]
fn states_of_all_elements_are_exchanged() {
    for (element, proto) in ELEMENTS.into_iter().filter(|(element, _)| *element != ElementType::I16) {
        let op = if element == ElementType::Bool { "Xor" } else { "Add" };
        let nodes = vec![node(op, &["past", "x"], &["present"], vec![]), node("Transpose", &["present"], &["y"], vec![])];
        let inputs = vec![info("x", proto, &["5", "3"]), info("past", proto, &["5", "3"])];
        let outputs = vec![info("y", proto, &["3", "5"]), info("present", proto, &["5", "3"])];
        let steps: Vec<Vec<Tensor>> = (0..4).map(|seed| vec![numbers(element, &[5, 3], seed)]).collect();
        feed_back(21, graph(nodes, inputs, outputs, vec![]), &[], &[Tensor::zeros(element, &[5, 3])], &steps);
    }
}

/// Caches of a fixed size, of which each sequence of the batch has filled as many rows as it says.
#[test]
fn caches_that_tensor_scatter_fills() {
    const ROWS: usize = 8;
    for (mode, causal) in [("linear", 1), ("linear", 0), ("circular", 0)] {
        let scatter = |past, rows, present| {
            let attributes = vec![int("axis", -2), string("mode", mode)];
            node("TensorScatter", &[past, rows, "at"], &[present], attributes)
        };
        let nodes = vec![
            scatter("past_keys", "keys", "present_keys"),
            scatter("past_values", "values", "present_values"),
            node("Attention", &["queries", "present_keys", "present_values", "", "", "", "filled"], &["y"], vec![int("is_causal", causal)]),
        ];
        let rows = ["batch", "2", "n", "4"];
        let cache = ["batch", "2", "8", "4"];
        let mut inputs: Vec<_> = ["queries", "keys", "values"].iter().map(|name| info(name, data_type::FLOAT, &rows)).collect();
        inputs.extend(["at", "filled"].map(|name| info(name, data_type::INT64, &["batch"])));
        inputs.extend(["past_keys", "past_values"].map(|name| info(name, data_type::FLOAT, &cache)));
        let mut outputs = vec![info("y", data_type::FLOAT, &rows)];
        outputs.extend(["present_keys", "present_values"].map(|name| info(name, data_type::FLOAT, &cache)));
        // The second sequence has skipped a row.
        let (mut at, mut steps) = ([0i64, 1], vec![]);
        for (step, count) in [3usize, 1, 2, 1].into_iter().enumerate() {
            let values = |seed: usize| {
                let values: Vec<f32> = (0..2 * 2 * count * 4).map(|i| ((i * 13 + seed * 29) % 31) as f32 / 31.0 - 0.5).collect();
                Tensor::new(&[2, 2, count, 4], &values)
            };
            let filled = at.map(|at| (at + count as i64).min(ROWS as i64));
            let mut inputs: Vec<Tensor> = (0..3).map(|which| values(step * 3 + which)).collect();
            inputs.extend([Tensor::new(&[2], &at), Tensor::new(&[2], &filled)]);
            steps.push(inputs);
            // Goes on behind the end where that is the start.
            at = at.map(|at| at + count as i64 + i64::from(mode == "circular"));
        }
        let held = [0, 1].map(|_| Tensor::zeros(ElementType::F32, &[2, 2, ROWS, 4]));
        feed_back(24, graph(nodes, inputs, outputs, vec![]), &[], &held, &steps);
    }
}

/// A batch of one that the model states, as language models are exported for one user.
#[test]
fn a_batch_of_one_is_appended_in_place() {
    let forms = [Form::Separate, Form::Attention].map(|form| (form, CAPACITY));
    let stacked = [Form::Stacked, Form::StackedBehindBatch, Form::StackedBehindPositions];
    for (form, capacity) in forms.into_iter().chain(stacked.into_iter().flat_map(|form| [(form, CAPACITY), (form, ALIGNED)])) {
        let mut graph = decoder(form);
        let ports = graph.input.iter_mut().chain(&mut graph.output);
        for port in ports {
            let Some(TypeValue::Tensor(tensor)) = port.r#type.as_mut().and_then(|r#type| r#type.value.as_mut()) else { continue };
            for dim in tensor.shape.iter_mut().flat_map(|shape| &mut shape.dim) {
                if dim.value == Some(DimensionValue::Param("batch".into())) {
                    dim.value = Some(DimensionValue::Value(1));
                }
            }
        }
        let version = if form == Form::Attention { 23 } else { 21 };
        let bound = format!("past<={capacity}");
        let (warnings, program) = feed_back(version, graph, &[&bound], &empty(form, 1), &[rows(1, 0, 3), rows(1, 3, 1), rows(1, 4, 2)]);
        assert!(warnings.is_empty(), "{form:?}: {warnings:?}");
        copies_nothing_held(form, &program, 1, capacity);
    }
}
