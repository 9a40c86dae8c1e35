//! Writing artifacts: storage of constants, determinism, atomicity, mapping of images; and what images are refused.

mod fixture;

use fixture::*;
use std::{fs, io::Write, path::Path};
use tempfile::TempDir;
use winze_runtime::{
    artifact::{
        manifest::{ElementType, Manifest},
        writer::Writer,
    },
    cpu::elf,
    error::Error,
    program::Program,
};

fn empty_manifest() -> Manifest {
    let mut model = add_scale(symbol("rows", 1, None), symbol("width", 1, None), 1.0);
    model.manifest.variants.clear();
    model.manifest
}

#[test]
fn constants_are_aligned_streamed_and_stored_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("constants.wz");
    let mut writer = Writer::create(&path).unwrap();
    let ramp: Vec<u8> = (0..=255).collect();
    let a = writer.constant(ElementType::U8, &[256], &ramp).unwrap();
    let b = writer.constant(ElementType::F32, &[3], &[7; 12]).unwrap();
    let again = writer.constant(ElementType::U8, &[256], &ramp).unwrap();
    let reshaped = writer.constant(ElementType::F32, &[8, 8], &ramp).unwrap();
    // Piece by piece; known bytes are taken back, and what follows overwrites them.
    let pieces = |out: &mut dyn Write| ramp.chunks(10).try_for_each(|piece| out.write_all(piece));
    let streamed = writer.constant_from(ElementType::U8, &[256], pieces).unwrap();
    let last = writer.constant_from(ElementType::I8, &[5], |out| out.write_all(&[1, 2, 3, 4, 5])).unwrap();
    let empty = writer.constant(ElementType::F64, &[0, 4], &[]).unwrap();
    let scalar = writer.constant(ElementType::F64, &[], &1f64.to_le_bytes()).unwrap();
    assert_eq!([a, b, again, reshaped, streamed, last, empty, scalar], [0, 1, 0, 2, 0, 3, 4, 5]);
    let length = writer.finish(empty_manifest()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), length);

    let program = Program::open(&path).unwrap();
    let (constants, reader) = (&program.manifest().constants, program.reader());
    assert_eq!(constants.iter().map(|c| c.offset).collect::<Vec<_>>(), [0, 256, 0, 320, 384, 384]);
    let read: Vec<&[u8]> = (0..6).map(|index| reader.constant(index).unwrap()).collect();
    assert_eq!(read, [&ramp[..], &[7; 12], &ramp, &[1, 2, 3, 4, 5], &[], &1f64.to_le_bytes()]);
    assert!(read.iter().all(|bytes| bytes.as_ptr().addr() % 64 == 0));
    reader.check_hashes().unwrap();
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let model = add_scale(symbol("rows", 1, None), symbol("width", 1, None), 3.0);
    let bytes = || fs::read(&model.artifact().path).unwrap();
    let first = bytes();
    assert_eq!(first, bytes());
    assert_eq!(first[..16], *b"\x89winze\r\n\x01\0\0\0\x40\0\0\0");
}

#[test]
fn nothing_half_written_is_left() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.wz");
    fs::write(&path, "before").unwrap();
    let mut writer = Writer::create(&path).unwrap();
    writer.constant(ElementType::F32, &[1], &[0; 4]).unwrap();
    drop(writer);
    let mut writer = Writer::create(&path).unwrap();
    let error = writer.constant(ElementType::F32, &[2], &[0; 4]).unwrap_err().to_string();
    assert_eq!(error, "artifact: a constant of f32 [2] has 4 bytes; pass its elements in C order");
    let mut broken = empty_manifest();
    broken.functions.clear();
    assert!(matches!(writer.finish(broken), Err(Error::Artifact(_))));
    assert_eq!(fs::read_to_string(&path).unwrap(), "before");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    Writer::create(&path).unwrap().finish(empty_manifest()).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(Program::open(&path).is_ok());
}

#[test]
fn paths_are_named_in_errors() {
    let missing = Program::open("/nonexistent/model.wz").unwrap_err().to_string();
    assert!(missing.starts_with("artifact: cannot open /nonexistent/model.wz: "), "{missing}");
    let unwritable = Writer::create("/nonexistent/model.wz").unwrap_err().to_string();
    assert!(unwritable.starts_with("artifact: cannot write /nonexistent/model.wz: "), "{unwritable}");
    assert!(matches!(Program::open("/"), Err(Error::Artifact(_))));
}

#[test]
fn code_is_executable_but_never_writable_too() {
    use winze_runtime::{device::DeviceChoice, session::*};
    let model = add_scale(symbol("rows", 1, None), symbol("width", 1, None), 3.0);
    let artifact = model.artifact();
    let program = artifact.open();
    let maps = || fs::read_to_string("/proc/self/maps").unwrap();
    let file = artifact.path.to_str().unwrap().to_owned();
    let executable = |maps: &str| maps.lines().any(|l| l.contains("r-xp") && l.ends_with(&file));
    assert!(!executable(&maps()), "inspecting must not map code");
    let _session = Session::new(&program, &DeviceChoice::Cpu, SessionOptions::default()).unwrap();
    let maps = maps();
    assert!(executable(&maps), "{maps}");
    assert!(!maps.lines().any(|l| l.split_whitespace().nth(1).is_some_and(|p| p.contains("wx"))), "{maps}");
}

fn refusal(source: &str, flags: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    let (input, output) = (folder.path().join("k.c"), folder.path().join("k.so"));
    fs::write(&input, source).unwrap();
    let compiler = std::process::Command::new("cc")
        .args(["-O1", "-fPIC", "-nostdlib", "-ffreestanding", "-o"])
        .arg(&output)
        .args(flags)
        .arg(&input)
        .args(["-shared", "-Wl,-z,separate-code"])
        .output()
        .unwrap();
    assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
    elf::parse(&fs::read(output).unwrap()).unwrap_err().to_string()
}

#[test]
fn images_with_more_than_kernels_are_refused() {
    assert!(refusal("float expf(float); float f(float x) { return expf(x); }", &[]).contains("imports"));
    assert!(refusal("extern int other; int *f(void) { return &other; }", &[]).contains("it imports something"));
    assert!(refusal("__attribute__((constructor)) void f(void) {}", &[]).contains("constructors"));
    assert!(refusal("_Thread_local int x; int f(void) { return x++; }", &["-ftls-model=local-dynamic"]).contains("thread-local"));
    assert!(refusal("int f(void) { return 1; }", &["-Wl,-z,noseparate-code", "-Wl,-N"]).starts_with("cpu image: "));
    assert_eq!(elf::parse(b"\x7fELF").unwrap_err().to_string(), "cpu image: bytes 0..+7 are outside its 4 bytes");
    assert!(elf::parse(&fs::read(Path::new("/proc/self/exe")).unwrap()).is_err());
}
