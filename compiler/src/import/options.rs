//! What the user says about a model's symbolic dims: `NAME=N` and `NAME<=N`.

use std::str::FromStr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DimSetting {
    /// `NAME=N`: the dim is N.
    Fixed(String, i64),
    /// `NAME<=N`: the dim is at most N.
    AtMost(String, i64),
}

impl FromStr for DimSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (make, parts): (fn(String, i64) -> Self, _) = match text.split_once("<=") {
            Some(parts) => (Self::AtMost, Some(parts)),
            None => (Self::Fixed, text.split_once('=')),
        };
        let parsed = parts.and_then(|(name, value)| Some((name.trim(), value.trim().parse::<i64>().ok().filter(|value| *value >= 0)?)));
        match parsed {
            Some((name, value)) if !name.is_empty() => Ok(make(name.into(), value)),
            _ => Err(format!("`{text}` is neither NAME=N nor NAME<=N with N at least 0")),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    pub dims: Vec<DimSetting>,
}
