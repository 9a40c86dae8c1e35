//! `winze run`: a program and inputs -> outputs as files or text, and a comparison with expected ones.

use crate::{
    arguments::RunOptions,
    compare::{self, Tolerance},
    console::{Console, Failure},
    inputs::{self, Wishes},
    model,
    session::{self, Ready},
};
use std::{fmt::Write, fs, path::PathBuf, time::Instant};
use winze_runtime::{
    Session, Tensor, TensorView,
    artifact::{manifest::Port, reader::OpenOptions},
    npy,
    tensor::element_count,
};

/// More elements than this are shown by their first ones.
const SHOWN: usize = 12;

pub fn run(options: &RunOptions, console: &Console) -> Result<(), Failure> {
    // One run follows, so that checking the whole file costs nothing that matters.
    let opened = model::open(&options.model, &OpenOptions::whole(), console)?;
    let Ready { mut session, function } = session::start(&opened.program, &options.model, console)?;
    let description = &opened.program.manifest().functions[function as usize];
    let expected = options.expect.iter().map(|path| npy::Array::open(path).map_err(|why| Failure::Failed(format!("expect: {why}"))));
    let expected = expected.collect::<Result<Vec<_>, _>>()?;
    let count = description.outputs.len() + description.states.len();
    if expected.len() > count {
        return Err(Failure::Failed(format!("expect: {} files are given, but the model has {count} outputs", expected.len())));
    }
    let general = &options.model;
    let wishes = Wishes { files: &general.input, seed: general.random_inputs, dims: &general.dim, steps: options.steps };
    let inputs = inputs::gather(description, &wishes)?;
    inputs::set_states(&mut session, function, &general.input)?;

    let started = Instant::now();
    for step in 0..options.steps {
        let ports = inputs.iter().zip(&description.inputs);
        let views: Vec<TensorView<'_>> = ports.map(|(input, port)| input.view(port, step, options.steps)).collect();
        let failed = |error| if options.steps > 1 { Failure::Failed(format!("step {step}: {error}")) } else { Failure::from(error) };
        session.run_function(function, &views).map_err(failed)?;
    }
    console.note(&format!("opened in {:.2} ms, ran in {:.2} ms", opened.time.as_secs_f64() * 1e3, started.elapsed().as_secs_f64() * 1e3));
    session::report_notices(&session, console);
    if let Some(path) = &general.trace {
        session::write_trace(&session, path)?;
    }
    let outputs = outputs(&session, function)?;
    deliver(&outputs, options, console)?;
    check(&outputs, &expected, Tolerance { rtol: options.rtol, atol: options.atol }, console)
}

/// A result of the last run under the number of the model's output.
enum Output<'a> {
    Made(&'a Port, TensorView<'a>),
    /// What a state holds now, copied out of its place.
    Held(&'a Port, Tensor),
}

impl Output<'_> {
    fn port(&self) -> &Port {
        match self {
            Self::Made(port, _) | Self::Held(port, _) => port,
        }
    }

    fn view(&self) -> TensorView<'_> {
        match self {
            Self::Made(_, view) => *view,
            Self::Held(_, tensor) => tensor.view(),
        }
    }
}

/// All outputs of the model, in its order.
fn outputs(session: &Session, function: u32) -> Result<Vec<Output<'_>>, Failure> {
    let description = &session.program().manifest().functions[function as usize];
    let mut made = description.outputs.iter().zip(session.outputs(function).iter());
    let count = description.outputs.len() + description.states.len();
    let output = |index: usize| match description.states.iter().position(|state| state.output_index as usize == index) {
        Some(state) => Ok(Some(Output::Held(&description.states[state].output, session.read_state(function, state as u32)?))),
        None => Ok(made.next().map(|(port, view)| Output::Made(port, view))),
    };
    (0..count).map(output).filter_map(Result::transpose).collect()
}

/// Writes the outputs, or shows them.
fn deliver(outputs: &[Output<'_>], options: &RunOptions, console: &Console) -> Result<(), Failure> {
    if let Some(folder) = &options.output_dir {
        fs::create_dir_all(folder).map_err(|error| Failure::Failed(format!("outputs: {}: {error}", folder.display())))?;
    }
    let mut text = String::new();
    for (index, output) in outputs.iter().enumerate() {
        let (port, view) = (output.port(), output.view());
        let mut line = format!("output_{index} \"{}\" {}", port.name, view.shape());
        match &options.output_dir {
            Some(folder) => {
                let path: PathBuf = folder.join(format!("output_{index}.npy"));
                npy::write(&path, &view).map_err(|why| Failure::Failed(format!("outputs: {why}")))?;
                let _ = write!(line, " -> {}", path.display());
            }
            None => {
                let _ = write!(line, " = {}", shown(&view));
            }
        }
        let _ = writeln!(text, "{line}");
    }
    if console.is_quiet() && options.output_dir.is_some() { Ok(()) } else { console.result(&text) }
}

fn shown(view: &TensorView<'_>) -> String {
    let count = element_count(view.dims).unwrap_or(0) as usize;
    let elements = view.data.chunks_exact(view.element.bytes()).take(SHOWN).map(|bytes| compare::text(view.element, bytes));
    let mut text = elements.collect::<Vec<_>>().join(", ");
    if count > SHOWN {
        let _ = write!(text, ", ... ({count} elements)");
    }
    format!("[{text}]")
}

/// Compares with every expected output before it fails.
fn check(outputs: &[Output<'_>], expected: &[npy::Array], tolerance: Tolerance, console: &Console) -> Result<(), Failure> {
    let (mut text, mut differing) = (String::new(), Vec::new());
    for ((index, array), output) in expected.iter().enumerate().zip(outputs) {
        let (port, view) = (output.port(), output.view());
        match compare::compare(&view, &array.view_as(port.element), tolerance) {
            Ok(agreement) => {
                let _ = writeln!(text, "output_{index} \"{}\" as expected; largest difference {:e}", port.name, agreement.max_difference);
            }
            Err(why) => differing.push(format!("output_{index} \"{}\": {why}", port.name)),
        }
    }
    if !console.is_quiet() {
        console.result(&text)?;
    }
    if differing.is_empty() { Ok(()) } else { Err(Failure::Failed(format!("expect: {}", differing.join("\n       expect: ")))) }
}
