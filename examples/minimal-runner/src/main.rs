//! `minimal-runner MODEL.wz FILE:2x3 ...`: raw input files (C order, little-endian) -> `output_0.bin`, ... on the CPU.

use std::{error::Error, fs, process::ExitCode};
use winze_runtime::{DeviceChoice, Program, Session, SessionOptions, Tensor};

fn input(argument: &str, element: winze_runtime::ElementType) -> Result<Tensor, Box<dyn Error>> {
    let (path, dims) = argument.rsplit_once(':').ok_or("expected FILE:DIMS, for instance x.bin:2x3")?;
    let dims: Vec<i64> = dims.split('x').filter(|d| !d.is_empty()).map(str::parse).collect::<Result<_, _>>()?;
    let mut tensor = Tensor::zeros(element, &dims)?;
    let bytes = fs::read(path).map_err(|e| format!("{path}: {e}"))?;
    if bytes.len() != tensor.bytes().len() {
        return Err(format!("{path}: expected {} bytes, got {}", tensor.bytes().len(), bytes.len()).into());
    }
    tensor.bytes_mut().copy_from_slice(&bytes);
    Ok(tensor)
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, files @ ..] = &arguments[..] else { return Err("usage: minimal-runner MODEL.wz FILE:DIMS ...".into()) };
    let program = Program::open(model)?;
    let ports = &program.manifest().functions[0].inputs;
    let tensors: Vec<Tensor> = files.iter().zip(ports).map(|(file, port)| input(file, port.element)).collect::<Result<_, _>>()?;
    let mut session = Session::new(&program, &DeviceChoice::Cpu, SessionOptions::default())?;
    let views: Vec<_> = tensors.iter().map(Tensor::view).collect();
    for (index, output) in session.run(&views)?.iter().enumerate() {
        println!("output_{index}.bin: {}", output.shape());
        fs::write(format!("output_{index}.bin"), output.data)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
