//! `--input`, `--random-inputs` and `--dim` -> one tensor per input of a function. Says which inputs are missing or named wrongly;
//! whether shapes and element types fit is checked where the tensors are bound.

use crate::console::Failure;
use std::path::Path;
use winze_runtime::{
    ElementType, Session, Tensor, TensorView,
    artifact::{
        expr::ExprOp,
        manifest::{Function, Port},
    },
    npy::Array,
};

/// Where an input comes from.
pub enum Input {
    File(Array),
    Made(Tensor),
}

impl Input {
    /// What the input is in step number `step` of `steps`: a file with one axis more than the input has a part for each step.
    pub fn view(&self, port: &Port, step: u32, steps: u32) -> TensorView<'_> {
        match self {
            Self::File(array) if has_parts(array, port, steps) => {
                array.part_as(port.element, step as usize).unwrap_or_else(|| array.view_as(port.element))
            }
            Self::File(array) => array.view_as(port.element),
            Self::Made(tensor) => tensor.view(),
        }
    }
}

fn has_parts(array: &Array, port: &Port, steps: u32) -> bool {
    array.dims.len() == port.dims.len() + 1 && array.dims[0] == i64::from(steps)
}

/// What the user said about inputs.
pub struct Wishes<'a> {
    pub files: &'a [String],
    pub seed: Option<u64>,
    pub dims: &'a [String],
    /// Number of runs.
    pub steps: u32,
}

fn failed(message: String) -> Failure {
    Failure::Failed(format!("inputs: {message}"))
}

pub fn gather(function: &Function, wishes: &Wishes<'_>) -> Result<Vec<Input>, Failure> {
    let ports = &function.inputs;
    let mut found: Vec<Option<Array>> = ports.iter().map(|_| None).collect();
    let mut unnamed = Vec::new();
    for word in wishes.files.iter().filter(|word| state_file(function, word).is_none()) {
        let named = word.split_once('=').and_then(|(name, file)| Some((ports.iter().position(|port| port.name == name)?, file)));
        match named {
            Some((index, file)) if found[index].is_none() => found[index] = Some(open(file, &ports[index])?),
            Some((index, _)) => return Err(failed(format!("\"{}\" is given twice", ports[index].name))),
            None if word.contains('=') && !Path::new(word).exists() => {
                return Err(failed(format!("\"{word}\" names no input of the model and is no file; its inputs are {}", names(ports))));
            }
            None => unnamed.push(word),
        }
    }
    let mut unnamed = unnamed.into_iter();
    for (port, place) in ports.iter().zip(&mut found).filter(|(_, place)| place.is_none()) {
        let Some(file) = unnamed.next() else { break };
        *place = Some(open(file, port)?);
    }
    if unnamed.next().is_some() {
        return Err(failed(format!("{} files are given, but the model has {} inputs: {}", wishes.files.len(), ports.len(), names(ports))));
    }
    let symbols = symbols(function, &found, wishes)?;
    let mut random = wishes.seed.map(SplitMix);
    let made = |index: usize, random: &mut Option<SplitMix>| {
        let port = &ports[index];
        if let Some(fixed) = function.fixed.iter().find(|fixed| fixed.input as usize == index) {
            let mut tensor = Tensor::zeros(port.element, &dims(port, &symbols)?)?;
            tensor.bytes_mut().copy_from_slice(&fixed.bytes);
            return Ok(Input::Made(tensor));
        }
        let Some(random) = random else {
            return Err(failed(format!(
                "\"{}\" is missing; give --input FILE.npy for each of {}, or --random-inputs SEED",
                port.name,
                names(ports)
            )));
        };
        let mut tensor = Tensor::zeros(port.element, &dims(port, &symbols)?)?;
        random.fill(port.element, tensor.bytes_mut());
        Ok(Input::Made(tensor))
    };
    let each = found.into_iter().enumerate();
    each.map(|(index, array)| array.map_or_else(|| made(index, &mut random), |array| Ok(Input::File(array)))).collect()
}

/// State and file of a word `NAME=FILE.npy` that names a state.
fn state_file<'a>(function: &Function, word: &'a str) -> Option<(usize, &'a str)> {
    let (name, file) = word.split_once('=')?;
    function.states.iter().position(|state| state.input.name == name).map(|state| (state, file))
}

