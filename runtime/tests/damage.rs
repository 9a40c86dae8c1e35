//! Damaged, foreign and malformed artifacts: always an error or an equal artifact, never a panic, also when checksums are right.

mod fixture;

use fixture::*;
use std::sync::{Arc, atomic::AtomicU32};
use winze_runtime::{
    artifact::{
        container::{SectionKind, encode_manifest, parse_sections},
        manifest::{Access, ElementType, Function, Growth, Manifest},
        program::{Instruction::*, IntOp, Place, Predicate, Program as LaunchProgram},
        reader::OpenOptions,
    },
    backend::*,
    device::DeviceChoice,
    error::{Error, Result},
    memory::AlignedBytes,
    program::Program,
    session::{Session, SessionOptions},
    tensor::TensorView,
};

/// An artifact that uses every part of the format: two functions, symbols, constants, loops, calls, all places.
fn everything() -> Vec<u8> {
    let mut model = add_scale(symbol("rows", 1, Some(64)), symbol("width", 1, None), 3.0);
    let add = model.kernel("add_scalar", &[Access::ReadWrite], 1, s(0), c(0));
    let shape = [s(0), s(1)];
    let f32s = |place| buffer(ElementType::F32, &shape, place);
    let area = padded_f32(&mul(&s(0), &s(1)));
    let outer = LaunchProgram {
        registers: 8,
        buffers: vec![
            f32s(Place::Input(0)),
            f32s(Place::Output(0)),
            f32s(Place::Arena(c(0))),
            buffer(ElementType::I64, &[c(8)], Place::Arena(area.clone())),
        ],
        arena: mul(&area, &c(3)),
        code: vec![
            ConstInt { dst: 2, value: 3 },
            ConstInt { dst: 3, value: 1 },
            Int { op: IntOp::Sub, dst: 2, lhs: 2, rhs: 3 },
            Loop { counter: 4, trip: 2, exit: 7 },
            Call { function: 0, symbols: vec![0, 1], inputs: vec![0, 0], outputs: vec![2], arena: mul(&area, &c(2)) },
            Dispatch { dispatch: add, buffers: vec![3], dims: vec![3], scalars: vec![4] },
            EndLoop { start: 3 },
            Load { dst: 5, buffer: 3, index: 4 },
            Branch { condition: 5, on_true: 10, on_false: 9 },
            Jump { target: 11 },
            Fail { message: "negative".into() },
            Check { predicate: Predicate::Le, lhs: c(0), rhs: area.clone(), message: "an area".into() },
            Copy { src: 2, src_offset: Some(6), dst: 1, dst_offset: Some(6), bytes: None },
            Barrier,
            CallExtern { external: 0, buffers: vec![0, 1], dims: vec![0], scalars: vec![5] },
            Return,
        ],
    };
    model.external("log", "(f32[n]) -> (f32[n])", ElementType::F32, 1);
    let function = Function {
        name: "twice".into(),
        symbols: vec![symbol("rows", 1, Some(64)), symbol("width", 1, None)],
        inputs: vec![port("x", ElementType::F32, &shape)],
        outputs: vec![port("y", ElementType::F32, &shape)],
        ..Function::default()
    };
    model.function(function, outer);
    std::fs::read(&model.artifact().path).unwrap()
}

/// Executes nothing, reads zeros: runs launch programs of mutated manifests without running their native code.
struct Nothing;

impl Backend for Nothing {
    fn prepare(&mut self, _plan: &Plan<'_>) -> Result<()> {
        Ok(())
    }
    fn state_buffer(&mut self, bytes: u64) -> Result<Box<dyn StateBuffer>> {
        Ok(Box::new(AlignedBytes::zeroed(bytes, "test", "a state")?))
    }
    fn holds(&self, _buffer: &dyn StateBuffer) -> bool {
        true
    }
    unsafe fn begin(&mut self, _: &[HostInput], _: &[HostOutput], _: &mut StateMemory, _: &Arc<AtomicU32>) -> Result<()> {
        Ok(())
    }
    fn dispatch(&mut self, _command: &DispatchCommand<'_>) -> Result<()> {
        Ok(())
    }
    fn copy(&mut self, command: &CopyCommand) -> Result<()> {
        assert!(command.src.bytes == command.dst.bytes && command.src.bytes > 0);
        Ok(())
    }
    fn write(&mut self, region: Region, bytes: &[u8]) -> Result<()> {
        assert!(region.bytes == bytes.len() as u64 && (1..=8).contains(&bytes.len()));
        Ok(())
    }
    fn barrier(&mut self) -> Result<()> {
        Ok(())
    }
    fn read(&mut self, _region: Region, into: &mut [u8]) -> Result<()> {
        into.fill(0);
        Ok(())
    }
    fn call_host(&mut self, _regions: &[Region], _call: &mut dyn FnMut(&[HostRegion]) -> Result<()>) -> Result<()> {
        Ok(())
    }
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
    fn abort(&mut self) {}
    fn set_profiling(&mut self, _on: bool) {}
    fn timings(&self) -> &[DispatchTiming] {
        &[]
    }
    fn memory(&self) -> MemoryFigures {
        MemoryFigures::default()
    }
    fn describe(&self) -> String {
        String::new()
    }
}

