//! `winze inspect`: an artifact -> what it contains and needs, as text or JSON. Maps no native code and touches no device.

use crate::{
    arguments::InspectOptions,
    console::{Console, Failure},
    model::check_dim,
};
use serde_json::{Value, json};
use std::fmt::Write;
use winze_runtime::{
    Program,
    artifact::{
        expr::{Expr, ExprOp},
        manifest::{Code, Device, Function, Growth, Manifest, Port, Symbol, Variant},
        program::{Instruction, Place},
        reader::OpenOptions,
    },
};

pub fn inspect(options: &InspectOptions, console: &Console) -> Result<(), Failure> {
    let program = Program::open_with(&options.artifact, &OpenOptions::whole())?;
    let dims = options.dim.iter().map(|dim| parse_dim(&program, dim)).collect::<Result<Vec<_>, _>>()?;
    console.result(&if options.json { format!("{:#}\n", object(&program, &dims)) } else { text(&program, &dims) })
}

/// A dim that the user gives a value.
fn parse_dim(program: &Program, text: &str) -> Result<(String, i64), Failure> {
    let value = text.rsplit_once('=').and_then(|(name, value)| Some((name, value.parse::<i64>().ok().filter(|value| *value >= 0)?)));
    let Some((name, value)) = value else { return Err(Failure::Usage(format!("--dim {text}: expected NAME=N"))) };
    check_dim(program, text, name)?;
    Ok((name.into(), value))
}

/// Bytes of a function's arena, where the given dims and those with a bound, which count at it, are all that it depends on.
fn arena_bytes(function: &Function, arena: &Expr, dims: &[(String, i64)]) -> Option<i64> {
    let value = |symbol: &Symbol| dims.iter().rev().find(|(name, _)| *name == symbol.name).map(|(_, value)| *value);
    let values: Vec<Option<i64>> = function.symbols.iter().map(|symbol| value(symbol).or(symbol.max)).collect();
    if arena.uses(|symbol| values[symbol as usize].is_none()) {
        return None;
    }
    arena.eval(&values.into_iter().map(|value| value.unwrap_or(0)).collect::<Vec<_>>()).ok()
}

/// Bytes that a run moves without computing, for states that hold nothing and that are full after it. Dims that are not given are 1.
fn copied_bytes(program: &Program, variant: usize, function: usize, dims: &[(String, i64)]) -> Option<[u64; 2]> {
    let description = &program.manifest().functions[function];
    let given = |name: &str| dims.iter().rev().find(|(given, _)| given == name).map(|(_, value)| *value);
    let mut symbols: Vec<i64> = description.symbols.iter().map(|symbol| given(&symbol.name).unwrap_or(symbol.min.max(1))).collect();
    let grown = description.states.iter().filter_map(|state| {
        let growth = state.growth?;
        match state.input.dims[growth.axis as usize].0[..] {
            [ExprOp::Symbol(symbol)] => Some((symbol as usize, state, growth)),
            _ => None,
        }
    });
    let grown: Vec<_> = grown.collect();
    grown.iter().for_each(|(symbol, ..)| symbols[*symbol] = 0);
    let copied = |symbols: &[i64]| program.copied_bytes(variant as u32, function as u32, symbols).ok();
    let empty = copied(&symbols)?;
    for (symbol, state, growth) in &grown {
        let rows = state.output.dims[growth.axis as usize].eval(&symbols).ok()?;
        symbols[*symbol] = (growth.capacity as i64).checked_sub(rows)?.max(0);
    }
    Some([empty, copied(&symbols)?])
}

fn expr_text(function: &Function, expr: &Expr) -> String {
    expr.to_text(&|symbol| function.symbols.get(symbol as usize).map_or_else(|| format!("s{symbol}"), |symbol| symbol.name.clone()))
}

/// Over a kernel's own dim arguments.
fn kernel_expr_text(expr: &Expr) -> String {
    expr.to_text(&|dim| format!("d{dim}"))
}

