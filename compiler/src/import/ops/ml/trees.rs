//! TreeEnsembleRegressor, TreeEnsembleClassifier, TreeEnsemble: `graph.tree_leaf`, then the weights of the leaves, gathered and folded over the trees.
//!
//! Every test becomes `feature <= threshold`: others swap their branches, take the next smaller threshold, or become several nodes.

use super::{Cx, above, add_row, best, class_labels, numbers, rows, tensor_numbers, transformed, two_classes};
use crate::import::{
    error::Failure,
    ops::{OpResult, Row, index::take, resize::floats, row},
    value::Tensor,
};
use std::collections::HashMap;
use winze_graph::{
    dialect::{Eq, Mul, TreeLeaf},
    types::ElementType,
};

pub const OPS: &[Row] =
    &[row("TreeEnsembleRegressor", regressor), row("TreeEnsembleClassifier", classifier), row("TreeEnsemble", ensemble)];

/// Most nodes, and most weights of leaves, that a table holds.
const LARGEST_TABLE: usize = 1 << 28;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    AtMost,
    Less,
    AtLeast,
    Greater,
    Equal,
    NotEqual,
    Member,
    Leaf,
}

impl Mode {
    fn named(name: &str) -> Result<Self, Failure> {
        Ok(match name {
            "BRANCH_LEQ" => Self::AtMost,
            "BRANCH_LT" => Self::Less,
            "BRANCH_GTE" => Self::AtLeast,
            "BRANCH_GT" => Self::Greater,
            "BRANCH_EQ" => Self::Equal,
            "BRANCH_NEQ" => Self::NotEqual,
            "LEAF" => Self::Leaf,
            other => return Failure::invalid(format!("the node mode `{other}`")),
        })
    }
}

/// A node: a leaf, or features at most `threshold` go on at `at_most`, larger ones at `larger`, NaN at `missing`.
#[derive(Clone, Copy)]
enum Node {
    Leaf(usize),
    Test { feature: i64, threshold: f64, at_most: usize, larger: usize, missing: usize },
}

/// A test as models have it.
struct Test<'m> {
    mode: Mode,
    feature: i64,
    value: f64,
    /// The set of a membership test.
    members: &'m [f64],
    then: usize,
    otherwise: usize,
    missing_is_true: bool,
}

/// Nodes of all trees, each known by its index, and the leaves' weights.
struct Forest {
    nodes: Vec<Node>,
    roots: Vec<usize>,
    /// Per leaf and target.
    weights: Vec<f64>,
    targets: usize,
    element: ElementType,
}

