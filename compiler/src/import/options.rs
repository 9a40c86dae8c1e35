//! What the user says about a model's inputs: dims (`NAME=N`, `NAME<=N`), values (`NAME=FILE.npy`), and the inputs of the run that follows.

use super::{error::ImportError, externs::Declaration};
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};
use winze_graph::types::ElementType;
use winze_runtime::{ElementType as Storage, npy};

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

/// `NAME=FILE.npy`: the value of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueSetting {
    pub input: String,
    pub file: PathBuf,
}

impl FromStr for ValueSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Names may contain `=`, file names seldom do.
        match text.rsplit_once('=') {
            Some((input, file)) if !input.is_empty() && !file.is_empty() => Ok(Self { input: input.into(), file: file.into() }),
            _ => Err(format!("`{text}` is not NAME=FILE.npy")),
        }
    }
}

/// `NAME=N` or `N`: sizes that the value NAME of the model, or any, decides while running are at most N.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeSetting {
    pub name: Option<String>,
    pub max: i64,
}

impl FromStr for SizeSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, max) = text.rsplit_once('=').map_or((None, text), |(name, max)| (Some(name.to_string()), max));
        match max.trim().parse::<i64>().ok().filter(|max| *max >= 0) {
            Some(max) if name.as_deref() != Some("") => Ok(Self { name, max }),
            _ => Err(format!("`{text}` is neither NAME=N nor N with N at least 0")),
        }
    }
}

/// `NAME=N[,NAME=N...]`: dims that a specialisation fixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Specialization(pub Vec<DimSetting>);

impl FromStr for Specialization {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let settings: Vec<DimSetting> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        match settings.iter().find(|setting| !matches!(setting, DimSetting::Fixed(..))) {
            Some(_) => Err(format!("`{text}` bounds a dim; a specialisation fixes dims: NAME=N[,NAME=N...]")),
            None => Ok(Self(settings)),
        }
    }
}

impl fmt::Display for Specialization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings: Vec<String> = self.values().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&settings.join(","))
    }
}

impl Specialization {
    /// Names and values of the dims that are fixed.
    pub fn values(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().filter_map(|setting| match setting {
            DimSetting::Fixed(name, value) => Some((name.as_str(), *value)),
            DimSetting::AtMost(..) => None,
        })
    }
}

#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    pub dims: Vec<DimSetting>,
    /// Largest values of sizes that are computed while running.
    pub max_sizes: Vec<SizeSetting>,
    /// Further functions, for certain values of dims that the first one leaves open.
    pub specializations: Vec<Specialization>,
    /// Values of inputs, used where an op needs one when it is compiled.
    pub values: Vec<ValueSetting>,
    /// Inputs of the run that follows, `[NAME=]FILE.npy`: small ones count as `values`, and their shapes fix symbolic dims that an op cannot
    /// leave open.
    pub inputs: Vec<String>,
    /// Kernels of the user for operators of the model.
    pub externs: Vec<Declaration>,
}

/// Larger inputs of a run are data, not parameters.
const MAX_OFFERED: usize = 1024;

/// What is known about an input before it is imported.
pub(super) struct Offer {
    pub dims: Vec<i64>,
    pub element: Storage,
    /// Little-endian elements in C order; `None` for large data.
    pub bytes: Option<Vec<u8>>,
    /// Given with `--value`: it must fit the model.
    pub explicit: bool,
}

impl Offer {
    fn read(path: &Path, limit: usize, explicit: bool) -> Result<Self, String> {
        let array = npy::Array::open(path)?;
        let view = array.view_as(array.element);
        let small = view.data.len() / view.element.bytes() <= limit;
        let bytes = if small { Some(npy::c_order(&view)?.into_owned()) } else { None };
        Ok(Self { dims: array.dims.clone(), element: array.element, bytes, explicit })
    }

    /// Whether the file holds elements of a type; bfloat16 is stored as uint16.
    pub fn holds(&self, element: ElementType) -> bool {
        let storage = crate::compile::storage_of(element);
        self.element == storage || (self.element, storage) == (Storage::U16, Storage::BF16)
    }
}

/// What of a word of [`ImportOptions::inputs`] can decide about a compilation: for each way to split it into name and file, what the file offers.
pub fn offer_of(word: &str) -> String {
    let splits = std::iter::once((0, 0)).chain(word.match_indices('=').map(|(at, _)| (at, at + 1)));
    let offers = splits.filter_map(|(name, file)| {
        let Offer { dims, element, bytes, explicit: _ } = Offer::read(Path::new(&word[file..]), MAX_OFFERED, false).ok()?;
        Some(format!("{:?} {element} {dims:?} {bytes:?}", &word[..name]))
    });
    offers.collect::<Vec<_>>().join("\n")
}

/// What `options` say about the inputs called `names`, in order.
pub(super) fn offers(options: &ImportOptions, names: &[&str]) -> Result<BTreeMap<String, Offer>, ImportError> {
    let mut offers = BTreeMap::new();
    let mut unnamed = vec![];
    for word in &options.inputs {
        match word.match_indices('=').find(|(at, _)| names.contains(&&word[..*at])) {
            Some((at, _)) => {
                // A file that cannot be read is reported by the run.
                if let Ok(offer) = Offer::read(Path::new(&word[at + 1..]), MAX_OFFERED, false) {
                    offers.insert(word[..at].to_string(), offer);
                }
            }
            None => unnamed.push(word),
        }
    }
    let open: Vec<&&str> = names.iter().filter(|name| !offers.contains_key(**name)).collect();
    for (name, file) in open.into_iter().zip(unnamed) {
        if let Ok(offer) = Offer::read(Path::new(file), MAX_OFFERED, false) {
            offers.insert(name.to_string(), offer);
        }
    }
    for ValueSetting { input, file } in &options.values {
        if !names.contains(&input.as_str()) {
            let remedy = format!("its inputs: {}", names.join(", "));
            return Err(ImportError::invalid(format!("the model has no input `{input}`"), "--value", remedy));
        }
        let offer = Offer::read(file, usize::MAX, true);
        let offer = offer.map_err(|why| ImportError::invalid(why, format!("--value {input}"), "give a .npy file"))?;
        offers.insert(input.clone(), offer);
    }
    Ok(offers)
}