fn port_text(function: &Function, port: &Port) -> String {
    let dims: Vec<_> = port.dims.iter().map(|dim| expr_text(function, dim)).collect();
    let holds = port.model_type.as_ref().map_or_else(String::new, |name| format!(" that holds {name}"));
    format!("{}: {}[{}]{holds}", port.name, port.element, dims.join(" x "))
}

fn symbol_range(min: i64, max: Option<i64>) -> String {
    max.map_or_else(|| format!(">= {min}"), |max| format!("{min} to {max}"))
}

/// Bytes of the constants that a variant uses, each counted once.
fn weights_bytes(manifest: &Manifest, variant: &Variant) -> u64 {
    let buffers = variant.programs.iter().flat_map(|program| &program.buffers);
    let used = buffers
        .filter_map(|buffer| if let Place::Constant(index) = buffer.place { Some(&manifest.constants[index as usize]) } else { None });
    let mut ranges: Vec<_> = used.map(|constant| (constant.offset, constant.bytes)).collect();
    ranges.sort_unstable();
    ranges.dedup();
    ranges.iter().map(|(_, bytes)| bytes).sum()
}

fn api_version(packed: u32) -> String {
    format!("{}.{}", packed >> 22, packed >> 12 & 0x3ff)
}

fn requirements(device: &Device) -> String {
    match device {
        Device::Cpu { triple, features, .. } => format!("{triple} {}", features.join(" ")),
        Device::Vulkan { api_version: api, features, .. } => format!("Vulkan {} {}", api_version(*api), features.join(" ")),
    }
}

fn text(program: &Program, dims: &[(String, i64)]) -> String {
    let (reader, manifest) = (program.reader(), program.manifest());
    let mut out = String::new();
    let mut line = |indent: usize, text: &str| {
        let _ = writeln!(out, "{:indent$}{}", "", text.trim_end());
    };
    line(0, &format!("artifact of {}, {} bytes", manifest.producer, reader.file_bytes()));
    line(0, "sections");
    for section in reader.sections() {
        line(2, &format!("{:<10} {:>12} bytes at {}", section.kind.name(), section.length, section.offset));
    }
    for function in &manifest.functions {
        let form = function.specializes.as_ref().map(|form| &manifest.functions[form.function as usize].name);
        let form = form.map(|general| format!(", a form of {general}")).unwrap_or_default();
        line(0, &format!("function {}{form}", function.name));
        for (index, symbol) in function.symbols.iter().enumerate() {
            match &symbol.upper {
                None => line(2, &format!("symbol {} {}", symbol.name, symbol_range(symbol.min, symbol.max))),
                Some(_) if function.is_open(index as u32) => line(2, &format!("found  {} while running", symbol.name)),
                Some(upper) => line(2, &format!("found  {} while running, at most {}", symbol.name, expr_text(function, upper))),
            }
        }
        for (index, port) in function.inputs.iter().enumerate() {
            let fixed = if is_fixed(function, index) { ", compiled for one value" } else { "" };
            line(2, &format!("input  {}{fixed}", port_text(function, port)));
        }
        for port in &function.outputs {
            line(2, &format!("output {}", port_text(function, port)));
        }
        for state in &function.states {
            let kept = match state.growth {
                Some(Growth { axis, capacity, in_place: true }) => format!("grows along axis {axis} in place, up to {capacity}"),
                Some(Growth { axis, capacity, in_place: false }) => {
                    format!("grows along axis {axis}, made anew in every run, up to {capacity}")
                }
                None => "exchanged".into(),
            };
            line(2, &format!("state  {} -> {}, {kept}", port_text(function, &state.input), port_text(function, &state.output)));
        }
    }
    for (index, variant) in manifest.variants.iter().enumerate() {
        line(0, &format!("variant {}", variant.target));
        line(2, &format!("needs   {}", requirements(&variant.device)));
        line(2, &format!("weights {} bytes", weights_bytes(manifest, variant)));
        for (function, program) in manifest.functions.iter().zip(&variant.programs) {
            let bytes = arena_bytes(function, &program.arena, dims).filter(|_| program.arena.as_constant().is_none());
            let bytes = bytes.map_or_else(String::new, |bytes| format!(" = {bytes}"));
            line(2, &format!("arena   {}{bytes} bytes for {}", expr_text(function, &program.arena), function.name));
        }
        for (function, description) in manifest.functions.iter().enumerate().filter(|(_, function)| !function.states.is_empty()) {
            if let Some([empty, full]) = copied_bytes(program, index, function, dims) {
                line(2, &format!("copied  {empty} bytes by a run of {} with empty states, {full} with full ones", description.name));
            }
        }
        line(2, &format!("kernels {}", variant.kernels.len()));
        for (index, kernel) in variant.kernels.iter().enumerate() {
            let uses = variant.dispatches.iter().filter(|dispatch| dispatch.kernel as usize == index).count();
            let workspace = kernel.workspace.as_constant().map_or_else(|| kernel_expr_text(&kernel.workspace), |bytes| bytes.to_string());
            let (grid, class) = (kernel_expr_text(&kernel.grid), &kernel.class);
            line(4, &format!("{} ({class}): grid {grid}, workspace {workspace} bytes, used {uses} times", kernel.name));
        }
        for external in &variant.externs {
            line(2, &format!("calls   {}{}, which the host brings", external.name, external.signature));
        }
        for (function, program) in manifest.functions.iter().zip(&variant.programs) {
            line(2, &format!("program of {}: {} instructions", function.name, program.code.len()));
            for instruction in &program.code {
                match instruction {
                    Instruction::Dispatch { dispatch, .. } => {
                        let used = &variant.dispatches[*dispatch as usize];
                        line(4, &format!("{} <- {}", variant.kernels[used.kernel as usize].name, used.nodes.join(", ")));
                    }
                    Instruction::CallExtern { external, .. } => line(4, &format!("call {}", variant.externs[*external as usize].name)),
                    _ => {}
                }
            }
        }
    }
    out
}