impl Forest {
    /// The next smaller number of the element type.
    fn below(&self, value: f64) -> f64 {
        if self.element == ElementType::F64 { value.next_down() } else { f64::from((value as f32).next_down()) }
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Puts a test in terms of `<=` at `place`.
    fn set(&mut self, place: usize, test: &Test) {
        let &Test { feature, value, then, otherwise, .. } = test;
        let missing = if test.missing_is_true { then } else { otherwise };
        let less = |threshold: f64, at_most: usize, larger: usize| Node::Test { feature, threshold, at_most, larger, missing };
        self.nodes[place] = match test.mode {
            Mode::AtMost => less(value, then, otherwise),
            Mode::Less => less(self.below(value), then, otherwise),
            Mode::AtLeast => less(self.below(value), otherwise, then),
            Mode::Greater => less(value, otherwise, then),
            Mode::Equal | Mode::NotEqual => {
                let (equal, different) = if test.mode == Mode::Equal { (then, otherwise) } else { (otherwise, then) };
                // NaN differs from everything.
                let missing = if test.mode == Mode::NotEqual { then } else { missing };
                let threshold = self.below(value);
                let inner = self.add(Node::Test { feature, threshold, at_most: different, larger: equal, missing });
                Node::Test { feature, threshold: value, at_most: inner, larger: different, missing }
            }
            Mode::Member => {
                let mut next = otherwise;
                for value in test.members.iter().rev() {
                    let place = self.add(Node::Leaf(0));
                    self.set(place, &Test { mode: Mode::Equal, value: *value, members: &[], otherwise: next, ..*test });
                    // NaN is no member, whatever those after this one are compared with.
                    if let Node::Test { missing: at, .. } = &mut self.nodes[place] {
                        *at = missing;
                    }
                    next = place;
                }
                match test.members {
                    [] => less(f64::INFINITY, otherwise, otherwise),
                    _ => self.nodes[next],
                }
            }
            Mode::Leaf => unreachable!("a leaf is no test"),
        };
    }

    /// Steps from the roots to the deepest leaf. Refuses circles.
    fn depth(&self) -> Result<i64, Failure> {
        // `None`: not seen; `Some(None)`: on the way.
        let mut depths: Vec<Option<Option<i64>>> = vec![None; self.nodes.len()];
        let mut stack: Vec<usize> = self.roots.clone();
        while let Some(&place) = stack.last() {
            let Node::Test { at_most, larger, missing, .. } = self.nodes[place] else {
                depths[place] = Some(Some(0));
                stack.pop();
                continue;
            };
            let children = [at_most, larger, missing];
            match depths[place] {
                Some(Some(_)) => _ = stack.pop(),
                Some(None) => {
                    let below = children.map(|child| depths[child].flatten());
                    let Some(below) = below.into_iter().collect::<Option<Vec<i64>>>() else {
                        return Failure::invalid("the nodes of a tree form a circle");
                    };
                    depths[place] = Some(below.into_iter().max().map(|depth| depth + 1));
                    stack.pop();
                }
                None => {
                    depths[place] = Some(None);
                    for child in children {
                        match depths[child] {
                            None => stack.push(child),
                            Some(None) => return Failure::invalid("the nodes of a tree form a circle"),
                            Some(Some(_)) => {}
                        }
                    }
                }
            }
        }
        Ok(self.roots.iter().filter_map(|root| depths[*root].flatten()).max().unwrap_or(0))
    }

    /// What the trees say about each row, folded by `kind`: [rows, targets].
    fn scores<'c, 'a>(&self, cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, kind: &str) -> Result<Tensor<'c, 'a>, Failure> {
        let depth = self.depth()?;
        // Leaves first, so that a leaf's place is that of its weights.
        let leaves = self.weights.len() / self.targets;
        let mut place = vec![0usize; self.nodes.len()];
        let mut tests = leaves;
        for (index, node) in self.nodes.iter().enumerate() {
            place[index] = match node {
                Node::Leaf(leaf) => *leaf,
                Node::Test { .. } => {
                    tests += 1;
                    tests - 1
                }
            };
        }
        let mut thresholds = vec![0.0; tests];
        let mut table = vec![0.0; 4 * tests];
        (0..leaves).for_each(|leaf| table[4 * leaf] = -1.0);
        for (index, node) in self.nodes.iter().enumerate() {
            if let Node::Test { feature, threshold, at_most, larger, missing } = node {
                thresholds[place[index]] = *threshold;
                let entry = [*feature as f64, place[*at_most] as f64, place[*larger] as f64, place[*missing] as f64];
                table[4 * place[index]..][..4].copy_from_slice(&entry);
            }
        }
        let roots: Vec<f64> = self.roots.iter().map(|root| place[*root] as f64).collect();
        let thresholds = floats(cx, self.element, vec![tests as i64], &thresholds)?;
        let table = floats(cx, ElementType::I32, vec![tests as i64, 4], &table)?;
        let roots = floats(cx, ElementType::I32, vec![roots.len() as i64], &roots)?;
        let (input, thresholds, table, roots) = (cx.value(x)?, cx.value(&thresholds)?, cx.value(&table)?, cx.value(&roots)?);
        let leaf = cx.infer(|c, l| TreeLeaf::create(c, l, input, thresholds, table, roots, depth))?;
        if self.targets == 1 {
            let weights = floats(cx, self.element, vec![leaves as i64], &self.weights)?;
            let found = take(cx, &weights, &leaf, 0)?;
            let folded = cx.reduce(kind, &found, &[1])?;
            return cx.reshape(&folded, vec![x.dims()[0].clone(), 1.into()]);
        }
        let weights = floats(cx, self.element, vec![leaves as i64, self.targets as i64], &self.weights)?;
        let found = take(cx, &weights, &leaf, 0)?;
        cx.reduce(kind, &found, &[1])
    }
}

/// One list of whole numbers per node, leaf or weight.
fn ints(cx: &Cx, name: &str, count: Option<usize>) -> Result<Vec<i64>, Failure> {
    let list = cx.ints(name)?.unwrap_or_default();
    match count {
        Some(count) if count != list.len() => Failure::invalid(format!("{name} has {} entries, not {count}", list.len())),
        _ => Ok(list),
    }
}

/// The element type that features are compared in.
fn element(cx: &Cx) -> Result<ElementType, Failure> {
    Ok(if cx.input(0)?.element() == ElementType::F64 { ElementType::F64 } else { ElementType::F32 })
}

fn index(value: i64, count: usize, what: &str) -> Result<usize, Failure> {
    match usize::try_from(value).ok().filter(|value| *value < count) {
        Some(value) => Ok(value),
        None => Failure::invalid(format!("the {what} {value} of {count}")),
    }
}

/// Reads the attributes of the ensembles that name nodes by tree and number; `leaf` is `target` or `class`. Weights that a leaf lacks are `missing`.
fn named_nodes(cx: &mut Cx, x: &Tensor, leaf: &str, targets: usize, missing: f64) -> Result<Forest, Failure> {
    // How often training came by.
    cx.ignore(&["nodes_hitrates"]);
    let trees = ints(cx, "nodes_treeids", None)?;
    let count = trees.len();
    let list = |name: &str| ints(cx, name, Some(count));
    let (ids, features) = (list("nodes_nodeids")?, list("nodes_featureids")?);
    let (yes, no) = (list("nodes_truenodeids")?, list("nodes_falsenodeids")?);
    let modes = cx.strings("nodes_modes")?.unwrap_or_default();
    let tracks = ints(cx, "nodes_missing_value_tracks_true", None)?;
    let values = numbers(cx, "nodes_values")?.unwrap_or_default();
    if modes.len() != count || values.len() != count || !(tracks.is_empty() || tracks.len() == count) || count == 0 {
        return Failure::invalid(format!("{count} nodes with {} modes and {} values", modes.len(), values.len()));
    }
    let known: HashMap<(i64, i64), usize> = trees.iter().copied().zip(ids.iter().copied()).zip(0..).collect();
    let (leaf_trees, leaf_nodes, leaf_ids) =
        (ints(cx, &format!("{leaf}_treeids"), None)?, ints(cx, &format!("{leaf}_nodeids"), None)?, ints(cx, &format!("{leaf}_ids"), None)?);
    let weights = numbers(cx, &format!("{leaf}_weights"))?.unwrap_or_default();
    if [leaf_nodes.len(), leaf_ids.len(), weights.len()] != [leaf_trees.len(); 3] {
        return Failure::invalid(format!("{} weights for {} targets of leaves", weights.len(), leaf_ids.len()));
    }
    let element = if x.element() == ElementType::F64 { ElementType::F64 } else { ElementType::F32 };
    let mut forest = Forest { nodes: vec![Node::Leaf(0); count], roots: vec![], weights: vec![], targets, element };
    let mut leaves = 0;
    let width = x.extent(1).unwrap_or(i64::MAX);
    let mut seen = std::collections::HashSet::new();
    for place in 0..count {
        if seen.insert(trees[place]) {
            forest.roots.push(place);
        }
        let mode = Mode::named(&modes[place])?;
        if mode == Mode::Leaf {
            forest.nodes[place] = Node::Leaf(leaves);
            leaves += 1;
            continue;
        }
        let child = |id: i64| match known.get(&(trees[place], id)) {
            Some(child) => Ok(*child),
            None => Failure::invalid(format!("tree {} has no node {id}", trees[place])),
        };
        let missing_is_true = tracks.get(place).is_some_and(|tracks| *tracks != 0);
        index(features[place], width as usize, "feature")?;
        let (then, otherwise) = (child(yes[place])?, child(no[place])?);
        let test = Test { mode, feature: features[place], value: values[place], members: &[], then, otherwise, missing_is_true };
        forest.set(place, &test);
    }
    if leaves.saturating_mul(targets) > LARGEST_TABLE || leaves == 0 {
        return Failure::unsupported(format!("{leaves} leaves of {targets} targets"));
    }
    forest.weights = vec![missing; leaves * targets];
    for (((tree, node), target), weight) in leaf_trees.iter().zip(&leaf_nodes).zip(&leaf_ids).zip(&weights) {
        let Some(Node::Leaf(leaf)) = known.get(&(*tree, *node)).map(|place| forest.nodes[*place]) else { continue };
        let entry = &mut forest.weights[leaf * targets + index(*target, targets, "target")?];
        // A leaf may name a target more than once.
        *entry = if *entry == missing { *weight } else { *entry + *weight };
    }
    Ok(forest)
}

/// How trees are folded, and what that starts from: the weight of a target that a leaf does not name.
fn aggregate(name: &str) -> Result<(&'static str, f64), Failure> {
    Ok(match name {
        "SUM" | "AVERAGE" => ("add", 0.0),
        "MIN" => ("min", f64::INFINITY),
        "MAX" => ("max", f64::NEG_INFINITY),
        other => return Failure::invalid(format!("aggregate_function `{other}`")),
    })
}

/// Base values as a row; one for each target.
fn base_values<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, element: ElementType, targets: usize) -> Result<Option<Tensor<'c, 'a>>, Failure> {
    match numbers(cx, "base_values")?.filter(|values| !values.is_empty()) {
        Some(values) if values.len() == targets || values.len() == 1 => floats(cx, element, vec![values.len() as i64], &values).map(Some),
        Some(values) => Failure::invalid(format!("{} base values for {targets} targets", values.len())),
        None => Ok(None),
    }
}