/// Gives states the values of their files.
pub fn set_states(session: &mut Session, function: u32, files: &[String]) -> Result<(), Failure> {
    let program = session.program().clone();
    let description = &program.manifest().functions[function as usize];
    for (state, file) in files.iter().filter_map(|word| state_file(description, word)) {
        let port = &description.states[state].input;
        session.set_state(function, state as u32, &open(file, port)?.view_as(port.element))?;
    }
    Ok(())
}

fn open(file: &str, port: &Port) -> Result<Array, Failure> {
    Array::open(Path::new(file)).map_err(|why| failed(format!("\"{}\": {why}", port.name)))
}

pub fn names(ports: &[Port]) -> String {
    if ports.is_empty() {
        return "none".to_owned();
    }
    ports.iter().map(|port| format!("\"{}\"", port.name)).collect::<Vec<_>>().join(", ")
}

/// Values of the symbols: from the files, else `--dim`, else 1, or the smallest one allowed.
fn symbols(function: &Function, found: &[Option<Array>], wishes: &Wishes<'_>) -> Result<Vec<i64>, Failure> {
    let mut values: Vec<Option<i64>> = vec![None; function.symbols.len()];
    for (port, array) in function.inputs.iter().zip(found) {
        let Some(array) = array else { continue };
        bind(port, &array.dims[usize::from(has_parts(array, port, wishes.steps))..], &mut values);
    }
    for wish in wishes.dims {
        // A bound is the compiler's business, and checked when inputs are bound.
        let bound = wish.split_once("<=").is_some_and(|(name, most)| !name.is_empty() && most.trim().parse::<u64>().is_ok());
        if bound {
            continue;
        }
        let value = wish.split_once('=').and_then(|(name, value)| Some((name, value.parse::<i64>().ok().filter(|value| *value >= 0)?)));
        let Some((name, value)) = value else {
            return Err(Failure::Usage(format!("--dim {wish}: expected NAME=N or 'NAME<=N'")));
        };
        // One that is fixed in the artifact is no symbol any more.
        if let Some(index) = function.symbols.iter().position(|symbol| symbol.name == name) {
            values[index] = values[index].or(Some(value));
        }
    }
    Ok(values.iter().zip(&function.symbols).map(|(value, symbol)| value.unwrap_or_else(|| symbol.min.max(1))).collect())
}

/// Notes the symbols that stand alone as a dim.
fn bind(port: &Port, dims: &[i64], values: &mut [Option<i64>]) {
    for (dim, actual) in port.dims.iter().zip(dims) {
        if let [ExprOp::Symbol(symbol)] = dim.0[..] {
            values[symbol as usize].get_or_insert(*actual);
        }
    }
}

