fn main() {
    winze_mlir_build::Dialect { name: "custom", td: "src/custom.td", include: &["src"] }.build();
}