/// Scores of a regression: folded over the trees, moved by the base values, transformed.
fn regression<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    forest: &Forest,
    function: &str,
    how: &str,
) -> Result<Tensor<'c, 'a>, Failure> {
    let (kind, start) = aggregate(function)?;
    let mut scores = forest.scores(cx, x, kind)?;
    if start != 0.0 && forest.weights.contains(&start) {
        // A target that no tree names scores 0.
        let (start, zero) = (cx.scalar(forest.element, start)?, cx.scalar(forest.element, 0.0)?);
        let unnamed = cx.compare(Eq::create, &scores, &start)?;
        scores = cx.select(&unnamed, &zero, &scores)?;
    }
    if function == "AVERAGE" {
        scores = cx.binary_scalar(Mul::create, &scores, 1.0 / forest.roots.len() as f64)?;
    }
    let base = base_values(cx, forest.element, forest.targets)?;
    let scores = add_row(cx, &scores, base)?;
    transformed(cx, &scores, how)
}

fn regressor<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = rows(cx, 0, element(cx)?)?;
    let targets = index(cx.int_or("n_targets", 1)?, 1 << 20, "number of targets")?.max(1);
    let (function, how) = (cx.string_or("aggregate_function", "SUM")?, cx.string_or("post_transform", "NONE")?);
    let forest = named_nodes(cx, &x, "target", targets, aggregate(&function)?.1)?;
    let scores = regression(cx, &x, &forest, &function, &how)?;
    Ok(vec![cx.convert(&scores, ElementType::F32)?])
}