fn port_object(function: &Function, port: &Port) -> Value {
    let dim = |dim: &Expr| dim.as_constant().map_or_else(|| json!(expr_text(function, dim)), |value| json!(value));
    let mut object = json!({"name": port.name, "element": port.element.name(), "dims": port.dims.iter().map(dim).collect::<Vec<_>>()});
    if let Some(name) = &port.model_type {
        object["model_type"] = json!(name);
    }
    object
}

fn is_fixed(function: &Function, input: usize) -> bool {
    function.fixed.iter().any(|fixed| fixed.input as usize == input)
}

/// `found_at_most`: the largest value of a size that is found while running; null if nothing bounds it.
fn symbol_object(function: &Function, (index, symbol): (usize, &Symbol)) -> Value {
    let mut object = json!({"name": symbol.name, "min": symbol.min, "max": symbol.max});
    if let Some(upper) = &symbol.upper {
        object["found_at_most"] = if function.is_open(index as u32) { Value::Null } else { json!(expr_text(function, upper)) };
    }
    object
}

fn function_object(function: &Function) -> Value {
    json!({
        "name": function.name,
        "symbols": function.symbols.iter().enumerate().map(|symbol| symbol_object(function, symbol)).collect::<Vec<_>>(),
        "inputs": function.inputs.iter().map(|port| port_object(function, port)).collect::<Vec<_>>(),
        "fixed_inputs": function.fixed.iter().map(|fixed| &function.inputs[fixed.input as usize].name).collect::<Vec<_>>(),
        "outputs": function.outputs.iter().map(|port| port_object(function, port)).collect::<Vec<_>>(),
        "states": function.states.iter().map(|state| json!({
            "input": port_object(function, &state.input), "output": port_object(function, &state.output),
            "input_index": state.input_index, "output_index": state.output_index,
            "axis": state.growth.map(|growth| growth.axis), "capacity": state.growth.map(|growth| growth.capacity),
            "in_place": state.in_place().is_some(),
        })).collect::<Vec<_>>(),
        "specializes": function.specializes.as_ref().map(|form| json!({"function": form.function, "symbols": form.symbols})),
    })
}

