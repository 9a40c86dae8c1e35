//! Ops -> borrowed, typed Rust wrappers: accessors, a constructor and a dispatch enum.

use crate::{
    camel_case,
    record::{Arity, Op, Operand},
};
use std::fmt::Write;

/// Renders `ops.rs`. Accessors panic only on IR that the verifier rejects.
pub fn render(dialect: &str, ops: &[Op]) -> String {
    let mut rs = String::from(
        "use winze_mlir::{attributes::{self, AttributeValue}, melior::{Context, dialect::DialectHandle, \
         ir::{Attribute, Identifier, Location, Operation, OperationRef, Region, RegionRef, Type, Value, ValueLike, \
         operation::{OperationBuilder, OperationLike}}}};\n",
    );
    write!(
        rs,
        "unsafe extern \"C\" {{ fn mlirGetDialectHandle__{dialect}__() -> winze_mlir::mlir_sys::MlirDialectHandle; }}\n\
         /// Handle of the `{dialect}` dialect.\n\
         pub fn handle() -> DialectHandle {{ unsafe {{ DialectHandle::from_raw(mlirGetDialectHandle__{dialect}__()) }} }}\n\
         /// Reference of the dialect, in Markdown.\n\
         pub const REFERENCE: &str = include_str!(concat!(env!(\"OUT_DIR\"), \"/{dialect}.md\"));\n"
    )
    .expect("writing to a string");
    for op in ops {
        render_op(&mut rs, dialect, op).expect("writing to a string");
    }
    let variants: String = ops.iter().map(|op| format!("{0}({0}<'c, 'a>),", camel_case(&op.mnemonic))).collect();
    let arms: String = ops.iter().map(|op| format!("{0}::NAME => Self::{0}({0}(op)),", camel_case(&op.mnemonic))).collect();
    write!(
        rs,
        "/// Any op of the dialect.\n#[derive(Clone, Copy)]\npub enum AnyOp<'c, 'a> {{ {variants} }}\n\
         impl<'c: 'a, 'a> AnyOp<'c, 'a> {{\n\
         pub fn cast(op: OperationRef<'c, 'a>) -> Option<Self> {{ Some(match op.name().as_string_ref().as_str().ok()? {{ {arms} _ => return None }}) }}\n}}\n"
    )
    .expect("writing to a string");
    rs
}

fn render_op(rs: &mut String, dialect: &str, op: &Op) -> std::fmt::Result {
    let class = camel_case(&op.mnemonic);
    writeln!(rs, "/// `{dialect}.{}`: {}", op.mnemonic, op.summary.replace('\n', " "))?;
    writeln!(rs, "#[derive(Clone, Copy)]\npub struct {class}<'c, 'a>(pub OperationRef<'c, 'a>);")?;
    writeln!(rs, "#[allow(dead_code, clippy::too_many_arguments)]\nimpl<'c: 'a, 'a> {class}<'c, 'a> {{")?;
    writeln!(rs, "pub const NAME: &'static str = \"{dialect}.{}\";", op.mnemonic)?;
    writeln!(
        rs,
        "pub fn cast(op: OperationRef<'c, 'a>) -> Option<Self> {{ (op.name().as_string_ref().as_str() == Ok(Self::NAME)).then_some(Self(op)) }}"
    )?;
    writeln!(rs, "pub fn op(&self) -> OperationRef<'c, 'a> {{ self.0 }}")?;
    render_operands(rs, op)?;
    for attribute in &op.attributes {
        let (name, rust) = (&attribute.name, attribute.rust);
        match (rust, attribute.optional) {
            ("bool", _) => writeln!(rs, "pub fn {}(&self) -> bool {{ self.0.has_attribute(\"{name}\") }}", ident(name))?,
            (_, true) => writeln!(rs, "pub fn {}(&self) -> Option<{rust}> {{ attributes::get(self.0, \"{name}\") }}", ident(name))?,
            _ => writeln!(rs, "pub fn {}(&self) -> {rust} {{ attributes::get(self.0, \"{name}\").expect(\"verified\") }}", ident(name))?,
        }
        if rust != "bool" {
            writeln!(
                rs,
                "pub fn set_{name}(&self, context: &'c Context, value: {rust}) {{ attributes::set(self.0, \"{name}\", value.to_attribute(context)) }}"
            )?;
        }
    }
    for (i, result) in op.results.iter().enumerate() {
        if result.arity == Arity::Single && op.results.iter().all(|r| r.arity == Arity::Single) {
            writeln!(rs, "pub fn {}(&self) -> Value<'c, 'a> {{ self.0.result({i}).expect(\"verified\").into() }}", ident(&result.name))?;
        }
    }
    for (i, (name, variadic)) in op.regions.iter().enumerate() {
        if !variadic {
            writeln!(rs, "pub fn {}(&self) -> RegionRef<'c, 'a> {{ self.0.region({i}).expect(\"verified\") }}", ident(name))?;
        }
    }
    render_constructor(rs, op)?;
    writeln!(rs, "}}")
}

