//! `custom.square`: what the op is to the compiler. Evaluation of tensors, lowering to linalg and fusion into kernels follow from one element.

use winze_graph::{op::OpDefinition, tensor::Scalar};

pub const DEFINITION: OpDefinition = OpDefinition::elementwise(
    "custom.square",
    |_, x| Scalar::Float(x[0].f64() * x[0].f64()),
    |b, _, _, x| b.same("arith.mulf", &[x[0], x[0]]),
);
