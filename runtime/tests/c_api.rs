//! The C interface: the example program compiled by a C compiler, and every error path of the functions.

mod fixture;

use fixture::*;
use std::{
    ffi::{CStr, CString, c_char, c_void},
    fs,
    path::{Path, PathBuf},
    process::Command,
    ptr,
};
use tempfile::TempDir;
use winze_runtime::{
    artifact::{
        manifest::{ElementType, Function},
        program::{Instruction, Place, Program as LaunchProgram},
    },
    capi::*,
};

/// The static library that cargo built along with this test.
fn library() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let path = here.parent().unwrap().join("libwinze_runtime.a");
    assert!(path.exists(), "{} is missing", path.display());
    path
}

#[test]
fn the_c_example_compiles_without_warnings_and_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("run");
    let compiled = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(root.join("include"))
        .arg(root.join("../examples/c/run.c"))
        .arg(library())
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&program)
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let artifact = add_scale(symbol("rows", 1, None), symbol("width", 1, None), 3.0).artifact();
    let floats = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    fs::write(folder.path().join("a.bin"), floats(&[1.0, 2.0, 3.0, 4.0])).unwrap();
    fs::write(folder.path().join("b.bin"), floats(&[10.0, 20.0, 30.0, 40.0])).unwrap();
    let run = |inputs: &[&str]| Command::new(&program).arg(&artifact.path).arg("cpu").args(inputs).current_dir(&folder).output().unwrap();
    let output = run(&["a.bin:2x2", "b.bin:2x2"]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{err}");
    assert!(out.contains("input a: f32[rows x width]\n") && out.contains("output y: [2 x 2] in output_0.bin\n"), "{out}");
    assert_eq!(fs::read(folder.path().join("output_0.bin")).unwrap(), floats(&[33.0, 66.0, 99.0, 132.0]));
    let output = run(&["a.bin:2x2", "b.bin:4x1"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "bind: input \"b\": expected f32[rows x width], got f32[4 x 1], but rows is 2 by dim 0 of input \"a\"\n"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_header_is_valid_cpp() {
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/winze.h");
    let Ok(compiled) = Command::new("c++")
        .args(["-x", "c++", "-fsyntax-only", "-Wall", "-Werror", "-Wno-pragma-once-outside-header"])
        .arg(header)
        .output()
    else {
        return; // a C compiler is required for these tests, a C++ compiler is not
    };
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
}

fn last_error() -> String {
    unsafe { CStr::from_ptr(wz_last_error()) }.to_str().unwrap().to_owned()
}

fn text(pointer: *const c_char) -> String {
    unsafe { CStr::from_ptr(pointer) }.to_str().unwrap().to_owned()
}

#[test]
fn wrong_arguments_are_errors() {
    let artifact = add_scale(symbol("rows", 1, Some(9)), symbol("width", 1, None), 3.0).artifact();
    unsafe {
        let mut program = ptr::null_mut();
        assert_eq!(wz_program_open(ptr::null(), &mut program), 100);
        assert_eq!(last_error(), "argument: path is null");
        let missing = CString::new("/nonexistent.wz").unwrap();
        assert_eq!((wz_program_open(missing.as_ptr(), &mut program), program.is_null()), (1, true));
        assert!(last_error().starts_with("artifact: cannot open /nonexistent.wz"));
        assert_eq!(wz_program_open_memory(b"junk".as_ptr().cast(), 4, &mut program), 2);
        assert_eq!(wz_program_open_memory(ptr::null(), 4, &mut program), 100);
        let path = CString::new(artifact.path.to_str().unwrap()).unwrap();
        assert_eq!(wz_program_open(path.as_ptr(), ptr::null_mut()), 100);
        assert_eq!(wz_program_open(path.as_ptr(), &mut program), 0);

        assert_eq!((wz_program_function_count(program), wz_program_variant_count(program)), (1, 1));
        assert_eq!(text(wz_program_function_name(program, 0)), "main");
        assert_eq!(text(wz_program_variant_target(program, 0)), "cpu=test");
        assert_eq!(
            [wz_program_input_count(program, 0), wz_program_output_count(program, 0), wz_program_symbol_count(program, 0)],
            [2, 1, 2]
        );
        assert_eq!((wz_program_input_count(program, 1), wz_program_input_count(ptr::null(), 0)), (0, 0));
        assert!(wz_program_function_name(program, 1).is_null());
        let mut port = std::mem::zeroed();
        assert_eq!([wz_program_input(program, 0, 1, &mut port), wz_program_output(program, 0, 0, &mut port)], [0, 0]);
        assert_eq!([wz_program_input(program, 0, 2, &mut port), wz_program_output(ptr::null(), 0, 0, &mut port)], [100, 100]);
        let mut symbol = std::mem::zeroed();
        assert_eq!([wz_program_symbol(program, 0, 0, &mut symbol), wz_program_symbol(program, 0, 2, &mut symbol)], [0, 100]);

        let (mut session, cpu, tpu) = (ptr::null_mut(), c"cpu".as_ptr(), c"tpu".as_ptr());
        assert_eq!(wz_session_create(program, tpu, 1, &mut session), 3);
        assert_eq!(last_error(), "device: unknown device \"tpu\"; use cpu, vulkan, vulkan:INDEX or vulkan:NAME");
        assert_eq!(wz_session_create(ptr::null(), cpu, 1, &mut session), 100);
        assert_eq!(wz_session_create(program, cpu, 1, &mut session), 0);
        wz_program_free(program);
        assert_eq!(text(wz_session_device(session)), "cpu (1 threads)");
        assert_eq!(wz_session_run(session, 0), 100);
        assert_eq!(last_error(), "argument: input 0 (\"a\") is not set");
        assert_eq!(wz_session_run(session, 1), 100);
        assert_eq!(wz_session_set_input(session, 0, ptr::null()), 100);
        let mut output = std::mem::zeroed();
        assert_eq!(wz_session_output(session, 0, &mut output), 100);
        assert_eq!(wz_session_prepare(session, 0, [10i64, 1].as_ptr(), 2), 5);
        assert_eq!(last_error(), "bind: dim rows is 10, the model was compiled for 1 to 9");
        assert_eq!(wz_session_prepare(session, 0, [9i64, 8].as_ptr(), 2), 0);
        assert_eq!(wz_session_register(session, c"k".as_ptr(), None, ptr::null_mut()), 100);
        wz_session_cancel(ptr::null());
        wz_session_free(session);
        wz_session_free(ptr::null_mut());
        wz_program_free(ptr::null_mut());
    }
    assert_eq!((wz_abi_version(), text(wz_version_string())), (1, env!("CARGO_PKG_VERSION").to_owned()));
    assert_eq!(wz_version(), 1 << 8);
}

#[test]
fn outputs_are_carried_and_never_aliased() {
    let artifact = add_scale(symbol("rows", 1, None), symbol("width", 1, None), 2.0).artifact();
    let bytes = fs::read(&artifact.path).unwrap();
    let (dims, data) = ([1i64, 2], [1f32, 2.0]);
    unsafe {
        let (mut program, mut session) = (ptr::null_mut(), ptr::null_mut());
        assert_eq!(wz_program_open_memory(bytes.as_ptr().cast(), bytes.len(), &mut program), 0);
        assert_eq!(wz_session_create(program, c"cpu".as_ptr(), 1, &mut session), 0);
        wz_program_free(program);
        let tensor = CTensor { element: 11, rank: 2, dims: dims.as_ptr(), strides: ptr::null(), data: data.as_ptr().cast(), bytes: 8 };
        assert_eq!([0, 1].map(|i| wz_session_set_input(session, i, &tensor)), [0, 0]);
        assert_eq!([wz_session_set_input(session, 2, &tensor), wz_session_carry(session, 0, 0)], [100, 100]);
        for _ in 0..3 {
            assert_eq!(wz_session_run(session, 0), 0);
            assert_eq!(wz_session_carry(session, 0, 0), 0);
        }
        assert_eq!([wz_session_run(session, 0), wz_session_carry(session, 1, 0), wz_session_carry(session, 0, 2)], [0, 100, 100]);
        // ((x + x) * 2 + x) * 2 ... four times.
        let mut output = std::mem::zeroed();
        assert_eq!(wz_session_output(session, 0, &mut output), 0);
        assert_eq!(*output.data.cast::<[f32; 2]>(), [46.0, 92.0]);
        assert_eq!(wz_session_set_input(session, 1, &output), 0);
        assert_eq!(wz_session_run(session, 0), 100);
        assert_eq!(last_error(), "argument: input 1 (\"b\") is the memory of an output; use wz_session_carry");
        wz_session_free(session);
    }
}

/// Doubles what it gets; also tries what a kernel must not do.
unsafe extern "C" fn double(user: *mut c_void, call: *const CCall) -> i32 {
    unsafe {
        let (session, call) = (*user.cast::<*mut CSession>(), &*call);
        let buffers = std::slice::from_raw_parts(call.buffers, call.buffer_count as usize);
        assert_eq!((buffers[0].writable, buffers[1].writable, buffers[1].bytes, call.dim_count, *call.dims), (0, 1, 8, 1, 2));
        assert_eq!(wz_session_run(session, 0), 100);
        assert_eq!(last_error(), "argument: the session is in use; make one per thread");
        let (x, y) = (*buffers[0].data.cast::<[f32; 2]>(), buffers[1].data.cast::<[f32; 2]>());
        *y = x.map(|x| x * 2.0);
        if x[0] < 0.0 { 9 } else { 0 }
    }
}

#[test]
fn c_kernels_are_called() {
    let mut model = Model::new();
    let buffers = vec![buffer(ElementType::F32, &[c(2)], Place::Input(0)), buffer(ElementType::F32, &[c(2)], Place::Output(0))];
    let call = Instruction::CallExtern { external: 0, buffers: vec![0, 1], dims: vec![0], scalars: vec![] };
    let code = vec![Instruction::ConstInt { dst: 0, value: 2 }, call, Instruction::Return];
    let ports = |name| vec![port(name, ElementType::F32, &[c(2)])];
    model.external("double", "(f32[n]) -> (f32[n])", ElementType::F32, 0);
    model.function(
        Function { name: "main".into(), symbols: vec![], inputs: ports("x"), outputs: ports("y"), ..Function::default() },
        LaunchProgram { registers: 1, buffers, arena: c(0), code },
    );
    let artifact = model.artifact();
    let path = CString::new(artifact.path.to_str().unwrap()).unwrap();
    unsafe {
        let (mut program, mut session) = (ptr::null_mut(), ptr::null_mut());
        assert_eq!(wz_program_open(path.as_ptr(), &mut program), 0);
        assert_eq!(wz_session_create(program, c"cpu".as_ptr(), 0, &mut session), 0);
        let mut data = [3f32, 4.0];
        let tensor =
            CTensor { element: 11, rank: 1, dims: [2i64].as_ptr(), strides: ptr::null(), data: (&raw const data).cast(), bytes: 8 };
        assert_eq!(wz_session_set_input(session, 0, &tensor), 0);
        assert_eq!(wz_session_run(session, 0), 6);
        assert!(last_error().starts_with("run: no external kernel is registered as \"double\""));
        assert_eq!(wz_session_register(session, c"double".as_ptr(), Some(double), (&raw mut session).cast()), 0);
        assert_eq!(wz_session_run(session, 0), 0);
        let mut output = std::mem::zeroed();
        assert_eq!(wz_session_output(session, 0, &mut output), 0);
        assert_eq!(*output.data.cast::<[f32; 2]>(), [6.0, 8.0]);
        (&raw mut data).cast::<f32>().write_volatile(-1.0);
        assert_eq!(wz_session_run(session, 0), 6);
        assert_eq!(last_error(), "run: external kernel \"double\" failed at function main, instruction 1: it returned 9");
        wz_session_cancel(session);
        assert_eq!(wz_session_output(session, 0, &mut output), 100);
        wz_session_free(session);
        wz_program_free(program);
    }
}

#[test]
fn a_run_is_cancelled_from_another_thread() {
    let mut model = Model::new();
    let endless = LaunchProgram { registers: 0, buffers: vec![], arena: c(0), code: vec![Instruction::Jump { target: 0 }] };
    model.function(Function { name: "main".into(), ..Function::default() }, endless);
    let artifact = model.artifact();
    let path = CString::new(artifact.path.to_str().unwrap()).unwrap();
    unsafe {
        let (mut program, mut session) = (ptr::null_mut(), ptr::null_mut());
        assert_eq!(wz_program_open(path.as_ptr(), &mut program), 0);
        assert_eq!(wz_session_create(program, c"cpu".as_ptr(), 1, &mut session), 0);
        let address = session as usize;
        let other = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            wz_session_cancel(address as *const CSession);
        });
        assert_eq!(wz_session_run(session, 0), 7);
        assert_eq!(last_error(), "run: cancelled");
        other.join().unwrap();
        wz_session_free(session);
        wz_program_free(program);
    }
}

#[test]
fn states_are_kept_read_and_exchanged() {
    let artifact = growing().artifact();
    let path = CString::new(artifact.path.to_str().unwrap()).unwrap();
    unsafe {
        let (mut program, mut session, mut other) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        assert_eq!(wz_program_open(path.as_ptr(), &mut program), 0);
        assert_eq!((wz_program_state_count(program, 0), wz_program_state_count(program, 1), wz_program_input_count(program, 0)), (1, 0, 1));
        let mut port = std::mem::MaybeUninit::<CPortInfo>::zeroed().assume_init();
        assert_eq!((wz_program_state(program, 0, 0, &mut port), wz_program_state(program, 0, 1, &mut port)), (0, 100));
        assert_eq!(wz_session_create(program, c"cpu".as_ptr(), 1, &mut session), 0);
        let (dims, data) = ([2i64, 1, 2], [1f32, 2.0, 3.0, 4.0]);
        let tensor = CTensor { element: 11, rank: 3, dims: dims.as_ptr(), strides: ptr::null(), data: data.as_ptr().cast(), bytes: 16 };
        assert_eq!(wz_session_set_input(session, 0, &tensor), 0);
        let length = |session| {
            let mut length = -2;
            assert_eq!(wz_session_state_length(session, 0, 0, &mut length), 0);
            length
        };
        assert_eq!(length(session), 0);
        for rows in 1..=4 {
            assert_eq!(wz_session_run(session, 0), 0);
            assert_eq!(length(session), rows);
        }
        assert_eq!(wz_session_run(session, 0), 9);
        assert_eq!(length(session), 4);
        assert_eq!(wz_states_create(session, 0, &mut other), 0);
        assert_eq!(wz_session_swap_states(session, other), 0);
        assert_eq!(length(session), 0);
        assert_eq!((wz_session_set_state(session, 0, 0, &tensor), wz_session_run(session, 0), length(session)), (0, 0, 2));
        let mut copy = CTensor { element: 0, rank: 0, dims: ptr::null(), strides: ptr::null(), data: ptr::null(), bytes: 0 };
        assert_eq!(wz_session_read_state(session, 0, 0, &mut copy), 0);
        assert_eq!(std::slice::from_raw_parts(copy.dims, copy.rank as usize), [2, 2, 2]);
        assert_eq!(std::slice::from_raw_parts(copy.data.cast::<f32>(), 8), [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0]);
        assert_eq!((wz_session_truncate_states(session, 0, 1), length(session)), (0, 1));
        assert_eq!((wz_session_reset_states(session, 0), length(session)), (0, 0));
        assert_eq!((wz_session_swap_states(session, other), length(session)), (0, 4));
        assert_eq!(wz_session_state_length(session, 0, 1, &mut 0), 5);
        assert_eq!(wz_session_swap_states(session, ptr::null_mut()), 100);
        assert_eq!(wz_session_read_state(session, 3, 0, &mut copy), 5);
        wz_states_free(other);
        wz_states_free(ptr::null_mut());
        wz_session_free(session);
        wz_program_free(program);
    }
}
