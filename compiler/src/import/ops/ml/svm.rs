//! SVMRegressor, SVMClassifier.
//!
//! Kernel values of all rows and support vectors are one product of matrices; decisions between pairs of classes are another.

use super::{Cx, above, add_row, best, class_labels, constant_floats, features, rows, transformed, two_classes};
use crate::import::{
    error::Failure,
    ops::{
        OpResult, Row,
        index::{constants, take},
        linear::product,
        resize::floats,
        row,
    },
    value::Tensor,
};
use winze_graph::{
    dialect::{Abs, Add, Div, Exp, Gt, Logistic, Lt, Maximum, Minimum, Mul, Neg, Pow, Sub, Tanh},
    dim::Dim,
    types::ElementType,
};

pub const OPS: &[Row] = &[row("SVMRegressor", svm_regressor), row("SVMClassifier", svm_classifier)];

/// Kernel values, [rows, vectors].
fn kernel<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, vectors: &[f64], kind: &str) -> Result<Tensor<'c, 'a>, Failure> {
    let width = features(x)?;
    let count = vectors.len() as i64 / width;
    let parameters = cx.floats("kernel_params")?.unwrap_or_default();
    let parameter = |i: usize| f64::from(parameters.get(i).copied().unwrap_or(0.0));
    let (gamma, offset, degree) = (parameter(0), parameter(1), parameter(2));
    if kind == "RBF" {
        return radial(cx, x, vectors, gamma);
    }
    let vectors = floats(cx, ElementType::F32, vec![count, width], vectors)?;
    let vectors = cx.arrange_transpose(&vectors, &[1, 0])?;
    let dot = product(cx, x, &vectors)?;
    if kind == "LINEAR" {
        return Ok(dot);
    }
    let scaled = cx.binary_scalar(Mul::create, &dot, gamma)?;
    let line = cx.binary_scalar(Add::create, &scaled, offset)?;
    match kind {
        "POLY" => cx.binary_scalar(Pow::create, &line, degree),
        "SIGMOID" => cx.unary(Tanh::create, &line),
        other => Failure::invalid(format!("kernel_type `{other}`")),
    }
}

/// `exp(-gamma |x - v|^2)`, from products. Both are seen from the mean of the vectors, so that squares are no larger than they need be.
fn radial<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, vectors: &[f64], gamma: f64) -> Result<Tensor<'c, 'a>, Failure> {
    let width = features(x)? as usize;
    let count = vectors.len() / width;
    let mean: Vec<f64> = (0..width).map(|i| vectors.iter().skip(i).step_by(width).sum::<f64>() / count.max(1) as f64).collect();
    // Subtracted as f32 from both.
    let mean: Vec<f64> = mean.into_iter().map(|value| f64::from(value as f32)).collect();
    let vectors: Vec<f64> = vectors.iter().zip(mean.iter().cycle()).map(|(value, mean)| f64::from((value - mean) as f32)).collect();
    let squares: Vec<f64> = vectors.chunks(width).map(|row| row.iter().map(|value| value * value).sum()).collect();
    let mean = floats(cx, ElementType::F32, vec![width as i64], &mean)?;
    let x = cx.binary(Sub::create, x, &mean)?;
    let vectors = floats(cx, ElementType::F32, vec![count as i64, width as i64], &vectors)?;
    let vectors = cx.arrange_transpose(&vectors, &[1, 0])?;
    let dot = product(cx, &x, &vectors)?;
    let square = cx.binary(Mul::create, &x, &x)?;
    let own = cx.reduce("add", &square, &[1])?;
    let own = cx.broadcast_along(&own, &[0], dot.dims())?;
    let squares = floats(cx, ElementType::F32, vec![count as i64], &squares)?;
    let sum = cx.binary(Add::create, &own, &squares)?;
    let twice = cx.binary_scalar(Mul::create, &dot, 2.0)?;
    let distance = cx.binary(Sub::create, &sum, &twice)?;
    let distance = cx.binary_scalar(Maximum::create, &distance, 0.0)?;
    let exponent = cx.binary_scalar(Mul::create, &distance, -gamma)?;
    cx.unary(Exp::create, &exponent)
}

/// The numbers of an attribute.
fn list(cx: &Cx, name: &str) -> Result<Vec<f64>, Failure> {
    Ok(cx.floats(name)?.unwrap_or_default().into_iter().map(f64::from).collect())
}

