//! Kernels of the user for operators of custom domains: declarations (TOML) -> `graph.call_extern`.
//!
//! ```toml
//! [[kernel]]
//! name = "smooth"                 # what the host registers; the symbol in a library
//! domain = "com.example"
//! op = "Smooth"
//! signature = "(f32[n, m], f32[k], alpha: float) -> (f32[n, m - k + 1])"
//! defaults = { alpha = 0.5 }      # attributes that nodes may leave out
//! ```
//! An operator may have several kernels; a node takes the first whose signature fits its inputs. A declared kernel comes before anything else of its name.

use super::{
    error::{Failure, ImportError},
    importer::domain,
    node::NodeContext,
    ops::OpResult,
};
use serde::Deserialize;
use std::{collections::BTreeMap, fs, path::Path};
use winze_graph::{
    dialect::CallExtern,
    ops::call_extern::signature::{ScalarKind, Signature},
    types::TensorType,
};
use winze_mlir::melior::ir::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclarationFile {
    kernel: Vec<DeclarationText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclarationText {
    name: String,
    domain: String,
    op: String,
    signature: String,
    #[serde(default)]
    defaults: BTreeMap<String, Number>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Int(i64),
    Float(f64),
}

/// A kernel that the host will bring.
#[derive(Clone, Debug)]
pub struct Declaration {
    name: String,
    domain: String,
    op: String,
    signature: Signature,
    /// Raw words, by name.
    defaults: BTreeMap<String, i64>,
}

/// The kernels of a declaration file.
pub fn read_declarations(path: &Path) -> Result<Vec<Declaration>, ImportError> {
    let invalid =
        |what: String| ImportError::invalid(what, format!("--extern {}", path.display()), "docs/extern-kernels.md shows a declaration");
    let text = fs::read_to_string(path).map_err(|e| invalid(e.to_string()))?;
    declarations(&text).map_err(invalid)
}

fn declarations(text: &str) -> Result<Vec<Declaration>, String> {
    let file: DeclarationFile = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_string())?;
    let mut list: Vec<Declaration> = vec![];
    for text in file.kernel {
        let declaration = text.declaration()?;
        if list.iter().any(|known| known.name == declaration.name) {
            return Err(format!("two kernels are named \"{}\"; the host finds a kernel by its name", declaration.name));
        }
        list.push(declaration);
    }
    Ok(list)
}

impl DeclarationText {
    fn declaration(self) -> Result<Declaration, String> {
        let Self { name, op, .. } = self;
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("the kernel name \"{name}\" is no identifier of C; use letters, digits and _"));
        }
        let signature = Signature::parse(&self.signature).map_err(|why| format!("kernel {name}: {why}"))?;
        let mut defaults = BTreeMap::new();
        for (parameter, value) in self.defaults {
            let kind = signature.scalars.iter().find(|(known, _)| *known == parameter).map(|(_, kind)| *kind);
            let word = match (kind, value) {
                (Some(ScalarKind::Int), Number::Int(value)) => value,
                (Some(ScalarKind::Float), Number::Float(value)) => value.to_bits() as i64,
                (Some(ScalarKind::Float), Number::Int(value)) => (value as f64).to_bits() as i64,
                (Some(ScalarKind::Int), Number::Float(value)) => {
                    return Err(format!("kernel {name}: the default {value} of {parameter} is no integer"));
                }
                (None, _) => return Err(format!("kernel {name}: the default {parameter} is no parameter of {signature}")),
            };
            defaults.insert(parameter, word);
        }
        Ok(Declaration { name, domain: domain(&self.domain).into(), op, signature, defaults })
    }
}

/// The kernels declared for an operator.
pub fn declared<'d>(declarations: &'d [Declaration], domain: &str, op: &str) -> Vec<&'d Declaration> {
    declarations.iter().filter(|declaration| declaration.domain == domain && declaration.op == op).collect()
}

