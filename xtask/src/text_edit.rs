//! Names and source files -> names in other spellings, and files with a line more. Edits are checked before anything is written.

use crate::Result;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Words that Rust keeps for itself and that make sense as names of ops.
const KEYWORDS: &[&str] =
    &["as", "break", "const", "continue", "else", "enum", "fn", "for", "if", "in", "let", "loop", "match", "mod", "move", "mut"];
const MORE_KEYWORDS: &[&str] =
    &["pub", "ref", "return", "static", "struct", "trait", "type", "unsafe", "use", "where", "while", "yield", "try", "gen"];

/// `fold-constants`, `fold_constants` -> `fold_constants`; refuses what is no name.
pub fn snake_case(name: &str) -> Result<String> {
    let snake = name.replace('-', "_");
    let well_formed = snake.starts_with(|c: char| c.is_ascii_lowercase())
        && snake.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !snake.contains("__")
        && !snake.ends_with('_');
    if well_formed { Ok(snake) } else { Err(format!("\"{name}\" is no name; use lower-case words joined by - or _, as in reduce_window")) }
}

/// `fold_constants` -> `FoldConstants`.
pub fn camel_case(snake: &str) -> String {
    let capital = |word: &str| word.chars().next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + &word[1..]);
    snake.split('_').map(capital).collect()
}

/// `while` -> `r#while`.
pub fn identifier(snake: &str) -> String {
    let reserved = KEYWORDS.contains(&snake) || MORE_KEYWORDS.contains(&snake);
    if reserved { format!("r#{snake}") } else { snake.to_owned() }
}

/// `text` with `new` as a line of its own after the last line that fits; `None` if none does.
pub fn insert_after_last(text: &str, fits: impl Fn(&str) -> bool, new: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().rposition(|line| fits(line))?;
    let (before, after) = lines.split_at(at + 1);
    Some([before, &[new], after].concat().join("\n") + "\n")
}

/// A changed file that is not written yet.
pub struct Edit {
    path: PathBuf,
    text: String,
}

/// Reads a file and changes its text; an error if the change finds no place.
pub fn edit(path: &Path, change: impl Fn(&str) -> Option<String>) -> Result<Edit> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = change(&text)
        .ok_or_else(|| format!("{} has changed its form: there is no line to add to; add it by hand and mend xtask", path.display()))?;
    Ok(Edit { path: path.to_owned(), text })
}

impl Edit {
    pub fn save(&self) -> Result<()> {
        write(&self.path, &self.text)
    }
}

pub fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_names() {
        assert_eq!(snake_case("fold-constants").unwrap(), "fold_constants");
        assert_eq!(camel_case("reduce_window2d"), "ReduceWindow2d");
        assert_eq!((identifier("yield").as_str(), identifier("sort").as_str()), ("r#yield", "sort"));
        for bad in ["", "Sort", "1x", "a b", "a__b", "a_", "../x", "é"] {
            assert!(snake_case(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn inserts_after_the_last_line_that_fits() {
        assert_eq!(insert_after_last("a1\na2\nb\n", |line| line.starts_with('a'), "new").unwrap(), "a1\na2\nnew\nb\n");
        assert_eq!(insert_after_last("b\n", |line| line.starts_with('a'), "new"), None);
    }
}
