//! Function, input tensors, symbol values -> output tensors: the meaning of a graph, by plain loops, independent of any lowering.
//!
//! Refuses ops without a definition, wrong numbers and types of inputs, and loops beyond a given number of iterations.

use crate::{
    dialect::Size,
    op::{self, op_name},
    ops::size,
    tensor::Tensor,
    types::TensorType,
};
use std::collections::HashMap;
use winze_mlir::{
    melior::ir::{BlockLike, BlockRef, OperationRef, RegionLike, Value, ValueLike, operation::OperationLike},
    walk,
};

/// Contents of a weight by its id.
pub type Weights<'e> = &'e dyn Fn(&str) -> Result<Tensor, String>;

/// What evaluation knows beside the graph.
#[derive(Clone, Copy)]
pub struct EvalContext<'e> {
    /// Values of the function's symbols, `s0` first.
    pub symbols: &'e [i64],
    pub weights: Weights<'e>,
    /// Iterations of a `graph.while` before evaluation gives up.
    pub max_iterations: usize,
}

impl<'e> EvalContext<'e> {
    /// For graphs without weights.
    pub fn new(symbols: &'e [i64]) -> Self {
        Self { symbols, weights: &|id| Err(format!("weight '{id}' is not available here")), max_iterations: 1 << 20 }
    }

    /// Shape of a result for the given symbols.
    pub fn result_type(&self, op: OperationRef, index: usize) -> Result<(TensorType, Vec<usize>), String> {
        let result = op.result(index).map_err(|e| e.to_string())?;
        let r#type = TensorType::of(result.into())?;
        let shape = r#type.shape(self.symbols)?;
        Ok((r#type, shape))
    }
}

/// Values of SSA values, with those of enclosing blocks behind.
struct Scope<'s> {
    values: HashMap<usize, Tensor>,
    outer: Option<&'s Scope<'s>>,
}

impl Scope<'_> {
    fn get(&self, value: Value) -> Option<&Tensor> {
        self.values.get(&(value.to_raw().ptr as usize)).or_else(|| self.outer?.get(value))
    }
}

/// Evaluates a function. Inputs are its arguments in order, results those of its terminator.
pub fn eval_function(cx: &EvalContext, function: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let block = function.region(0).ok().and_then(|region| region.first_block());
    let block = block.ok_or_else(|| format!("evaluation: {} has no body", op_name(function)))?;
    for (i, input) in inputs.iter().enumerate().take(block.argument_count()) {
        let argument = block.argument(i).map_err(|e| e.to_string())?;
        let r#type = TensorType::of(argument.into())?;
        if r#type.element != input.element() || r#type.shape(cx.symbols)? != input.shape {
            return Err(format!(
                "evaluation: input {i} is {} of shape {:?}, the function takes {}",
                input.element(),
                input.shape,
                argument.r#type()
            ));
        }
    }
    eval_block(cx, block, inputs, None)
}

/// Evaluates a block; `outer` holds the values of enclosing blocks.
fn eval_block(cx: &EvalContext, block: BlockRef, inputs: &[Tensor], outer: Option<&Scope>) -> Result<Vec<Tensor>, String> {
    if block.argument_count() != inputs.len() {
        return Err(format!("evaluation: {} inputs given, {} expected", inputs.len(), block.argument_count()));
    }
    let mut scope = Scope { values: HashMap::new(), outer };
    for (i, input) in inputs.iter().enumerate() {
        let argument = block.argument(i).map_err(|e| e.to_string())?;
        scope.values.insert(argument.to_raw().ptr as usize, input.clone());
    }
    let mut symbols = cx.symbols.to_vec();
    for op in walk::operations(block) {
        let cx = &EvalContext { symbols: &symbols, ..*cx };
        let name = op_name(op);
        let at = |message: String| format!("evaluation: {message} at {name} {}", op.location());
        let operands = op
            .operands()
            .map(|operand| scope.get(operand).cloned().ok_or_else(|| at("an operand has no value".into())))
            .collect::<Result<Vec<_>, _>>()?;
        if op.next_in_block().is_none() {
            return Ok(operands);
        }
        if Size::cast(op).is_some() {
            symbols = size::eval(op, &operands, &symbols).map_err(at)?;
            continue;
        }
        eval_op(cx, op, operands, &mut scope)?;
    }
    Err("evaluation: a block does not end with a terminator".into())
}

/// Evaluates one operation; its results join `scope`.
fn eval_op(cx: &EvalContext, op: OperationRef, operands: Vec<Tensor>, scope: &mut Scope) -> Result<(), String> {
    let name = op_name(op);
    let at = |message: String| format!("evaluation: {message} at {name} {}", op.location());
    let results = match name.as_str() {
        "graph.if" => {
            let branch = op.region(usize::from(!operands[0].get(0).bool())).map_err(|e| at(e.to_string()))?;
            eval_region(cx, branch.first_block(), &[], scope).map_err(at)?
        }
        "graph.while" => eval_while(cx, op, operands, scope)?,
        "graph.kernel" => eval_region(cx, op.region(0).ok().and_then(|region| region.first_block()), &operands, scope).map_err(at)?,
        _ => {
            let definition = op::find(&name).ok_or_else(|| at("no definition is registered for this op".into()))?;
            (definition.eval)(cx, op, &operands).map_err(at)?
        }
    };
    for (i, result) in results.into_iter().enumerate() {
        scope.values.insert(op.result(i).map_err(|e| at(e.to_string()))?.to_raw().ptr as usize, result);
    }
    Ok(())
}

/// Values that operations compute from nothing else, in order; refuses operands from elsewhere.
pub fn eval_values(cx: &EvalContext, ops: &[OperationRef], wanted: &[Value]) -> Result<Vec<Tensor>, String> {
    let mut scope = Scope { values: HashMap::new(), outer: None };
    let missing = || "evaluation: a value is computed elsewhere".to_string();
    let mut symbols = cx.symbols.to_vec();
    for op in ops {
        let cx = &EvalContext { symbols: &symbols, ..*cx };
        let operands = op.operands().map(|operand| scope.get(operand).cloned().ok_or_else(missing)).collect::<Result<Vec<_>, _>>()?;
        if Size::cast(*op).is_some() {
            symbols = size::eval(*op, &operands, &symbols)?;
            continue;
        }
        eval_op(cx, *op, operands, &mut scope)?;
    }
    wanted.iter().map(|value| scope.get(*value).cloned().ok_or_else(missing)).collect()
}

fn eval_region(cx: &EvalContext, block: Option<BlockRef>, inputs: &[Tensor], scope: &Scope) -> Result<Vec<Tensor>, String> {
    eval_block(cx, block.ok_or("a region has no block")?, inputs, Some(scope))
}

fn eval_while(cx: &EvalContext, op: OperationRef, mut carried: Vec<Tensor>, scope: &Scope) -> Result<Vec<Tensor>, String> {
    let block = |i: usize| op.region(i).ok().and_then(|region| region.first_block());
    for _ in 0..cx.max_iterations {
        let condition = eval_region(cx, block(0), &carried, scope)?;
        if !condition.first().is_some_and(|condition| condition.get(0).bool()) {
            return Ok(carried);
        }
        carried = eval_region(cx, block(1), &carried, scope)?;
    }
    Err(format!("evaluation: more than {} iterations at graph.while {}", cx.max_iterations, op.location()))
}