/// Runs every function of an accepted artifact for small sizes; errors are fine.
fn exercise(program: &Program) {
    for variant in 0..program.manifest().variants.len() as u32 {
        let mut options = SessionOptions { max_iterations: 100, ..Default::default() };
        options.externs.register("log", Arc::new(|_| Ok(())));
        let mut session = Session::with_backend(program, variant, Box::new(Nothing), options);
        for (index, function) in program.manifest().functions.iter().enumerate() {
            let symbols = [2, 3, 5, 7, 11, 13, 17][..function.symbols.len().min(7)].to_vec();
            let _ = session.prepare(index as u32, &symbols);
            let dims: Option<Vec<Vec<i64>>> =
                function.inputs.iter().map(|port| port.dims.iter().map(|d| d.eval(&symbols).ok()).collect()).collect();
            let Some(dims) = dims else { continue };
            let bytes = |element: ElementType, dims: &[i64]| {
                let count = dims.iter().try_fold(1i64, |n, d| n.checked_mul(*d)).filter(|n| (0..1 << 20).contains(n));
                count.map(|n| vec![0u8; n as usize * element.bytes()])
            };
            let data: Option<Vec<_>> = function.inputs.iter().zip(&dims).map(|(port, dims)| bytes(port.element, dims)).collect();
            let Some(data) = data else { continue };
            let inputs: Vec<_> =
                function.inputs.iter().zip(&dims).zip(&data).map(|((p, dims), data)| TensorView::new(p.element, dims, data)).collect();
            let _ = session.run_function(index as u32, &inputs);
        }
    }
}

fn open(bytes: &[u8]) -> Result<Program> {
    Program::from_bytes(bytes)
}

#[test]
fn any_changed_byte_is_noticed_or_harmless() {
    let good = everything();
    let reference = open(&good).unwrap();
    exercise(&reference);
    let padding = |at: usize| !reference.reader().sections().iter().any(|s| s.range().contains(&at));
    let mut bytes = good.clone();
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            bytes[at] ^= flip;
            match open(&bytes) {
                Err(Error::Artifact(_)) => {}
                Err(other) => panic!("byte {at}: {other}"),
                Ok(program) => {
                    assert!(padding(at), "byte {at} ^ {flip:#x} went unnoticed");
                    assert_eq!(program.manifest(), reference.manifest());
                }
            }
            bytes[at] = good[at];
        }
    }
}

/// Runs a form of `add_scale` for `rows` rows on the CPU.
fn run_form(session: &mut Session, rows: i64) -> Result<Vec<f32>> {
    let ones = [1f32; 8];
    let dims = [rows, 2];
    let view = TensorView::of(&dims, &ones[..rows as usize * 2]);
    Ok(session.run(&[view, view])?.get(0).unwrap().as_slice::<f32>().unwrap().to_vec())
}

