//! Graphs and functions of a model -> blocks of IR.
//!
//! Walks nodes in order and looks each up in the op table. A node that cannot be imported is recorded and its outputs are marked missing, so
//! that one run finds everything unsupported; nodes that need a missing value are only checked for being known.

use super::{
    Form,
    error::{Failure, ImportError, Unsupported},
    externs::{self, Declaration},
    fold,
    narrow::{self, ModelType, Narrow},
    node::{NodeContext, unknown_attributes},
    ops,
    options::{DimSetting, ImportOptions, SizeSetting},
    order::{node_name, sort_nodes},
    plan::{self, Plan},
    proto::{
        AttributeProto, DimensionProto, DimensionValue, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
        TypeProto, TypeValue, ValueInfoProto,
    },
    shape_values,
    sizes::{Sizes, SymbolSource},
    tensor::{Files, import_tensor},
    value::{Data, Tensor},
};
use crate::constants::{ConstantStore, ConstantType, MappedFile, Source};
use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, HashSet},
};
use winze_graph::{
    dim::Dim,
    types::{MODEL_TYPE, NAME, SPECIALIZES, SYMBOL_BOUNDS, TensorType},
};
use winze_mlir::{
    attributes::AttributeValue,
    diagnostics,
    melior::{
        Context,
        dialect::func,
        ir::{
            Attribute, Block, BlockLike, BlockRef, Identifier, Location, Module, Region, RegionLike, Type, Value, ValueLike,
            attribute::{ArrayAttribute, StringAttribute, TypeAttribute},
            operation::OperationLike,
            r#type::FunctionType,
        },
    },
};

/// Newest version of the default operator set that import knows.
const NEWEST_OPSET: i64 = 28;

/// Nesting of functions and subgraphs that is surely a mistake.
const MAX_DEPTH: usize = 64;

/// A name in scope; `None` if its node could not be imported.
type Scope<'c, 'a> = HashMap<String, Option<Tensor<'c, 'a>>>;

/// What a graph or function body sees: names, operator versions, attributes of the calling node.
pub struct Frame<'p, 'c, 'a> {
    scopes: Vec<Scope<'c, 'a>>,
    opsets: HashMap<&'p str, i64>,
    attributes: HashMap<&'p str, &'p AttributeProto>,
    /// Parameters of a function that the caller leaves out; they count as "" inside.
    absent: HashSet<&'p str>,
    /// Names of the calling nodes, for messages and locations.
    prefix: String,
    /// Index of the calling node in the main graph.
    caller: Option<usize>,
    depth: usize,
}

impl<'p, 'c, 'a> Frame<'p, 'c, 'a> {
    fn lookup(&self, name: &str) -> Option<&Option<Tensor<'c, 'a>>> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name))
    }

    fn define(&mut self, name: &str, tensor: Option<Tensor<'c, 'a>>) {
        self.scopes.last_mut().expect("a frame has a scope").insert(name.into(), tensor);
    }

    /// The attribute, or the caller's attribute that it stands for. `None` if the caller leaves it out.
    pub fn attribute(&self, attribute: &'p AttributeProto) -> Option<&'p AttributeProto> {
        if attribute.ref_attr_name.is_empty() { Some(attribute) } else { self.attributes.get(attribute.ref_attr_name.as_str()).copied() }
    }
}

pub struct Importer<'p, 'c, 'a> {
    pub context: &'c Context,
    pub store: ConstantStore,
    pub files: Files,
    model: &'p ModelProto,
    name: &'p str,
    functions: HashMap<(&'p str, &'p str, &'p str), &'p FunctionProto>,
    pub symbols: Vec<String>,
    fixed: HashMap<String, i64>,
    bounds: HashMap<String, i64>,
    /// What each symbol is taken from.
    pub symbol_sources: Vec<SymbolSource<'c, 'a>>,
    /// Sizes that are computed while running.
    pub sizes: Sizes,
    pub max_sizes: Vec<SizeSetting>,
    externs: &'p [Declaration],
    pub(super) unsupported: Vec<Unsupported>,
    pub warnings: Vec<String>,
    plan: &'p Plan,
    /// The block of `main` and the names of its arguments.
    entry: Option<BlockRef<'c, 'a>>,
    inputs: Vec<String>,
    /// Inputs whose values are on offer and would have helped.
    pub demands: RefCell<BTreeSet<String>>,
}