fn svm_regressor<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = rows(cx, 0, ElementType::F32)?;
    let (width, supports, rho) = (features(&x)?, cx.int_or("n_supports", 0)?, list(cx, "rho")?);
    let how = cx.string_or("post_transform", "NONE")?;
    let (vectors, coefficients) = if supports > 0 {
        let vectors = list(cx, "support_vectors")?;
        if vectors.len() as i64 != supports * width {
            return Ok(Failure::invalid(format!("{supports} support vectors of {width} features in {} numbers", vectors.len()))?);
        }
        let kind = cx.string_or("kernel_type", "LINEAR")?;
        (kernel(cx, &x, &vectors, &kind)?, constant_floats(cx, "coefficients", &[supports, 1])?)
    } else {
        (x.clone(), constant_floats(cx, "coefficients", &[width, 1])?)
    };
    let (Some(coefficients), Some(rho)) = (coefficients, rho.first()) else {
        return Ok(Failure::invalid("coefficients or rho are missing")?);
    };
    let sum = product(cx, &vectors, &coefficients)?;
    let mut y = cx.binary_scalar(Add::create, &sum, *rho)?;
    if cx.int_or("one_class", 0)? != 0 {
        let (zero, inside, outside) = (cx.scalar(y.element(), 0.0)?, cx.scalar(y.element(), 1.0)?, cx.scalar(y.element(), -1.0)?);
        let positive = cx.compare(Gt::create, &y, &zero)?;
        y = cx.select(&positive, &inside, &outside)?;
    }
    Ok(vec![transformed(cx, &y, &how)?])
}

/// Labels and scores: of the classes without support vectors or with probabilities, else of all pairs of classes.
fn svm_classifier<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = rows(cx, 0, ElementType::F32)?;
    let (width, rho, coefficients) = (features(&x)?, list(cx, "rho")?, list(cx, "coefficients")?);
    let (labels, how) = (class_labels(cx, "classlabels_ints")?, cx.string_or("post_transform", "NONE")?);
    let classes = labels.len();
    let Some(per_class) = cx.ints("vectors_per_class")?.filter(|counts| counts.iter().sum::<i64>() > 0) else {
        let (Some(weights), Some(rho)) = (constant_floats(cx, "coefficients", &[classes as i64, width])?, rho.first()) else {
            return Ok(Failure::invalid("coefficients or rho are missing")?);
        };
        let weights = cx.arrange_transpose(&weights, &[1, 0])?;
        let sum = product(cx, &x, &weights)?;
        let scores = cx.binary_scalar(Add::create, &sum, *rho)?;
        let label = best(cx, &scores, &labels)?;
        return Ok(vec![label, transformed(cx, &scores, &how)?]);
    };
    let count = per_class.iter().try_fold(0usize, |sum, count| sum.checked_add(usize::try_from(*count).ok()?));
    let vectors = list(cx, "support_vectors")?;
    let pairs: Vec<(usize, usize)> = (0..classes).flat_map(|i| (i + 1..classes).map(move |j| (i, j))).collect();
    let Some(count) = count.filter(|count| {
        per_class.len() == classes
            && classes > 1
            && vectors.len() as i64 == *count as i64 * width
            && coefficients.len() == count * (classes - 1)
            && rho.len() == pairs.len()
    }) else {
        return Ok(Failure::invalid(format!(
            "{} support vectors, {} coefficients and {} rho for {classes} classes",
            vectors.len() as i64 / width,
            coefficients.len(),
            rho.len()
        ))?);
    };
    let probable = [list(cx, "prob_a")?, list(cx, "prob_b")?];
    let [a, b] = &probable;
    if !a.is_empty() && (a.len() != pairs.len() || b.len() != pairs.len()) {
        return Ok(Failure::invalid(format!("{} prob_a and {} prob_b for {} pairs of classes", a.len(), b.len(), pairs.len()))?);
    }
    // One column of coefficients per pair of classes.
    let starts: Vec<usize> = per_class.iter().scan(0, |sum, count| Some(std::mem::replace(sum, *sum + *count as usize))).collect();
    let mut columns = vec![0.0; count * pairs.len()];
    for (column, (i, j)) in pairs.iter().enumerate() {
        for (class, row) in [(*i, j - 1), (*j, *i)] {
            for vector in starts[class]..starts[class] + per_class[class] as usize {
                columns[vector * pairs.len() + column] = coefficients[row * count + vector];
            }
        }
    }
    let kind = cx.string_or("kernel_type", "LINEAR")?;
    let values = kernel(cx, &x, &vectors, &kind)?;
    let columns = floats(cx, ElementType::F32, vec![count as i64, pairs.len() as i64], &columns)?;
    let sum = product(cx, &values, &columns)?;
    let rho = floats(cx, ElementType::F32, vec![pairs.len() as i64], &rho)?;
    let decisions = add_row(cx, &sum, Some(rho))?;
    // Each pair is a vote for one of its classes: for the second, unless the decision is positive.
    let mut change = vec![0.0; pairs.len() * classes];
    let mut otherwise = vec![0.0; classes];
    for (pair, (i, j)) in pairs.iter().enumerate() {
        change[pair * classes + i] = 1.0;
        change[pair * classes + j] = -1.0;
        otherwise[*j] += 1.0;
    }
    let label = match labels[..] {
        [first, second] => {
            // A positive decision is one for the first class.
            above(cx, &decisions, 0.0, [second, first])?
        }
        _ => {
            let zero = cx.scalar(ElementType::F32, 0.0)?;
            let positive = cx.compare(Gt::create, &decisions, &zero)?;
            let positive = cx.convert(&positive, ElementType::F32)?;
            let change = floats(cx, ElementType::F32, vec![pairs.len() as i64, classes as i64], &change)?;
            let otherwise = floats(cx, ElementType::F32, vec![classes as i64], &otherwise)?;
            let votes = product(cx, &positive, &change)?;
            let votes = add_row(cx, &votes, Some(otherwise))?;
            best(cx, &votes, &labels)?
        }
    };
    if !a.is_empty() {
        let probabilities = probabilities(cx, &decisions, a, b, classes, &pairs)?;
        return Ok(vec![label, transformed(cx, &probabilities, &how)?]);
    }
    let scores = if classes == 2 { two_classes(cx, &decisions, false)? } else { decisions };
    Ok(vec![label, transformed(cx, &scores, &how)?])
}