#[test]
fn a_damaged_constant_ends_every_run_that_uses_it() {
    let mut model = add_scale(symbol("rows", 1, None), symbol("width", 1, None), 3.0);
    specialize_rows(&mut model, 4);
    let artifact = model.artifact();
    let good = artifact.open();
    let constants = good.reader().sections().iter().find(|s| s.kind == SectionKind::Constants).unwrap().range();
    let places: Vec<_> = good.manifest().constants.iter().map(|c| constants.start + c.offset as usize).collect();
    let mut bytes = std::fs::read(&artifact.path).unwrap();
    // One constant for the general form, one for that of 4 rows; and what stands between them.
    for (at, broken) in [(places[0], Some(3)), (places[0] + 3, Some(3)), (places[1] + 1, Some(4)), (places[0] + 4, None)] {
        bytes[at] ^= 0x10;
        let damaged = artifact.path.with_file_name("damaged.wz");
        std::fs::write(&damaged, &bytes).unwrap();
        assert!(matches!(Program::open_with(&damaged, &OpenOptions::whole()), Err(Error::Artifact(_))), "{at}");
        let program = Program::open(&damaged).unwrap();
        let mut session = Session::new(&program, &DeviceChoice::Cpu, SessionOptions::default()).unwrap();
        for (rows, expected) in [(3, 6.0), (4, 800.0), (3, 6.0)] {
            match run_form(&mut session, rows) {
                Ok(y) => assert!(broken != Some(rows) && y.iter().all(|y| *y == expected), "{at}: {rows}: {y:?}"),
                Err(error) => {
                    assert_eq!(broken, Some(rows), "{at}: {error}");
                    let index = usize::from(rows == 4);
                    assert!(error.to_string().starts_with(&format!("artifact: the checksum of constant {index} is wrong; ")), "{error}");
                }
            }
        }
        bytes[at] ^= 0x10;
    }
}

#[test]
fn any_truncation_or_extension_is_noticed() {
    let good = everything();
    for length in 0..good.len() {
        assert!(matches!(open(&good[..length]), Err(Error::Artifact(_))), "{length}");
    }
    assert!(open(&[&good[..], &[0]].concat()).is_err());
    assert!(open(&[&good[..], &good[..]].concat()).is_err());
}

/// The same file with another manifest and right checksums.
fn with_manifest(good: &[u8], manifest: &[u8]) -> Vec<u8> {
    let sections = parse_sections(good).unwrap();
    let place = sections.iter().position(|s| s.kind == SectionKind::Manifest).unwrap();
    assert_eq!(place, sections.len() - 1, "the manifest is the last section");
    let old_table = u64::from_le_bytes(good[24..32].try_into().unwrap()) as usize;
    let mut table = good[old_table..].to_vec();
    let entry = &mut table[place * 32..];
    entry[16..24].copy_from_slice(&(manifest.len() as u64).to_le_bytes());
    entry[28..32].copy_from_slice(&crc32fast::hash(manifest).to_le_bytes());
    let mut file = good[..sections[place].offset as usize].to_vec();
    file.extend_from_slice(manifest);
    file.resize(file.len().next_multiple_of(8), 0);
    let table_offset = file.len() as u64;
    file.extend_from_slice(&table);
    let length = file.len() as u64;
    file[16..24].copy_from_slice(&length.to_le_bytes());
    file[24..32].copy_from_slice(&table_offset.to_le_bytes());
    sign(&mut file);
    file
}

/// Makes the checksum of header and table right.
fn sign(file: &mut [u8]) {
    file[36..40].fill(0);
    let table = u64::from_le_bytes(file[24..32].try_into().unwrap()) as usize;
    let checksum = crc32fast::hash(&[&file[..64], &file[table..]].concat());
    file[36..40].copy_from_slice(&checksum.to_le_bytes());
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn mutated_manifests_with_right_checksums_never_panic() {
    let good = everything();
    let manifest = encode_manifest(open(&good).unwrap().manifest()).unwrap();
    assert_eq!(with_manifest(&good, &manifest), good);
    let mut accepted = 0;
    let mut check = |bytes: &[u8]| {
        if let Ok(program) = open(&with_manifest(&good, bytes)) {
            accepted += 1;
            exercise(&program);
        }
    };
    // Every byte, several values; then random pairs; then cut and grown ones.
    let mut bytes = manifest.clone();
    for at in 0..manifest.len() {
        for value in [0, 1, 2, 3, 5, 8, 0x40, 0x7f, 0x80, 0xff, manifest[at].wrapping_add(1), manifest[at].wrapping_sub(1)] {
            bytes[at] = value;
            check(&bytes);
            bytes[at] = manifest[at];
        }
    }
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..3000 {
        let mut bytes = manifest.clone();
        for _ in 0..2 + random(&mut state) % 3 {
            let at = random(&mut state) as usize % bytes.len();
            match random(&mut state) % 4 {
                0 => bytes.insert(at, random(&mut state) as u8 & 15),
                1 => drop(bytes.remove(at)),
                _ => bytes[at] = random(&mut state) as u8 & if random(&mut state) & 1 == 0 { 15 } else { 255 },
            }
        }
        check(&bytes);
    }
    for length in 0..manifest.len() {
        check(&manifest[..length]);
    }
    assert!(accepted > 100, "the mutations are too coarse: only {accepted} reach the interpreter");
}

#[test]
fn mutated_images_with_right_checksums_never_panic() {
    let good = basic_image();
    for at in 0..good.len().min(0x400) {
        for value in [0, 1, 0x7f, 0xff, good[at] ^ 1, good[at].wrapping_add(8)] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let _ = winze_runtime::cpu::elf::parse(&bytes);
            let _ = winze_runtime::cpu::elf::exports(&bytes);
        }
    }
    for length in 0..good.len() {
        let _ = winze_runtime::cpu::elf::parse(&good[..length]);
        let _ = winze_runtime::cpu::elf::exports(&good[..length]);
    }
}