impl<'p, 'c: 'a, 'a> Importer<'p, 'c, 'a> {
    pub fn new(
        context: &'c Context,
        model: &'p ModelProto,
        file: MappedFile,
        name: &'p str,
        options: &'p ImportOptions,
        plan: &'p Plan,
        store: ConstantStore,
    ) -> Self {
        let (mut fixed, mut bounds) = (plan.dims(model.graph.as_ref().expect("decode has checked")), HashMap::new());
        for setting in &options.dims {
            match setting {
                DimSetting::Fixed(name, value) => fixed.insert(name.clone(), *value),
                DimSetting::AtMost(name, value) => bounds.insert(name.clone(), *value),
            };
        }
        let functions = model.functions.iter().map(|f| ((domain(&f.domain), f.name.as_str(), f.overload.as_str()), f)).collect();
        Self {
            context,
            store,
            files: Files::new(file),
            model,
            name,
            functions,
            symbols: vec![],
            fixed,
            bounds,
            symbol_sources: vec![],
            sizes: Sizes::default(),
            max_sizes: options.max_sizes.clone(),
            externs: &options.externs,
            unsupported: vec![],
            warnings: vec![],
            plan,
            entry: None,
            inputs: vec![],
            demands: RefCell::default(),
        }
    }

    /// Adds the function `form` to `module`.
    pub fn import(&mut self, module: &Module<'c>, form: &Form) -> Result<(), ImportError> {
        let model = self.model;
        let graph = model.graph.as_ref().expect("decode has checked");
        let opsets = self.opsets(&model.opset_import)?;
        let mut frame = Frame {
            scopes: vec![Scope::new()],
            opsets,
            attributes: HashMap::new(),
            absent: HashSet::new(),
            prefix: String::new(),
            caller: None,
            depth: 0,
        };
        self.define_initializers(graph, &mut frame)?;

        let region = Region::new();
        let body = Block::new(&[]);
        // SAFETY: the block is owned by `region`, which outlives every use of `block` below, at last as part of `module`.
        let block: BlockRef<'c, 'a> = unsafe { BlockRef::from_raw(region.append_block(body).to_raw()) };
        self.entry = Some(block);
        let (mut arguments, mut argument_attributes) = (vec![], vec![]);
        let initialized: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
        for input in graph.input.iter().filter(|input| !initialized.contains(input.name.as_str())) {
            if input.name.is_empty() || frame.lookup(&input.name).is_some() {
                return Err(ImportError::model(format!("the graph input `{}` has no name or is defined twice", input.name), self.name));
            }
            let Some((r#type, narrow)) = self.input_type(input)? else {
                frame.define(&input.name, None);
                continue;
            };
            let mlir_type = r#type.to_type(self.context);
            let location = Location::name(self.context, &input.name, Location::new(self.context, self.name, 0, 0));
            let value = block.add_argument(mlir_type, location);
            // SAFETY: as for `block`.
            let value: Value<'c, 'a> = unsafe { Value::from_raw(value.to_raw()) };
            for (axis, dim) in r#type.dims.iter().enumerate() {
                if dim.as_symbol().is_some_and(|symbol| symbol as usize == self.symbol_sources.len()) {
                    self.symbol_sources.push(SymbolSource::Axis(value, axis as i64));
                }
            }
            arguments.push(mlir_type);
            let fixed = self.plan.fixed.contains(&input.name).then(|| self.plan.offers.get(&input.name)?.bytes.as_ref()).flatten();
            let known = fixed.map(|bytes| self.fixed_input(&input.name, &r#type, bytes)).transpose()?;
            let fixed = known.as_ref().map_or_else(String::new, |(_, value)| format!(", graph.value = {value}"));
            argument_attributes.push(self.argument_attribute(&input.name, narrow, &fixed));
            self.inputs.push(input.name.clone());
            let data = known.map_or(Data::Value(value), |(id, _)| Data::Constant(id));
            frame.define(&input.name, Some(Tensor { narrow, ..Tensor::new(r#type, data) }));
        }
        self.check_dim_settings()?;

        self.import_nodes(&graph.node, &graph.value_info, block, &mut frame)?;

        let (mut results, mut result_attributes) = (vec![], vec![]);
        for output in &graph.output {
            let Some(tensor) = frame.lookup(&output.name).cloned() else {
                return Err(ImportError::model(format!("the graph output `{}` is not defined", output.name), self.name));
            };
            let Some(tensor) = tensor else { continue };
            self.check_declared(output, &tensor)?;
            let location = Location::name(self.context, &output.name, Location::new(self.context, self.name, graph.node.len(), 0));
            let value = self.materialize(&tensor, block, location).map_err(|failure| self.invalid(failure, &output.name))?;
            results.push(value);
            result_attributes.push(self.argument_attribute(&output.name, tensor.narrow, ""));
        }
        if !self.unsupported.is_empty() {
            return Err(ImportError::Unsupported(std::mem::take(&mut self.unsupported)));
        }
        let types: Vec<Type<'c>> = results.iter().map(|value| value.r#type()).collect();
        block.append_operation(func::r#return(&results, Location::new(self.context, self.name, graph.node.len(), 0)));
        let signature = FunctionType::new(self.context, &arguments, &types);
        self.append_function(module, form, region, signature, argument_attributes, result_attributes);
        let (valid, messages) = diagnostics::collect(self.context, || module.as_operation().verify());
        if !valid {
            let text: Vec<String> = messages.iter().map(ToString::to_string).collect();
            return Err(ImportError::invalid(
                format!("the imported module is invalid: {}", text.join("; ")),
                self.name,
                "report this as a bug",
            ));
        }
        Ok(())
    }

    /// A constant with the value of an input, and the value as an attribute.
    fn fixed_input(&mut self, name: &str, r#type: &TensorType, bytes: &[u8]) -> Result<(String, Attribute<'c>), ImportError> {
        let fixed = r#type.static_shape().and_then(|shape| {
            let constant = ConstantType::new(r#type.element, shape.clone());
            let tensor =
                winze_graph::tensor::Tensor::from_bytes(r#type.element, &shape.iter().map(|d| *d as usize).collect::<Vec<_>>(), bytes);
            let id = self.store.add(name, constant, Source::Inline(bytes.to_vec())).ok()?;
            Some((id, winze_graph::ops::constant::write_constant(self.context, &tensor.ok()?)))
        });
        let remedy = "let --dim and --value agree";
        fixed.ok_or_else(|| ImportError::invalid("its value has another shape", format!("input `{name}`"), remedy))
    }

    /// Whether a value depends on the sizes of the inputs at most, not on contents.
    pub fn follows_from_sizes(&self, tensor: &Tensor<'c, 'a>) -> bool {
        match (&tensor.data, self.entry) {
            (Data::Value(value), Some(entry)) => plan::sources(*value, entry).is_some_and(|sources| sources.is_empty()),
            (data, _) => matches!(data, Data::Constant(_) | Data::Integers(_)),
        }
    }

    /// Takes back the symbols behind the first `count`; the ops that bound them are gone.
    pub fn forget_symbols(&mut self, count: usize) {
        self.symbols.truncate(count);
        self.symbol_sources.truncate(count);
        self.sizes.truncate(count as u32);
    }

    /// Inputs that a value is computed from; none if it depends on the turn of a loop.
    fn sources(&self, tensor: &Tensor<'c, 'a>) -> Vec<&str> {
        match (&tensor.data, self.entry) {
            (Data::Value(value), Some(entry)) => {
                let sources = plan::sources(*value, entry).unwrap_or_default();
                sources.into_iter().filter_map(|i| self.inputs.get(i).map(String::as_str)).collect()
            }
            _ => vec![],
        }
    }

    /// Whether all inputs that a value is computed from are on offer, so that asking for them makes it known.
    pub fn is_offered(&self, tensor: &Tensor<'c, 'a>) -> bool {
        let names = self.sources(tensor);
        !names.is_empty() && names.iter().all(|name| self.plan.has_value(name))
    }

    /// Why a value that must be known is not; notes which inputs would have to be.
    pub fn unknown(&self, tensor: &Tensor<'c, 'a>, what: &str) -> Failure {
        let names = self.sources(tensor);
        if names.is_empty() {
            return Failure::Unsupported(format!("{what} that are only known at run time"));
        }
        if names.iter().all(|name| self.plan.has_value(name)) {
            self.demands.borrow_mut().extend(names.iter().map(ToString::to_string));
        }
        let list: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        let flags: Vec<String> = names.iter().map(|name| format!("--value {name}=FILE.npy")).collect();
        let (input, it) = if names.len() == 1 { ("input", "it") } else { ("inputs", "them") };
        Failure::Unsupported(format!(
            "{what} that come from the {input} {} at run time; fix {it} with {}",
            list.join(", "),
            flags.join(" ")
        ))
    }

    fn append_function(
        &self,
        module: &Module<'c>,
        form: &Form,
        region: Region<'c>,
        signature: FunctionType<'c>,
        argument_attributes: Vec<Attribute<'c>>,
        result_attributes: Vec<Attribute<'c>>,
    ) {
        let cx = self.context;
        let array = |list: &[Attribute<'c>]| -> Attribute<'c> { ArrayAttribute::new(cx, list).into() };
        let mut attributes = vec![
            (Identifier::new(cx, "arg_attrs"), array(&argument_attributes)),
            (Identifier::new(cx, "res_attrs"), array(&result_attributes)),
            (Identifier::new(cx, winze_graph::types::SYMBOLS), self.symbols.clone().to_attribute(cx)),
        ];
        if !self.bounds.is_empty() {
            let bounds: Vec<i64> = self.symbols[..].iter().map(|name| self.bounds.get(name).copied().unwrap_or(i64::MAX)).collect();
            attributes.push((Identifier::new(cx, SYMBOL_BOUNDS), bounds.to_attribute(cx)));
        }
        if let Some(values) = &form.values {
            attributes.push((Identifier::new(cx, SPECIALIZES), values.clone().to_attribute(cx)));
        }
        let function = func::func(
            cx,
            StringAttribute::new(cx, &form.name),
            TypeAttribute::new(signature.into()),
            region,
            &attributes,
            Location::new(cx, self.name, 0, 0),
        );
        module.body().append_operation(function);
    }

    /// Name of an input or output, what its elements stand for, and more entries of its dictionary.
    fn argument_attribute(&self, name: &str, narrow: Option<&'static Narrow>, more: &str) -> Attribute<'c> {
        let quoted = StringAttribute::new(self.context, name).to_string();
        let holds = narrow.map_or_else(String::new, |narrow| format!(", {MODEL_TYPE} = \"{}\"", narrow.name));
        Attribute::parse(self.context, &format!("{{{NAME} = {quoted}{holds}{more}}}")).expect("printed attributes parse")
    }

    fn opsets(&mut self, imports: &'p [OperatorSetIdProto]) -> Result<HashMap<&'p str, i64>, ImportError> {
        let opsets: HashMap<&str, i64> = imports.iter().map(|import| (domain(&import.domain), import.version)).collect();
        if let Some(version) = opsets.get("").copied().filter(|version| !(1..=NEWEST_OPSET).contains(version)) {
            let why = format!("the model uses operator set {version}; 1 to {NEWEST_OPSET} are known");
            self.unsupported.push(Unsupported { op: "opset".into(), opset: Some(version), node: self.name.into(), why });
        }
        Ok(opsets)
    }

    fn invalid(&self, failure: Failure, at: &str) -> ImportError {
        match failure {
            Failure::Invalid(what) => ImportError::model(what, at),
            Failure::Unsupported(why) => {
                ImportError::Unsupported(vec![Unsupported { op: "graph".into(), opset: None, node: at.into(), why }])
            }
        }
    }

    fn record(&mut self, op: &str, opset: Option<i64>, node: String, failure: Failure) -> Result<(), ImportError> {
        match failure {
            Failure::Unsupported(why) => {
                self.unsupported.push(Unsupported { op: op.into(), opset, node, why });
                Ok(())
            }
            Failure::Invalid(what) => Err(ImportError::model(what, format!("{op} node `{node}`"))),
        }
    }

    fn define_initializers(&mut self, graph: &'p GraphProto, frame: &mut Frame<'p, 'c, 'a>) -> Result<(), ImportError> {
        for tensor in &graph.initializer {
            if tensor.name.is_empty() || frame.scopes.last().is_some_and(|scope| scope.contains_key(&tensor.name)) {
                return Err(ImportError::model(format!("the initializer `{}` has no name or is defined twice", tensor.name), self.name));
            }
            match self.constant(tensor, &tensor.name) {
                Ok(constant) => frame.define(&tensor.name, Some(constant)),
                Err(failure) => {
                    self.record("initializer", None, tensor.name.clone(), failure)?;
                    frame.define(&tensor.name, None);
                }
            }
        }
        for tensor in &graph.sparse_initializer {
            let name = tensor.values.as_ref().map_or("", |values| &values.name);
            self.record("initializer", None, name.into(), Failure::Unsupported("sparse tensors".into()))?;
            frame.define(name, None);
        }
        Ok(())
    }

    /// Adds a tensor of the model to the store.
    pub fn constant(&mut self, tensor: &TensorProto, name: &str) -> Result<Tensor<'c, 'a>, Failure> {
        let id = import_tensor(tensor, name, &mut self.files, &mut self.store)?;
        let r#type = self.store.type_of(&id).expect("just added");
        let constant = Tensor::new(TensorType::fixed(r#type.element, &r#type.dims), Data::Constant(id));
        Ok(Tensor { narrow: ModelType::of_number(tensor.data_type)?.narrow, ..constant })
    }

    /// Type of a graph input with the user's dims, and what its elements stand for; `None` if it is recorded as unsupported.
    fn input_type(&mut self, input: &ValueInfoProto) -> Result<Option<(TensorType, Option<&'static Narrow>)>, ImportError> {
        let (element, shape) = match input.r#type.as_ref().and_then(|r#type| r#type.value.as_ref()) {
            Some(TypeValue::Tensor(tensor)) => (ModelType::of_number(tensor.elem_type), tensor.shape.as_ref()),
            Some(_) => (Failure::unsupported("inputs that are sequences, maps, optionals or sparse tensors"), None),
            None => (Failure::invalid("it has no type"), None),
        };
        let ModelType { element, narrow } = match element {
            Ok(element) => element,
            Err(failure) => return self.record("input", None, input.name.clone(), failure).map(|()| None),
        };
        let rank = match (shape, self.plan.offers.get(&input.name)) {
            (Some(shape), _) => Some(shape.dim.len()),
            (None, offer) => offer.map(|offer| offer.dims.len()),
        };
        let Some(rank) = rank else {
            let failure = Failure::Unsupported("an input of unknown rank; export the model with shapes".into());
            return self.record("input", None, input.name.clone(), failure).map(|()| None);
        };
        let impossible = |dim: &DimensionProto| matches!(dim.value, Some(DimensionValue::Value(value)) if value < -1);
        if let Some(axis) = shape.and_then(|shape| shape.dim.iter().position(impossible)) {
            let what = format!("the extent of axis {axis} is below -1, which stands for an unknown one");
            return Err(ImportError::model(what, format!("input `{}`", input.name)));
        }
        let static_dim = |axis: usize| match shape.and_then(|shape| shape.dim[axis].value.as_ref()) {
            Some(DimensionValue::Value(value)) => Dim::from(*value),
            _ => unreachable!("a dim without a name has a value"),
        };
        let named: Vec<Option<String>> = plan::symbols(input).take(rank).collect();
        let dims =
            named.into_iter().enumerate().map(|(axis, name)| name.map_or_else(|| static_dim(axis), |name| self.symbol(name))).collect();
        let r#type = TensorType::new(element, dims);
        if !fits(&r#type) {
            return Err(ImportError::model("the number of elements does not fit 64 bits", format!("input `{}`", input.name)));
        }
        Ok(Some((r#type, narrow)))
    }

    /// The dim called `name`: as the user has fixed it, or a symbol.
    fn symbol(&mut self, name: String) -> Dim {
        if let Some(value) = self.fixed.get(&name) {
            return Dim::from(*value);
        }
        let position = self.symbols.iter().position(|symbol| *symbol == name).unwrap_or_else(|| {
            self.symbols.push(name);
            self.symbols.len() - 1
        });
        Dim::symbol(position as u32)
    }

    /// Values of the symbols in the inputs on offer; more than any extent where none is known.
    pub fn offered_symbols(&self) -> Vec<i64> {
        let offered = self.plan.offered_dims(self.model.graph.as_ref().expect("decode has checked"));
        // Evaluation ends at the first symbol that is not offered.
        self.symbols.iter().map_while(|name| offered.get(name).copied()).collect()
    }

    fn check_dim_settings(&self) -> Result<(), ImportError> {
        let graph = self.model.graph.as_ref().expect("decode has checked");
        let mut known: Vec<String> = vec![];
        for input in &graph.input {
            let rank = self.plan.offers.get(&input.name).map_or(0, |offer| offer.dims.len());
            let has_shape = matches!(input.r#type.as_ref().and_then(|r#type| r#type.value.as_ref()), Some(TypeValue::Tensor(tensor)) if tensor.shape.is_some());
            known.extend(plan::symbols(input).take(if has_shape { usize::MAX } else { rank }).flatten());
        }
        known.dedup();
        let mut asked: Vec<&String> = self.fixed.keys().chain(self.bounds.keys()).collect();
        asked.sort();
        match asked.into_iter().find(|name| !known.contains(name)) {
            Some(name) => {
                let list = if known.is_empty() { "none".into() } else { known.join(", ") };
                Err(ImportError::invalid(
                    format!("the model has no symbolic dim `{name}`"),
                    self.name,
                    format!("its symbolic dims: {list}"),
                ))
            }
            None => Ok(()),
        }
    }

    /// Imports nodes into `block`; their outputs are defined in the innermost scope of `frame`.
    fn import_nodes(
        &mut self,
        nodes: &'p [NodeProto],
        declared: &'p [ValueInfoProto],
        block: BlockRef<'c, 'a>,
        frame: &mut Frame<'p, 'c, 'a>,
    ) -> Result<(), ImportError> {
        if frame.depth > MAX_DEPTH {
            return Err(ImportError::model("functions or subgraphs are nested too deep, or call themselves", &frame.prefix));
        }
        let order = sort_nodes(nodes, |name| frame.lookup(name).is_some() || frame.absent.contains(name))?;
        let declared: HashMap<&str, &ValueInfoProto> = declared.iter().map(|info| (info.name.as_str(), info)).collect();
        for index in order {
            let node = &nodes[index];
            let name = format!("{}{}", frame.prefix, node_name(node, index));
            let outputs = match self.import_node(node, index, &name, block, frame)? {
                Ok(outputs) => outputs,
                Err(failure) => {
                    if let Some(failure) = failure {
                        let op = if node.domain.is_empty() { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) };
                        let opset = frame.opsets.get(domain(&node.domain)).copied();
                        self.record(&op, opset, name.clone(), failure)?;
                    }
                    vec![]
                }
            };
            let mut outputs = outputs.into_iter();
            for output in &node.output {
                let tensor = outputs.next();
                if output.is_empty() {
                    continue;
                }
                if let (Some(info), Some(tensor)) = (declared.get(output.as_str()), &tensor) {
                    self.check_declared(info, tensor)?;
                }
                frame.define(output, tensor);
            }
        }
        Ok(())
    }

    /// Results of one node. `Err(None)`: it needs a value that is missing.
    #[allow(clippy::type_complexity)]
    fn import_node(
        &mut self,
        node: &'p NodeProto,
        index: usize,
        name: &str,
        block: BlockRef<'c, 'a>,
        frame: &mut Frame<'p, 'c, 'a>,
    ) -> Result<Result<Vec<Tensor<'c, 'a>>, Option<Failure>>, ImportError> {
        let node_domain = domain(&node.domain);
        let mut missing = false;
        let mut inputs = vec![];
        for input in &node.input {
            match (input.is_empty() || frame.absent.contains(input.as_str()), frame.lookup(input)) {
                (true, _) => inputs.push(None),
                (_, Some(Some(tensor))) => inputs.push(Some(tensor.clone())),
                (_, Some(None)) => missing = true,
                (_, None) => return Err(ImportError::model(format!("the input `{input}` is not defined"), name)),
            }
        }
        let declared = externs::declared(self.externs, node_domain, &node.op_type);
        if !declared.is_empty() {
            if missing {
                return Ok(Err(None));
            }
            let version = frame.opsets.get(node_domain).copied().unwrap_or(1);
            return self.import_with(node, index, name, block, frame, (version, inputs), |cx| externs::import_call(cx, &declared));
        }
        if let Some(function) = self.functions.get(&(node_domain, node.op_type.as_str(), node.overload.as_str())).copied() {
            let declared =
                |name: &str| function.attribute.iter().chain(function.attribute_proto.iter().map(|a| &a.name)).any(|known| known == name);
            if let Some(failure) = unknown_attributes(node, declared) {
                return Ok(Err(Some(failure)));
            }
            if missing {
                return Ok(Err(None));
            }
            return self.inline(function, node, index, name, inputs, block, frame).map(Ok);
        }
        let Some(version) = frame.opsets.get(node_domain).copied() else {
            let why = format!("the model does not import the operator domain `{node_domain}`");
            return Ok(Err(Some(if node_domain.is_empty() { Failure::Invalid(why) } else { Failure::Unsupported(why) })));
        };
        let Some(op) = ops::find(node_domain, &node.op_type, version) else {
            return Ok(Err(Some(Failure::Unsupported(ops::why_unknown(node_domain, &node.op_type, version)))));
        };
        if missing {
            return Ok(Err(None));
        }
        if node_domain.is_empty()
            && let Some(known) = shape_values::evaluate(node, version, &inputs, &self.store)
        {
            return Ok(Ok(vec![known]));
        }
        self.import_with(node, index, name, block, frame, (version, inputs), op)
    }

    /// Results of one node as `import` makes them, folded where they can be.
    #[allow(clippy::type_complexity, clippy::too_many_arguments)]
    fn import_with(
        &mut self,
        node: &'p NodeProto,
        index: usize,
        name: &str,
        block: BlockRef<'c, 'a>,
        frame: &mut Frame<'p, 'c, 'a>,
        (version, inputs): (i64, Vec<Option<Tensor<'c, 'a>>>),
        import: impl FnOnce(&mut NodeContext<'_, 'p, 'c, 'a>) -> ops::OpResult<'c, 'a>,
    ) -> Result<Result<Vec<Tensor<'c, 'a>>, Option<Failure>>, ImportError> {
        let file = Location::new(self.context, self.name, frame.caller.unwrap_or(index), 0);
        let location = Location::name(self.context, name, file);
        let moved = match narrow::moved(node, &inputs) {
            Ok(moved) => moved,
            Err(failure) => return Ok(Err(Some(failure))),
        };
        // Dequantized weights are recognised in front of what uses them; shapes and indices have one axis at most.
        let weights = node.op_type == "DequantizeLinear" && inputs.first().is_some_and(|x| x.as_ref().is_some_and(|x| x.rank() > 1));
        let foldable = !weights && fold::applies(&inputs);
        let (before, symbols) = (if foldable { fold::last_operation(block) } else { None }, self.symbols.len());
        let mut cx = NodeContext { importer: self, frame, block, node, location, version, inputs, name, index, asked: RefCell::default() };
        let mut imported = import(&mut cx);
        let asked = cx.asked.take();
        if imported.is_ok()
            && let Some(failure) = unknown_attributes(node, |name| asked.contains(name) || version < 7 && name == "consumed_inputs")
        {
            return Ok(Err(Some(failure)));
        }
        if let (true, Ok(outputs)) = (foldable, &mut imported) {
            fold::fold(self, block, (before, symbols), outputs, name);
        }
        if let (Some(_), Ok(outputs)) = (moved, &mut imported) {
            outputs.iter_mut().for_each(|output| output.narrow = moved);
        }
        match imported {
            Ok(outputs) => match node.output.iter().skip(outputs.len()).find(|output| !output.is_empty()) {
                Some(output) => Ok(Err(Some(Failure::Unsupported(format!("its output `{output}`"))))),
                None => Ok(Ok(outputs)),
            },
            Err(ops::OpError::Failure(failure)) => Ok(Err(Some(failure))),
            Err(ops::OpError::Import(error)) => Err(error),
        }
    }

    /// Imports the body of a model-local function in place of its call.
    #[allow(clippy::too_many_arguments)]
    fn inline(
        &mut self,
        function: &'p FunctionProto,
        node: &'p NodeProto,
        index: usize,
        name: &str,
        inputs: Vec<Option<Tensor<'c, 'a>>>,
        block: BlockRef<'c, 'a>,
        caller: &Frame<'p, 'c, 'a>,
    ) -> Result<Vec<Tensor<'c, 'a>>, ImportError> {
        if inputs.len() > function.input.len() {
            return Err(ImportError::model(format!("the function `{}` takes {} inputs", function.name, function.input.len()), name));
        }
        let mut scope = Scope::new();
        let mut given = inputs.into_iter();
        let mut absent = HashSet::new();
        for parameter in &function.input {
            match given.next().flatten() {
                Some(tensor) => _ = scope.insert(parameter.clone(), Some(tensor)),
                None => _ = absent.insert(parameter.as_str()),
            }
        }
        let mut attributes: HashMap<&str, &AttributeProto> = function.attribute_proto.iter().map(|a| (a.name.as_str(), a)).collect();
        attributes.extend(node.attribute.iter().filter_map(|a| Some((a.name.as_str(), caller.attribute(a)?))));
        let mut opsets = self.opsets(&function.opset_import)?;
        for (domain, version) in &caller.opsets {
            opsets.entry(domain).or_insert(*version);
        }
        let mut frame = Frame {
            scopes: vec![scope],
            opsets,
            attributes,
            absent,
            prefix: format!("{name}/"),
            caller: Some(caller.caller.unwrap_or(index)),
            depth: caller.depth + 1,
        };
        self.import_nodes(&function.node, &[], block, &mut frame)?;
        let mut outputs = vec![];
        for output in function.output.iter().take(node.output.len()) {
            match frame.lookup(output) {
                Some(Some(tensor)) => outputs.push(tensor.clone()),
                // The reason is recorded already.
                Some(None) => return Ok(outputs),
                None => {
                    return Err(ImportError::model(
                        format!("the function `{}` does not define its output `{output}`", function.name),
                        name,
                    ));
                }
            }
        }
        Ok(outputs)
    }

    /// Imports a subgraph into `block`, its inputs bound to `inputs`; results are its outputs. `Ok(None)`: something is missing, and recorded.
    pub fn import_subgraph(
        &mut self,
        graph: &'p GraphProto,
        name: &str,
        inputs: Vec<Tensor<'c, 'a>>,
        block: BlockRef<'c, 'a>,
        frame: &mut Frame<'p, 'c, 'a>,
        caller: usize,
    ) -> Result<Option<Vec<Tensor<'c, 'a>>>, ImportError> {
        let scope = graph.input.iter().zip(inputs).map(|(info, tensor)| (info.name.clone(), Some(tensor))).collect();
        frame.scopes.push(scope);
        frame.depth += 1;
        let prefix = std::mem::replace(&mut frame.prefix, format!("{name}/"));
        let (outer, sizes) = (frame.caller, self.sizes.mark());
        frame.caller = Some(outer.unwrap_or(caller));
        let result = self.define_initializers(graph, frame).and_then(|()| self.import_nodes(&graph.node, &graph.value_info, block, frame));
        let outputs = result.and_then(|()| {
            let mut outputs = Some(vec![]);
            for output in &graph.output {
                match frame.lookup(&output.name) {
                    Some(Some(tensor)) => outputs.iter_mut().for_each(|outputs| outputs.push(tensor.clone())),
                    Some(None) => outputs = None,
                    None => return Err(ImportError::model(format!("the subgraph output `{}` is not defined", output.name), name)),
                }
            }
            Ok(outputs)
        });
        frame.scopes.pop();
        self.sizes.forget(sizes);
        frame.depth -= 1;
        frame.prefix = prefix;
        frame.caller = outer;
        outputs
    }

    /// Compares a declared type with the inferred one: another element type is an error, another shape a warning, as in ONNX Runtime.
    fn check_declared(&mut self, info: &ValueInfoProto, tensor: &Tensor<'c, 'a>) -> Result<(), ImportError> {
        let Some(TypeProto { value: Some(TypeValue::Tensor(declared)) }) = &info.r#type else { return Ok(()) };
        let element = ModelType::of_number(declared.elem_type);
        if declared.elem_type != 0 && element != Ok(tensor.model_type()) {
            let element = element.map_or_else(|_| format!("number {} of ONNX", declared.elem_type), |element| element.to_string());
            let what = format!("the value is declared with element type {element}, but is {}", tensor.model_type());
            return Err(ImportError::model(what, format!("`{}`", info.name)));
        }
        let Some(shape) = &declared.shape else { return Ok(()) };
        let differs = |(dim, declared): (&Dim, &super::proto::DimensionProto)| match (&declared.value, dim.as_static()) {
            (Some(DimensionValue::Value(declared)), Some(dim)) => *declared >= 0 && *declared != dim,
            _ => false,
        };
        if shape.dim.len() != tensor.rank() || tensor.dims().iter().zip(&shape.dim).any(differs) {
            let dims: Vec<String> = tensor.dims().iter().map(ToString::to_string).collect();
            let declared: Vec<String> = shape
                .dim
                .iter()
                .map(|dim| match &dim.value {
                    Some(DimensionValue::Value(value)) => value.to_string(),
                    Some(DimensionValue::Param(name)) => name.clone(),
                    None => "?".into(),
                })
                .collect();
            self.warnings.push(format!(
                "import: the value `{}` is declared as [{}], but has the shape [{}]",
                info.name,
                declared.join(", "),
                dims.join(", ")
            ));
        }
        Ok(())
    }
}

/// `ai.onnx` is the default domain.
pub(super) fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

/// Whether the bytes of a tensor, with symbolic extents taken for 1, have a size in 64 bits.
pub fn fits(r#type: &TensorType) -> bool {
    let extents: Vec<i64> = r#type.dims.iter().filter_map(Dim::as_static).collect();
    checked_bytes(&extents, r#type.element.bytes()).is_some()
}

/// Size in bytes of a static shape; `None` if it does not fit.
pub fn checked_bytes(shape: &[i64], element: usize) -> Option<i64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(element as i64, |bytes, dim| bytes.checked_mul(*dim))
}