/// Labels and scores. Where the leaves name one class of two, its score decides: a probability when no weight is negative. Named as the first class it
/// is that of the second, and the first has what remains.
fn classifier<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = rows(cx, 0, element(cx)?)?;
    let labels = class_labels(cx, "classlabels_int64s")?;
    let how = cx.string_or("post_transform", "NONE")?;
    let ids = ints(cx, "class_ids", None)?;
    let one_of_two = labels.len() == 2 && ids.iter().all(|id| *id == ids[0]);
    let mut forest = named_nodes(cx, &x, "class", labels.len(), 0.0)?;
    if one_of_two {
        let class = ids.first().map_or(Ok(0), |id| index(*id, 2, "class"))?;
        forest.weights = forest.weights.iter().skip(class).step_by(2).copied().collect();
        forest.targets = 1;
        let mut score = forest.scores(cx, &x, "add")?;
        // Of two base values, the second is that of the class whose score counts.
        let base = match numbers(cx, "base_values")?.unwrap_or_default()[..] {
            [.., last] => Some(floats(cx, forest.element, vec![1], &[last])?),
            [] => None,
        };
        score = add_row(cx, &score, base)?;
        let score = cx.convert(&score, ElementType::F32)?;
        let probability = forest.weights.iter().all(|weight| *weight >= 0.0);
        let label = above(cx, &score, if probability { 0.5 } else { 0.0 }, [labels[0], labels[1]])?;
        let both = if class == 0 {
            two_classes(cx, &score, probability && how == "NONE")?
        } else {
            let zero = cx.scalar(ElementType::F32, 0.0)?;
            let none = cx.broadcast_to(&zero, score.dims())?;
            cx.concat(&[none, score], 1)?
        };
        return Ok(vec![label, transformed(cx, &both, &how)?]);
    }
    if labels.len() < 2 {
        return Ok(Failure::unsupported("one class")?);
    }
    let scores = forest.scores(cx, &x, "add")?;
    let base = base_values(cx, forest.element, labels.len())?;
    let scores = add_row(cx, &scores, base)?;
    let scores = cx.convert(&scores, ElementType::F32)?;
    let label = best(cx, &scores, &labels)?;
    Ok(vec![label, transformed(cx, &scores, &how)?])
}