#[test]
fn foreign_files_and_unknown_versions_are_named() {
    let good = everything();
    let error = |bytes: &[u8]| open(bytes).unwrap_err().to_string();
    assert!(error(b"\x7fELF and more").starts_with("artifact: not a Winze artifact"));
    assert!(error(b"").starts_with("artifact: not a Winze artifact"));
    let mut newer = good.clone();
    newer[8] = 2;
    sign(&mut newer);
    assert_eq!(
        error(&newer),
        "artifact: container version 2 is unknown, this runtime reads version 1; update winze or recompile the model"
    );
    let manifest = open(&good).unwrap().manifest().clone();
    let newer = encode_manifest(&Manifest { version: 99, ..manifest }).unwrap();
    assert!(error(&with_manifest(&good, &newer)).starts_with("artifact: manifest version 99 is unknown"));
    assert!(
        error(&with_manifest(&good, &[&encode_manifest(open(&good).unwrap().manifest()).unwrap()[..], &[0]].concat()))
            .contains("1 bytes too many")
    );
}

#[test]
fn damaged_states_are_refused() {
    let good = std::fs::read(&growing().artifact().path).unwrap();
    exercise(&open(&good).unwrap());
    let manifest = open(&good).unwrap().manifest().clone();
    let check = |change: &dyn Fn(&mut Manifest), expected: &str| {
        let mut changed = manifest.clone();
        change(&mut changed);
        let got = open(&with_manifest(&good, &encode_manifest(&changed).unwrap())).unwrap_err().to_string();
        assert!(got.contains(expected), "expected \"{expected}\" in \"{got}\"");
    };
    check(&|m| m.functions[0].states[0].input_index = 2, "function main: state past: input 2 does not exist, there are 2");
    check(&|m| m.functions[0].states[0].output_index = 9, "state past: output 9 does not exist, there are 2");
    let state = manifest.functions[0].states[0].clone();
    check(&|m| m.functions[0].states.push(state.clone()), "state past shares an input or output with another");
    check(&|m| m.functions[0].states[0].output.element = ElementType::F64, "state past: its next value is of another type");
    check(&|m| m.functions[0].states[0].input.dims[1] = s(2), "state past: a dim: expression uses symbol s2");
    check(
        &|m| m.functions[0].states[0].growth = Some(Growth { axis: 3, capacity: 4, in_place: true }),
        "state past: axis 3 does not exist, there are 3",
    );
    check(
        &|m| m.functions[0].states[0].growth = Some(Growth { axis: 0, capacity: 4, in_place: true }),
        "axis 0, along which it grows, is no symbol",
    );
    check(&|m| m.functions[0].states[0].growth = Some(Growth { axis: 1, capacity: 0, in_place: true }), "a capacity of 0");
    check(&|m| m.functions[0].states[0].output.dims[2] = c(3), "it changes along axis 2 but grows along axis 1");
    check(&|m| m.functions[0].states[0].growth = None, "function main: buffer 3: it is a part of a state that does not grow in place");
    check(&|m| buffer_of(m, 1).place = Place::State { state: 1, offset: c(0) }, "buffer 1: state 1 does not exist, there are 1");
    check(&|m| buffer_of(m, 1).place = Place::NextState(0), "it makes the next value of a state that grows in place");
    check(&|m| buffer_of(m, 1).storage = ElementType::F64, "f32 cannot be stored as f64");
    // Offsets depend on run-time values: refused when these are known.
    let mut changed = manifest.clone();
    buffer_of(&mut changed, 3).place = Place::State { state: 0, offset: c(40) };
    let program = open(&with_manifest(&good, &encode_manifest(&changed).unwrap())).unwrap();
    let mut session = Session::with_backend(&program, 0, Box::new(Nothing), SessionOptions::default());
    let error = session.prepare(0, &[1, 0]).unwrap_err().to_string();
    assert!(error.contains("its 32 bytes at 40 leave the state of 64"), "{error}");
    // Bytes of the description of the state, each with several values.
    let encoded = encode_manifest(&manifest).unwrap();
    let mut bytes = encoded.clone();
    for at in 0..encoded.len() {
        for value in [0, 1, 2, 3, 5, 8, 0x40, 0x7f, 0x80, 0xff, encoded[at].wrapping_add(1), encoded[at].wrapping_sub(1)] {
            bytes[at] = value;
            if let Ok(program) = open(&with_manifest(&good, &bytes)) {
                exercise(&program);
            }
            bytes[at] = encoded[at];
        }
    }
}

