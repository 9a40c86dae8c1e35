//! `winze run`: a program and inputs -> outputs as files or text, and a comparison with expected ones.

use crate::{
    arguments::RunOptions,
    compare::{self, Tolerance},
    console::{Console, Failure},
    inputs::{self, Input, Wishes},
    model,
    session::{self, Ready},
};
use std::{fmt::Write, fs, path::PathBuf, time::Instant};
use winze_runtime::{Session, Tensor, TensorView, artifact::manifest::Function, npy, tensor::element_count};

/// More elements than this are shown by their first ones.
const SHOWN: usize = 12;

pub fn run(options: &RunOptions, console: &Console) -> Result<(), Failure> {
    let opened = model::open(&options.model, console)?;
    let Ready { mut session, function } = session::start(&opened.program, &options.model, console)?;
    let description = &opened.program.manifest().functions[function as usize];
    let bindings = bindings(description, &options.bind)?;
    let expected = options.expect.iter().map(|path| npy::Array::open(path).map_err(|why| Failure::Failed(format!("expect: {why}"))));
    let expected = expected.collect::<Result<Vec<_>, _>>()?;
    if expected.len() > description.outputs.len() {
        return Err(Failure::Failed(format!(
            "expect: {} files are given, but the model has {} outputs",
            expected.len(),
            description.outputs.len()
        )));
    }
    let zeros: Vec<usize> = bindings.iter().map(|(_, input)| *input).collect();
    let general = &options.model;
    let wishes = Wishes { files: &general.input, seed: general.random_inputs, dims: &general.dim, zeros: &zeros, steps: options.steps };
    let mut inputs = inputs::gather(description, &wishes)?;

    let started = Instant::now();
    for step in 0..options.steps {
        if step > 0 {
            feed_back(&mut session, function, &bindings, &mut inputs)?;
        }
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
    deliver(&session, function, options, console)?;
    check(&session, function, &expected, Tolerance { rtol: options.rtol, atol: options.atol }, console)
}

/// `--bind OUTPUT=INPUT` -> (output, input) numbers. Names may contain `=`.
fn bindings(function: &Function, words: &[String]) -> Result<Vec<(usize, usize)>, Failure> {
    let find = |word: &str| {
        word.match_indices('=').find_map(|(at, _)| {
            let output = function.outputs.iter().position(|port| port.name == word[..at])?;
            let input = function.inputs.iter().position(|port| port.name == word[at + 1..])?;
            Some((output, input))
        })
    };
    let bind = |word: &String| {
        let (output, input) = find(word).ok_or_else(|| {
            Failure::Failed(format!(
                "bind: \"{word}\" is no OUTPUT=INPUT of the model; outputs are {}, inputs are {}",
                inputs::names(&function.outputs),
                inputs::names(&function.inputs)
            ))
        })?;
        let (from, to) = (&function.outputs[output], &function.inputs[input]);
        if from.element != to.element {
            return Err(Failure::Failed(format!("bind: \"{}\" is {} but \"{}\" is {}", from.name, from.element, to.name, to.element)));
        }
        Ok((output, input))
    };
    words.iter().map(bind).collect()
}

/// Bound outputs of the last step become inputs of the next: both exchange their memory, so nothing is copied.
fn feed_back(session: &mut Session, function: u32, bindings: &[(usize, usize)], inputs: &mut [Input]) -> Result<(), Failure> {
    for (at, (output, input)) in bindings.iter().enumerate() {
        // An output that feeds two inputs has gone to the first.
        if let Some((_, first)) = bindings[..at].iter().find(|(other, _)| other == output)
            && let Input::Made(tensor) = &inputs[*first]
        {
            inputs[*input] = Input::Made(tensor.clone());
            continue;
        }
        if matches!(inputs[*input], Input::File(_)) {
            let element = session.program().manifest().functions[function as usize].inputs[*input].element;
            inputs[*input] = Input::Made(Tensor::zeros(element, &[0])?);
        }
        let Input::Made(tensor) = &mut inputs[*input] else { continue };
        session.swap_output(function, *output, tensor)?;
    }
    Ok(())
}

/// Writes the outputs, or shows them.
fn deliver(session: &Session, function: u32, options: &RunOptions, console: &Console) -> Result<(), Failure> {
    let ports = &session.program().manifest().functions[function as usize].outputs;
    if let Some(folder) = &options.output_dir {
        fs::create_dir_all(folder).map_err(|error| Failure::Failed(format!("outputs: {}: {error}", folder.display())))?;
    }
    let mut text = String::new();
    for (index, (port, view)) in ports.iter().zip(session.outputs(function).iter()).enumerate() {
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
fn check(session: &Session, function: u32, expected: &[npy::Array], tolerance: Tolerance, console: &Console) -> Result<(), Failure> {
    let ports = &session.program().manifest().functions[function as usize].outputs;
    let (mut text, mut differing) = (String::new(), Vec::new());
    for ((index, array), (port, view)) in expected.iter().enumerate().zip(ports.iter().zip(session.outputs(function).iter())) {
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