/// The newest form: tests and leaves are lists of their own, and a child is an index into one of them.
fn ensemble<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = rows(cx, 0, element(cx)?)?;
    cx.ignore(&["nodes_hitrates"]);
    let features = ints(cx, "nodes_featureids", None)?;
    let count = features.len();
    let list = |name: &str| ints(cx, name, Some(count));
    let (yes, no) = (list("nodes_truenodeids")?, list("nodes_falsenodeids")?);
    let (yes_leaf, no_leaf) = (list("nodes_trueleafs")?, list("nodes_falseleafs")?);
    let tracks = ints(cx, "nodes_missing_value_tracks_true", None)?;
    let (roots, targets) = (ints(cx, "tree_roots", None)?, ints(cx, "leaf_targetids", None)?);
    let width = x.extent(1).unwrap_or(i64::MAX);
    let wanted = index(cx.int_or("n_targets", 1)?, 1 << 20, "number of targets")?.max(1);
    let function = match cx.int_or("aggregate_function", 1)? {
        0 => "AVERAGE",
        1 => "SUM",
        2 => "MIN",
        3 => "MAX",
        other => return Ok(Failure::invalid(format!("aggregate_function {other}"))?),
    };
    let how = match cx.int_or("post_transform", 0)? {
        0 => "NONE",
        1 => "SOFTMAX",
        2 => "LOGISTIC",
        3 => "SOFTMAX_ZERO",
        4 => "PROBIT",
        other => return Ok(Failure::invalid(format!("post_transform {other}"))?),
    };
    let splits = tensor_numbers(cx, "nodes_splits")?.unwrap_or_default();
    let modes = tensor_numbers(cx, "nodes_modes")?.unwrap_or_default();
    let weights = tensor_numbers(cx, "leaf_weights")?.unwrap_or_default();
    let members = tensor_numbers(cx, "membership_values")?.unwrap_or_default();
    // The sets of all membership tests, each ended by NaN.
    let mut sets = members.split(|value| value.is_nan());
    if splits.len() != count || modes.len() != count || targets.len() != weights.len() || !(tracks.is_empty() || tracks.len() == count) {
        return Ok(Failure::invalid(format!(
            "{count} nodes with {} values and {} modes, {} leaves",
            splits.len(),
            modes.len(),
            weights.len()
        ))?);
    }
    let leaves = weights.len();
    if leaves.saturating_mul(wanted) > LARGEST_TABLE || leaves == 0 || roots.is_empty() {
        return Ok(Failure::unsupported(format!("{} trees with {leaves} leaves of {wanted} targets", roots.len()))?);
    }
    let mut forest = Forest { nodes: vec![Node::Leaf(0); count], roots: vec![], weights: vec![], targets: wanted, element: element(cx)? };
    // Leaves stand behind the tests.
    forest.nodes.extend((0..leaves).map(Node::Leaf));
    forest.weights = vec![aggregate(function)?.1; leaves * wanted];
    for (leaf, (target, weight)) in targets.iter().zip(&weights).enumerate() {
        forest.weights[leaf * wanted + index(*target, wanted, "target")?] = *weight;
    }
    for place in 0..count {
        let mode = match modes[place] as i64 {
            0 => Mode::AtMost,
            1 => Mode::Less,
            2 => Mode::AtLeast,
            3 => Mode::Greater,
            4 => Mode::Equal,
            5 => Mode::NotEqual,
            6 => Mode::Member,
            other => return Ok(Failure::invalid(format!("the node mode {other}"))?),
        };
        let child = |at: i64, is_leaf: i64| match is_leaf {
            0 => index(at, count, "node"),
            _ => index(at, leaves, "leaf").map(|leaf| count + leaf),
        };
        index(features[place], width as usize, "feature")?;
        let members = if mode == Mode::Member { sets.next().unwrap_or_default() } else { &[] };
        let test = Test {
            mode,
            feature: features[place],
            value: splits[place],
            members,
            then: child(yes[place], yes_leaf[place])?,
            otherwise: child(no[place], no_leaf[place])?,
            missing_is_true: tracks.get(place).is_some_and(|tracks| *tracks != 0),
        };
        forest.set(place, &test);
    }
    forest.roots = roots.iter().map(|root| index(*root, count, "root")).collect::<Result<_, _>>()?;
    let scores = regression(cx, &x, &forest, function, how)?;
    let kept = cx.input(0)?.element();
    Ok(vec![cx.convert(&scores, kept)?])
}