fn buffer_of(manifest: &mut Manifest, index: usize) -> &mut winze_runtime::artifact::program::Buffer {
    &mut manifest.variants[0].programs[0].buffers[index]
}

#[test]
fn wrong_indices_are_named_with_their_place() {
    let good = everything();
    let manifest = open(&good).unwrap().manifest().clone();
    let error = |change: &dyn Fn(&mut Manifest)| {
        let mut changed = manifest.clone();
        change(&mut changed);
        open(&with_manifest(&good, &encode_manifest(&changed).unwrap())).unwrap_err().to_string()
    };
    let check = |change: &dyn Fn(&mut Manifest), expected: &str| {
        let got = error(change);
        assert!(got.contains(expected), "expected \"{expected}\" in \"{got}\"");
    };
    check(
        &|m| m.variants[0].programs[1].code[3] = Barrier,
        "variant cpu=test: function twice: instruction 6: the end of a loop does not refer",
    );
    check(&|m| m.variants[0].programs[1].code[0] = ConstInt { dst: 8, value: 0 }, "instruction 0: register 8 does not exist, there are 8");
    check(&|m| m.variants[0].programs[1].code[9] = Jump { target: 16 }, "instruction 9: instruction 16 does not exist, there are 16");
    check(&|m| drop(m.variants[0].programs[1].code.pop()), "does not end with return");
    check(&|m| m.variants[0].programs[0].buffers[3].place = Place::Constant(1), "buffer 3: constant 1 does not exist, there are 1");
    check(&|m| m.variants[0].programs[0].buffers[0].place = Place::Input(2), "buffer 0: input 2 does not exist, there are 2");
    check(&|m| m.variants[0].programs[0].buffers[0].storage = ElementType::F16, "buffer 0: f32 cannot be stored as f16");
    check(&|m| m.variants[0].programs[0].buffers[2].capacities = vec![], "buffer 2: dims and capacities differ in rank");
    check(&|m| m.variants[0].programs[0].arena = s(2), "arena: expression uses symbol s2, which does not exist");
    check(&|m| m.variants[0].kernels[0].grid.0.clear(), "kernel add_rows: grid: malformed expression");
    check(&|m| m.variants[0].dispatches[1].kernel = 3, "dispatch 1: kernel 3 does not exist, there are 3");
    check(&|m| m.constants[0].offset = 64, "constant 0: it is misaligned or outside the constants section");
    check(&|m| m.constants[0].bytes = 8, "constant 0: 8 bytes do not hold f32 [1]");
    check(&|m| m.functions[1].name = "main".into(), "two functions are named \"main\"");
    check(&|m| m.functions[0].symbols[0].max = Some(0), "function main: the range of dim rows is empty or negative");
    check(&|m| drop(m.variants[0].programs.pop()), "1 programs for 2 functions");
    check(&|m| m.functions[0].symbols[0].upper = Some(s(1)), "function main: the bound of rows: expression uses symbol s1");
    check(&|m| m.functions[0].symbols[0].upper = Some(c(4)), "is only known while running");
    check(
        &|m| {
            let set = SetSymbol { symbol: 0, value: 0, lower: c(0), upper: c(4), what: "rows".into() };
            m.variants[0].programs[0].code[1] = set;
        },
        "it sets symbol 0, which the inputs determine",
    );
    check(
        &|m| {
            let code = Call { function: 1, symbols: vec![0, 1], inputs: vec![0], outputs: vec![4], arena: c(0) };
            m.variants[0].programs[0].code[1] = code;
        },
        "functions call each other in a circle",
    );
}
