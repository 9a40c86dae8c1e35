//! A name -> an op of the graph dialect that builds and passes its test: folder, `include` in graph.td, `mod` line and definition in ops/mod.rs.
//! The new op returns its operand; its author replaces that.

use crate::{Result, process, text_edit};
use std::{fs, path::Path};

const TD: &str = include_str!("../templates/op.td.txt");
const RUST: &str = include_str!("../templates/op.rs.txt");
const MLIR: &str = include_str!("../templates/op.mlir.txt");

pub fn run(root: &Path, name: &str) -> Result<()> {
    let name = &text_edit::snake_case(name)?;
    let source = root.join("dialects/graph/src");
    let folder = source.join("ops").join(name);
    if folder.exists() {
        return Err(format!("new-op: {} exists already; choose another name", folder.display()));
    }
    // All edits first: nothing is written if one does not fit.
    let td = text_edit::edit(&source.join("graph.td"), |text| add_include(text, name))?;
    let module = text_edit::edit(&source.join("ops/mod.rs"), |text| add_definition(text, name))?;
    let fill = |template: &str| template.replace("@snake@", name).replace("@Camel@", &text_edit::camel_case(name));
    fs::create_dir_all(&folder).map_err(|error| format!("new-op: {}: {error}", folder.display()))?;
    for (file, template) in [(format!("{name}.td"), TD), ("mod.rs".to_owned(), RUST), (format!("{name}.mlir"), MLIR)] {
        text_edit::write(&folder.join(file), &fill(template))?;
    }
    td.save()?;
    module.save()?;
    // Sorting and line breaks are rustfmt's business.
    process::run(process::cargo().args(["fmt", "-p", "winze-graph"]).current_dir(root))?;
    println!(
        "graph.{name} is in dialects/graph/src/ops/{name}; docs/add-an-op.md says what to fill in, `cargo xtask test --quick` checks it"
    );
    Ok(())
}

/// After the last op's include.
fn add_include(text: &str, name: &str) -> Option<String> {
    text_edit::insert_after_last(text, |line| line.starts_with("include \"ops/"), &format!("include \"ops/{name}/{name}.td\""))
}

/// A `mod` line after the last one, and an entry at the end of the list of definitions.
fn add_definition(text: &str, name: &str) -> Option<String> {
    let text =
        text_edit::insert_after_last(text, |line| line.starts_with("pub mod "), &format!("pub mod {};", text_edit::identifier(name)))?;
    text_edit::insert_after_last(
        &text,
        |line| line.trim_end().ends_with("::DEFINITION,"),
        &format!("        {}::DEFINITION,", text_edit::identifier(name)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_in_the_files_as_they_are() {
        let source = crate::root().join("dialects/graph/src");
        let td = add_include(&fs::read_to_string(source.join("graph.td")).unwrap(), "sort").unwrap();
        assert!(td.contains("\ninclude \"ops/sort/sort.td\"\n"));
        let module = fs::read_to_string(source.join("ops/mod.rs")).unwrap();
        let edited = add_definition(&module, "sort").unwrap();
        assert_eq!(edited.lines().count(), module.lines().count() + 2);
        assert!(edited.contains("\npub mod sort;\n") && edited.contains("\n        sort::DEFINITION,\n"));
        assert!(edited.find("sort::DEFINITION").unwrap() < edited.find("]);").unwrap(), "the entry is inside the list");
    }

    #[test]
    fn escapes_keywords() {
        let edited = add_definition("pub mod a;\nfn all() {\n        a::DEFINITION,\n}\n", "match").unwrap();
        assert_eq!(edited, "pub mod a;\npub mod r#match;\nfn all() {\n        a::DEFINITION,\n        r#match::DEFINITION,\n}\n");
    }

    #[test]
    fn refuses_files_that_it_does_not_know() {
        assert_eq!(add_include("", "sort"), None);
        assert_eq!(add_definition("pub mod a;\n", "sort"), None);
    }
}