fn render_operands(rs: &mut String, op: &Op) -> std::fmt::Result {
    let flexible = op.operands.iter().filter(|o| o.arity != Arity::Single).count();
    let count = op.operands.len();
    for (i, operand) in op.operands.iter().enumerate() {
        let name = ident(&operand.name);
        if flexible > 1 {
            // AttrSizedOperandSegments: positions come from the segment sizes.
            let range = format!(
                "let sizes = attributes::segment_sizes(self.0); let start = sizes[..{i}].iter().sum::<usize>(); let end = start + sizes[{i}];"
            );
            match operand.arity {
                Arity::Single => writeln!(
                    rs,
                    "pub fn {name}(&self) -> Value<'c, 'a> {{ {range} let _ = end; self.0.operand(start).expect(\"verified\") }}"
                )?,
                Arity::Optional => writeln!(
                    rs,
                    "pub fn {name}(&self) -> Option<Value<'c, 'a>> {{ {range} (start < end).then(|| self.0.operand(start).expect(\"verified\")) }}"
                )?,
                Arity::Variadic => writeln!(
                    rs,
                    "pub fn {name}(&self) -> Vec<Value<'c, 'a>> {{ {range} (start..end).map(|i| self.0.operand(i).expect(\"verified\")).collect() }}"
                )?,
            }
            continue;
        }
        let after = count - 1 - i;
        let flexible_before = op.operands[..i].iter().any(|o| o.arity != Arity::Single);
        let position = if flexible_before { format!("self.0.operand_count() - {}", after + 1) } else { i.to_string() };
        match operand.arity {
            Arity::Single => writeln!(rs, "pub fn {name}(&self) -> Value<'c, 'a> {{ self.0.operand({position}).expect(\"verified\") }}")?,
            Arity::Optional => writeln!(
                rs,
                "pub fn {name}(&self) -> Option<Value<'c, 'a>> {{ (self.0.operand_count() == {count}).then(|| self.0.operand({i}).expect(\"verified\")) }}"
            )?,
            Arity::Variadic => writeln!(
                rs,
                "pub fn {name}(&self) -> Vec<Value<'c, 'a>> {{ ({i}..self.0.operand_count() - {after}).map(|i| self.0.operand(i).expect(\"verified\")).collect() }}"
            )?,
        }
    }
    Ok(())
}

fn render_constructor(rs: &mut String, op: &Op) -> std::fmt::Result {
    let mut parameters = vec!["context: &'c Context".to_string(), "location: Location<'c>".to_string()];
    let mut body = String::new();
    for Operand { name, arity, .. } in &op.operands {
        let name = ident(name);
        match arity {
            Arity::Single => {
                parameters.push(format!("{name}: Value<'c, '_>"));
                writeln!(body, "operands.push({name}); segments.push(1);")?;
            }
            Arity::Optional => {
                parameters.push(format!("{name}: Option<Value<'c, '_>>"));
                writeln!(body, "segments.push({name}.is_some() as i32); operands.extend({name});")?;
            }
            Arity::Variadic => {
                parameters.push(format!("{name}: &[Value<'c, '_>]"));
                writeln!(body, "operands.extend_from_slice({name}); segments.push({name}.len() as i32);")?;
            }
        }
    }
    for attribute in &op.attributes {
        let (name, rust) = (ident(&attribute.name), attribute.rust);
        let key = format!("Identifier::new(context, \"{}\")", attribute.name);
        match (rust, attribute.optional) {
            ("bool", _) => {
                parameters.push(format!("{name}: bool"));
                writeln!(body, "if {name} {{ attributes.push(({key}, Attribute::unit(context))) }}")?;
            }
            (_, true) => {
                parameters.push(format!("{name}: Option<{rust}>"));
                writeln!(body, "if let Some(value) = {name} {{ attributes.push(({key}, value.to_attribute(context))) }}")?;
            }
            _ => {
                parameters.push(format!("{name}: {rust}"));
                writeln!(body, "attributes.push(({key}, {name}.to_attribute(context)));")?;
            }
        }
    }
    if op.operands.iter().filter(|o| o.arity != Arity::Single).count() > 1 {
        writeln!(body, "attributes.push((Identifier::new(context, \"operandSegmentSizes\"), attributes::segments(context, &segments)));")?;
    }
    let regions = if op.regions.is_empty() {
        ""
    } else if op.regions.iter().any(|(_, variadic)| *variadic) {
        parameters.push("regions: Vec<Region<'c>>".into());
        ".add_regions_vec(regions)"
    } else {
        parameters.push(format!("regions: [Region<'c>; {}]", op.regions.len()));
        ".add_regions(regions)"
    };
    // Ops without results need no types; ops that infer theirs take an empty list.
    let (results, add_results) = if op.results.is_empty() {
        ("", String::new())
    } else if op.infers_types {
        ("", ".enable_result_type_inference()".to_string())
    } else {
        (", results: &[Type<'c>]", ".add_results(results)".to_string())
    };
    let fallible = op.infers_types;
    let (return_type, finish) = if fallible {
        ("Result<Operation<'c>, String>", ".build().map_err(|e| e.to_string())")
    } else {
        ("Operation<'c>", ".build().expect(\"an op with explicit types builds\")")
    };
    writeln!(
        rs,
        "pub fn create({}{results}) -> {return_type} {{\n\
         #[allow(unused_mut)] let mut operands: Vec<Value> = vec![];\n\
         #[allow(unused_mut, unused_variables)] let mut segments: Vec<i32> = vec![];\n\
         #[allow(unused_mut)] let mut attributes: Vec<(Identifier, Attribute)> = vec![];\n{body}\
         OperationBuilder::new(Self::NAME, location).add_operands(&operands).add_attributes(&attributes){add_results}{regions}{finish}\n}}",
        parameters.join(", ")
    )
}

/// A name as a Rust identifier.
fn ident(name: &str) -> String {
    match name {
        "else" | "if" | "while" | "loop" | "in" | "type" | "match" | "where" | "move" | "ref" | "yield" => format!("r#{name}"),
        _ => name.to_string(),
    }
}