/// Values of all symbols for inputs that have been accepted, with the states as they are.
pub fn bound_symbols(session: &Session, index: u32, inputs: &[TensorView<'_>]) -> Vec<i64> {
    let function = &session.program().manifest().functions[index as usize];
    let mut values = vec![None; function.symbols.len()];
    for (state, number) in function.states.iter().zip(0..) {
        if let Ok(Some(dims)) = session.state_dims(index, number) {
            bind(&state.input, dims, &mut values);
        }
    }
    for (port, input) in function.inputs.iter().zip(inputs) {
        bind(port, input.dims, &mut values);
    }
    values.into_iter().zip(&function.symbols).map(|(value, symbol)| value.unwrap_or(symbol.min)).collect()
}

fn dims(port: &Port, symbols: &[i64]) -> Result<Vec<i64>, Failure> {
    let dims = port.dims.iter().map(|dim| dim.eval(symbols));
    dims.collect::<Result<_, _>>().map_err(|error| failed(format!("\"{}\": {error}; choose other values with --dim", port.name)))
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same inputs for a seed on every machine.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [-1, 1), a multiple of 2^-23.
    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 * (2.0 / (1u64 << 24) as f32) - 1.0
    }

    /// Floats in [-1, 1), everything else 0 or 1, which is an index that most tables have.
    fn fill(&mut self, element: ElementType, bytes: &mut [u8]) {
        for chunk in bytes.chunks_exact_mut(element.bytes()) {
            match element {
                ElementType::F16 => chunk.copy_from_slice(&half::f16::from_f32(self.float()).to_le_bytes()),
                ElementType::BF16 => chunk.copy_from_slice(&half::bf16::from_f32(self.float()).to_le_bytes()),
                ElementType::F32 => chunk.copy_from_slice(&self.float().to_le_bytes()),
                ElementType::F64 => chunk.copy_from_slice(&f64::from(self.float()).to_le_bytes()),
                _ => chunk[0] = (self.next() >> 63) as u8,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use winze_runtime::artifact::{expr::Expr, manifest::Symbol};

    fn function() -> Function {
        let port = |name: &str, dims: Vec<Expr>| Port { name: name.into(), element: ElementType::F32, dims, model_type: None };
        let double = Expr::binary(ExprOp::Mul, &Expr::symbol(0), &Expr::constant(2));
        Function {
            name: "main".into(),
            symbols: vec![Symbol { name: "n".into(), min: 0, max: None, upper: None }],
            inputs: vec![port("x", vec![Expr::symbol(0)]), port("y", vec![double])],
            ..Function::default()
        }
    }

    fn saved(folder: &Path, name: &str, count: i64) -> String {
        let path = folder.join(name);
        winze_runtime::npy::write(&path, &TensorView::of(&[count], &vec![1f32; count as usize])).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn shapes(files: &[String], seed: Option<u64>, dims: &[&str]) -> Result<Vec<Vec<i64>>, String> {
        let function = function();
        let dims: Vec<String> = dims.iter().map(|dim| dim.to_string()).collect();
        let inputs = gather(&function, &Wishes { files, seed, dims: &dims, steps: 1 });
        let inputs = inputs.map_err(|failure| format!("{failure:?}"))?;
        Ok(inputs.iter().zip(&function.inputs).map(|(input, port)| input.view(port, 0, 1).dims.to_vec()).collect())
    }

    #[test]
    fn takes_inputs_by_order_and_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (saved(folder.path(), "a.npy", 2), saved(folder.path(), "b.npy", 4));
        assert_eq!(shapes(&[a.clone(), b.clone()], None, &[]).unwrap(), [[2], [4]]);
        assert_eq!(shapes(&[format!("y={b}"), a.clone()], None, &[]).unwrap(), [[2], [4]]);
        assert!(shapes(std::slice::from_ref(&a), None, &[]).unwrap_err().contains(r#"\"y\" is missing"#));
        assert!(shapes(&[a.clone(), b.clone(), a.clone()], None, &[]).unwrap_err().contains("3 files"));
        assert!(shapes(&[format!("x={a}"), format!("x={a}")], None, &[]).unwrap_err().contains("twice"));
        assert!(shapes(&[format!("z={a}")], None, &[]).unwrap_err().contains("names no input"));
        let odd = saved(folder.path(), "k=v.npy", 2);
        assert_eq!(shapes(&[odd, b], None, &[]).unwrap(), [[2], [4]], "a file may have = in its name");
    }

    #[test]
    fn random_inputs_follow_files_and_dims() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(shapes(&[], Some(1), &[]).unwrap(), [[1], [2]]);
        assert_eq!(shapes(&[], Some(1), &["n=5", "fixed=3"]).unwrap(), [[5], [10]]);
        assert_eq!(shapes(&[], Some(1), &["n<=8"]).unwrap(), [[1], [2]]);
        assert!(shapes(&[], Some(1), &["n<=x"]).unwrap_err().contains("NAME<=N"));
        assert_eq!(shapes(&[saved(folder.path(), "a.npy", 3)], Some(1), &["n=5"]).unwrap(), [[3], [6]]);
        assert!(shapes(&[], Some(1), &["n=x"]).unwrap_err().contains("NAME=N"));
    }

    #[test]
    fn a_seed_is_the_same_everywhere() {
        let mut bytes = [0; 12];
        SplitMix(1).fill(ElementType::F32, &mut bytes);
        let floats: Vec<f32> = bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(SplitMix(0).next(), 0xe220_a839_7b1d_cdaf, "the published first value for seed 0");
        assert!(floats.iter().all(|x| (-1.0..1.0).contains(x)) && floats[0] != floats[1]);
    }
}
