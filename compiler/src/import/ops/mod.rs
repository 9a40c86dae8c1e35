//! Operator tables: one file per family, one row per operator and range of operator-set versions.

mod activation;
mod attention;
mod cast;
mod col2im;
mod constant;
mod contrib_attention;
mod control;
mod conv;
mod determinant;
mod einsum;
mod elementwise;
mod index;
mod linear;
mod linear_attention;
mod loss;
mod ml;
mod normalization;
mod order;
mod pool;
mod quantize;
mod recurrent;
mod reduce;
mod reshape;
mod resize;
mod resize_at_run_time;
mod sample;
mod selection;
mod sequence;
mod signal;
mod slice;

use super::{
    error::{Failure, ImportError},
    node::NodeContext,
    value::Tensor,
};

/// Why an import function gave up.
pub enum OpError {
    /// The node itself is unsupported or invalid.
    Failure(Failure),
    /// Something in a subgraph is invalid.
    Import(ImportError),
}

impl From<Failure> for OpError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<ImportError> for OpError {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}

pub type OpResult<'c, 'a> = Result<Vec<Tensor<'c, 'a>>, OpError>;
pub type ImportOp = for<'x, 'p, 'c, 'a> fn(&mut NodeContext<'x, 'p, 'c, 'a>) -> OpResult<'c, 'a>;

/// An operator, as it is from version `since` up to and including `until`.
pub struct Row {
    pub op: &'static str,
    pub since: i64,
    pub until: i64,
    pub import: ImportOp,
}

const NEWEST: i64 = i64::MAX;

/// A row of any version.
const fn row(op: &'static str, import: ImportOp) -> Row {
    Row { op, since: 1, until: NEWEST, import }
}

const fn row_since(op: &'static str, since: i64, import: ImportOp) -> Row {
    Row { op, since, until: NEWEST, import }
}

const fn row_until(op: &'static str, until: i64, import: ImportOp) -> Row {
    Row { op, since: 1, until, import }
}

const TABLES: &[&[Row]] = &[
    activation::OPS,
    attention::OPS,
    cast::OPS,
    col2im::OPS,
    constant::OPS,
    control::OPS,
    conv::OPS,
    determinant::OPS,
    einsum::OPS,
    elementwise::OPS,
    index::OPS,
    linear::OPS,
    linear_attention::OPS,
    loss::OPS,
    normalization::OPS,
    order::OPS,
    pool::OPS,
    recurrent::OPS,
    quantize::OPS,
    reduce::OPS,
    reshape::OPS,
    resize::OPS,
    selection::OPS,
    sample::OPS,
    sequence::OPS,
    signal::OPS,
    slice::OPS,
];

fn rows(domain: &str) -> impl Iterator<Item = &'static Row> {
    let tables: &[&[Row]] = match domain {
        "" => TABLES,
        "ai.onnx.ml" => ml::TABLES,
        "ai.onnx.preview" => &[attention::PREVIEW_OPS],
        // Of ONNX Runtime: what its optimizer and its quantization tools leave in models.
        "com.microsoft" => &[
            activation::CONTRIB_OPS,
            contrib_attention::CONTRIB_OPS,
            conv::CONTRIB_OPS,
            linear::CONTRIB_OPS,
            normalization::CONTRIB_OPS,
            quantize::CONTRIB_OPS,
            recurrent::CONTRIB_OPS,
        ],
        _ => &[],
    };
    tables.iter().flat_map(|table| table.iter())
}

/// The import function of an operator in a version of its set.
pub fn find(domain: &str, op: &str, version: i64) -> Option<ImportOp> {
    rows(domain).find(|row| row.op == op && (row.since..=row.until).contains(&version)).map(|row| row.import)
}

/// Why `find` found nothing.
pub fn why_unknown(domain: &str, op: &str, version: i64) -> String {
    if rows(domain).any(|row| row.op == op) {
        format!("the operator is not imported in version {version} of its set")
    } else if rows(domain).next().is_some() {
        "the operator is not imported yet".into()
    } else {
        format!("operators of the domain `{domain}` are not imported yet")
    }
}
