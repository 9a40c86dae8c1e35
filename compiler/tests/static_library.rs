//! `--emit static-lib`: the example, compiled, linked into a C program and run; and what is refused.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/static-library").join(name)
}

fn compile(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_winze-compiler"));
    command.arg("compile").arg(example("model.mlir")).args(["--no-cache", "--quiet", "--emit", "static-lib"]).args(words);
    command.current_dir(folder).output().unwrap()
}

#[test]
fn a_c_program_runs_the_model_that_is_linked_into_it() {
    let folder = tempfile::tempdir().unwrap();
    let made = compile(folder.path(), &["--target", "cpu=x86-64-v3", "-o", "libmodel.a"]);
    assert_eq!((made.status.code(), String::from_utf8_lossy(&made.stderr).as_ref()), (Some(0), ""));
    let header = fs::read_to_string(folder.path().join("model.h")).unwrap();
    assert!(header.contains(" * main:\n *   input x: f32[rows x 2]\n *   output y: f32[rows x 2]\n"), "{header}");
    // Cargo builds the C library along with this test.
    let library = std::env::current_exe().unwrap().with_file_name("libwinze_runtime.a");
    let program = folder.path().join("main");
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I", "."]).arg("-I").arg(example("../../runtime/include"));
    cc.arg(example("main.c")).arg("libmodel.a").arg(library).args(["-lpthread", "-ldl", "-lm", "-o"]).arg(&program);
    let built = cc.current_dir(folder.path()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    for file in ["libmodel.a", "model.h"] {
        fs::remove_file(folder.path().join(file)).unwrap();
    }
    let ran = Command::new(&program).output().unwrap();
    // [1, 2] and [-3, 4] times [[1, -1], [1, 1]].
    assert_eq!((ran.status.code(), String::from_utf8_lossy(&ran.stdout).as_ref()), (Some(0), "3\n1\n1\n7\n"));
}

#[test]
fn says_what_a_library_cannot_hold() {
    let folder = tempfile::tempdir().unwrap();
    for (words, expected) in [
        (&["-o", "model.wz"][..], "give -o libNAME.a"),
        (&[], "give -o libNAME.a"),
        (&["-o", "lib7.a"], "gives no name in C"),
        (&["-o", "libm.a", "--target", "vulkan"], "is for CPU targets"),
        (&["-o", "libm.a", "--target", "cpu", "--target", "vulkan"], "takes one --target"),
    ] {
        let output = compile(folder.path(), words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(expected), "{words:?}: {said}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}
