//! Ops -> a Markdown reference.

use crate::record::{Arity, Op};
use std::fmt::Write;

pub fn render(dialect: &str, ops: &[Op]) -> String {
    let mut md = format!("# The `{dialect}` dialect\n\nGenerated from ODS; {} ops.\n", ops.len());
    for op in ops {
        write!(md, "\n## {dialect}.{}\n\n{}\n", op.mnemonic, op.summary).expect("writing to a string");
        if !op.description.is_empty() {
            write!(md, "\n{}\n", op.description).expect("writing to a string");
        }
        if !op.operands.is_empty() || !op.attributes.is_empty() || !op.results.is_empty() {
            md.push_str("\n| name | kind | what |\n|---|---|---|\n");
        }
        for (kind, values) in [("operand", &op.operands), ("result", &op.results)] {
            for value in values {
                let arity = match value.arity {
                    Arity::Single => "",
                    Arity::Optional => ", optional",
                    Arity::Variadic => ", variadic",
                };
                writeln!(md, "| `{}` | {kind}{arity} | {} |", value.name, value.summary).expect("writing to a string");
            }
        }
        for attribute in &op.attributes {
            let optional = if attribute.optional { ", optional" } else { "" };
            writeln!(md, "| `{}` | attribute{optional} | {} |", attribute.name, attribute.summary).expect("writing to a string");
        }
    }
    md
}