/// A node as a call of the first kernel that takes its inputs.
pub fn import_call<'c: 'a, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>, declared: &[&Declaration]) -> OpResult<'c, 'a> {
    if let Some(i) = cx.inputs.iter().position(Option::is_none) {
        return Err(Failure::Unsupported(format!("its input {i} is left out; kernels of the user take all inputs")).into());
    }
    let inputs = cx.inputs.iter().flatten().cloned().collect::<Vec<_>>();
    let types: Vec<TensorType> = inputs.iter().map(|input| input.r#type.clone()).collect();
    let mut reasons = vec![];
    for declaration in declared {
        match declaration.signature.bind(&types) {
            Ok(dims) => {
                let scalars = scalars(cx, declaration)?;
                let wanted = declaration.signature.inputs(&dims);
                let mut values: Vec<Value> = vec![];
                for (input, wanted) in inputs.iter().zip(wanted) {
                    let what = format!("the extents of the kernel {}, {}", declaration.name, declaration.signature);
                    let input = cx.with_dims(input, wanted.dims, &what)?;
                    values.push(cx.value(&input)?);
                }
                let (name, signature) = (declaration.name.clone(), declaration.signature.to_string());
                return Ok(cx.infer_all(|context, location| CallExtern::create(context, location, &values, name, signature, scalars))?);
            }
            Err(why) => reasons.push(format!("kernel {}: {why}", declaration.name)),
        }
    }
    Err(Failure::Unsupported(reasons.join("; ")).into())
}

/// The parameters of a call, from attributes and defaults.
fn scalars(cx: &NodeContext, declaration: &Declaration) -> Result<Vec<i64>, Failure> {
    let parameters = &declaration.signature.scalars;
    if let Some(attribute) = cx.node.attribute.iter().find(|attribute| !parameters.iter().any(|(name, _)| *name == attribute.name)) {
        let (attribute, signature) = (&attribute.name, &declaration.signature);
        return Failure::unsupported(format!(
            "the attribute `{attribute}`, which the kernel {} {signature} does not take",
            declaration.name
        ));
    }
    let mut words = vec![];
    for (name, kind) in parameters {
        let given = match kind {
            ScalarKind::Int => cx.int(name)?,
            ScalarKind::Float => cx.float(name)?.map(|value| value.to_bits() as i64),
        };
        let word = given.or_else(|| declaration.defaults.get(name).copied());
        words.push(word.ok_or_else(|| Failure::Invalid(format!("the attribute `{name}` is missing, and its declaration has no default")))?);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        declarations(text).unwrap_err()
    }

    #[test]
    fn declarations_are_checked() {
        let kernel = |name: &str, more: &str| {
            format!(
                "[[kernel]]\nname = \"{name}\"\ndomain = \"ai.onnx\"\nop = \"F\"\nsignature = \"(f32[n], a: int, b: float) -> (f32[n])\"\n{more}\n"
            )
        };
        let read = declarations(&kernel("f", "defaults = { a = 3, b = 2 }")).unwrap();
        assert_eq!(read[0].domain, "", "the default domain has two names");
        assert_eq!(read[0].defaults, [("a".to_string(), 3), ("b".to_string(), 2f64.to_bits() as i64)].into());
        assert_eq!(declared(&read, "", "F").len(), 1);
        assert!(declared(&read, "", "G").is_empty());
        assert!(error(&(kernel("f", "") + &kernel("f", ""))).starts_with("two kernels are named \"f\""));
        assert!(error(&kernel("a b", "")).contains("is no identifier of C"));
        assert!(error(&kernel("1a", "")).contains("is no identifier of C"));
        assert!(error(&kernel("f", "defaults = { c = 1 }")).contains("the default c is no parameter of"));
        assert!(error(&kernel("f", "defaults = { a = 1.5 }")).contains("the default 1.5 of a is no integer"));
        assert!(error(&kernel("f", "color = 1")).contains("unknown field `color`"));
        assert!(error("kernel = 3").contains("invalid type"));
        assert!(error(&kernel("f", "").replace("(f32[n],", "(f33[n],")).starts_with("kernel f: the signature"));
    }
}
