//! Nodes of a graph -> an order in which every value is defined before it is used.
//!
//! A sorted graph keeps its order. Refuses cycles, values defined twice and values that nothing defines.

use super::{
    error::ImportError,
    proto::{GraphProto, NodeProto},
};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
};

/// How messages name a node: its own name, or its position and type.
pub fn node_name(node: &NodeProto, index: usize) -> String {
    if node.name.is_empty() { format!("node {index} ({})", node.op_type) } else { node.name.clone() }
}

/// Order of `nodes`, given names that are defined before any of them runs.
pub fn sort_nodes(nodes: &[NodeProto], is_defined: impl Fn(&str) -> bool) -> Result<Vec<usize>, ImportError> {
    let mut producer: HashMap<&str, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if is_defined(output) || producer.insert(output, index).is_some() {
                return Err(ImportError::model(format!("the value `{output}` is defined twice"), node_name(node, index)));
            }
        }
    }
    let mut waiting = vec![0usize; nodes.len()];
    let mut users: Vec<Vec<usize>> = vec![vec![]; nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        for name in used_names(node) {
            match producer.get(name) {
                Some(&from) => {
                    users[from].push(index);
                    waiting[index] += 1;
                }
                None if is_defined(name) => {}
                None => {
                    let what = format!("the input `{name}` is neither a graph input, an initializer nor the output of a node");
                    return Err(ImportError::model(what, node_name(node, index)));
                }
            }
        }
    }
    // The smallest ready index first: keeps sorted graphs as they are.
    let mut ready: BinaryHeap<Reverse<usize>> = (0..nodes.len()).filter(|i| waiting[*i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &user in &users[index] {
            waiting[user] -= 1;
            if waiting[user] == 0 {
                ready.push(Reverse(user));
            }
        }
    }
    match (0..nodes.len()).find(|i| waiting[*i] > 0) {
        Some(index) => Err(ImportError::model("the graph has a cycle", node_name(&nodes[index], index))),
        None => Ok(order),
    }
}

/// Names that a node reads: its inputs, and what its subgraphs take from around them. Each name once.
fn used_names(node: &NodeProto) -> HashSet<&str> {
    let mut names: HashSet<&str> = node.input.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    for graph in subgraphs(node) {
        names.extend(free_names(graph));
    }
    names
}

fn subgraphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

fn free_names(graph: &GraphProto) -> HashSet<&str> {
    let mut own: HashSet<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
    own.extend(graph.initializer.iter().map(|tensor| tensor.name.as_str()));
    own.extend(graph.node.iter().flat_map(|node| node.output.iter().map(String::as_str)));
    let mut free: HashSet<&str> = graph.node.iter().flat_map(used_names).collect();
    free.extend(graph.output.iter().map(|output| output.name.as_str()));
    free.retain(|name| !own.contains(name));
    free
}
