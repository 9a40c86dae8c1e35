//! A name and a stage -> a pass of the compiler that builds and passes its test: file, test, `mod` line and registration in the stage's mod.rs.
//! The new pass changes nothing; its author replaces that.

use crate::{Result, process, text_edit};
use std::path::Path;

const RUST: &str = include_str!("../templates/pass.rs.txt");
const MLIR: &str = include_str!("../templates/pass.mlir.txt");

pub fn run(root: &Path, name: &str, stage: &str) -> Result<()> {
    let name = &text_edit::snake_case(name)?;
    let folder = root.join("compiler/src").join(stage);
    let file = folder.join(format!("{name}.rs"));
    if file.exists() {
        return Err(format!("new-pass: {} exists already; choose another name", file.display()));
    }
    if !folder.join("mod.rs").exists() {
        return Err(format!("new-pass: there is no stage folder {}; choose another with --stage", folder.display()));
    }
    let module = text_edit::edit(&folder.join("mod.rs"), |text| add_registration(text, name))?;
    let kebab = name.replace('_', "-");
    let fill =
        |template: &str| template.replace("@snake@", name).replace("@kebab@", &kebab).replace("@Camel@", &text_edit::camel_case(name));
    text_edit::write(&file, &fill(RUST))?;
    text_edit::write(&folder.join(format!("{name}.mlir")), &fill(MLIR))?;
    module.save()?;
    process::run(process::cargo().args(["fmt", "-p", "winze-compiler"]).current_dir(root))?;
    println!("{kebab} is in compiler/src/{stage}/{name}.rs; docs/add-a-pass.md says what to fill in, `cargo xtask test --quick` checks it");
    Ok(())
}

/// A `mod` line after the last one, and a call at the end of `register_passes`.
fn add_registration(text: &str, name: &str) -> Option<String> {
    let is_module = |line: &str| line.ends_with(';') && (line.starts_with("pub mod ") || line.starts_with("mod "));
    let text = text_edit::insert_after_last(text, is_module, &format!("pub mod {};", text_edit::identifier(name)))?;
    let call = text.lines().rfind(|line| line.starts_with("    ") && line.contains("register::<"))?;
    let prefix = &call[..call.find("register::<").expect("the line was chosen for it")];
    let new = format!("{prefix}register::<{}::{}>();", text_edit::identifier(name), text_edit::camel_case(name));
    text_edit::insert_after_last(&text, |line| line.starts_with("    ") && line.contains("register::<"), &new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn registers_in_the_stages_as_they_are() {
        let compiler = crate::root().join("compiler/src");
        for stage in ["vector", "gpu", "spirv", "schedule"] {
            let module = fs::read_to_string(compiler.join(stage).join("mod.rs")).unwrap();
            let edited = add_registration(&module, "fold_it").unwrap_or_else(|| panic!("{stage} takes no passes"));
            assert_eq!(edited.lines().count(), module.lines().count() + 2);
            assert!(edited.contains("\npub mod fold_it;\n") && edited.contains("register::<fold_it::FoldIt>();\n"), "{stage}");
        }
    }

    #[test]
    fn keeps_the_way_a_file_names_the_function() {
        let text = "mod a;\npub fn register_passes() {\n    winze_mlir::pass::register::<a::A>();\n}\n";
        let expected = "mod a;\npub mod b;\npub fn register_passes() {\n    winze_mlir::pass::register::<a::A>();\n    winze_mlir::pass::register::<b::B>();\n}\n";
        assert_eq!(add_registration(text, "b").unwrap(), expected);
    }

    #[test]
    fn refuses_files_that_it_does_not_know() {
        assert_eq!(add_registration("pub mod a;\n", "b"), None);
        assert_eq!(add_registration("", "b"), None);
    }
}