/// Column `i`, [rows, 1].
fn column<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, i: usize) -> Result<Tensor<'c, 'a>, Failure> {
    cx.slice_axis(x, 1, i as i64, i as i64 + 1)
}

/// Probabilities of the classes from those of pairs, by the iteration of Wu, Lin, Weng, "Probability estimates for multi-class classification by
/// pairwise coupling", 2004, algorithm 2, as LIBSVM stops it.
fn probabilities<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    decisions: &Tensor<'c, 'a>,
    a: &[f64],
    b: &[f64],
    classes: usize,
    pairs: &[(usize, usize)],
) -> Result<Tensor<'c, 'a>, Failure> {
    let rows = decisions.dims()[0].clone();
    let (a, b) = (floats(cx, ElementType::F32, vec![a.len() as i64], a)?, floats(cx, ElementType::F32, vec![b.len() as i64], b)?);
    let scaled = cx.binary(Mul::create, decisions, &a)?;
    let moved = cx.binary(Add::create, &scaled, &b)?;
    let negative = cx.unary(Neg::create, &moved)?;
    let first = cx.unary(Logistic::create, &negative)?;
    let first = cx.binary_scalar(Maximum::create, &first, 1e-7)?;
    // 1 - 1e-7, as f32 has it.
    let first = cx.binary_scalar(Minimum::create, &first, 1.0 - 1e-7)?;
    let one = cx.scalar(ElementType::F32, 1.0)?;
    let second = cx.binary(Sub::create, &one, &first)?;
    // Probability of `i` against `j`, for each place of the matrix by a column of the pairs; the diagonal is not used.
    let both = cx.concat(&[first, second], 1)?;
    let place = |i: usize, j: usize| match (pairs.iter().position(|pair| *pair == (i, j)), pairs.iter().position(|pair| *pair == (j, i))) {
        (Some(place), _) => place as i64,
        (_, Some(place)) => (place + pairs.len()) as i64,
        _ => 0,
    };
    let all: Vec<(usize, usize)> = (0..classes).flat_map(|t| (0..classes).map(move |j| (t, j))).collect();
    let indices = |of: &dyn Fn(usize, usize) -> i64| -> Vec<i64> { all.iter().map(|(t, j)| of(*t, *j)).collect() };
    let matrix = vec![rows.clone(), Dim::from(classes as i64), Dim::from(classes as i64)];
    let mut gathered = |indices: Vec<i64>| -> Result<Tensor<'c, 'a>, Failure> {
        let flat = take(cx, &both, &constants(&indices), 1)?;
        cx.reshape(&flat, matrix.clone())
    };
    let (own, other) = (gathered(indices(&place))?, gathered(indices(&|t, j| place(j, t)))?);
    // Q[t, j] = -r[j, t] r[t, j]; Q[t, t] = sum of r[j, t]^2 over the others.
    let mask: Vec<f64> = all.iter().map(|(t, j)| f64::from(u8::from(t != j))).collect();
    let mask = floats(cx, ElementType::F32, vec![classes as i64, classes as i64], &mask)?;
    let cross = cx.binary(Mul::create, &own, &other)?;
    let cross = cx.binary(Mul::create, &cross, &mask)?;
    let square = cx.binary(Mul::create, &other, &other)?;
    let square = cx.binary(Mul::create, &square, &mask)?;
    let diagonal = cx.reduce("add", &square, &[2])?;
    let eye: Vec<f64> = all.iter().map(|(t, j)| f64::from(u8::from(t == j))).collect();
    let eye = floats(cx, ElementType::F32, vec![classes as i64, classes as i64], &eye)?;
    let eye = cx.broadcast_to(&eye, &matrix)?;
    let spread = cx.broadcast_along(&diagonal, &[0, 1], &matrix)?;
    let spread = cx.binary(Mul::create, &spread, &eye)?;
    let q = cx.binary(Sub::create, &spread, &cross)?;

    let start = cx.scalar(ElementType::F32, 1.0 / classes as f64)?;
    let start = cx.broadcast_to(&start, &[rows.clone(), Dim::from(classes as i64)])?;
    let limit = cx.scalar(ElementType::F32, 0.005 / classes as f64)?;
    let iterations = Dim::from(classes.max(100) as i64);
    let flat = cx.reshape(&q, vec![rows.clone(), Dim::from((classes * classes) as i64)])?;
    let results = cx.repeat(&iterations, &[start], |cx, _, carried| {
        let p = &carried[0];
        let weights = cx.broadcast_along(p, &[0, 2], &matrix)?;
        let products = cx.binary(Mul::create, &q, &weights)?;
        let mut qp = cx.reduce("add", &products, &[2])?;
        let weighted = cx.binary(Mul::create, p, &qp)?;
        let total = cx.reduce("add", &weighted, &[1])?;
        let mut pqp = cx.reshape(&total, vec![rows.clone(), Dim::from(1)])?;
        let error = cx.binary(Sub::create, &qp, &pqp)?;
        let error = cx.unary(Abs::create, &error)?;
        let error = cx.reduce("max", &error, &[1])?;
        let done = cx.compare(Lt::create, &error, &limit)?;
        let done = cx.broadcast_along(&done, &[0], p.dims())?;
        let mut next = p.clone();
        for t in 0..classes {
            let (own, row) =
                (column(cx, &flat, t * classes + t)?, cx.slice_axis(&flat, 1, (t * classes) as i64, ((t + 1) * classes) as i64)?);
            let at = column(cx, &qp, t)?;
            let away = cx.binary(Sub::create, &pqp, &at)?;
            let step = cx.binary(Div::create, &away, &own)?;
            let growth = cx.binary_scalar(Add::create, &step, 1.0)?;
            let along: Vec<f64> = (0..classes).map(|i| f64::from(u8::from(i == t))).collect();
            let along = floats(cx, ElementType::F32, vec![classes as i64], &along)?;
            let raise = cx.binary(Mul::create, &step, &along)?;
            next = cx.binary(Add::create, &next, &raise)?;
            next = cx.binary(Div::create, &next, &growth)?;
            let bend = cx.binary(Mul::create, &step, &own)?;
            let twice = cx.binary_scalar(Mul::create, &at, 2.0)?;
            let bend = cx.binary(Add::create, &bend, &twice)?;
            let bend = cx.binary(Mul::create, &step, &bend)?;
            pqp = cx.binary(Add::create, &pqp, &bend)?;
            let growth_squared = cx.binary(Mul::create, &growth, &growth)?;
            pqp = cx.binary(Div::create, &pqp, &growth_squared)?;
            let shift = cx.binary(Mul::create, &step, &row)?;
            qp = cx.binary(Add::create, &qp, &shift)?;
            qp = cx.binary(Div::create, &qp, &growth)?;
        }
        // Rows that are done stay.
        Ok(vec![cx.select(&done, p, &next)?])
    })?;
    Ok(results.into_iter().next().expect("one carried value"))
}
