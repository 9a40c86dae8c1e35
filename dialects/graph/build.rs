fn main() {
    winze_mlir_build::Dialect { name: "graph", td: "src/graph.td", include: &["src"] }.build();
}
