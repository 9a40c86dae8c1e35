//! ODS records -> what the generators need of each op.

use std::path::{Path, PathBuf};
use tblgen::{TableGenParser, record::Record};

pub struct Op {
    pub mnemonic: String,
    /// C++ class, without namespace.
    pub class: String,
    pub summary: String,
    pub description: String,
    pub operands: Vec<Operand>,
    pub attributes: Vec<Attribute>,
    pub results: Vec<Operand>,
    /// Names of regions; a variadic one is marked.
    pub regions: Vec<(String, bool)>,
    pub has_verifier: bool,
    pub has_canonicalizer: bool,
    pub infers_types: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    Single,
    Optional,
    Variadic,
}

pub struct Operand {
    pub name: String,
    pub arity: Arity,
    pub summary: String,
}

pub struct Attribute {
    pub name: String,
    /// Rust type of the value.
    pub rust: &'static str,
    pub optional: bool,
    pub summary: String,
}

pub fn parse(dialect: &str, td: &Path, includes: &[PathBuf], mlir_include: &Path) -> Vec<Op> {
    let text = |path: &Path| path.to_str().expect("UTF-8 path").to_string();
    let mut parser = TableGenParser::new().add_include_directory(&text(mlir_include));
    for folder in includes {
        parser = parser.add_include_directory(&text(folder));
    }
    let records = parser.add_source_file(&text(td)).parse().unwrap_or_else(|e| panic!("{}: {e}", td.display()));
    records
        .all_derived_definitions("Op")
        .filter(|op| op.def_value("opDialect").is_ok_and(|d| d.str_value("name") == Ok(dialect)))
        .map(op)
        .collect()
}

fn op(record: Record) -> Op {
    let mnemonic = record.str_value("opName").expect("an op has a name").to_string();
    let name = record.name().expect("an op record has a name");
    let traits: Vec<Record> = record.list_of_defs_value("traits").unwrap_or_default().into_iter().collect();
    let infers_types = traits.iter().any(|t| {
        t.subclass_of("DeclareOpInterfaceMethods")
            && t.str_value("cppInterfaceName").or_else(|_| t.str_value("cppTraitName")).is_ok_and(|n| n.contains("InferTypeOpInterface"))
    });
    let (operands, attributes) = arguments(&mnemonic, record, "arguments");
    let (results, _) = arguments(&mnemonic, record, "results");
    Op {
        class: name.split_once('_').map_or(name, |(_, class)| class).to_string(),
        summary: text(record, "summary"),
        description: text(record, "description"),
        operands,
        attributes,
        results,
        regions: regions(record),
        has_verifier: record.bit_value("hasVerifier").unwrap_or(false),
        has_canonicalizer: record.bit_value("hasCanonicalizer").unwrap_or(false),
        infers_types,
        mnemonic,
    }
}

fn text(record: Record, field: &str) -> String {
    let text = record.str_value(field).unwrap_or("");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join("\n").trim().to_string()
}

fn arguments(op: &str, record: Record, field: &str) -> (Vec<Operand>, Vec<Attribute>) {
    let dag = record.dag_value(field).expect("arguments and results are dags");
    let (mut operands, mut attributes) = (vec![], vec![]);
    for i in 0..dag.num_args() {
        let name = dag.name(i).unwrap_or_else(|| panic!("{op}: {field} #{i} needs a name")).to_string();
        let def: Record = dag.get(i).expect("in range").as_def().unwrap_or_else(|_| panic!("{op}: {name} is no record")).into();
        if def.subclass_of("Attr") {
            let optional = def.subclass_of("OptionalAttr");
            let base: Record = if optional { def.def_value("baseAttr").expect("OptionalAttr has a base") } else { def };
            let rust = rust_type(base);
            attributes.push(Attribute { name, rust, optional: optional && rust != "bool", summary: text(base, "summary") });
        } else {
            let arity = if def.subclass_of("Variadic") {
                Arity::Variadic
            } else if def.subclass_of("Optional") {
                Arity::Optional
            } else {
                Arity::Single
            };
            let summary = if arity == Arity::Single { def } else { def.def_value("baseType").unwrap_or(def) };
            operands.push(Operand { name, arity, summary: text(summary, "summary") });
        }
    }
    (operands, attributes)
}

fn rust_type(attribute: Record) -> &'static str {
    match attribute.name().unwrap_or("") {
        "I64Attr" => "i64",
        "F64Attr" => "f64",
        "UnitAttr" => "bool",
        "DenseI64ArrayAttr" => "Vec<i64>",
        "StrAttr" | "SymbolNameAttr" => "String",
        "StrArrayAttr" => "Vec<String>",
        _ => "Attribute<'c>",
    }
}

fn regions(record: Record) -> Vec<(String, bool)> {
    let Ok(dag) = record.dag_value("regions") else { return vec![] };
    (0..dag.num_args())
        .map(|i| {
            let variadic = dag.get(i).and_then(|r| r.as_def().ok()).map(Record::from).is_some_and(|r| r.subclass_of("VariadicRegion"));
            (dag.name(i).unwrap_or("region").to_string(), variadic)
        })
        .collect()
}