fn variant_object(program: &Program, index: usize, dims: &[(String, i64)]) -> Value {
    let manifest = program.manifest();
    let variant = &manifest.variants[index];
    let requires = match &variant.device {
        Device::Cpu { triple, features, .. } => json!({"device": "cpu", "triple": triple, "features": features}),
        Device::Vulkan { profile, api_version: api, features, .. } => {
            json!({"device": "vulkan", "profile": profile, "api_version": api_version(*api), "features": features})
        }
    };
    let kernels = variant.kernels.iter().map(|kernel| {
        let code = match &kernel.code {
            Code::Native { entry } => json!({"entry": entry}),
            Code::Spirv { bytes, entry, workgroup_size, turns, .. } => {
                json!({"entry": entry, "bytes": bytes, "workgroup_size": workgroup_size, "turns": kernel_expr_text(turns)})
            }
        };
        json!({
            "name": kernel.name, "class": kernel.class, "buffers": kernel.buffers.len(), "dims": kernel.dims, "scalars": kernel.scalars,
            "grid": kernel_expr_text(&kernel.grid), "workspace": kernel_expr_text(&kernel.workspace), "in_place": kernel.in_place, "code": code,
        })
    });
    let dispatches = variant.dispatches.iter().map(|dispatch| json!({"kernel": dispatch.kernel, "nodes": dispatch.nodes}));
    let externs = variant.externs.iter().map(|external| json!({"name": external.name, "signature": external.signature}));
    let programs = manifest.functions.iter().zip(&variant.programs).enumerate().map(|(number, (function, launch))| {
        let mut object = json!({
            "function": function.name, "arena_bytes": expr_text(function, &launch.arena), "instructions": launch.code.len(),
            "buffers": launch.buffers.len(), "registers": launch.registers,
        });
        if let Some([empty, full]) = copied_bytes(program, index, number, dims).filter(|_| !function.states.is_empty()) {
            object["copied_bytes"] = json!({"empty": empty, "full": full});
        }
        if let Some(bytes) = arena_bytes(function, &launch.arena, dims).filter(|_| launch.arena.as_constant().is_none()) {
            object["arena_bytes_at_dims"] = json!(bytes);
        }
        object
    });
    json!({
        "target": variant.target, "requires": requires, "weights_bytes": weights_bytes(manifest, variant),
        "kernels": kernels.collect::<Vec<_>>(), "dispatches": dispatches.collect::<Vec<_>>(), "externs": externs.collect::<Vec<_>>(),
        "programs": programs.collect::<Vec<_>>(),
    })
}

fn object(program: &Program, dims: &[(String, i64)]) -> Value {
    let (reader, manifest) = (program.reader(), program.manifest());
    let sections = reader.sections().iter().map(|section| {
        json!({
            "kind": section.kind.name(), "offset": section.offset, "bytes": section.length, "alignment": section.alignment,
            "crc32": format!("{:08x}", section.crc32),
        })
    });
    let constants = manifest.constants.iter().map(|constant| {
        let hash: String = constant.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"element": constant.storage.name(), "dims": constant.dims, "bytes": constant.bytes, "blake3": hash})
    });
    json!({
        "producer": manifest.producer, "manifest_version": manifest.version, "file_bytes": reader.file_bytes(),
        "sections": sections.collect::<Vec<_>>(),
        "functions": manifest.functions.iter().map(function_object).collect::<Vec<_>>(),
        "constants": constants.collect::<Vec<_>>(),
        "variants": (0..manifest.variants.len()).map(|variant| variant_object(program, variant, dims)).collect::<Vec<_>>(),
    })
}
